"""Read the inputs of a request: from a form, an image as the body, or JSON (`image` as a data URI, or `features`)."""

import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

from fastapi import Request
from starlette.requests import ClientDisconnect

from functions.predict.batch_problems import BatchProblems
from functions.predict.multipart import Part, parse_form
from functions.shared.api.base64_text import from_base64
from functions.shared.api.content_encoding import decompressed
from functions.shared.api.fields import (
    INFERENCE_ID_NAMES,
    check_filename,
    check_inference_id,
    check_metadata,
    check_user_id,
    query_of,
    refuse_in_query,
    refuse_unknown,
)
from functions.shared.api.json_source import Source, decode, parse_items, parse_members
from functions.shared.api.negotiation import essence
from functions.shared.api.problems import Problem
from functions.shared.inference.content_types import OCTET_STREAM, SUPPORTED_CONTENT_TYPES, image_contenttype
from functions.shared.inference.package import Takes
from functions.shared.prediction.requests import NO_METADATA, Features, Input, RequestedInput, UploadReference

JSON: Final = "application/json"
MULTIPART: Final = "multipart/form-data"

# data:[<media type>][;<parameter>]*;base64, (RFC 2397), with spaces where browsers take them.
_DATA_URI: Final = re.compile(r"\s*data:([^,]*); *base64 *", re.IGNORECASE | re.ASCII)
_PART_NAMES = ("file", "user_id", "metadata", *INFERENCE_ID_NAMES)

Kind: TypeAlias = Takes
"""The kind of input that a model takes."""

_MEMBERS: Final[dict[Kind, str]] = {"image": "image", "features": "features", "tensors": "inputs"}
_BESIDE: Final = ("metadata", *INFERENCE_ID_NAMES)  # members beside any input
_EVERY_MEMBER: Final = frozenset((*_MEMBERS.values(), "input_id", "instances", "filename", "user_id", *_BESIDE))
_IN_THE_BODY: Final = "the body, as a part of a form or a member of JSON"
_WANTED: Final[dict[Kind, str]] = {
    "image": "image, as a base64 data URI",
    "features": "features, as a list or an object",
    "tensors": "inputs, as an object with a value or nested lists for each input of the model",
}


Named: TypeAlias = tuple[tuple[str, object], ...]
"""Each inference id that a request gives for one input, with a JSON pointer."""


class ReceivedRequest(NamedTuple):
    """The inputs of a request, and their user.

    Attributes
    ----------
    inputs
        In the order sent.
    user_id
        The user named in the body, if any.
    pointers
        JSON pointers to the inputs in the body; in a form, `/file/2` is the third `file` part. None if the request is a
        single input: its problem needs no pointer.
    """

    inputs: tuple[RequestedInput, ...]
    user_id: str | None
    pointers: tuple[str, ...] | None = None


class Limits(NamedTuple):
    """Limits of one request: bytes of its body, and number of inputs."""

    body_bytes: int
    inputs: int


Receive: TypeAlias = Callable[[Request, bytes, Kind, Limits], ReceivedRequest]
"""Reads the inputs of a request. Parameters and errors as in `receive_one`."""


def receive_one(request: Request, body: bytes, takes: Kind, limits: Limits) -> ReceivedRequest:
    """Read a request with a single input. Its query may have the `inference_id`, as an image alone has no other place.

    Parameters
    ----------
    request
        The request, of which the headers are read.
    body
        Its body, as it arrived.
    takes
        The kind of input that the served model takes.
    limits
        The request's limits.

    Raises
    ------
    Problem
        400 if the body is malformed or missing, 413 if it is too large, 415 if the model does not take its content
        type, 422 if it is well-formed but not valid.
    """
    header, contenttype, body = _read(request, body, limits)
    named = _named_in_query(request)
    if _is_json(contenttype):
        return _one_from_members(_without_nulls(parse_members(decode(body))), takes, named)
    if takes == "image" and contenttype == MULTIPART:
        return _one_from_form(_Form.parse(header, body), named)
    if takes == "image" and image_contenttype(contenttype, body) not in (None, OCTET_STREAM):
        return ReceivedRequest((_image(contenttype, body, "body", inference_id=check_inference_id(named)),), None)
    taken = (MULTIPART, *SUPPORTED_CONTENT_TYPES, JSON) if takes == "image" else (JSON,)
    raise _not_taken(header, body, takes, taken)


