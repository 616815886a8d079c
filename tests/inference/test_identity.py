"""What a model is, is in its digest: the graph, the files that it keeps values in, and the settings in force."""

import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from functions.shared.inference.errors import ModelPackageError
from functions.shared.inference.model import Model
from functions.shared.inference.package import ModelPackage
from functions.shared.inference.package_settings import _READERS
from tests.inference import corpus
from tests.support import graphs

PHOTOS = graphs.conv_net("NCHW", channels=3, size=(8, 8), ends_in="LogSoftmax")
LINEAR = graphs.linear(np.ones((2, 3)), then=["LogSoftmax"])
ANY_SIZE = graphs.conv_net("NCHW", channels=3, size=(None, None))
HEADS = corpus.heads(corpus.age(), corpus.shares())
IDS = graphs.passing("int64", ["batch", "n"])

# By the key of model.json: a model, values of which each makes another model, and what they need beside them.
ANSWERED_BY: dict[str, tuple[onnx.ModelProto, list[object], dict[str, object]]] = {
    "task": (LINEAR, [None, "regression", "embedding", "multi-target"], {}),
    "labels": (LINEAR, [None, ["a", "b", "c"], ["c", "b", "a"]], {}),
    "feature_names": (LINEAR, [None, ["a", "b"], ["b", "a"]], {}),
    "missing": (LINEAR, [None, "nan"], {}),
    "answer": (HEADS, ["age", "probabilities"], {}),
    "keep": (HEADS, [["probabilities"], ["probabilities", "age"]], {"answer": "probabilities"}),
    "top_k": (LINEAR, [None, 1, 2], {}),
    "activation": (PHOTOS, [None, "softmax", "sigmoid"], {}),
    "size": (ANY_SIZE, [None, [8, 9], [9, 8]], {}),
    "fit": (ANY_SIZE, ["stretch", "crop", "letterbox"], {"size": [8, 8]}),
    "crop_size": (ANY_SIZE, [8, [8, 9]], {"fit": "crop", "size": 16}),
    "pad_color": (ANY_SIZE, [None, 0, [114, 114, 115]], {"fit": "letterbox", "size": [8, 8]}),
    "stride": (ANY_SIZE, [None, 32, 16], {"fit": "letterbox", "size": 64}),
    "resample": (PHOTOS, [None, "nearest", "inter_linear"], {}),
    "rescale_factor": (PHOTOS, [None, 1], {}),
    "image_mean": (PHOTOS, [None, 0.5], {}),
    "image_std": (PHOTOS, [None, [1, 1, 0.5]], {}),
    "color": (PHOTOS, [None, "bgr"], {}),
    "padding": (IDS, [None, {"x": 0}, {"x": 1}], {"task": "tensors"}),
    "batched": (IDS, [None, False], {"task": "tensors"}),
}

TOO_LONG = 300 * "a"
"""A name that no file can have: the system does not say that there is none."""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def with_weights(folder: Path, weights: float = 1, *, location: str = "model.onnx.data") -> Path:
    """Write a package as PyTorch does: the graph, and its weights in a file beside it."""
    folder.mkdir(exist_ok=True)
    (folder / location).unlink(missing_ok=True)  # else they would be appended
    model = graphs.linear(np.full((64, 1), weights))
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location=location, size_threshold=0)
    return folder


def point_weights_to(folder: Path, **entries: str) -> None:
    """Let the graph say something else of where its weights are; an empty text takes the entry away."""
    path = folder / "model.onnx"
    model = onnx.load(path, load_external_data=False)
    (tensor,) = model.graph.initializer
    kept = {entry.key: entry.value for entry in tensor.external_data} | entries
    del tensor.external_data[:]
    for key, value in kept.items():
        if value:
            tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())


# --- what the digest covers ------------------------------------------------------------------------------------------


def test_a_model_that_is_one_file_has_the_digest_of_the_file(tmp_path: Path) -> None:
    package = ModelPackage.load(graphs.package(tmp_path, LINEAR))
    assert package.sha256 == sha256(LINEAR.SerializeToString())
    assert [(file.name, file.size, file.sha256) for file in package.files] == [
        ("model.onnx", len(LINEAR.SerializeToString()), package.sha256)
    ]


