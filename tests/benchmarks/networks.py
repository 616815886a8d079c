"""Networks of the usual sizes with random weights: what they say is nonsense, what they cost is real."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from PIL import Image

SIDE: Final = 224
CLASSES: Final = 1000

# MobileNetV2 (arXiv:1801.04381, table 2): expansion, channels, blocks, stride of the first.
_BOTTLENECKS: Final = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
# ResNet-50 (arXiv:1512.03385, table 1): channels within a block, blocks.
_STAGES: Final = ((64, 3), (128, 4), (256, 6), (512, 3))


class _Network:
    """Collects nodes and weights, layer after layer. Batch normalization is folded into the convolutions."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self._nodes: list[NodeProto] = []
        self._weights: dict[str, NDArray[Any]] = {}
        self._count = 0

    def add(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        self._count += 1
        name = f"{kind.lower()}_{self._count}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def weight(self, name: str, array: NDArray[Any]) -> str:
        self._weights[name] = array
        return name

    def convolution(
        self,
        taken: str,
        channels: tuple[int, int],
        *,
        side: int = 1,
        stride: int = 1,
        group: int = 1,
        gain: float = 1.0,
    ) -> str:
        """Add a convolution with a bias; its weights keep the scale of what goes through, but for the gain."""
        came, go = channels
        shape = (go, came // group, side, side)
        scale = gain * np.sqrt(2 / (shape[1] * side * side))
        number = self._count
        weights = self.weight(f"w_{number}", (self._random.standard_normal(shape) * scale).astype(np.float32))
        bias = self.weight(f"b_{number}", np.zeros(go, np.float32))
        pads = [side // 2] * 4
        return self.add(
            "Conv", [taken, weights, bias], kernel_shape=[side, side], strides=[stride, stride], pads=pads, group=group
        )

    def classify(self, taken: str, channels: int) -> None:
        pooled = self.add("Flatten", [self.add("GlobalAveragePool", [taken])])
        weights = (self._random.standard_normal((channels, CLASSES)) * 0.01).astype(np.float32)
        scores = self.add(
            "Gemm", [pooled, self.weight("w_head", weights), self.weight("b_head", np.zeros(CLASSES, np.float32))]
        )
        self._nodes.append(helper.make_node("Softmax", [scores], ["probabilities"], axis=-1))

    def write(self, folder: Path, name: str) -> Path:
        """Write a model package, and return its folder."""
        folder.mkdir(parents=True, exist_ok=True)
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])
        answer = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", CLASSES])
        initializers = [numpy_helper.from_array(array, key) for key, array in self._weights.items()]
        graph = helper.make_graph(self._nodes, name, [image], [answer], initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        settings = '{"name": "%s", "version": "1", "task": "classification", "activation": "none"}\n'
        (folder / "model.json").write_text(settings % name)
        return folder


def mobilenet(folder: Path) -> Path:
    """Write a model package with a network of MobileNetV2's size: 3.5 million weights, 0.3 billion multiplications."""
    network = _Network()
    x = network.add("Clip", [network.convolution("image", (3, 32), side=3, stride=2), *_zero_to_six(network)])
    came = 32
    for expansion, channels, blocks, stride in _BOTTLENECKS:
        for block in range(blocks):
            wide = came * expansion
            inner = x
            if expansion > 1:
                inner = network.add("Clip", [network.convolution(x, (came, wide)), "zero", "six"])
            step = stride if block == 0 else 1
            inner = network.convolution(inner, (wide, wide), side=3, stride=step, group=wide)
            inner = network.convolution(network.add("Clip", [inner, "zero", "six"]), (wide, channels))
            x = network.add("Add", [x, inner]) if block else inner
            came = channels
    x = network.add("Clip", [network.convolution(x, (came, 1280)), "zero", "six"])
    network.classify(x, 1280)
    return network.write(folder, "mobilenet")


def resnet50(folder: Path) -> Path:
    """Write a model package with a network of ResNet-50's size: 25.5 million weights, 4.1 billion multiplications."""
    network = _Network()
    x = network.add("Relu", [network.convolution("image", (3, 64), side=7, stride=2)])
    x = network.add("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    came = 64
    for stage, (channels, blocks) in enumerate(_STAGES):
        for block in range(blocks):
            step = 2 if stage and block == 0 else 1
            inner = network.add("Relu", [network.convolution(x, (came, channels))])
            inner = network.add("Relu", [network.convolution(inner, (channels, channels), side=3, stride=step)])
            # Of random weights, each block would double what comes through, and the answer be 0 and 1.
            inner = network.convolution(inner, (channels, channels * 4), gain=0.2)
            if block == 0:
                x = network.convolution(x, (came, channels * 4), stride=step)
            x = network.add("Relu", [network.add("Add", [x, inner])])
            came = channels * 4
    network.classify(x, came)
    return network.write(folder, "resnet50")


def photographs(count: int) -> list[bytes]:
    """Return JPEG files of the networks' size that are as smooth as photographs."""
    random = np.random.default_rng(1)
    files = []
    for _ in range(count):
        coarse = random.integers(0, 256, (14, 14, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def _zero_to_six(network: _Network) -> tuple[str, str]:
    zero = network.weight("zero", np.array(0, np.float32))
    return zero, network.weight("six", np.array(6, np.float32))
