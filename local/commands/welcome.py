"""The commands that the server prints when it is ready, to be pasted into a shell."""

import json
import shlex
import sys
from pathlib import Path

from functions.shared.inference.feature_input import FeatureColumn, FeatureInput, FeatureType
from functions.shared.inference.package import ModelPackage
from functions.shared.inference.tensor_input import TensorInput
from local.settings import ROOT, Settings

SAMPLE = "local/samples/mnist_sample.png"
"""The path of the sample image, relative to the repository's root."""

_MADE_UP: dict[FeatureType, object] = {"number": 1.5, "integer": 1, "boolean": True, "string": "a"}
_SEVERAL = (FeatureColumn(None, "float32"),) * 4  # for a model that accepts any number of features

_LONGEST_BODY = 2_000  # in characters, of a command that people copy

_NEWEST_ID = 'import json, sys; print(json.load(sys.stdin)["predictions"][0]["prediction_id"])'


def token_command(home: Path) -> str:
    """Return a command that prints a token for the user anna, signed with the key in a home folder."""
    python = Path(sys.executable)
    if python.is_relative_to(ROOT):
        python = python.relative_to(ROOT)
    command = f"{shlex.quote(str(python))} -m local token anna"
    return command if home == Settings.ledger_home else f"LEDGER_HOME={shlex.quote(str(home.absolute()))} {command}"


def curl_lines(address: str, package: ModelPackage, token: str | None = None) -> list[tuple[str, str]]:
    """Return pairs of a description and a command that works in the repository's root.

    Parameters
    ----------
    address
        The server's address, such as `http://127.0.0.1:3000`.
    package
        The model that it serves. An image model gets the sample image, any other model gets a made-up input.
    token
        A command that prints a token to send; None if the server asks for none.
    """
    curl = "curl" if token is None else f'curl -H "Authorization: Bearer $({token})"'
    newest = f"$({curl} -s '{address}/predictions?limit=1' | python3 -c {shlex.quote(_NEWEST_ID)})"
    return [
        ("predict, and store", _predict(curl, address, package)),
        ("list the newest", f"{curl} '{address}/predictions?limit=5'"),
        ("get the newest", f'{curl} "{address}/prediction/{newest}"'),
    ]


def _predict(curl: str, address: str, package: ModelPackage) -> str:
    if isinstance(package.input, TensorInput):
        return _predict_tensors(curl, address, package.input)
    if not isinstance(package.input, FeatureInput):
        return f"{curl} -F file=@{SAMPLE} {address}/prediction"
    columns = package.input.columns or _SEVERAL
    features: object = [_MADE_UP[column.type] for column in columns]
    if package.input.names is not None:
        features = {column.name: _MADE_UP[column.type] for column in columns}
    body = shlex.quote(json.dumps({"features": features}))
    return f"{curl} -H 'content-type: application/json' -d {body} {address}/prediction"


def _predict_tensors(curl: str, address: str, wanted: TensorInput) -> str:
    body = json.dumps({"inputs": wanted.sample()})
    post = f"{curl} -H 'content-type: application/json'"
    if len(body) <= _LONGEST_BODY:
        return f"{post} -d {shlex.quote(body)} {address}/prediction"
    # A shell takes no line as long as a large tensor: Python writes it out.
    members = ", ".join(f"{name!r}: {_written(value)}" for name, value in wanted.sample().items())
    script = f"import json; print(json.dumps({{'inputs': {{{members}}}}}))"
    return f"python3 -c {shlex.quote(script)} | {post} -d @- {address}/prediction"


def _written(value: object) -> str:
    """Write a list of equal entries as Python does with fewer characters: `[[1] * 8] * 8`."""
    return f"[{_written(value[0])}] * {len(value)}" if isinstance(value, list) and value else repr(value)
