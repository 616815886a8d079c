"""The signature, read from the file's bytes, is what the runtime reads; damage is an error, never a crash."""

import random
import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data

from functions.shared.inference.errors import ModelPackageError
from functions.shared.inference.onnx_file import TensorSpec, read_external_data, read_signature
from tests.support import graphs
from tests.support.onnx_signature import assert_agrees_with_the_runtime

SHIPPED = Path(onnxruntime.__file__).parent / "datasets"


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.onnx")), ids=lambda path: path.stem)
def test_the_models_in_the_runtimes_own_wheel_read_as_the_runtime_reads_them(path: Path) -> None:
    assert_agrees_with_the_runtime(path)


@pytest.mark.parametrize(
    "model",
    [
        graphs.conv_net("NHWC"),
        graphs.conv_net("NCHW", channels=3, size=("height", "width")),
        graphs.conv_net("NHWC", batch=4, dtype="uint8"),
        graphs.conv_net("NCHW", batch=None, dtype="float16", size=(None, None)),
        graphs.linear(np.ones((4, 2)), dtype="float64"),
        graphs.passing("string", ["N", 1]),
        graphs.passing("bool", [None]),
        graphs.passing("int64", []),
        graphs.passing("uint16", [2, 3, 4, 5, 6]),
    ],
)
def test_names_types_and_axes_read_as_the_runtime_reads_them(tmp_path: Path, model: onnx.ModelProto) -> None:
    assert_agrees_with_the_runtime(graphs.package(tmp_path, model) / "model.onnx")


def test_a_weight_listed_among_the_inputs_is_no_input(tmp_path: Path) -> None:
    model = graphs.linear(np.ones((4, 2)))
    model.graph.input.append(graphs.tensor("weights", "float32", [4, 2]))
    path = graphs.package(tmp_path, model) / "model.onnx"
    assert [one.name for one in read_signature(path).inputs] == ["x"]


@pytest.mark.parametrize("written", [-1, 0])
def test_an_axis_written_as_minus_one_or_zero_is_open(tmp_path: Path, written: int) -> None:
    path = graphs.package(tmp_path, graphs.passing("float32", [written, 3])) / "model.onnx"
    assert read_signature(path).inputs == (TensorSpec("x", "float32", (None, 3)),)


def test_a_tensor_without_a_shape_has_none(tmp_path: Path) -> None:
    path = graphs.package(tmp_path, graphs.passing("float32", None, answer=None)) / "model.onnx"
    assert read_signature(path).inputs[0].shape is None


def test_what_is_no_tensor_is_described(tmp_path: Path) -> None:
    floats = helper.make_tensor_type_proto(TensorProto.FLOAT, [None])
    kinds = {
        "sequence(float32)": helper.make_sequence_type_proto(floats),
        "optional(float32)": helper.make_optional_type_proto(floats),
        "map(string, float32)": helper.make_map_type_proto(TensorProto.STRING, floats),
        "sparse(float32)": helper.make_sparse_tensor_type_proto(TensorProto.FLOAT, [None]),
    }
    inputs = [helper.make_value_info(f"x{at}", kind) for at, kind in enumerate(kinds.values())]
    node = helper.make_node("Identity", ["x0"], ["y"])
    path = graphs.package(tmp_path, graphs.graph([node], inputs, [graphs.tensor("y", "float32", [1])])) / "model.onnx"
    assert [one.dtype for one in read_signature(path).inputs] == list(kinds)


def test_the_signature_is_told_in_plain_json_values() -> None:
    assert read_signature(SHIPPED / "logreg_iris.onnx").describe() == {
        "inputs": [{"name": "float_input", "dtype": "float32", "shape": [3, 2]}],
        "outputs": [
            {"name": "label", "dtype": "int64", "shape": [3]},
            {"name": "probabilities", "dtype": "sequence(map(int64, float32))", "shape": None},
        ],
    }


def test_the_classes_of_a_zipmap_and_of_a_classifier_are_read() -> None:
    label, probabilities = read_signature(SHIPPED / "logreg_iris.onnx").outputs
    assert label.classes == probabilities.classes == (0, 1, 2)
    assert (label.produced_by, probabilities.produced_by) == ("LinearClassifier", "ZipMap")


def test_weights_are_not_read(tmp_path: Path) -> None:
    path = graphs.package(tmp_path, graphs.linear(np.zeros((1000, 2500)))) / "model.onnx"
    tracemalloc.start()
    assert read_signature(path).outputs[0].shape == ("N", 2500)
    assert read_external_data(path) == ()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200_000 < path.stat().st_size == pytest.approx(10_000_000, rel=0.01)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"no model at all",
        b"{}",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"\x3a\xff\xff\xff\xff\x0f",
        b"\xff" * 40,
    ],
)
def test_a_file_that_is_no_onnx_model_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelPackageError, match=r"^model\.onnx: is not an ONNX model"):
        read_signature(path)


def test_a_field_that_runs_out_of_its_message_is_damage_even_inside_the_file(tmp_path: Path) -> None:
    # a graph of 4 bytes, in it an output of 2, in that a name that claims 60: they would be the next field's
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x3a\x04\x62\x02\x0a\x3c" + b"\x32\x64" + b"x" * 100)
    with pytest.raises(ModelPackageError, match="a field runs past the end"):
        read_signature(path)


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelPackageError, match=r"^model\.onnx: cannot be read"):
        read_signature(tmp_path / "model.onnx")


def test_five_hundred_damaged_files_are_read_or_refused_and_never_crash(tmp_path: Path) -> None:
    model = onnx.load(SHIPPED / "logreg_iris.onnx")
    for name in ("weights", "more"):
        tensor = numpy_helper.from_array(np.ones(3, np.float32), name)
        set_external_data(tensor, f"{name}.bin", offset=0, length=12)
        model.graph.initializer.append(tensor)
    whole = model.SerializeToString()
    chance = random.Random(3)
    path = tmp_path / "model.onnx"
    refused = 0
    for _ in range(500):
        damaged = bytearray(whole)
        for _ in range(chance.choice((1, 2, 8))):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        if chance.random() < 0.3:
            del damaged[chance.randrange(len(damaged)) :]
        path.write_bytes(damaged)
        try:
            read_signature(path)
            read_external_data(path)
        except ModelPackageError:
            refused += 1
    assert 100 < refused < 500
