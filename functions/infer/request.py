"""Read an inference request: JSON alone, or JSON followed by the tensors in binary.

Sources: Open Inference Protocol, "Inference Request JSON Object"; Triton Inference Server, "Binary Tensor Data
Extension" for `Inference-Header-Content-Length`, `binary_data_size`, `binary_data` and `binary_data_output`, and
"Classification Extension" for `classification`.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from functions.shared.api.fields import INFERENCE_ID_NAMES, MAX_METADATA_DEPTH, is_deeper
from functions.shared.api.json_source import Source, decode, parse_members
from functions.shared.api.open_inference import HEADER_LENGTH
from functions.shared.api.problems import Problem
from functions.shared.inference.datatypes import DTYPES

MAX_RANK: Final = 32
"""The most axes of a tensor. numpy has at most 64."""

MAX_LENGTH: Final = 2**63 - 1
"""The longest axis, as numpy counts."""

_SEQUENCE: Final = ("sequence_id", "sequence_start", "sequence_end")


class InputTensor(NamedTuple):
    """An input tensor as it was sent.

    Attributes
    ----------
    name, datatype, shape
        As sent. The datatype is one of the protocol's.
    data
        The values in JSON, flat or nested; None if they are in binary.
    content
        The values in binary; None if they are in JSON.
    parameters
        The tensor's parameters without `binary_data_size`.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: list[Any] | None
    content: bytes | None
    parameters: dict[str, Any]


class RequestedOutput(NamedTuple):
    """An output to answer.

    Attributes
    ----------
    name
        Of the output.
    binary
        Whether in binary.
    classes
        How many of its largest values are answered as texts, instead of the output; 0 for the output itself.
    """

    name: str
    binary: bool
    classes: int = 0


class InferRequest(NamedTuple):
    """An inference request.

    Attributes
    ----------
    id
        The caller's id of the request, which the answer repeats.
    parameters
        The request's own parameters, as sent.
    inputs
        The tensors, each name once.
    inputs_text
        The JSON text of `inputs`.
    outputs
        The outputs that are asked for; None for all of them.
    binary
        Whether outputs that are not asked for by name are answered in binary.
    """

    id: str | None
    parameters: Mapping[str, Any]
    inputs: tuple[InputTensor, ...]
    inputs_text: str
    outputs: tuple[RequestedOutput, ...] | None
    binary: bool


def parse_request(body: bytes, header_length: str | None) -> InferRequest:
    """Read a request.

    Parameters
    ----------
    body
        The body, decompressed.
    header_length
        The header `Inference-Header-Content-Length`.

    Raises
    ------
    Problem
        400, if it is not a request of the protocol, or asks for an extension that this service does not have.
    """
    end = _json_length(header_length, len(body))
    members = parse_members(decode(body[:end]))
    parameters = own_parameters(members)
    if any(parameters.get(name) for name in _SEQUENCE):
        raise refusal("Sequences of requests are not served: send no sequence_id.")
    if "inputs" not in members:
        raise refusal('The request has no inputs: send "inputs", a list with each of the model\'s inputs.')
    return InferRequest(
        id=_id(members.get("id")),
        parameters=parameters,
        inputs=_inputs(members["inputs"].value, memoryview(body)[end:], in_binary=header_length is not None),
        inputs_text=members["inputs"].text,
        outputs=_outputs(members.get("outputs"), binary=parameters.get("binary_data_output") is True),
        binary=parameters.get("binary_data_output") is True,
    )


def own_parameters(members: Mapping[str, Source]) -> dict[str, Any]:
    """Return a request's own parameters.

    Raises
    ------
    Problem
        400, if they are no object, or what they may say stands beside them, where nobody reads it.
    """
    for name in ("user_id", *INFERENCE_ID_NAMES):
        if name in members and members[name].value is not None:
            raise refusal(f"{name} is not read beside the inputs: send it in parameters.")
    return _object(members.get("parameters"), "parameters")


def refusal(detail: str) -> Problem:
    """Return the problem of a request that breaks the protocol: the protocol's clients expect 400."""
    return Problem(HTTPStatus.BAD_REQUEST, detail)


def shown(name: object) -> str:
    """Write what a caller sent for a message, cut to 100 characters."""
    try:
        text = json.dumps(name, ensure_ascii=True, default=str)
    except RecursionError:  # it could just be read
        return "what is nested too deeply"
    return text if len(text) <= 100 else f"{text[:99]}…"


def _json_length(header: str | None, size: int) -> int:
    if header is None:
        return size
    text = header.strip()
    if not (text.isascii() and text.isdecimal()) or len(text) > 18:
        raise refusal(f"{HEADER_LENGTH} must be the number of bytes of JSON at the start of the body.")
    if int(text) > size:
        raise refusal(f"{HEADER_LENGTH} is {int(text)}, but the body has {size} bytes.")
    return int(text)


def _object(source: Source | None, name: str) -> dict[str, Any]:
    value = None if source is None else source.value
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise refusal(f"{name} must be a JSON object, not {shown(value)}.")
    return value


def _id(source: Source | None) -> str | None:
    value = None if source is None else source.value
    if value is None:
        return None
    if not isinstance(value, str) or not _is_text(value):
        raise refusal(f"id must be a text, not {shown(value)}.")
    return value


