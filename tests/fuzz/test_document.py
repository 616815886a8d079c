"""The OpenAPI document and the code agree: what the one allows the other accepts, and refuses everything else."""

import json
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, TypeAlias
from uuid import uuid4

import httpx
import pytest
import requests
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from functions.describe import openapi_document
from functions.shared.api.fields import check_metadata
from functions.shared.api.problems import Problem
from tests.fuzz.serving import DATA_URI, IMAGE, Served, check

Case: TypeAlias = Any
"""A request, as schemathesis makes it. Its own type says less of the body than the tests know."""


def document() -> dict[str, Any]:
    """Return the document without its security: API Gateway checks tokens, and stands before none of these tests."""
    loaded: dict[str, Any] = json.loads(openapi_document.PATH.read_text("utf-8"))
    for operations in loaded["paths"].values():
        for operation in operations.values():
            operation.pop("security", None)
    return loaded


DOCUMENT = schemathesis.openapi.from_dict(document())
MAX_UPLOAD_BYTES = 20_000_000
OPERATIONS = [
    f"{made.ok().method.upper()} {made.ok().path}" for made in DOCUMENT.get_all_operations() if isinstance(made, Ok)
]
NOTHING_TO_FORBID = {"GET /", "GET /model", "GET /models", "GET /health"} | {
    name for name in OPERATIONS if name.startswith(("GET /v1", "GET /v2"))
}
"""Operations without parameters, or with any text as the name of a model."""
INFERENCE_IDS = {"inference_id", "client_request_id"}
"""The names of the caller's own id."""
NOTHING_STORED_APART = {"GET /prediction/{prediction_id}/output/{name}"}
"""What no record of these models has: each of its outputs is part of it."""
ANSWER_CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def cases(name: str, mode: GenerationMode) -> st.SearchStrategy[Case]:
    """Return the requests of an operation, such as ``GET /predictions``, that the document allows or forbids."""
    method, _, path = name.partition(" ")
    return DOCUMENT[path][method].as_strategy(generation_mode=mode)


def send(served: Served, case: Case) -> httpx.Response:
    """Send a request, to the last byte as schemathesis sends it."""
    prepared = requests.Request(**case.as_transport_kwargs(base_url="https://api.example")).prepare()
    headers = [(name.encode(), _bytes(value)) for name, value in prepared.headers.items()]
    answer = served.api.request(
        prepared.method or "", prepared.url or "", headers=headers, content=_bytes(prepared.body)
    )
    answer.elapsed = timedelta()  # httpx leaves it unset without a network, and schemathesis reads it
    return check(answer)


def _bytes(body: Any) -> bytes:
    if body is None or isinstance(body, bytes):
        return body or b""
    return body.encode() if isinstance(body, str) else bytes(body.read())


def with_real_content(served: Served, case: Case) -> bool:
    """Put in what only a deployment can say: an image, a cursor, features. Tell whether the model takes the kind."""
    if case.query:
        _with_real_parameters(served, case)
    if case.media_type is None:
        return True
    for members in _objects(case.body):
        _with_one_inference_id(members)
        if case.query and INFERENCE_IDS & members.keys():
            case.query = {name: value for name, value in case.query.items() if name not in INFERENCE_IDS}
    if case.path.startswith(("/v1/", "/v2/")):
        return _with_real_tensors(served, case)
    if case.path.endswith("/ground_truth"):
        return _with_real_truths(served, case)
    if served.takes != "image" and (case.media_type != "application/json" or case.path == "/upload"):
        return False
    if case.media_type.startswith("image/"):
        case.body = IMAGE
    elif case.media_type == "multipart/form-data":
        case.body = case.body | {"file": IMAGE if case.path == "/prediction" else [IMAGE, IMAGE]}
        if case.path == "/predictions":  # of as many as there are files, or of one
            for name in case.body.keys() & INFERENCE_IDS:
                case.body[name] = case.body[name][:1]
    elif case.path == "/upload":
        case.body["size"] = int(case.body["size"]) % MAX_UPLOAD_BYTES + 1
    else:
        instances = case.body.get("instances", [case.body])
        taken = [_real_instance(served, instance) for instance in instances]
        return all(taken)
    return True


def _with_real_parameters(served: Served, case: Case) -> None:
    """Name what there is, and nothing twice."""
    _with_one_inference_id(case.query)
    if "cursor" in case.query:
        case.query["cursor"] = served.cursor()
        case.query.pop("order", None)  # a cursor is good for its own order
    if case.path.startswith(("/statistics", "/models")):
        begun = (datetime.now(UTC) - timedelta(hours=3)).isoformat()  # so that there are few buckets
        real = {"model": served.model, "version": served.version, "baseline": "first", "since": begun}
        case.query.update({name: real[name] for name in real.keys() & case.query.keys()})
        case.query.pop("compare", None)  # there is one version
        case.query.pop("until", None)
        if case.query.get("interval") == "minute" or case.query.get("window") == "hour":
            case.query["since"] = begun


