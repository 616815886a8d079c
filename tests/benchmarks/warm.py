"""Compare warm requests, from API Gateway's event to the response, with the least time that they could take."""

import io
import json
import os
from collections.abc import Callable
from itertools import cycle
from typing import Any
from uuid import UUID

from tests.benchmarks.child import database, run_child
from tests.benchmarks.digits import Context, digits, event, form_event
from tests.benchmarks.measure import MODEL, Progress, Row, interleave, medians

PAGE = 50
BATCH = 256
WARM_UP = 200
SINGLES_PER_BATCH = 10


def rows(progress: Progress) -> list[Row]:
    """Compare each request with its floor, and a batch with single requests."""
    progress("predict, get, list and a batch, each against the bare statements")
    with database() as url:
        measured = run_child(__name__, url)
    floor, predict = measured["predict"]
    decode, run, commit = measured["floor"]
    get_floor, get = measured["get"]
    list_floor, page = measured["list"]
    batch, single = measured["batch"]
    floor_parts = {"decode_ms": decode, "run_ms": run, "commit_ms": commit}
    return [
        Row(
            "warm POST /prediction over decode + run + one prepared commit (p50)",
            predict / floor,
            1.5,
            parts={"predict_ms": predict, "floor_ms": floor, **floor_parts},
        ),
        Row("warm GET /prediction/{id} over the bare SQL (p50)", get / get_floor, 3, parts=_parts(get, get_floor)),
        Row(
            f"warm GET /predictions, {PAGE} rows, over the bare SQL (p50)",
            page / list_floor,
            3,
            parts=_parts(page, list_floor),
        ),
        Row(
            f"a batch of {BATCH}, per prediction, over a single request (p50)",
            batch / BATCH / single,
            0.25,
            parts={"batch_ms": batch, "single_ms": single},
        ),
    ]


def _parts(handler: float, floor: float) -> dict[str, float]:
    return {"handler_ms": handler, "floor_ms": floor}


def measure() -> dict[str, list[float]]:
    """Measure in this process, which must be an execution environment. The figures are medians in milliseconds."""
    import functions.get_prediction.handler as get_function
    import functions.list_predictions.handler as list_function
    import functions.predict.handler as predict_function

    images, context = digits(), Context()
    requests = cycle([form_event("/prediction", image) for image in images])
    answer = predict_function.handler(next(requests), context)
    prediction_id = json.loads(answer["body"])["prediction_id"]
    get_event = event(
        "GET",
        f"/prediction/{prediction_id}",
        route_key="GET /prediction/{prediction_id}",
        path_parameters={"prediction_id": prediction_id},
    )
    list_event = event("GET", "/predictions", query=b"limit=%d" % PAGE)
    batch_event = form_event("/predictions", *(image for image, _ in zip(cycle(images), range(BATCH), strict=False)))

    def predict() -> None:
        _expect(201, predict_function.handler(next(requests), context))

    def get() -> None:
        _expect(200, get_function.handler(get_event, context))

    def page() -> None:
        _expect(200, list_function.handler(list_event, context))

    def batch() -> None:
        _expect(201, predict_function.handler(batch_event, context))

    floor = Floor(images, UUID(prediction_id))
    for _ in range(WARM_UP):
        predict()
        floor.predict()
    results = {
        "floor": medians(interleave(3, floor.decode, floor.run, floor.commit)),
        "predict": medians(interleave(10, floor.predict, predict)),
        "get": medians(interleave(5, floor.get, get)),
        "list": medians(interleave(5, floor.page, page)),
    }
    batch()
    batches, *singles = interleave(10, batch, *[predict] * SINGLES_PER_BATCH, least=20)
    results["batch"] = medians([batches, [duration for own in singles for duration in own]])
    return results


def _expect(status: int, answer: dict[str, Any]) -> None:
    if answer["statusCode"] != status:
        raise RuntimeError(f"answered {answer}")


class Floor:
    """The least time that a request can take: its decoding, inference and SQL, with nothing around them.

    The statements go through the ledger's connection, prepared and in one packet. A driver's own way is slower, and
    such a floor would make the service look better than it is. All values except the ids are prepared beforehand.

    Parameters
    ----------
    images
        Digits, as PNG files.
    prediction_id
        The id of a stored prediction.
    """

    def __init__(self, images: list[bytes], prediction_id: UUID) -> None:
        import numpy as np
        import onnxruntime
        from PIL import Image

        from functions.shared.ledger import page_statements, statements
        from functions.shared.ledger.connection import Connection
        from functions.shared.ledger.database_url import parse_database_url
        from functions.shared.ledger.identifiers import FIRST_ID, LAST_ID, created_at, new_id

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(MODEL / "model.onnx", options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        connection = Connection(parse_database_url(os.environ["DATABASE_URL"]))
        [[model_id]] = connection.run("SELECT model_id FROM models", {})
        files = cycle(images)
        page, _ = page_statements.page(frozenset())
        ready: dict[str, object] = {"size": 300, "sha256": bytes(32), "contenttype": "image/png"}
        ready |= {"filename": "digit.png", "features": None, "content": images[0], "uri": None, "upload_id": None}
        ready |= {"form": None, "header_length": None, "outputs": None, "declared_contenttype": None}
        ready |= {"inference_id": None, "measured": "{0.08,0.13,NULL,28,28,300,0.13,0.31}"}
        ready |= {
            "model_id": model_id,
            "duration_ms": 0.2,
            "confidence": 0.99,
            "likely_class": 7,
            "user_id": "anonymous",
            "label": "7",
        }
        ready |= {"predicted_value": '"7"', "metadata": "{}", "output": json.dumps([0.0123456789] * 10)}

        def decode() -> Any:
            with Image.open(io.BytesIO(next(files))) as image:
                return np.asarray(image, np.float32).reshape(1, 28, 28, 1) / np.float32(255)

        tensor = decode()

        def commit() -> None:
            own = new_id()
            ids = {"input_id": new_id(), "prediction_id": own, "created_at": created_at(own)}
            connection.run(statements.STORE_ONE, ready | ids)

        def predict() -> None:
            session.run(None, {name: decode()})
            commit()

        self.decode: Callable[[], object] = decode
        self.run: Callable[[], object] = lambda: session.run(None, {name: tensor})
        self.commit: Callable[[], object] = commit
        self.predict: Callable[[], object] = predict
        self.close = connection.close
        self.get: Callable[[], object] = lambda: connection.run(statements.GET, {"prediction_id": prediction_id})
        self.page: Callable[[], object] = lambda: connection.run(
            page, {"since": FIRST_ID, "before": LAST_ID, "count": PAGE}
        )
