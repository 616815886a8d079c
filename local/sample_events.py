"""Writes `local/events/`: a sample event for each route of template.yaml, and for each function with another trigger.

    python -m local.sample_events [--check]

The local gateway makes the events from requests, so they are what a function gets from it and from API Gateway. An
authorizer has let their user in. `--check` writes nothing, and fails if a file differs from what would be written.

`local.commands.sam` makes what the events ask for before it invokes them: a record to read, a queued prediction.
"""

import base64
import hashlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from functions.describe.console_files import console_files
from local.account import ACCOUNT
from local.gateway.integration import make_event
from local.gateway.routing import Router
from local.runtime.invocation import Identifiers
from local.runtime.sqs_event import Message
from local.runtime.sqs_event import make_event as queue_event
from local.services.aws import UPLOADS_BUCKET
from local.settings import ROOT
from local.template import Function, read_template

FOLDER: Final = ROOT / "local" / "events"

PREDICTION_ID: Final = "019ab000-0000-7000-8000-000000000001"
"""The prediction that the events of `get_prediction` and `ground_truth` ask for, which is a 7. Store it first."""

QUEUED_ID: Final = "019ab000-0000-7000-8000-000000000002"
"""The prediction that the event of `worker` asks for. Queue it first."""

DELETED_ID: Final = "019ab000-0000-7000-8000-000000000003"
"""The prediction that the event of `delete_predictions` deletes. Store it first."""

DELETION_ID: Final = "019ab000-0000-7000-8000-000000000004"
"""The deletion that an event asks for. It does not exist."""

USER: Final = "sample-user"
"""The user of the events."""

THIS_MACHINE: Final = "host.docker.internal"
"""What a container calls the machine that it runs on."""

AWS_PORT: Final = 4566
"""The port where containers find AWS on that machine: the one that LocalStack has made known for it."""

SAMPLE: Final = ROOT / "local" / "samples" / "mnist_sample.png"
"""The image of all these events."""

_SAMPLES = SAMPLE.parent
_BOUNDARY = "sample-boundary"
_IDENTIFIERS = Identifiers(
    request_id="c2FtcGxlLXJlcXVlc3Q=",
    invocation_id="00000000-0000-4000-8000-000000000000",
    trace_id="Root=1-69200000-000000000000000000000001",
)
_TIME = {"time": "22/Nov/2025:12:00:00 +0000", "timeEpoch": 1763812800000}
_PUBLIC = {"/", "/health", "/openapi.json", "/docs", "/v2", "/v2/health/ready"}  # these routes need no token
_PUBLIC_FOLDERS = ("/docs/", "/console", "/assets/")