def test_other_weights_beside_the_same_file_are_another_model(tmp_path: Path) -> None:
    ones = ModelPackage.load(with_weights(tmp_path, 1))
    graph = (tmp_path / "model.onnx").read_bytes()
    twos = ModelPackage.load(with_weights(tmp_path, 2))
    assert (tmp_path / "model.onnx").read_bytes() == graph
    assert ones.files[0].sha256 == twos.files[0].sha256 == sha256(graph)
    assert [file.name for file in twos.files] == ["model.onnx", "model.onnx.data"]
    assert twos.files[1].sha256 == sha256((tmp_path / "model.onnx.data").read_bytes())
    assert len({ones.sha256, twos.sha256, sha256(graph)}) == 3
    assert ones.version != twos.version == twos.sha256[:12]


@pytest.mark.parametrize("key", ANSWERED_BY)
def test_every_key_that_may_change_an_answer_makes_another_model(tmp_path: Path, key: str) -> None:
    model, values, others = ANSWERED_BY[key]
    packages = [ModelPackage.load(graphs.package(tmp_path, model, **others, **{key: value})) for value in values]
    assert len({package.settings for package in packages}) == len(values)
    assert len({package.sha256 for package in packages}) == len(values)
    assert [package.version for package in packages] == [package.sha256[:12] for package in packages]


def test_no_key_of_model_json_is_forgotten_here() -> None:
    assert ANSWERED_BY.keys() | {"name", "version", "encoded", "sha256"} == _READERS.keys()


def test_the_order_and_the_names_of_features_are_settings(tmp_path: Path) -> None:
    known = {
        ModelPackage.load(graphs.package(tmp_path, LINEAR, **said)).sha256
        for said in ({}, {"feature_names": ["a", "b"]}, {"feature_names": ["b", "a"]}, {"task": "regression"})
    }
    assert len(known) == 4


def test_a_size_and_how_the_axes_are_read_are_settings(tmp_path: Path) -> None:
    any_size = graphs.conv_net("NCHW", channels=3, size=(None, None))
    own, fixed = (ModelPackage.load(graphs.package(tmp_path, any_size, **said)) for said in ({}, {"size": [8, 9]}))
    assert own.sha256 != fixed.sha256
    assert (json.loads(own.settings)["size"], json.loads(fixed.settings)["size"]) == (None, [8, 9])
    # three by three by three: only the size tells which axis is the channel
    ambiguous = graphs.passing("float32", ["N", 4, 4, 3], answer=["N", 4, 4, 3])
    readings = {
        json.loads(
            ModelPackage.load(graphs.package(tmp_path, ambiguous, size=size, color="rgb", task="regression")).settings
        )["layout"]
        for size in ([4, 4], [4, 3])
    }
    assert readings == {"NCHW", "NHWC"}


def test_a_default_that_is_written_out_changes_nothing(tmp_path: Path) -> None:
    plain = ModelPackage.load(graphs.package(tmp_path, PHOTOS))
    spelled = ModelPackage.load(
        graphs.package(
            tmp_path,
            PHOTOS,
            task="classification",
            activation="none",
            size=[8, 8],
            resample=2,
            rescale_factor=1 / 255,
            image_mean=0,
            image_std=[1, 1, 1],
            color="rgb",
        )
    )
    assert (spelled.sha256, spelled.settings) == (plain.sha256, plain.settings)


def test_labels_that_the_file_has_already_change_nothing(tmp_path: Path) -> None:
    node = helper.make_node(
        "LinearClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml",
        coefficients=[1.0, 2.0, 3.0, 4.0], intercepts=[0.0, 0.0], classlabels_strings=["no", "yes"],
    )  # fmt: skip
    outputs = [graphs.tensor("label", "string", ["N"]), graphs.tensor("scores", "float32", ["N", 2])]
    model = graphs.graph([node], [graphs.tensor("x", "float32", ["N", 2])], outputs)
    plain, spelled = (
        ModelPackage.load(graphs.package(tmp_path, model, **said)) for said in ({}, {"labels": ["no", "yes"]})
    )
    assert (spelled.sha256, spelled.settings) == (plain.sha256, plain.settings)


def test_what_records_call_a_model_is_not_what_it_is(tmp_path: Path) -> None:
    plain = ModelPackage.load(graphs.package(tmp_path / "iris", LINEAR))
    renamed = ModelPackage.load(graphs.package(tmp_path / "flowers", LINEAR, name="roses", version="7"))
    encoded = ModelPackage.load(graphs.package(tmp_path / "encoded", PHOTOS, encoded=True))
    assert encoded.sha256 == sha256(PHOTOS.SerializeToString())
    (tmp_path / "iris" / "model.onnx").rename(tmp_path / "iris" / "another.onnx")
    assert ModelPackage.load(tmp_path / "iris").sha256 == renamed.sha256 == plain.sha256


