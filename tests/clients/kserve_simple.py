"""Asks a server by versions 1 and 2 of the protocol with KServe's client: python kserve_simple.py URL."""

import asyncio
import sys

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

MODEL = "simple"
FIRST = np.arange(32, dtype=np.int32).reshape(2, 16)
SECOND = np.ones((2, 16), dtype=np.int32)


def request(*, binary: bool) -> InferRequest:
    inputs = []
    for name, array in (("INPUT0", FIRST), ("INPUT1", SECOND)):
        one = InferInput(name, list(array.shape), "INT32")
        one.set_data_from_numpy(array, binary_data=binary)
        inputs.append(one)
    parameters = {"binary_data_output": True} if binary else {}
    return InferRequest(MODEL, inputs, request_id="a-request", parameters=parameters)


async def version_2(url: str) -> None:
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    assert await client.is_server_live(url)
    assert await client.is_server_ready(url)
    assert await client.is_model_ready(url, MODEL)
    assert not await client.is_model_ready(url, "other")
    for binary in (False, True):
        response = await client.infer(url, request(binary=binary), model_name=MODEL)
        assert response.id == "a-request"
        assert response.model_name == MODEL
        made = {one.name: one.as_numpy() for one in response.outputs}
        assert np.array_equal(made["OUTPUT0"], FIRST + SECOND)
        assert np.array_equal(made["OUTPUT1"], FIRST - SECOND)
        assert len(response.parameters["prediction_ids"]) == 2
    try:
        await client.infer(url, {"inputs": []}, model_name=MODEL)
    except httpx.HTTPStatusError as error:
        assert str(error).startswith("inputs must be"), error  # noqa: PT017 - there is no pytest here
    else:
        raise AssertionError("a bad request was answered")
    await client.close()


async def version_1(url: str) -> None:
    client = InferenceRESTClient(RESTConfig(protocol="v1"))
    assert await client.is_server_live(url)
    assert await client.is_model_ready(url, MODEL)
    instances = [
        {"INPUT0": first, "INPUT1": second} for first, second in zip(FIRST.tolist(), SECOND.tolist(), strict=True)
    ]
    answer = await client.infer(url, {"instances": instances}, model_name=MODEL)
    assert [one["OUTPUT0"] for one in answer["predictions"]] == (FIRST + SECOND).tolist()
    await client.close()


async def main(url: str) -> None:
    await version_2(url)
    await version_1(url)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
