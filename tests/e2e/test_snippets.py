"""The Python of docs/models.md and docs/ledger.md as typed: pasted after a training, with its library alone.

`make test-snippets` makes these environments, by the `pip install` of the snippet's first line. `make test` has one
environment, and skips the snippets whose library is not in it.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import httpx
import pytest

from tests.support.local_server import Serve
from tests.support.make import MAKE
from tests.support.readme import PAGES, blocks
from tests.support.repository import DIGIT, ROOT

pytestmark = pytest.mark.server

FRESH = bool(os.environ.get("FRESH_ENVIRONMENTS"))

Interpreter = Callable[[str, str, str], Path]


class Trained(NamedTuple):
    """A user's own training, before the snippet, and what the library then says of its first row."""

    library: str
    distribution: str
    module: str
    training: str
    says: str


IRIS = "from sklearn.datasets import load_iris\nX, y = load_iris(return_X_y=True)\n"
TRAININGS = {
    "scikit-learn classifier": Trained(
        "scikit-learn",
        "scikit-learn",
        "sklearn",
        IRIS
        + "from sklearn.linear_model import LogisticRegression\nmodel = LogisticRegression(max_iter=999).fit(X, y)",
        "model.predict_proba(X[:1])[0]",
    ),
    "scikit-learn regressor": Trained(
        "scikit-learn",
        "scikit-learn",
        "sklearn",
        IRIS + "from sklearn.linear_model import LinearRegression\nmodel = LinearRegression().fit(X, y)",
        "model.predict(X[:1])",
    ),
    "XGBoost": Trained(
        "XGBoost",
        "xgboost-cpu",
        "xgboost",
        IRIS + "from xgboost import XGBClassifier\nmodel = XGBClassifier(n_estimators=9).fit(X, y)",
        "model.predict_proba(X[:1])[0]",
    ),
    "LightGBM": Trained(
        "LightGBM",
        "lightgbm scikit-learn",
        "lightgbm",
        IRIS + "from lightgbm import LGBMClassifier\nmodel = LGBMClassifier(n_estimators=9, verbose=-1).fit(X, y)",
        "model.predict_proba(X[:1])[0]",
    ),
    "PyTorch": Trained(
        "PyTorch",
        "torch",
        "torch",
        dedent("""
            import torch
            from torch.nn import Dropout, Linear, Sequential, Softmax
            model = Sequential(Linear(4, 8), Dropout(), Linear(8, 3), Softmax(1))
            example = X = torch.randn(1, 4)
        """),
        "model(X[:1])[0]",
    ),
    "Keras": Trained(
        "Keras",
        "tensorflow-cpu",
        "tensorflow",
        dedent("""
            import keras, numpy
            X, y = numpy.random.default_rng(0).normal(size=(30, 4)), numpy.arange(30) % 3
            model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
            model.compile("adam", "sparse_categorical_crossentropy")
            model.fit(X, y, verbose=0)
        """),
        "model.predict(X[:1], verbose=0)[0]",
    ),
}


@pytest.fixture
def interpreter(tmp_path: Path) -> Interpreter:
    """Return a function that returns a Python with a distribution, and with what a snippet asks for besides."""

    def find(distribution: str, module: str, snippet: str) -> Path:
        if FRESH:
            folder = tmp_path / "environment"
            found = re.match(r"# .*: pip install ([\w -]+)", snippet)
            assert found, snippet
            run(Path(sys.executable), "-m", "venv", str(folder))
            run(folder / "bin" / "python", "-m", "pip", "install", "-q", *distribution.split(), *found[1].split())
            return folder / "bin" / "python"
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"there is no {module} here: `make test-snippets` runs this")
        return Path(sys.executable)

    return find


def run(python: Path, *arguments: str, cwd: Path = ROOT) -> str:
    """Run Python to its end, which must be a good one, and return what it printed."""
    environment = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run([python, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def snippet_of(library: str, section: str) -> str:
    """Return the Python of a section that is about a library."""
    [snippet] = [block for block in blocks(section, "python") if block.startswith(f"# {library}: ")]
    return snippet


def test_every_snippet_is_run_by_a_test_of_this_file() -> None:
    first_lines = re.findall(r"```python\n(.*)", "".join(PAGES.values()))
    libraries = {line.split(":")[0].removeprefix("# ") for line in first_lines}
    assert libraries == {trained.library for trained in TRAININGS.values()} | {"pandas", "DuckDB"}


@pytest.mark.parametrize("trained", [pytest.param(trained, id=name) for name, trained in TRAININGS.items()])
def test_a_snippet_exports_a_model_that_is_served_and_says_what_the_library_says(
    trained: Trained, tmp_path: Path, interpreter: Interpreter, serve: Serve
) -> None:
    snippet = snippet_of(trained.library, "Export it")
    python = interpreter(trained.distribution, trained.module, snippet)
    folder = tmp_path / "as typed"
    folder.mkdir()
    answer = f"import json\nprint(json.dumps([X[0].tolist(), {trained.says}.tolist()]))"
    (folder / "train.py").write_text(f"{trained.training}\n{snippet}\n{answer}")

    features, said = json.loads(run(python, "train.py", cwd=folder).splitlines()[-1])
    if trained.library == "Keras":
        run(python, "-m", "model_artifacts", "export", str(folder / "model.keras"), str(folder / "my_model"))

    assert "One prediction" in run(Path(sys.executable), "-m", "model_artifacts", "check", str(folder / "my_model"))
    server = serve(MODEL=str(folder / "my_model")).start()
    record = httpx.post(f"{server.address}/prediction", json={"features": features}, timeout=60).json()
    assert record["prediction"] == pytest.approx(said, abs=1e-5)
    assert record["model"]["name"] == "my_model"


@pytest.mark.parametrize(("library", "says"), [("pandas", r"7 +1\.0"), ("DuckDB", r"7 .* 1 ")])
def test_an_analysts_library_reads_what_psql_writes(
    library: str, says: str, tmp_path: Path, interpreter: Interpreter, serve: Serve
) -> None:
    snippet = snippet_of(library, "Query the ledger")
    python = interpreter(library.lower(), library.lower(), snippet)
    server = serve().start()
    httpx.post(f"{server.address}/prediction", files={"file": DIGIT.read_bytes()}, timeout=60).raise_for_status()
    [export] = [block for block in blocks("Query the ledger", "sh") if "predictions.csv" in block]
    environment = {**os.environ, "LEDGER_HOME": str(server.home)}
    subprocess.run(export.replace("make", MAKE), shell=True, check=True, cwd=tmp_path, env=environment)

    assert re.search(says, run(python, "-c", snippet, cwd=tmp_path))
