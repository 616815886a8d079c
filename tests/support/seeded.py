"""Ledgers with something to look at: digits with some drift and errors, patients, token lists, and other people's text.

They are what the tests in a browser look at, and what the pictures in the README show.
"""

import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
from onnx import helper
from PIL import Image

from functions.shared.ledger.rollups import RollingLedger
from tests.support.database import connected, run
from tests.support.event_transport import EventTransport, forget_environment
from tests.support.graphs import graph, package, tensor
from tests.support.judging import (
    CHANGES,
    Digits,
    midnight,
    move_to,
    post_digits,
    post_rows,
    small_digits,
    upload_labels,
)
from tests.support.repository import ROOT
from tests.support.transformer import RAGGED, example, transformer

DIGITS: Final = ROOT / "model_artifacts" / "mnist"
PATIENTS: Final = ROOT / "model_artifacts" / "diabetes"

TODAY: Final = 60
"""The digits of today. Nobody has judged them."""

A_DAY: Final = 100
"""The digits of each day before. Of five of them, four are judged."""

EARLIER: Final = 80
"""The digits of each of the days of the earlier version."""

HOSTILE: Final = tuple(
    f"{number} {text}"
    for number, text in enumerate(
        (
            "<script>document.title = 'ran'</script>",
            "<img src=x onerror=\"document.title = 'ran'\">",
            '"><svg onload="document.title = \'ran\'">',
            "javascript:document.title='ran'",
            "<iframe srcdoc=\"<script>parent.document.title = 'ran'</script>\"></iframe>",
            "{{constructor.constructor('document.title=1')()}}",
            "${document.title = 'ran'}",
            "<a href=javascript:document.title='ran'>press</a>",
            "</title><script>document.title = 'ran'</script>",
            "\N{RIGHT-TO-LEFT OVERRIDE}<b onmouseover=\"document.title = 'ran'\">",
        )
    )
)
"""Labels that are a script where they are taken for markup. Whatever runs changes the title."""


def seed_digits(url: str, folder: Path) -> None:
    """Have digits predicted: two days by an earlier version, seven as they should be, one blurred, one inverted, today.

    Parameters
    ----------
    url
        The URL of a migrated database, for its superuser.
    folder
        Where the package of the earlier version is made.
    """
    images, truths = small_digits()
    posted = 0

    def some(count: int) -> tuple[Digits, list[str], list[str]]:
        nonlocal posted
        first, posted = posted, posted + count
        return (
            images[first:posted],
            truths[first:posted],
            [f"scan {number:04}" for number in range(first, posted)],
        )

    def post_day(api: httpx.Client, days_ago: int, count: int, change: str | None = None) -> None:
        pictures, labels, names = some(count)
        pictures = pictures if change is None else CHANGES[change](pictures)
        predicted = post_digits(api, pictures, names, user_id=("anna", "bob")[days_ago % 2], metadata={"scanner": "A3"})
        with connected(url) as query:
            move_to(query, predicted.ids, midnight(days_ago) + timedelta(hours=9))
        judged = [at for at in range(count) if at % 5]
        upload_labels(api, [names[at] for at in judged], [labels[at] for at in judged])

    with serving(url, changed_package(DIGITS, folder / "mnist", version="0")) as api:
        for days_ago in (12, 11):
            post_day(api, days_ago, EARLIER)
    with serving(url, DIGITS) as api:
        for days_ago in range(9, 2, -1):
            post_day(api, days_ago, A_DAY)
        post_day(api, 2, A_DAY, "blurred")
        post_day(api, 1, A_DAY, "inverted")
        pictures, _, names = some(TODAY)
        post_digits(api, pictures, names, user_id="anna", metadata={"scanner": "B1"})
    roll_up(url)


def seed_patients(url: str) -> None:
    """Have patients predicted: three days, on the last of which their blood sugar was higher. Half are judged."""
    from model_artifacts.patients import FEATURE_NAMES, read_patients

    rows, truths = read_patients()
    chosen = np.random.default_rng(5).permutation(len(rows))[:150]
    higher = rows[chosen].copy()
    higher[:, FEATURE_NAMES.index("blood_sugar")] += rows[:, FEATURE_NAMES.index("blood_sugar")].std()
    with serving(url, PATIENTS) as api, connected(url) as query:
        for days_ago, some in ((3, rows[chosen]), (2, rows[chosen]), (1, higher)):
            names = [f"visit {days_ago}, patient {row}" for row in chosen]
            move_to(query, post_rows(api, some, names).ids, midnight(days_ago))
            items = [
                {"inference_id": name, "value": float(truths[row])}
                for name, row in zip(names[::2], chosen[::2], strict=True)
            ]
            answer = api.post("/ground_truth", json={"items": items})
            assert answer.status_code == 200, answer.text
    roll_up(url)


def seed_tokens(url: str, model: Path) -> None:
    """Have token lists predicted."""
    with serving(url, model) as api:
        answer = api.post("/predictions", json={"instances": [{"inputs": example(tokens)} for tokens in RAGGED]})
        assert answer.status_code == 201, answer.text