def test_a_model_that_needs_settings_to_be_served_has_a_digest_too(tmp_path: Path) -> None:
    open_channels = graphs.passing("float32", ["N", None, 8, 8], answer=["N", 64])
    package = ModelPackage.load(graphs.package(tmp_path, open_channels, color="grey", task="embedding"))
    assert package.sha256 != package.files[0].sha256


def test_the_settings_in_force_are_told_with_their_defaults(tmp_path: Path) -> None:
    package = ModelPackage.load(graphs.package(tmp_path, PHOTOS, image_mean=0.5))
    assert json.loads(package.settings) == {
        "task": "classification",
        "labels": None,
        "activation": "none",
        "outputs": {"scores": "scores", "label": None},
        "layout": "NCHW",
        "size": [8, 8],
        "resample": "bilinear",
        "rescale_factor": 1 / 255,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [1.0, 1.0, 1.0],
        "color": "rgb",
    }


@pytest.mark.parametrize("text", ["a\0b", "\ud800"], ids=["zero", "half of a character"])
@pytest.mark.parametrize(("key", "others"), [("labels", ["b", "c"]), ("feature_names", ["b"])])
def test_a_name_that_no_database_can_keep_is_refused(tmp_path: Path, key: str, others: list[str], text: str) -> None:
    folder = graphs.package(tmp_path, LINEAR, **{key: [text, *others]})
    with pytest.raises(ModelPackageError, match=rf"^model\.json: {key}: .* is no text that can be stored"):
        ModelPackage.load(folder)


# --- sha256 in model.json --------------------------------------------------------------------------------------------


def test_the_digest_in_model_json_holds_for_the_files_and_the_settings(tmp_path: Path) -> None:
    folder = with_weights(tmp_path)
    recorded = ModelPackage.load(folder).sha256
    (folder / "model.json").write_text(json.dumps({"sha256": recorded.upper()}))
    assert ModelPackage.load(folder).sha256 == recorded
    with_weights(folder, 2)
    with pytest.raises(ModelPackageError) as refused:
        ModelPackage.load(folder)
    said = re.fullmatch(
        rf"model\.json: sha256: is {recorded}, but that of the model \(model\.onnx, model\.onnx\.data and the "
        r"settings\) is ([0-9a-f]{64}): it is another model, or it has other settings",
        str(refused.value),
    )
    with_weights(folder, 1)
    (folder / "model.json").write_text(json.dumps({"sha256": recorded, "activation": "sigmoid"}))
    with pytest.raises(ModelPackageError, match="it is another model, or it has other settings"):
        ModelPackage.load(folder)
    with_weights(folder, 2)
    assert said
    (folder / "model.json").write_text(json.dumps({"sha256": said[1]}))
    assert ModelPackage.load(folder).sha256 == said[1]


def test_the_digest_of_the_onnx_file_alone_is_refused_with_what_to_write(tmp_path: Path) -> None:
    alone = sha256(LINEAR.SerializeToString())
    folder = graphs.package(tmp_path, LINEAR, sha256=alone)
    assert ModelPackage.load(folder).sha256 == alone  # nothing but the file counts here
    graphs.package(tmp_path, LINEAR, sha256=alone, activation="softmax")
    with pytest.raises(ModelPackageError) as refused:
        ModelPackage.load(folder)
    said = re.fullmatch(
        rf"model\.json: sha256: is {alone}, that of model\.onnx alone, but that of the model \(model\.onnx and the "
        r"settings\) is ([0-9a-f]{64}): if this is the model you mean, write the latter",
        str(refused.value),
    )
    assert said
    graphs.package(tmp_path, LINEAR, sha256=said[1], activation="softmax")
    assert ModelPackage.load(folder).sha256 == said[1]


# --- the files -------------------------------------------------------------------------------------------------------


