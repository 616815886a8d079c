"""Asks what Triton's example clients ask of the model `simple`: python triton_simple.py ADDRESS."""

import asyncio
import sys

import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

MODEL = "simple"
FIRST = np.arange(16, dtype=np.int32)[np.newaxis]
SECOND = np.full((1, 16), -1, dtype=np.int32)


def inputs(*, binary: bool) -> list[triton.InferInput]:
    made = []
    for name, array in (("INPUT0", FIRST), ("INPUT1", SECOND)):
        one = triton.InferInput(name, list(array.shape), "INT32")
        one.set_data_from_numpy(array, binary_data=binary)
        made.append(one)
    return made


def outputs(*, binary: bool) -> list[triton.InferRequestedOutput]:
    return [triton.InferRequestedOutput(f"OUTPUT{number}", binary_data=binary) for number in range(2)]


def check(result: triton.InferResult) -> None:
    assert np.array_equal(result.as_numpy("OUTPUT0"), FIRST + SECOND)
    assert np.array_equal(result.as_numpy("OUTPUT1"), FIRST - SECOND)
    assert len(result.get_response()["parameters"]["prediction_ids"]) == 1


def describe(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live(query_params={"test_1": 1, "test_2": 2})
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "1")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata()["name"] == "triton"
    metadata = client.get_model_metadata(MODEL, query_params={"test_1": 1})
    assert metadata["name"] == MODEL
    assert [one["shape"] for one in metadata["inputs"]] == [[-1, 16]] * 2
    assert client.get_model_config(MODEL)["max_batch_size"] > 0
    assert len(client.get_inference_statistics(MODEL)["model_stats"]) == 1
    assert len(client.get_inference_statistics()["model_stats"]) == 1
    try:
        client.get_model_metadata("wrong_model_name")
    except InferenceServerException as error:
        assert error.message().startswith("Request for unknown model")  # noqa: PT017 - there is no pytest here
    else:
        raise AssertionError("an unknown model was found")


def infer(client: triton.InferenceServerClient) -> None:
    for asks in (True, False):
        check(client.infer(MODEL, inputs(binary=asks), query_params={"test_1": 1}))
        for answers in (True, False):
            check(client.infer(MODEL, inputs(binary=asks), outputs=outputs(binary=answers), request_id="7"))
        for coding in ("gzip", "deflate"):
            check(
                client.infer(
                    MODEL,
                    inputs(binary=asks),
                    request_compression_algorithm=coding,
                    response_compression_algorithm=coding,
                )
            )
    mixed = inputs(binary=True)
    mixed[0].set_data_from_numpy(FIRST, binary_data=False)
    check(client.infer(MODEL, mixed, outputs=outputs(binary=True), model_version="1"))
    running = [client.async_infer(MODEL, inputs(binary=True), outputs=outputs(binary=True)) for _ in range(4)]
    for one in running:
        check(one.get_result())
    try:
        client.infer("wrong_model_name", inputs(binary=True))
    except InferenceServerException as error:
        assert error.message().startswith("Request for unknown model")  # noqa: PT017
    else:
        raise AssertionError("an unknown model answered")


async def infer_with_aio(address: str) -> None:
    async with triton_aio.InferenceServerClient(address) as client:
        assert await client.is_server_ready()
        assert (await client.get_model_metadata(MODEL))["name"] == MODEL
        for binary in (True, False):
            results = await asyncio.gather(
                *(client.infer(MODEL, inputs(binary=binary), outputs=outputs(binary=binary)) for _ in range(3))
            )
            for result in results:
                check(result)


def main(address: str) -> None:
    with triton.InferenceServerClient(address, concurrency=4) as client:
        describe(client)
        infer(client)
    asyncio.run(infer_with_aio(address))


if __name__ == "__main__":
    main(sys.argv[1])