def _with_one_inference_id(members: dict[str, Any]) -> None:
    """Leave one of the two names of the caller's own id: both may be given if they say the same."""
    if "inference_id" in members:
        members.pop("client_request_id", None)


def _objects(body: Any) -> list[dict[str, Any]]:
    """Return the objects of a body that may have an id of the caller: itself, its instances, its parameters."""
    if not isinstance(body, dict):
        return []
    return [one for one in (body, *(body.get("instances") or []), body.get("parameters")) if isinstance(one, dict)]


def _with_real_tensors(served: Served, case: Case) -> bool:
    if case.media_type != "application/json":
        return False
    if case.path.startswith("/v1/"):
        real = {"b64": DATA_URI.partition(",")[2]} if served.takes == "image" else served.input[served.takes]
        case.body["instances"] = [real] * len(case.body["instances"])
        return True
    case.body["inputs"] = [served.tensor]
    case.body.pop("instances", None)  # which says nothing here, and may be anything
    case.body.pop("outputs", None)
    # What other servers have besides is refused.
    asked = case.body.get("parameters")
    if asked:
        case.body["parameters"] = {name: asked[name] for name in asked if name in ("user_id", "binary_data_output")}
    return True


def _with_real_truths(served: Served, case: Case) -> bool:
    """Put in what the model knows, and predictions that there are. Lines and rows are a text to the document."""
    if case.media_type != "application/json":
        return False
    for truth in case.body.get("items", [case.body]):
        if truth.get("prediction_id") is not None:
            truth["prediction_id"] = served.predicted()
        if truth.get("inference_id") is not None:
            truth["inference_id"] = str(uuid4())  # other predictions may have the one that was made up
            served.predicted(inference_id=truth["inference_id"])
        if (truth.get("label") is None) is (served.model == "mnist"):
            return False
        truth["label" if served.model == "mnist" else "value"] = "7" if served.model == "mnist" else 3.2
    return True


def _real_instance(served: Served, instance: dict[str, Any]) -> bool:
    if "input_id" in instance:
        instance["input_id"] = served.uploaded(instance.get("user_id")) if served.takes == "image" else None
    elif served.takes in instance:
        instance |= served.input
    return served.takes in instance or (served.takes == "image" and "input_id" in instance)


def storable(body: Any) -> bool:
    """Tell whether the metadata of a request keeps the limits that the document says in words: no schema can."""
    several = [body, *(body.get("instances") or [])] if isinstance(body, dict) else []
    try:
        for one in several:
            check_metadata("/metadata", one.get("metadata") or {})
    except Problem:
        return False
    return True


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name not in NOTHING_STORED_APART])
def test_what_the_document_allows_is_accepted(served: Served, operation: str) -> None:
    known, begun = served.predicted(), served.deletion()

    @given(cases(operation, GenerationMode.POSITIVE))
    def accepts(case: Case) -> None:
        if operation == "DELETE /predictions" and not case.query:
            return  # it wants one of its parameters, which no document can say
        if "deletion_id" in operation:
            case.path_parameters["deletion_id"] = begun
        elif "{name}" in operation:
            case.path_parameters = {"name": served.model, "version": served.version}
        elif case.path_parameters:
            case.path_parameters["prediction_id"] = served.predicted() if case.method == "DELETE" else known
        if not (with_real_content(served, case) and storable(case.body)):
            return
        answer = send(served, case)
        if "Idempotency-Key was used" in answer.text:
            return  # by an example before this one
        if answer.status_code == HTTPStatus.PRECONDITION_FAILED and "If-Unmodified-Since" in (case.headers or {}):
            return  # another example has said something else since
        assert answer.status_code < 400, (case.as_curl_command(), answer.text[:500])
        case.validate_response(Response.from_httpx(answer, verify=True), checks=ANSWER_CHECKS)

    accepts()


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name not in NOTHING_TO_FORBID])
def test_what_the_document_forbids_is_refused(served: Served, operation: str) -> None:
    @given(cases(operation, GenerationMode.NEGATIVE))
    def refuses(case: Case) -> None:
        if isinstance(case.body, dict) and [] in case.body.values() and case.media_type == "multipart/form-data":
            return  # no form can hold an empty list, and so what is sent may be right
        if case.media_type == "multipart/form-data" and isinstance(case.body, dict):
            given = [case.body.get(name) for name in INFERENCE_IDS & case.body.keys()]
            if not all(isinstance(one, list) for one in given):
                return  # whatever it is, a form holds one text
        if operation == "POST /ground_truth" and str((case.query or {}).get("dry_run")).lower() == "true":
            return  # it is answered, and says of each item what is wrong
        answer = send(served, case)
        if answer.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return  # it is too large as well, which schemathesis takes for an acceptance
        case.validate_response(
            Response.from_httpx(answer, verify=True), checks=[*ANSWER_CHECKS, negative_data_rejection]
        )

    refuses()