@dataclass(frozen=True)
class Request:
    """A request of a client."""

    method: str
    path: str
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def sample_requests() -> dict[str, Request]:
    """Return the request of each event, by the name of the event's file."""
    image = SAMPLE.read_bytes()
    data_uri = f"data:image/png;base64,{base64.b64encode(image).decode()}"
    as_json = {"content-type": "application/json"}
    as_form = {"content-type": f"multipart/form-data; boundary={_BOUNDARY}"}
    one, another = {"image": data_uri, "filename": "one.png"}, {"image": data_uri, "filename": "another.png"}
    encoded, tensor = {"b64": base64.b64encode(image).decode()}, (_SAMPLES / "mnist_infer.json").read_bytes()
    truth, truths = _json({"label": "7", "source": "human"}), f"prediction_id,label\n{PREDICTION_ID},7\n".encode()
    announcement = {"filename": "mnist_sample.png", "contenttype": "image/png", "size": len(image)}
    return {
        "predict": Request("POST", "/prediction", headers=as_form, body=_form("mnist_sample.png", image)),
        "predict_raw": Request("POST", "/prediction", headers={"content-type": "image/png"}, body=image),
        "predict_async": Request(
            "POST", "/prediction", headers={"content-type": "image/png", "prefer": "respond-async"}, body=image
        ),
        "predict_data_uri": Request("POST", "/prediction", headers=as_json, body=_json(one)),
        "predict_features": Request(
            "POST", "/prediction", headers=as_json, body=(_SAMPLES / "diabetes.json").read_bytes()
        ),
        "predict_many": Request("POST", "/predictions", headers=as_json, body=_json({"instances": [one, another]})),
        "infer": Request("POST", "/v2/models/mnist/infer", headers=as_json, body=tensor),
        "infer_version": Request("POST", "/v2/models/mnist/versions/1/infer", headers=as_json, body=tensor),
        "predict_v1": Request(
            "POST", "/v1/models/mnist:predict", headers=as_json, body=_json({"instances": [encoded]})
        ),
        "upload": Request("POST", "/upload", headers=as_json, body=_json(announcement)),
        "list_predictions": Request("GET", "/predictions", query="limit=5"),
        "get_prediction": Request("GET", f"/prediction/{PREDICTION_ID}"),
        "get_input": Request("GET", f"/prediction/{PREDICTION_ID}/input"),
        "get_output": Request("GET", f"/prediction/{PREDICTION_ID}/output/scores"),
        "delete_prediction": Request("DELETE", f"/prediction/{DELETED_ID}"),
        "delete_predictions": Request("DELETE", "/predictions", query="until=2025-01-01T00%3A00%3A00Z"),
        "put_ground_truth": Request("PUT", f"/prediction/{PREDICTION_ID}/ground_truth", headers=as_json, body=truth),
        "get_ground_truth": Request("GET", f"/prediction/{PREDICTION_ID}/ground_truth"),
        "delete_ground_truth": Request("DELETE", f"/prediction/{PREDICTION_ID}/ground_truth"),
        "post_ground_truth": Request("POST", "/ground_truth", headers={"content-type": "text/csv"}, body=truths),
        "get_deletion": Request("GET", f"/deletion/{DELETION_ID}"),
        "statistics": Request("GET", "/statistics", query="interval=day"),
        "models": Request("GET", "/models"),
        "performance": Request("GET", "/models/mnist/versions/1/performance"),
        "drift": Request("GET", "/models/mnist/versions/1/drift"),
        "describe": Request("GET", "/"),
        "page": Request("GET", "/", headers={"accept": "text/html"}),
        "console": Request("GET", "/console"),
        "console_view": Request("GET", "/console/records", query="label=7"),
        "console_asset": Request("GET", console_files()["vendor/htm.module.js"].url),
        "model": Request("GET", "/model"),
        "health": Request("GET", "/health"),
        "openapi": Request("GET", "/openapi.json"),
        "docs": Request("GET", "/docs"),
        "v2": Request("GET", "/v2"),
        "v2_ready": Request("GET", "/v2/health/ready"),
        "v2_model": Request("GET", "/v2/models/mnist"),
        "v1_models": Request("GET", "/v1/models"),
        "v1_model": Request("GET", "/v1/models/mnist"),
        "docs_asset": Request("GET", "/docs/swagger-ui.css"),
    }


def _form(filename: str, content: bytes) -> bytes:
    """Return a multipart form with one file (RFC 7578)."""
    head = f'Content-Disposition: form-data; name="file"; filename="{filename}"\r\nContent-Type: image/png'
    return f"--{_BOUNDARY}\r\n{head}\r\n\r\n".encode() + content + f"\r\n--{_BOUNDARY}--\r\n".encode()


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def sample_event(request: Request, router: Router[Function]) -> dict[str, Any]:
    """Return the event of a request. Its ids and times are always the same.

    Raises
    ------
    LookupError
        If no route matches the request.
    """
    match = router.match(request.method, request.path)
    if match is None:
        raise LookupError(f"no route matches {request.method} {request.path}")
    headers = {"host": "127.0.0.1:3000", "accept": "*/*"} | request.headers
    event = make_event(
        {
            "method": request.method,
            "path": request.path,
            "query_string": request.query.encode(),
            "http_version": "1.1",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 50000),
        },
        request.body,
        route_key=match.route_key,
        path_parameters=match.path_parameters,
        identifiers=_IDENTIFIERS,
        port=3000,
    )
    event["requestContext"] |= _TIME
    if request.path not in _PUBLIC and not request.path.startswith(_PUBLIC_FOLDERS):
        event["requestContext"]["authorizer"] = {"jwt": {"claims": {"sub": USER}, "scopes": None}}
    return event