def receive_several(request: Request, body: bytes, takes: Kind, limits: Limits) -> ReceivedRequest:
    """Read a request with several inputs: `file` parts of a form, or `instances` in JSON.

    Parameters and errors as in `receive_one`. The error points at every bad input.
    """
    refuse_in_query(query_of(request), _EVERY_MEMBER, _IN_THE_BODY)
    header, contenttype, body = _read(request, body, limits)
    if _is_json(contenttype):
        return _several_from_instances(_without_nulls(parse_members(decode(body))), takes, limits)
    if takes == "image" and contenttype == MULTIPART:
        return _several_from_form(_Form.parse(header, body), limits)
    raise _not_taken(header, body, takes, (MULTIPART, JSON) if takes == "image" else (JSON,))


def _read(request: Request, body: bytes, limits: Limits) -> tuple[str, str, bytes]:
    """Return the Content-Type header, its media type, and the body without its Content-Encoding."""
    if len(body) > limits.body_bytes:
        detail = f"The body is {len(body)} bytes long; at most {limits.body_bytes} are allowed."
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
    if "content-encoding" in request.headers:
        body = decompressed(body, request.headers["content-encoding"], limit=limits.body_bytes)
    header = request.headers.get("content-type", "")
    return header, essence(header), body


def _is_json(contenttype: str) -> bool:
    return contenttype == JSON or (contenttype.startswith("application/") and contenttype.endswith("+json"))


def _not_taken(header: str, body: bytes, takes: Kind, taken: tuple[str, ...]) -> Problem:
    if not header and not body:
        wanted = {
            "image": "an image",
            "features": 'features, as JSON: {"features": [...]}',
            "tensors": 'inputs, as JSON: {"inputs": {"<name>": [...]}}',
        }[takes]
        return Problem(HTTPStatus.BAD_REQUEST, f"The request has no body: send {wanted}.")
    contenttype = essence(header)
    given = f"This model does not take {contenttype[:100]!r}" if contenttype else "The body has no content type"
    return _unsupported(given, taken)


async def whole_body(request: Request) -> bytes:
    """Return the body. An event's body is a single piece, for which Starlette's stream reader is needlessly slow."""
    pieces = []
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _unsupported(given: str, taken: tuple[str, ...], around: tuple[str, ...] = ()) -> Problem:
    """Return the refusal of a content type. `around`: those of bodies that have such a content within them."""
    detail = f"{given}: send one of {', '.join(taken)}."
    return Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, headers={"Accept-Post": ", ".join((*around, *taken))})


def _named_in_query(request: Request) -> Named:
    query = query_of(request)
    refuse_in_query(query, _EVERY_MEMBER.difference(INFERENCE_ID_NAMES), _IN_THE_BODY)
    return tuple((f"/{name}", value) for name, value in query if name in INFERENCE_ID_NAMES)


def _named(members: Mapping[str, Source]) -> Named:
    return tuple((f"/{name}", members[name].value) for name in INFERENCE_ID_NAMES if name in members)


def _image(
    declared: str,
    content: bytes,
    where: str,
    filename: str | None = None,
    metadata: Mapping[str, Any] = NO_METADATA,
    inference_id: str | None = None,
) -> Input:
    """Return an image with the content type that its bytes have, and the declared one if that is another.

    If the bytes are no image at all, decoding answers 400 and says so.
    """
    if not content:
        raise Problem(HTTPStatus.BAD_REQUEST, f"The {where} is empty: send an image.")
    contenttype = image_contenttype(declared, content)
    if contenttype is None:
        given = f"The {where} has the content type {declared[:100]!r}, which is no image that is taken"
        raise _unsupported(given, SUPPORTED_CONTENT_TYPES, (MULTIPART, JSON))
    other = declared if declared and declared != contenttype else None
    return Input(
        contenttype,
        content=content,
        filename=filename,
        metadata=metadata,
        declared_contenttype=other,
        inference_id=inference_id,
    )


# --- forms -----------------------------------------------------------------------------------------------------------


