"""Check what accompanies an input: user id, inference id, file name, metadata."""

import json
import unicodedata
from collections.abc import Collection, Iterable
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl

from fastapi import Request

from functions.shared.api.problems import Problem
from functions.shared.inference.errors import json_pointer_token

ANONYMOUS: Final = "anonymous"
"""The user of a request without a `user_id`."""

MAX_USER_ID_LENGTH: Final = 255
MAX_INFERENCE_ID_LENGTH: Final = 255
MAX_FILENAME_LENGTH: Final = 255
MAX_METADATA_BYTES: Final = 16_384
MAX_METADATA_DEPTH: Final = 32
"""The most levels of nested objects and lists. Above about 200, a stored record could not be encoded as JSON."""

# Control characters, lone surrogates, line and paragraph separators. `str.isprintable` is too strict: macOS puts a
# narrow no-break space (U+202F) into the names of its screenshots.
_NO_TEXT: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})


ONE_LINE: Final = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$"
"""`_NO_TEXT` as a pattern of the OpenAPI document. It lacks the lone surrogates, which no pattern can name."""

METADATA: Final = (
    f"Kept with the record, unchanged: at most {MAX_METADATA_BYTES} bytes of JSON, {MAX_METADATA_DEPTH} levels deep, "
    "without U+0000."
)
"""What the OpenAPI document says of `metadata`, because no schema can."""


INFERENCE_ID_NAMES: Final = ("inference_id", "client_request_id")
"""What callers may call their own id of a prediction. The first is the name of SageMaker, and of a record; the second
is that of Databricks."""


def text_schema(limit: int, example: str) -> dict[str, Any]:
    """Return the schema of a text that `check_text` accepts. Swagger UI fills the example into its forms."""
    return {"type": "string", "minLength": 1, "maxLength": limit, "pattern": ONE_LINE, "examples": [example]}


def or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an optional member of a JSON body. A member that is null counts as absent."""
    return schema | {"type": [schema["type"], "null"]}


INFERENCE_IDS: Final[dict[str, dict[str, Any]]] = {
    INFERENCE_ID_NAMES[0]: text_schema(MAX_INFERENCE_ID_LENGTH, "order-17")
    | {"description": "The caller's own id, kept with the record. It need not be unique; `GET /predictions` finds it."},
    INFERENCE_ID_NAMES[1]: text_schema(MAX_INFERENCE_ID_LENGTH, "order-17")
    | {"description": "Another name for `inference_id`."},
}
"""The schemas of an inference id, by its names."""


def query_of(request: Request) -> list[tuple[str, str]]:
    """Return the names and values of a query. Raises `Problem` (422) if it is not UTF-8."""
    query = request.scope["query_string"]
    if not query:
        return []
    try:
        return parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        detail = "The query is not UTF-8: write é as %C3%A9, not as %E9."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail) from None


def refuse_in_query(query: Iterable[tuple[str, str]], names: Collection[str], place: str) -> None:
    """Refuse a query that says what is read from the body alone: it would be lost.

    Parameters
    ----------
    query
        Names and values.
    names
        What is not read from the query.
    place
        Where it is read from.

    Raises
    ------
    Problem
        422; it points at the first of the names.
    """
    for name, _ in query:
        if name in names:
            raise _refuse(f"/{name}", f"{name} is not read from the query: send it in {place}")


def refuse_unknown(names: Iterable[str], known: tuple[str, ...]) -> None:
    """Refuse an object with a member that is unknown: it may be a misspelt one, which would be lost.

    Raises
    ------
    Problem
        422; it points at the member, and names those that are known.
    """
    for name in names:
        if name not in known:
            detail = f"the member {name[:100]!r} is unknown here: use {', '.join(known)}"
            raise _refuse(f"/{json_pointer_token(name)}", detail)


def check_text(pointer: str, value: object, *, limit: int) -> str:
    """Return a text if it can be stored and shown on one line.

    Raises
    ------
    Problem
        422, if it is not a string, is empty, is longer than `limit` characters, or contains control characters or lone
        surrogates.
    """
    name = pointer.rpartition("/")[2]
    if not isinstance(value, str):
        raise _refuse(pointer, f"{name} must be a string")
    if not value:
        raise _refuse(pointer, f"{name} must not be empty")
    if len(value) > limit:
        raise _refuse(pointer, f"{name} must be at most {limit} characters long, and is {len(value)}")
    if not value.isprintable() and any(unicodedata.category(character) in _NO_TEXT for character in value):
        raise _refuse(pointer, f"{name} must be printable text, without line breaks or control characters")
    return value


def check_user_id(pointer: str, value: object) -> str:
    """Return a printable user id of at most `MAX_USER_ID_LENGTH` characters; raise `Problem` (422) for any other."""
    return check_text(pointer, value, limit=MAX_USER_ID_LENGTH)


def check_inference_id(given: Iterable[tuple[str, object]]) -> str | None:
    """Return the caller's own id of a prediction.

    Parameters
    ----------
    given
        A JSON pointer and a value for each time that the caller has given it, under a name of `INFERENCE_ID_NAMES`.

    Raises
    ------
    Problem
        422, if it is no printable text of 1 to `MAX_INFERENCE_ID_LENGTH` characters, or two that differ are given.
    """
    found: str | None = None
    for pointer, value in given:
        checked = check_text(pointer, value, limit=MAX_INFERENCE_ID_LENGTH)
        if found is not None and checked != found:
            detail = f"one id is asked for, and two are given: send {' or '.join(INFERENCE_ID_NAMES)} once"
            raise _refuse(pointer, detail)
        found = checked
    return found


def check_filename(pointer: str, value: object) -> str:
    """Return a printable file name of at most `MAX_FILENAME_LENGTH` characters; raise `Problem` (422) for any other."""
    return check_text(pointer, value, limit=MAX_FILENAME_LENGTH)


def check_metadata(pointer: str, value: object) -> dict[str, Any]:
    """Return metadata if it can be stored and read back, within `MAX_METADATA_BYTES` and `MAX_METADATA_DEPTH`.

    Raises
    ------
    Problem
        422, if it is not an object, is too large or too deep, or contains what the database cannot store: NaN,
        Infinity, U+0000 or a lone surrogate.
    """
    if not isinstance(value, dict):
        raise _refuse(pointer, "metadata must be a JSON object")
    if not value:
        return value
    if is_deeper(value, MAX_METADATA_DEPTH):
        raise _refuse(pointer, f"metadata must be at most {MAX_METADATA_DEPTH} objects and lists deep")
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
    except UnicodeEncodeError:
        raise _refuse(pointer, "metadata must be text: it has a lone surrogate") from None
    except ValueError:
        raise _refuse(pointer, "metadata must not have NaN or Infinity, which JSON does not know") from None
    if size > MAX_METADATA_BYTES:
        raise _refuse(pointer, f"metadata must be at most {MAX_METADATA_BYTES} bytes of JSON, and is {size}")
    if "\\u0000" in text and _has_null_character(value):
        raise _refuse(pointer, "metadata must not have the character U+0000")
    return value


def is_deeper(value: object, levels: int) -> bool:
    """Tell whether a value of JSON has more levels of objects and lists."""
    items: Iterable[object] = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(is_deeper(item, levels - 1) for item in items if isinstance(item, dict | list))


def _has_null_character(value: object) -> bool:
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, list):
        return any(map(_has_null_character, value))
    if isinstance(value, dict):
        return any(_has_null_character(key) or _has_null_character(item) for key, item in value.items())
    return False


def _refuse(pointer: str, detail: str) -> Problem:
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{detail}.", errors=[(pointer, detail)])