def seed_hostile(url: str, model: Path) -> None:
    """Have digits predicted whose names, metadata, users and labels are scripts where they are taken for markup."""
    images, _ = small_digits()
    with serving(url, model) as api:
        for number, text in enumerate(HOSTILE):
            predicted = post_digits(api, images[number : number + 1], [text], user_id=text, metadata={text: text})
            answer = api.put(
                f"/prediction/{predicted.ids[0]}/ground_truth",
                json={"label": HOSTILE[-1 - number], "source_id": text, "comment": text},
            )
            assert answer.status_code in {200, 201}, answer.text


def token_model(folder: Path) -> Path:
    """Make the package of a model that takes token lists."""
    return package(folder, transformer(), task="tensors", padding={"input_ids": 0, "attention_mask": 0})


FINDS: Final = 300
"""The most that the model for pictures finds."""


def finding_model(folder: Path) -> Path:
    """Make the package of a model that finds the more in a picture the redder it is, up to `FINDS`.

    It sees 64 x 64 pixels, in a letterbox. Its first finds are one in the picture, one outside of it, and one that is
    partly outside. Its labels are scripts where they are taken for markup.
    """
    rng = np.random.default_rng(7)
    corners = rng.uniform(0, 48, (FINDS, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(4, 16, (FINDS, 2))], axis=1)
    boxes[:3] = [[8, 24, 24, 40], [70, 70, 90, 90], [-100, 20, 1e30, 30]]
    weights: dict[str, Any] = {
        "all_boxes": boxes[np.newaxis].astype(np.float32),
        "all_scores": np.linspace(0.99, 0.01, FINDS, dtype=np.float32)[np.newaxis],
        "all_classes": (np.arange(FINDS, dtype=np.float32) % len(HOSTILE))[np.newaxis],
        "most": np.array(FINDS, np.float32),
        "nothing": np.array(0, np.float32),
        "first": np.array([0]),
        "second": np.array([1]),
        "channels": np.array([1]),
    }
    nodes = [
        helper.make_node("Slice", ["images", "first", "second", "channels"], ["red"]),
        helper.make_node("ReduceMax", ["red"], ["reddest"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["reddest", "most"], ["num_detections"]),
        helper.make_node("Mul", ["reddest", "nothing"], ["zero"]),
        *[helper.make_node("Add", [f"all_{name}", "zero"], [name]) for name in ("boxes", "scores", "classes")],
    ]
    outputs = [
        tensor("boxes", "float32", [1, FINDS, 4]),
        tensor("scores", "float32", [1, FINDS]),
        tensor("classes", "float32", [1, FINDS]),
        tensor("num_detections", "float32", [1]),
    ]
    made = graph(nodes, [tensor("images", "float32", [1, 3, 64, 64])], outputs, weights)
    return package(folder, made, task="detection", labels=list(HOSTILE), fit="letterbox", pad_color=0)


def red(strength: int, width: int = 128, height: int = 64) -> bytes:
    """Return a picture in which `finding_model` finds `strength` * `FINDS` / 255 things."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), (strength, 60, 90)).save(file, "png")
    return file.getvalue()


def hostile_model(folder: Path) -> Path:
    """Make the package of a model whose labels are scripts where they are taken for markup."""
    return changed_package(DIGITS, folder, labels=list(HOSTILE))


def changed_package(model: Path, folder: Path, **changes: object) -> Path:
    """Copy a model package, and change settings in its model.json. Its baseline and its digest are of the unchanged."""
    folder.mkdir(parents=True)
    shutil.copy(model / "model.onnx", folder)
    settings: dict[str, Any] = json.loads((model / "model.json").read_text("utf-8"))
    settings.pop("sha256", None)
    (folder / "model.json").write_text(json.dumps(settings | changes), "utf-8")
    return folder


@contextmanager
def serving(url: str, model: Path) -> Iterator[httpx.Client]:
    """Serve a model with a database, within this process."""
    with (
        _environment({"DATABASE_URL": url, "MODEL": str(model), "LOG_LEVEL": "ERROR"}),
        httpx.Client(transport=EventTransport(), base_url="https://api.example", timeout=60) as api,
    ):
        yield api


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changes)
    forget_environment()
    try:
        yield
    finally:
        forget_environment()
        os.environ.clear()
        os.environ.update(before)


def roll_up(url: str) -> None:
    """Make every roll-up that is due."""
    ledger = RollingLedger.at(url, longest=60)
    while ledger.roll_up(60).left:
        pass
    ledger.close()


_KEEP: Final = """
DO $$ DECLARE name text; BEGIN
    CREATE SCHEMA seeded;
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
        EXECUTE format('CREATE TABLE seeded.%I AS TABLE public.%I', name, name);
    END LOOP;
END $$
"""

_BRING_BACK: Final = """
DO $$ DECLARE name text; BEGIN
    PERFORM set_config('session_replication_role', 'replica', true), set_config('lock_timeout', '30s', true);
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'seeded' LOOP
        EXECUTE format('DELETE FROM public.%I', name);
        EXECUTE format('INSERT INTO public.%I OVERRIDING SYSTEM VALUE TABLE seeded.%I', name, name);
    END LOOP;
END $$
"""


def keep(url: str) -> None:
    """Keep a copy of every table, as it is now, in the same database."""
    run(url, _KEEP)


def bring_back(url: str) -> None:
    """Make every table what it was when it was kept, while servers may use the database."""
    run(url, _BRING_BACK)