class _Form(NamedTuple):
    """The parts of a form. Its user and metadata apply to all its files.

    `inference_ids` is what it has under each name of one, with a JSON pointer.
    """

    files: list[Part]
    user_id: str | None
    metadata: dict[str, Any]
    inference_ids: dict[str, list[str]]

    @classmethod
    def parse(cls, header: str, body: bytes) -> "_Form":
        by_name: dict[str, list[Part]] = {name: [] for name in _PART_NAMES}
        for part in parse_form(header, body):
            if part.name not in by_name:
                detail = f"the part {part.name[:100]!r} is unknown: use {', '.join(_PART_NAMES)}"
                raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{detail}.", errors=[("", detail)])
            by_name[part.name].append(part)
        if not by_name["file"]:
            raise Problem(HTTPStatus.BAD_REQUEST, "The form has no file: send the image as the part 'file'.")
        user_id = _field(by_name["user_id"], "user_id")
        return cls(
            by_name["file"],
            None if user_id is None else check_user_id("/user_id", user_id),
            _metadata_field(_field(by_name["metadata"], "metadata")),
            {f"/{name}": [_text(part, name) for part in by_name[name]] for name in INFERENCE_ID_NAMES},
        )


def _one_from_form(form: _Form, named: Named) -> ReceivedRequest:
    if len(form.files) > 1:
        detail = "The form has more than one 'file' part: send one, or send them all to /predictions."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
    parts = [(pointer, text) for pointer, texts in form.inference_ids.items() for text in texts]
    inference_id = check_inference_id((*named, *parts))
    return ReceivedRequest((_from_file(form.files[0], form.metadata, inference_id),), form.user_id)


def _several_from_form(form: _Form, limits: Limits) -> ReceivedRequest:
    if len(form.files) > limits.inputs:
        raise _too_many(len(form.files), limits.inputs, "'file' parts")
    pointers = tuple(f"/file/{index}" for index in range(len(form.files)))
    inputs, problems = [], BatchProblems()
    for file, pointer, named in zip(form.files, pointers, _named_for_each(form), strict=True):
        with problems.at(pointer):
            inputs.append(_from_file(file, form.metadata, check_inference_id(named)))
    problems.raise_any()
    return ReceivedRequest(tuple(inputs), form.user_id, pointers)


def _named_for_each(form: _Form) -> Sequence[Sequence[tuple[str, str]]]:
    """Return the inference ids of each file: one part is for all files, several are for the files in their order."""
    count = len(form.files)
    named: list[list[tuple[str, str]]] = [[] for _ in form.files]
    for pointer, texts in form.inference_ids.items():
        if len(texts) not in (0, 1, count):
            detail = (
                f"the form has {len(texts)} parts {pointer[1:]!r} for {count} files: send one for each file, in the "
                "order of the files, or one for all"
            )
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{detail}.", errors=[(pointer, detail)])
        for own, text in zip(named, texts * count if len(texts) == 1 else texts, strict=False):
            own.append((pointer, text))
    return named


def _too_many(count: int, most: int, what: str) -> Problem:
    return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The request has {count} {what}; at most {most} are allowed.")


def _from_file(file: Part, metadata: dict[str, Any], inference_id: str | None) -> Input:
    if file.filename is None:
        raise Problem(HTTPStatus.BAD_REQUEST, "The part 'file' has no filename: send it as a file.")
    filename = check_filename("/filename", file.filename) if file.filename else None
    return _image(essence(file.contenttype or ""), file.content, "file", filename, metadata, inference_id)


def _field(parts: list[Part], name: str) -> str | None:
    if not parts:
        return None
    if len(parts) > 1:
        raise _no_text_field(name)
    return _text(parts[0], name)


def _no_text_field(name: str) -> Problem:
    detail = f"{name} must be one text field"
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{detail}.", errors=[(f"/{name}", detail)])


def _text(part: Part, name: str) -> str:
    if part.filename is not None:
        raise _no_text_field(name)
    try:
        return part.content.decode()
    except UnicodeDecodeError:
        detail = f"{name} must be text in UTF-8"
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{detail}.", errors=[(f"/{name}", detail)]) from None


def _metadata_field(text: str | None) -> dict[str, Any]:
    if not text:
        return {}
    try:
        members = parse_members(text)
    except Problem as problem:
        detail = "metadata must be a JSON object"
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{detail}.", errors=[("/metadata", detail)]) from problem
    return check_metadata("/metadata", {name: source.value for name, source in members.items()})


# --- JSON ------------------------------------------------------------------------------------------------------------


def _without_nulls(members: dict[str, Source]) -> dict[str, Source]:
    # Treat null as absent: many clients send null for every optional field that is not set. A name that no request has
    # is refused, null or not: it may be a misspelt one.
    return {name: source for name, source in members.items() if source.value is not None or name not in _EVERY_MEMBER}


def _one_from_members(members: dict[str, Source], takes: Kind, named: Named) -> ReceivedRequest:
    user_id = check_user_id("/user_id", members.pop("user_id").value) if "user_id" in members else None
    if takes == "image" and "input_id" in members:
        return ReceivedRequest((_read_upload(members, named),), user_id)
    return ReceivedRequest((_read_input(members, takes, named, "user_id"),), user_id)


