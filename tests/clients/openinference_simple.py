"""Asks a server with the protocol's own generated client: python openinference_simple.py URL. Each assertion is one."""

import asyncio
import sys

from open_inference.openapi.client import AsyncOpenInferenceClient, InferenceRequest, OpenInferenceClient
from open_inference.openapi.errors import BadRequestError, NotFoundError

MODEL = "simple"
ROW = list(range(16))


def request() -> InferenceRequest:
    inputs = [
        {"name": name, "shape": [2, 16], "datatype": "INT32", "data": [ROW, ROW]} for name in ("INPUT0", "INPUT1")
    ]
    return InferenceRequest(id="a-request", inputs=inputs)


def main(url: str) -> None:
    client = OpenInferenceClient(base_url=url)
    client.check_server_liveness()
    client.check_server_readiness()
    client.check_model_readiness(MODEL)
    client.check_model_version_readiness(MODEL, "1")
    assert client.read_server_metadata().extensions
    for metadata in (client.read_model_metadata(MODEL), client.read_model_version_metadata(MODEL, "1")):
        assert [(one.name, one.datatype, one.shape) for one in metadata.inputs] == [
            ("INPUT0", "INT32", [-1, 16]),
            ("INPUT1", "INT32", [-1, 16]),
        ]
    for response in (
        client.model_infer(MODEL, request=request()),
        client.model_version_infer(MODEL, "1", request=request()),
        asyncio.run(AsyncOpenInferenceClient(base_url=url).model_infer(MODEL, request=request())),
    ):
        assert (response.id, response.model_name) == ("a-request", MODEL)
        total, difference = response.outputs
        assert total.data.__root__ == [2 * value for value in ROW + ROW]
        assert difference.data.__root__ == [0] * 32
    try:
        client.model_infer(MODEL, request=InferenceRequest(inputs=[]))
    except BadRequestError:
        pass
    else:
        raise AssertionError("a bad request was answered")
    try:
        client.check_model_readiness("other")
    except NotFoundError:
        pass
    else:
        raise AssertionError("an unknown model was found")


if __name__ == "__main__":
    main(sys.argv[1])