def test_a_file_that_is_not_there_is_named_at_start(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    folder = with_weights(tmp_path, location="weights/part1.bin")
    assert ModelPackage.load(folder).files[1].name == "weights/part1.bin"
    (folder / "weights" / "part1.bin").unlink()
    message = r"^weights/part1\.bin: is missing: model\.onnx keeps the values of tensor 'weights' in it$"
    with pytest.raises(ModelPackageError, match=message):
        ModelPackage.load(folder)
    (folder / "weights" / "part1.bin").mkdir()
    with pytest.raises(ModelPackageError, match=message):
        ModelPackage.load(folder)


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("../model.onnx.data", "outside of the package's folder: put the file beside it"),
        ("weights/../../model.onnx.data", "outside of the package's folder"),
        ("{folder}/model.onnx.data", "outside of the package's folder"),
        ("", "in '', which is no file's name"),
        (".", "in '.', which is no file's name"),
        ("a\0b", "which is no file's name"),
    ],
)
def test_a_place_that_is_not_in_the_package_is_refused(tmp_path: Path, location: str, message: str) -> None:
    folder = with_weights(tmp_path / "package")
    (tmp_path / "model.onnx.data").write_bytes((folder / "model.onnx.data").read_bytes())
    point_weights_to(folder, location=location.format(folder=folder))
    if not location:
        model = onnx.load(folder / "model.onnx", load_external_data=False)
        model.graph.initializer[0].external_data.add(key="location", value="")
        (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelPackageError, match=rf"^model\.onnx: keeps the values of tensor 'weights' .*{message}"):
        ModelPackage.load(folder)


def test_a_file_that_cannot_be_looked_for_is_named_with_the_reason(tmp_path: Path) -> None:
    folder = with_weights(tmp_path)
    point_weights_to(folder, location=TOO_LONG)
    with pytest.raises(ModelPackageError, match=rf"^{TOO_LONG}: cannot be read: File name too long$"):
        ModelPackage.load(folder)


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    folder = with_weights(tmp_path)
    whole = (folder / "model.onnx.data").read_bytes()
    (folder / "model.onnx.data").write_bytes(whole[:-1])
    message = (
        r"^model\.onnx\.data: has 255 bytes, but model\.onnx keeps the values of tensor 'weights' in it up to byte "
        "256: it is cut off, or another file$"
    )
    with pytest.raises(ModelPackageError, match=message):
        ModelPackage.load(folder)
    (folder / "model.onnx.data").write_bytes(whole)
    point_weights_to(folder, offset="4096")
    with pytest.raises(ModelPackageError, match="up to byte 4352"):
        ModelPackage.load(folder)


def test_an_offset_that_is_no_number_is_damage(tmp_path: Path) -> None:
    folder = with_weights(tmp_path)
    point_weights_to(folder, offset="first")
    with pytest.raises(
        ModelPackageError, match=r"^model\.onnx: is not an ONNX model: tensor 'weights' says no numbers"
    ):
        ModelPackage.load(folder)


def test_a_file_may_be_named_in_several_ways_and_by_several_tensors(tmp_path: Path) -> None:
    half = np.ones((2, 2), np.float32)
    nodes = [helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("MatMul", ["h", "b"], ["y"])]
    axes = graphs.tensor("x", "float32", ["N", 2]), graphs.tensor("y", "float32", ["N"])
    model = graphs.graph(nodes, [axes[0]], [axes[1]], {"a": half, "b": half})
    path = graphs.package(tmp_path, model) / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    model = onnx.load(path, load_external_data=False)
    next(entry for entry in model.graph.initializer[1].external_data if entry.key == "location").value = "./w.bin"
    path.write_bytes(model.SerializeToString())
    package = ModelPackage.load(tmp_path)
    assert [file.name for file in package.files] == ["model.onnx", "w.bin"]
    Model.load(package).warm_up()
    whole = (tmp_path / "w.bin").read_bytes()
    (tmp_path / "w.bin").write_bytes(whole[:-1])
    for _ in range(2):  # whichever of the two is named first, it is the later end that counts
        with pytest.raises(ModelPackageError, match=rf"has {len(whole) - 1} bytes, .* up to byte {len(whole)}"):
            ModelPackage.load(tmp_path)
        model.graph.initializer.reverse()
        path.write_bytes(model.SerializeToString())