def _read_upload(members: dict[str, Source], named: Named) -> UploadReference:
    refuse_unknown(members, ("input_id", "user_id", *_BESIDE))
    try:
        input_id = UUID(members["input_id"].value)
    except (ValueError, AttributeError, TypeError):
        detail = "input_id must be a UUID, as POST /upload returns it"
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{detail}.", errors=[("/input_id", detail)]) from None
    return UploadReference(input_id, _metadata(members), check_inference_id((*named, *_named(members))))


def _metadata(members: dict[str, Source]) -> dict[str, Any]:
    return check_metadata("/metadata", members["metadata"].value) if "metadata" in members else {}


def _several_from_instances(members: dict[str, Source], takes: Kind, limits: Limits) -> ReceivedRequest:
    refuse_unknown(members, ("instances", "user_id", *_BESIDE))
    if "instances" not in members:
        member = _MEMBERS[takes]
        raise Problem(HTTPStatus.BAD_REQUEST, f"The body has no instances: send a list of {{{member!r}: …}} objects.")
    instances = members["instances"]
    if not isinstance(instances.value, list) or not instances.value:
        detail = "instances must be a list with at least one object"
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{detail}.", errors=[("/instances", detail)])
    if len(instances.value) > limits.inputs:
        raise _too_many(len(instances.value), limits.inputs, "instances")
    user_id = check_user_id("/user_id", members["user_id"].value) if "user_id" in members else None
    metadata = _metadata(members)
    inference_id = check_inference_id(_named(members))
    pointers = tuple(f"/instances/{index}" for index in range(len(instances.value)))
    inputs, problems = [], BatchProblems()
    for instance, pointer in zip(parse_items(instances), pointers, strict=True):
        with problems.at(pointer):
            own = _without_nulls(parse_members(instance.text))
            received = _read_input(own, takes)
            inputs.append(
                received._replace(
                    metadata=received.metadata if "metadata" in own else metadata,
                    inference_id=received.inference_id or inference_id,
                )
            )
    problems.raise_any()
    return ReceivedRequest(tuple(inputs), user_id, pointers)


def _read_input(members: dict[str, Source], takes: Kind, named: Named = (), *also_known: str) -> Input:
    member = _MEMBERS[takes]
    other = next((name for name in _MEMBERS.values() if name != member and name in members), None)
    if other is not None:
        detail = f"this model takes {member}, not {other}: send {_WANTED[takes]}"
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{detail}.", errors=[(f"/{other}", detail)])
    own = ("image", "filename", *_BESIDE) if takes == "image" else (member, *_BESIDE)
    refuse_unknown(members, (*own, *also_known))
    if member not in members or members[member].value in ([], {}):
        raise Problem(HTTPStatus.BAD_REQUEST, f"The input has no {member}: send {_WANTED[takes]}.")
    metadata, inference_id = _metadata(members), check_inference_id((*named, *_named(members)))
    if takes == "features":
        return Input(JSON, features=Features(*members["features"]), metadata=metadata, inference_id=inference_id)
    if takes == "tensors":
        tensors = Features(*members["inputs"])
        return Input(JSON, tensors=tensors, metadata=metadata, form="tensors", inference_id=inference_id)
    filename = check_filename("/filename", members["filename"].value) if "filename" in members else None
    declared, content = _from_data_uri(members["image"].value, "/image")
    return _image(declared, content, "image", filename, metadata, inference_id)


def _from_data_uri(value: object, pointer: str) -> tuple[str, bytes]:
    """Return the media type that a data URI declares, and its bytes."""
    if not isinstance(value, str):
        detail = "image must be a string: a base64 data URI"
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{detail}.", errors=[(pointer, detail)])
    head, comma, data = value.partition(",")
    uri = _DATA_URI.fullmatch(head)
    if not comma or uri is None:
        detail = "image must be a base64 data URI, such as data:image/png;base64,iVBORw0KGgo="
        raise Problem(HTTPStatus.BAD_REQUEST, f"{detail}.", errors=[(pointer, detail)])
    try:
        content = from_base64(data)
    except ValueError:  # binascii.Error is one
        detail = "the base64 of the data URI is malformed"
        raise Problem(HTTPStatus.BAD_REQUEST, f"{detail}.", errors=[(pointer, detail)]) from None
    return essence(uri[1]), content
