"""Asks for Triton's extensions: python triton_extensions.py ADDRESS_OF_SIMPLE ADDRESS_OF_STRINGS ADDRESS_OF_DIGITS.

What is served is answered. What is not is refused in words that Triton's client shows.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.http as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException


def refused(words: str, ask: Callable[..., Any], *arguments: Any, **named: Any) -> None:
    try:
        ask(*arguments, **named)
    except InferenceServerException as error:
        assert words in error.message(), error  # noqa: PT017 - there is no pytest here
    else:
        raise AssertionError(f"{words}: was answered")


def input_of(name: str, array: NDArray[Any], datatype: str, *, binary: bool = True) -> triton.InferInput:
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def not_served(client: triton.InferenceServerClient) -> None:
    rows = np.arange(16, dtype=np.int32)[np.newaxis]
    inputs = [input_of(name, rows, "INT32") for name in ("INPUT0", "INPUT1")]
    refused("setting MODEL", client.get_model_repository_index)
    refused("setting MODEL", client.load_model, "simple")
    refused("setting MODEL", client.unload_model, "simple")
    refused("Shared memory", client.get_system_shared_memory_status)
    refused("Shared memory", client.register_system_shared_memory, "region", "/region", 64)
    refused("Shared memory", client.unregister_cuda_shared_memory)
    refused("log", client.get_trace_settings)
    refused("LOG_LEVEL", client.get_log_settings)
    refused("Sequences", client.infer, "simple", inputs, sequence_id=7, sequence_start=True)
    inputs[0].set_shared_memory("region", 64)
    refused("shared memory", client.infer, "simple", inputs)
    inputs[0].set_data_from_numpy(rows)
    output = triton.InferRequestedOutput("OUTPUT0")
    output.set_shared_memory("region", 64)
    refused("shared memory", client.infer, "simple", inputs, outputs=[output])


def what_a_request_may_say_besides(client: triton.InferenceServerClient) -> None:
    rows = np.arange(16, dtype=np.int32)[np.newaxis]
    inputs = [input_of(name, rows, "INT32") for name in ("INPUT0", "INPUT1")]
    answer = client.infer(
        "simple",
        inputs,
        priority=3,
        timeout=1_000_000,
        headers={"X-Of-The-Caller": "1"},
        query_params={"test_1": 1},
        parameters={"of the caller": "1"},
    )
    assert np.array_equal(answer.as_numpy("OUTPUT0"), rows * 2)


def texts(client: triton.InferenceServerClient) -> None:
    first, second = np.arange(16).reshape(1, 16), np.ones((1, 16), int)
    for binary in (True, False):
        inputs = [
            input_of(name, np.char.mod("%d", array).astype(np.object_), "BYTES", binary=binary)
            for name, array in (("INPUT0", first), ("INPUT1", second))
        ]
        outputs = [triton.InferRequestedOutput(f"OUTPUT{number}", binary_data=binary) for number in range(2)]
        answer = client.infer("simple_string", inputs, outputs=outputs)
        made = [np.vectorize(int)(answer.as_numpy(f"OUTPUT{number}")) for number in range(2)]
        assert np.array_equal(made[0], first + second)
        assert np.array_equal(made[1], first - second)


def classes(client: triton.InferenceServerClient) -> None:
    [image] = client.get_model_config("mnist")["input"]
    assert image["format"] in ("FORMAT_NCHW", "FORMAT_NHWC")
    [wanted], [scores] = (client.get_model_metadata("mnist")[name] for name in ("inputs", "outputs"))
    images = np.random.default_rng(0).random((2, *wanted["shape"][1:]), dtype=np.float32)
    inputs = [input_of(wanted["name"], images, "FP32")]
    whole = client.infer("mnist", inputs).as_numpy(scores["name"])
    for binary in (True, False):
        asked = triton.InferRequestedOutput(scores["name"], binary_data=binary, class_count=3)
        answer = client.infer("mnist", inputs, outputs=[asked]).as_numpy(scores["name"])
        assert answer.shape == (2, 3)
        for row, texts_of_row in zip(whole, answer, strict=True):
            said = [one.decode() if isinstance(one, bytes) else one for one in texts_of_row]
            best = np.argsort(-row)[:3]
            assert said == [f"{row[index]:f}:{index}:{index}" for index in best], said


def main(simple: str, strings: str, digits: str) -> None:
    with triton.InferenceServerClient(simple) as client:
        not_served(client)
        what_a_request_may_say_besides(client)
    with triton.InferenceServerClient(strings) as client:
        texts(client)
    with triton.InferenceServerClient(digits) as client:
        classes(client)


if __name__ == "__main__":
    main(*sys.argv[1:])
