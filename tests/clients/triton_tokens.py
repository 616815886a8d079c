"""Sends token lists with Triton's client, in binary, and prints the logits: python triton_tokens.py ADDRESS LISTS."""

import json
import sys

import numpy as np
import tritonclient.http as triton


def main(address: str, lists: list[list[int]]) -> None:
    longest = max(map(len, lists))
    tokens = np.array([one + [0] * (longest - len(one)) for one in lists], dtype=np.int64)
    mask = np.array([[1] * len(one) + [0] * (longest - len(one)) for one in lists], dtype=np.int64)
    inputs = []
    for name, array in (("input_ids", tokens), ("attention_mask", mask)):
        inputs.append(triton.InferInput(name, list(array.shape), "INT64"))
        inputs[-1].set_data_from_numpy(array)
    with triton.InferenceServerClient(address) as client:
        result = client.infer("transformer", inputs, outputs=[triton.InferRequestedOutput("logits")])
    ids = result.get_response()["parameters"]["prediction_ids"]
    print(json.dumps({"logits": result.as_numpy("logits").tolist(), "prediction_ids": ids}))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
