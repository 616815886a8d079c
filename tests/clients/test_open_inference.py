"""Clients of the Open Inference Protocol, unmodified, against a server that serves Triton's model `simple`."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import numpy as np
import pytest

from tests.support.clients import ClientPython, ServeModel, run
from tests.support.graphs import package, sum_and_difference
from tests.support.local_server import LocalServer
from tests.support.repository import ROOT
from tests.support.transformer import RAGGED, example, transformer

pytestmark = [pytest.mark.slow, pytest.mark.server]

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def simple(serve_model: ServeModel) -> Iterator[LocalServer]:
    """A server of the model. Its folder is where PostgreSQL's system user can read it."""
    with TemporaryDirectory(prefix="onnx-ledger-model-") as folder:
        yield serve_model(package(Path(folder) / "simple", sum_and_difference(), task="tensors", version="1"))


def stored(server: LocalServer) -> int:
    """Return how many predictions a server has stored."""
    return len(httpx.get(f"{server.address}/predictions", params={"limit": 1000}).json()["predictions"])


def test_tritonclient_asks_what_its_examples_ask(
    simple: LocalServer, client_python: ClientPython, tmp_path: Path
) -> None:
    before = stored(simple)
    address = simple.address.removeprefix("http://")
    run(client_python("tritonclient"), str(HERE / "triton_simple.py"), address, cwd=tmp_path)
    assert stored(simple) - before == 21


def test_tritonclient_is_answered_or_refused_in_words_whatever_extension_it_asks_for(
    simple: LocalServer, serve_model: ServeModel, client_python: ClientPython, tmp_path: Path
) -> None:
    before = stored(simple)
    with TemporaryDirectory(prefix="onnx-ledger-model-") as folder:
        strings = serve_model(package(Path(folder) / "simple_string", sum_and_difference(texts=True), task="tensors"))
        digits = serve_model(ROOT / "model_artifacts" / "mnist")
        addresses = [server.address.removeprefix("http://") for server in (simple, strings, digits)]
        run(client_python("tritonclient"), str(HERE / "triton_extensions.py"), *addresses, cwd=tmp_path)
    assert [stored(simple) - before, stored(strings), stored(digits)] == [1, 2, 6]


def test_tritonclient_sends_token_lists_that_are_answered_and_stored_as_by_json(
    serve_model: ServeModel, client_python: ClientPython, tmp_path: Path
) -> None:
    with TemporaryDirectory(prefix="onnx-ledger-model-") as folder:
        padding = {"input_ids": 0, "attention_mask": 0}
        model = package(Path(folder) / "transformer", transformer(), task="tensors", padding=padding)
        server = serve_model(model)
        arguments = (server.address.removeprefix("http://"), json.dumps(RAGGED))
        printed = run(client_python("tritonclient"), str(HERE / "triton_tokens.py"), *arguments, cwd=tmp_path)
        in_binary = json.loads(printed)
        by_json = httpx.post(
            f"{server.address}/predictions", json={"instances": [{"inputs": example(tokens)} for tokens in RAGGED]}
        ).json()["predictions"]
        in_ledger = httpx.get(f"{server.address}/predictions", params={"limit": 1000}).json()["predictions"]

    logits = [one["prediction"]["outputs"]["logits"]["data"] for one in by_json]
    np.testing.assert_allclose(in_binary["logits"], logits, rtol=1e-4, atol=1e-5)
    assert [one["prediction_id"] for one in in_ledger[len(RAGGED) :]] == in_binary["prediction_ids"][::-1]


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="kserve is for no later Python than 3.13")
def test_kserves_client_asks_by_both_versions(simple: LocalServer, client_python: ClientPython, tmp_path: Path) -> None:
    before = stored(simple)
    run(client_python("kserve"), str(HERE / "kserve_simple.py"), simple.address, cwd=tmp_path)
    assert stored(simple) - before == 6


def test_the_protocols_own_client_reads_the_answers(
    simple: LocalServer, client_python: ClientPython, tmp_path: Path
) -> None:
    before = stored(simple)
    run(client_python("openinference"), str(HERE / "openinference_simple.py"), simple.address, cwd=tmp_path)
    assert stored(simple) - before == 6


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="mlserver is for no later Python than 3.12")
@pytest.mark.parametrize("options", [[], ["--binary-data"], ["--batch-size", "3"]], ids=["json", "binary", "batches"])
def test_mlserver_infers_the_lines_of_a_file(
    simple: LocalServer, client_python: ClientPython, tmp_path: Path, options: list[str]
) -> None:
    rows = np.arange(7 * 16).reshape(7, 1, 16)
    lines = [
        {
            "id": f"line-{at}",
            "inputs": [
                {"name": name, "shape": [1, 16], "datatype": "INT32", "data": (row * factor).ravel().tolist()}
                for name, factor in (("INPUT0", 1), ("INPUT1", 2))
            ],
        }
        for at, row in enumerate(rows)
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    before = stored(simple)
    command = ["infer", "-u", simple.address.removeprefix("http://"), "-m", "simple", "-i", "in.jsonl", "-o", "out"]
    run(client_python("mlserver"), "-m", "mlserver.cli.main", *command, *options, cwd=tmp_path)

    answers = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert all("error" not in answer for answer in answers), answers
    found = {answer["id"]: {one["name"]: one["data"] for one in answer["outputs"]} for answer in answers}
    assert found == {
        f"line-{at}": {"OUTPUT0": (row * 3).ravel().tolist(), "OUTPUT1": (-row).ravel().tolist()}
        for at, row in enumerate(rows)
    }
    assert stored(simple) - before == 7