def test_hugging_faces_cache_of_symbolic_links_is_a_package(tmp_path: Path) -> None:
    plain = ModelPackage.load(with_weights(tmp_path / "plain"))
    snapshot, blobs = tmp_path / "models--iris" / "snapshots" / "0a1b", tmp_path / "models--iris" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in plain.files:
        (blobs / file.sha256).write_bytes(file.path.read_bytes())
        (snapshot / file.name).symlink_to(Path("../..") / "blobs" / file.sha256)
    linked = ModelPackage.load(snapshot)
    assert linked.sha256 == plain.sha256
    model = Model.load(linked)
    assert model.predict([model.decode_features([1.0] * 64)])[0].output == [64.0]
    (snapshot / "model.onnx.data").unlink()
    (snapshot / "model.onnx.data").symlink_to("../../blobs/gone")
    with pytest.raises(ModelPackageError, match=r"^model\.onnx\.data: is missing"):
        ModelPackage.load(snapshot)


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data"])
@pytest.mark.parametrize("how", ["written to", "replaced", "removed and put back"])
def test_a_file_that_changes_between_its_digest_and_its_loading_is_not_served(
    tmp_path: Path, name: str, how: str
) -> None:
    package = ModelPackage.load(with_weights(tmp_path))
    path = tmp_path / name
    content, status = path.read_bytes(), path.stat()
    if how == "written to":
        path.write_bytes(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    elif how == "replaced":
        (tmp_path / "new").write_bytes(content)
        (tmp_path / "new").replace(path)
    else:
        path.rename(tmp_path / "old")
        path.write_bytes(content)
    with pytest.raises(ModelPackageError, match=rf"^{re.escape(name)}: has changed while the model was being loaded"):
        Model.load(package)
    Model.load(ModelPackage.load(tmp_path))


# --- where a graph can name files ------------------------------------------------------------------------------------


def external(name: str) -> onnx.TensorProto:
    """Make a tensor whose values are in a file called like it."""
    tensor = numpy_helper.from_array(np.ones(3, np.float32), name)
    onnx.external_data_helper.set_external_data(tensor, f"{name}.bin", offset=0, length=12)
    tensor.ClearField("raw_data")
    return tensor


def test_every_place_that_can_hold_a_tensor_is_looked_at(tmp_path: Path) -> None:
    inner = helper.make_graph([], "inner", [], [], [external("in_a_subgraph")])
    deeper = helper.make_graph([helper.make_node("If", ["c"], ["y"], then_branch=inner)], "deeper", [], [])
    values, indices = external("sparse_values"), external("sparse_indices")
    sparse = helper.make_sparse_tensor(values, indices, [9])
    nodes = [
        helper.make_node("Constant", [], ["a"], value=external("constant")),
        helper.make_node("Constant", [], ["b"], sparse_value=helper.make_sparse_tensor(
            external("sparse_constant_values"), external("sparse_constant_indices"), [9])),
        helper.make_node("Custom", ["x"], ["c"], domain="own", tensors=[external("one_of_a_list"), external("second")]),
        helper.make_node("Custom", ["x"], ["d"], domain="own", graphs=[deeper, inner]),
        helper.make_node("Custom", ["x"], ["e"], domain="own", sparse_tensors=[helper.make_sparse_tensor(
            external("listed_values"), external("listed_indices"), [9])]),
        helper.make_node("Identity", ["x"], ["y"]),
    ]  # fmt: skip
    model = graphs.graph(nodes, [graphs.tensor("x", "float32", ["N", 3])], [graphs.tensor("y", "float32", ["N", 1])])
    model.graph.initializer.append(external("initializer"))
    model.graph.sparse_initializer.append(sparse)
    function = helper.make_function(
        "own", "Custom", ["x"], ["y"],
        [helper.make_node("Constant", [], ["y"], value=external("in_a_function"))],
        [helper.make_opsetid("", 17)],
        attribute_protos=[helper.make_attribute("default", external("default_of_an_attribute"))],
    )  # fmt: skip
    model.functions.append(function)
    names = {
        "in_a_subgraph", "sparse_values", "sparse_indices", "constant", "sparse_constant_values",
        "sparse_constant_indices", "one_of_a_list", "second", "listed_values", "listed_indices", "initializer",
        "in_a_function", "default_of_an_attribute",
    }  # fmt: skip
    folder = graphs.package(tmp_path, model)
    for name in names:
        (folder / f"{name}.bin").write_bytes(np.ones(3, np.float32).tobytes())
    package = ModelPackage.load(folder)
    assert [file.name for file in package.files] == ["model.onnx", *sorted(f"{name}.bin" for name in names)]
    for name in names:
        (folder / f"{name}.bin").write_bytes(np.zeros(3, np.float32).tobytes())
        changed = ModelPackage.load(folder)
        assert changed.sha256 != package.sha256
        package = changed


def test_a_tensor_that_has_its_values_after_all_names_no_file(tmp_path: Path) -> None:
    model = graphs.linear(np.ones((2, 1)))
    model.graph.initializer[0].external_data.add(key="location", value="left/over.bin")
    assert [file.name for file in ModelPackage.load(graphs.package(tmp_path, model)).files] == ["model.onnx"]