def _is_text(value: str) -> bool:
    """Tell whether a text can be written as UTF-8. JSON's escapes can spell half of a surrogate pair, which cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _inputs(value: object, binary: memoryview, *, in_binary: bool) -> tuple[InputTensor, ...]:
    if not isinstance(value, list) or not value:
        raise refusal(f"inputs must be a list with each of the model's inputs, not {shown(value)}.")
    tensors: dict[str, InputTensor] = {}
    start = 0
    for position, one in enumerate(value):
        tensor, size = _input(one, f"inputs[{position}]", binary[start:], in_binary=in_binary)
        if tensor.name in tensors:
            raise refusal(f"The input {shown(tensor.name)} is there twice.")
        tensors[tensor.name] = tensor
        start += size
    if start != len(binary):
        raise refusal(
            f"{len(binary)} bytes follow the JSON, but the inputs' binary_data_size make {start}: they must be equal."
        )
    return tuple(tensors.values())


def _input(value: object, where: str, binary: memoryview, *, in_binary: bool) -> tuple[InputTensor, int]:
    """Read one input. Return it with the number of bytes that it has after the JSON."""
    if not isinstance(value, dict):
        raise refusal(f"{where} must be an object with name, shape, datatype and data, not {shown(value)}.")
    name = _name(value, where)
    where = f"The input {shown(name)}"
    # It is stored with the row. Nested more deeply, it could not be sent again everywhere.
    if is_deeper({member: one for member, one in value.items() if member != "data"}, MAX_METADATA_DEPTH):
        raise refusal(f"{where} must be at most {MAX_METADATA_DEPTH} objects and lists deep, beside its data.")
    datatype = value.get("datatype")
    if not isinstance(datatype, str) or datatype not in DTYPES:
        no_model = "no model with it is served, " if datatype == "BF16" else ""
        raise refusal(f"{where} has the datatype {shown(datatype)}: {no_model}it must be one of {', '.join(DTYPES)}.")
    shape = value.get("shape")
    if not isinstance(shape, list) or len(shape) > MAX_RANK or not all(map(_is_length, shape)):
        raise refusal(
            f"{where} has the shape {shown(shape)}: it must be a list of up to {MAX_RANK} whole numbers from 0 to "
            f"{MAX_LENGTH}."
        )
    parameters = _parameters(value, where)
    size = parameters.pop("binary_data_size", None)
    data = value.get("data")
    if (data is None) == (size is None):
        raise refusal(f"{where} must have its values in data, or say in binary_data_size how many bytes they are.")
    if size is None:
        if not isinstance(data, list):
            raise refusal(f"{where} has the data {shown(data)}: it must be a list of values.")
        return InputTensor(name, datatype, tuple(shape), data, None, parameters), 0
    if not in_binary:
        raise refusal(f"{where} is in binary: send {HEADER_LENGTH}, the number of bytes of JSON before it.")
    if not _is_length(size):
        raise refusal(f"{where} has the binary_data_size {shown(size)}: it must be a whole number.")
    if size > len(binary):
        raise refusal(f"{where} has {size} bytes by its binary_data_size, but only {len(binary)} are left of the body.")
    return InputTensor(name, datatype, tuple(shape), None, bytes(binary[:size]), parameters), size


def _name(value: dict[str, Any], where: str) -> str:
    name = value.get("name")
    if not isinstance(name, str) or not name:
        raise refusal(f"{where} must have a name, the one of the model's, not {shown(name)}.")
    return name


def _is_length(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_LENGTH


def _parameters(value: dict[str, Any], where: str) -> dict[str, Any]:
    parameters = value.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise refusal(f"{where} has the parameters {shown(parameters)}: they must be an object.")
    if any(name.startswith("shared_memory") for name in parameters):
        raise refusal(f"{where} is in shared memory, which this service does not have: send its values in the request.")
    return dict(parameters)


def _outputs(source: Source | None, *, binary: bool) -> tuple[RequestedOutput, ...] | None:
    value = None if source is None else source.value
    if value is None or value == []:
        return None
    if not isinstance(value, list):
        raise refusal(f"outputs must be a list of the outputs to answer, not {shown(value)}.")
    outputs: dict[str, RequestedOutput] = {}
    for position, one in enumerate(value):
        where = f"outputs[{position}]"
        if not isinstance(one, dict):
            raise refusal(f"{where} must be an object with the output's name, not {shown(one)}.")
        name = _name(one, where)
        where = f"The output {shown(name)}"
        parameters = _parameters(one, where)
        if any(one.startswith("shared_memory") for one in parameters):
            raise refusal(f"{where} is asked for in shared memory, which this service does not have: leave that out.")
        classes = parameters.get("classification", 0)
        if not _is_length(classes):
            raise refusal(f"{where} has the classification {shown(classes)}: it must be how many classes to answer.")
        if name in outputs:
            raise refusal(f"{where} is asked for twice.")
        in_binary = parameters.get("binary_data", binary)
        if not isinstance(in_binary, bool):
            raise refusal(f"{where} has the binary_data {shown(in_binary)}: it must be true or false.")
        outputs[name] = RequestedOutput(name, in_binary, classes)
    return tuple(outputs.values())
