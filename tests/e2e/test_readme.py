"""The README is run as a stranger would run it: every command in it, in its order."""

import json
import re
from pathlib import Path

from functions.shared.settings import PredictSettings
from tests.support.local_server import Serve
from tests.support.readme import ADDRESS, README, commands, run
from tests.support.repository import ROOT


def test_the_commands_of_the_first_ten_minutes_work_as_they_stand(serve: Serve) -> None:
    first, *others = commands("Try it")
    assert first.strip() == "make serve"
    assert others[-1].strip() == "make test"
    server = serve().start()

    outputs = [run(command, server.address) for command in others[:-1]]

    assert json.loads(outputs[0])["label"] == "7"
    assert len(json.loads(outputs[1])["predictions"]) == 1
    assert outputs[2].endswith("the same bytes\n")


def test_the_lines_that_the_server_prints_work_when_pasted(serve: Serve) -> None:
    server = serve().start()

    for line in server.output.splitlines():
        if line.startswith("curl"):
            assert json.loads(run(line, server.address))


def test_a_model_of_ones_own_is_checked_and_served_as_the_readme_says(serve: Serve) -> None:
    check, make_serve, call = commands("Bring your own model")
    assert "label" in run(check, ADDRESS) or "predicted" in run(check, ADDRESS)
    found = re.fullmatch(r"make serve MODEL=(\S+)", make_serve.strip())
    assert found
    server = serve(MODEL=found[1]).start()

    record = json.loads(run(call, server.address))

    assert record["model"]["name"] == Path(found[1]).name
    assert isinstance(record["predicted_value"], float)


def test_every_setting_of_the_functions_is_in_the_configuration_table() -> None:
    for name in PredictSettings.model_fields:
        assert f"`{name.upper()}`" in README


def test_every_make_target_that_the_readme_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8") + (ROOT / "infra" / "build.mk").read_text("utf-8")
    for target in re.findall(r"(?m)(?:`|^ *)make ([a-z-]+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