def _worker_event() -> dict[str, Any]:
    """Return an event with one message (AWS, "Using Lambda with Amazon SQS")."""
    message: Message = {
        "MessageId": _IDENTIFIERS.invocation_id,
        "ReceiptHandle": "sample-receipt",
        "Body": QUEUED_ID,
        "MD5OfBody": hashlib.md5(QUEUED_ID.encode(), usedforsecurity=False).hexdigest(),
        "Attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": str(_TIME["timeEpoch"])},
    }
    return queue_event([message], queue_arn=f"arn:aws:sqs:us-east-1:{ACCOUNT}:predictions")


def _scheduled_event(rule: str) -> dict[str, Any]:
    """Return a schedule's event (AWS, "Creating an Amazon EventBridge rule that runs on a schedule")."""
    return {
        "version": "0",
        "id": _IDENTIFIERS.invocation_id,
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": ACCOUNT,
        "time": "2025-11-22T12:00:00Z",
        "region": "us-east-1",
        "resources": [f"arn:aws:events:us-east-1:{ACCOUNT}:rule/{rule}"],
        "detail": {},
    }


def _migrate_event() -> dict[str, Any]:
    """Return what CloudFormation sends for a custom resource (AWS, "Custom resource request objects")."""
    return {
        "RequestType": "Create",
        "ResponseURL": f"http://{THIS_MACHINE}:{AWS_PORT}/{UPLOADS_BUCKET}/cloudformation-response",
        "StackId": f"arn:aws:cloudformation:us-east-1:{ACCOUNT}:stack/sample/{_IDENTIFIERS.invocation_id}",
        "RequestId": _IDENTIFIERS.invocation_id,
        "ResourceType": "Custom::Migration",
        "LogicalResourceId": "Migration",
        "ResourceProperties": {"MakeFunctionUsers": "false"},
    }


def sample_files() -> dict[str, str]:
    """Return the content of every file in `local/events/`, by its name."""
    functions = read_template(ROOT / "template.yaml")
    router = Router((route, function) for function in functions for route in function.routes)
    events = {name: sample_event(request, router) for name, request in sample_requests().items()}
    events |= {"worker": _worker_event(), "migrate": _migrate_event()}
    events |= {name: _scheduled_event(name) for name in ("sweep", "rollup")}
    return {f"{name}.json": json.dumps(event, indent=2, ensure_ascii=False) + "\n" for name, event in events.items()}


def wrong_files(folder: Path) -> list[str]:
    """Return the names of the files in a folder that are missing, superfluous or different."""
    wanted = sample_files()
    there = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.json")}
    return sorted(name for name in {**there, **wanted} if there.get(name) != wanted.get(name))


def main(arguments: list[str]) -> None:
    """Write the events, or check them."""
    if arguments == ["--check"]:
        if wrong := wrong_files(FOLDER):
            sys.exit(
                f"local/events differs from what local/sample_events.py writes: {', '.join(wrong)}. Run `make events`."
            )
        return
    FOLDER.mkdir(exist_ok=True)
    files = sample_files()
    for path in FOLDER.glob("*.json"):
        if path.name not in files:
            path.unlink()
    for name, text in files.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    print(f"wrote {len(files)} events to {FOLDER.relative_to(ROOT)}")


if __name__ == "__main__":
    main(sys.argv[1:])
