"""What a model package must hold, what follows from the file alone, and every way to contradict it."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from functions.shared.inference.errors import ModelPackageError
from functions.shared.inference.feature_input import FeatureColumn, FeatureInput, FeatureTensor
from functions.shared.inference.image_input import ImageInput
from functions.shared.inference.package import ModelPackage
from tests.support import graphs
from tests.support.readme import text_of

TEN_OF_FOUR = graphs.linear(np.ones((4, 10)), then=["Softmax"])
DIGITS = graphs.conv_net()

Load = Callable[..., ModelPackage]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def write_and_load(model: onnx.ModelProto, **settings: object) -> ModelPackage:
        return ModelPackage.load(graphs.package(tmp_path / "iris", model, **settings))

    return write_and_load


def _image(package: ModelPackage) -> ImageInput:
    assert isinstance(package.input, ImageInput)
    return package.input


def _features(package: ModelPackage) -> FeatureInput:
    assert isinstance(package.input, FeatureInput)
    return package.input


# --- the folder ------------------------------------------------------------------------------------------------------


def test_without_model_json_the_folder_names_the_model_and_its_hash_the_version(load: Load) -> None:
    package = load(TEN_OF_FOUR)
    assert package.name == "iris"
    assert len(package.sha256) == 64
    assert package.sha256.startswith(package.version)
    assert (package.labels, package.feature_names, package.activation) == (None, None, "none")


def test_model_json_names_everything(load: Load) -> None:
    package = load(
        graphs.linear(np.ones((2, 3))),
        name="flowers",
        version="2025-01",
        task="classification",
        labels=["a", "b", "c"],
        feature_names=["length", "width"],
        activation="softmax",
    )
    assert (package.name, package.version, package.task) == ("flowers", "2025-01", "classification")
    assert package.labels == ("a", "b", "c")
    assert package.feature_names == ("length", "width")
    assert package.activation == "softmax"


def test_whole_numbers_as_version_and_labels_are_taken_as_text(load: Load) -> None:
    package = load(graphs.linear(np.ones((2, 2))), version=3, labels=[0, 1])
    assert (package.version, package.labels) == ("3", ("0", "1"))


def test_null_says_nothing(load: Load) -> None:
    assert load(TEN_OF_FOUR, name=None, labels=None).name == "iris"


def test_another_name_will_do_where_there_is_one_onnx_file(tmp_path: Path) -> None:
    (graphs.package(tmp_path, TEN_OF_FOUR) / "model.onnx").rename(tmp_path / "iris_v2.onnx")
    assert ModelPackage.load(tmp_path).path.name == "iris_v2.onnx"


def test_of_several_onnx_files_one_must_be_called_model(tmp_path: Path) -> None:
    folder = graphs.package(tmp_path, TEN_OF_FOUR)
    shutil.copy(folder / "model.onnx", folder / "a.onnx")
    assert ModelPackage.load(folder).path.name == "model.onnx"
    (folder / "model.onnx").rename(folder / "b.onnx")
    with pytest.raises(ModelPackageError, match=r"^model\.onnx: is missing.*2 other \.onnx files \(a\.onnx, b\.onnx\)"):
        ModelPackage.load(folder)


def test_a_folder_without_onnx_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelPackageError, match=r"^model\.onnx: is missing"):
        ModelPackage.load(tmp_path)


def test_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelPackageError, match="there is no such folder"):
        ModelPackage.load(tmp_path / "nowhere")


def test_a_file_is_no_folder_and_the_folder_is_named(tmp_path: Path) -> None:
    file = tmp_path / "iris.onnx"
    file.touch()
    with pytest.raises(ModelPackageError, match=f"^iris.onnx: is a file: name the folder that holds it, {tmp_path}$"):
        ModelPackage.load(file)


def test_a_folder_that_cannot_be_looked_into_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ModelPackageError, match=r"^a{300}: cannot be read: File name too long$"):
        ModelPackage.load(tmp_path / (300 * "a"))
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(ModelPackageError, match=r"^circle: cannot be read: Too many levels of symbolic links$"):
        ModelPackage.load(tmp_path / "circle")
    (tmp_path / "model.onnx").symlink_to(tmp_path / "circle")
    with pytest.raises(ModelPackageError, match=r"^model\.onnx: cannot be read: Too many levels of symbolic links$"):
        ModelPackage.load(tmp_path)


# --- model.json by itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is not JSON"),
        (b"", "is not JSON"),
        (b"[1]", r"must be an object, not \[1\]"),
        (b"\xff\xfe", "is not UTF-8 at byte 0"),
        (b'{"name": "a", "name": "b"}', "name: is there twice"),
        (b"[" * 100_000, "is nested too deeply|is not JSON"),
    ],
)
def test_a_model_json_that_is_no_json_object_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    folder = graphs.package(tmp_path, TEN_OF_FOUR)
    (folder / "model.json").write_bytes(content)
    with pytest.raises(ModelPackageError, match=rf"^model\.json: ({message})"):
        ModelPackage.load(folder)


def test_a_byte_order_mark_is_no_harm(tmp_path: Path) -> None:
    folder = graphs.package(tmp_path, TEN_OF_FOUR)
    (folder / "model.json").write_bytes(b'\xef\xbb\xbf{"name": "windows"}')
    assert ModelPackage.load(folder).name == "windows"


def test_unknown_keys_are_refused_and_the_known_ones_told(load: Load) -> None:
    with pytest.raises(ModelPackageError, match=r'unknown key "imageMean", "lables": the keys are name, .*, sha256'):
        load(TEN_OF_FOUR, lables=["a"], imageMean=0.5)


def test_the_page_about_models_tells_every_key_of_model_json_and_every_word_that_it_takes(load: Load) -> None:
    table = text_of("What model.json says")
    with pytest.raises(ModelPackageError) as refused:
        load(TEN_OF_FOUR, lables=["a"])
    keys = str(refused.value).partition("the keys are ")[2].split(", ")
    assert sorted(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`[^|]*`) \|", table, re.MULTILINE)))) == sorted(
        keys
    )

    for key in ("task", "activation", "fit", "resample", "color", "missing"):
        with pytest.raises(ModelPackageError) as refused:
            load(TEN_OF_FOUR, **{key: "?"})
        words = str(refused.value).partition("must be one of ")[2].partition(", not")[0].split(", ")
        [row] = re.findall(rf"^\| `{key}` .*", table, re.MULTILINE)
        assert [word for word in words if f"`{word}`" not in row] == []


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("name", "", "must be a text"),
        ("name", 5, "must be a text"),
        ("name", "a\nb", "must be a text"),
        ("name", "x" * 201, "must be a text of 1 to 200"),
        ("name", "org/digits", "must be a text without a slash"),
        ("name", "..", "must be a text without a slash"),
        ("version", "2026/11", "must be a text without a slash"),
        ("version", ".", "must be a text without a slash"),
        ("version", 1.1, "must be a text"),
        ("version", True, "must be a text"),
        ("task", "Classification", "must be one of classification, regression"),
        ("task", 1, "must be one of"),
        ("labels", [], "must be a list"),
        ("labels", "abc", "must be a list"),
        ("labels", ["a", 1.5], "the one at 1 is 1.5"),
        ("labels", ["a", True], "the one at 1 is true"),
        ("labels", ["a", "b", "a"], '"a" stands at 0 and again at 2'),
        ("feature_names", [], "must be a list"),
        ("feature_names", ["a", ""], 'the one at 1 is ""'),
        ("feature_names", ["a", "a"], "stands at 0 and again at 1"),
        ("activation", "relu", "must be one of none, softmax, sigmoid"),
        ("top_k", 0, "must be a whole number of at least 1"),
        ("top_k", True, "must be a whole number"),
        ("top_k", 1.5, "must be a whole number"),
        ("size", 28, r"must be \[height, width\]"),
        ("size", [28], r"must be \[height, width\]"),
        ("size", [28, 0], r"must be \[height, width\]"),
        ("size", [28, 28.0], r"must be \[height, width\]"),
        ("size", [28, True], r"must be \[height, width\]"),
        ("resample", "linear", "must be one of nearest, lanczos, bilinear"),
        ("resample", 6, "must be one of"),
        ("rescale_factor", 0, "must be a number other than 0"),
        ("rescale_factor", "1/255", "must be a number"),
        ("rescale_factor", True, "must be a number"),
        ("rescale_factor", 10**400, "must be a number"),
        ("image_mean", [], "must be a number or a list"),
        ("image_mean", ["0.5"], "must be a number or a list"),
        ("image_mean", {"r": 1}, "must be a number or a list"),
        ("image_std", [0.5, 0, 0.5], "must not be 0"),
        ("color", "gray", "must be one of grey, rgb, bgr"),
        ("sha256", "abc", "must be 64 hexadecimal digits"),
        ("sha256", "g" * 64, "must be 64 hexadecimal digits"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_and_names_its_key(
    load: Load, key: str, value: object, message: str
) -> None:
    with pytest.raises(ModelPackageError, match=rf"^model\.json: {key}: .*{message}"):
        load(DIGITS, **{key: value})


def test_infinity_in_model_json_is_refused(tmp_path: Path) -> None:
    folder = graphs.package(tmp_path, DIGITS)
    (folder / "model.json").write_text('{"image_mean": Infinity}')
    with pytest.raises(ModelPackageError, match="image_mean: must be a number"):
        ModelPackage.load(folder)


# --- what goes in ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axes", "color", "layout", "channels", "height", "width"),
    [
        (["N", 28, 30, 1], None, "NHWC", 1, 28, 30),
        (["N", 1, 28, 30], None, "NCHW", 1, 28, 30),
        ([None, 224, 200, 3], None, "NHWC", 3, 224, 200),
        ([None, 3, 224, 200], None, "NCHW", 3, 224, 200),
        ([None, 4, 24, 20], "rgb", "NCHW", 4, 24, 20),
        ([None, None, None, 3], None, "NHWC", 3, None, None),
        ([None, 3, None, None], None, "NCHW", 3, None, None),
    ],
)
def test_rank_4_is_an_image_and_its_channel_axis_is_found(
    load: Load,
    axes: list[int | str | None],
    color: str | None,
    layout: str,
    channels: int,
    height: int | None,
    width: int | None,
) -> None:
    package = load(graphs.passing("float32", axes), task="regression", color=color)
    wanted = _image(package)
    assert package.takes == "image"
    assert (wanted.layout, wanted.channels, wanted.height, wanted.width) == (layout, channels, height, width)
    assert wanted.batch is None


def test_a_fixed_batch_is_told(load: Load) -> None:
    assert _image(load(graphs.conv_net(batch=8))).batch == 8
    assert _features(load(graphs.passing("float32", [3, 4]), task="regression")).batch == 3


def test_two_possible_channel_axes_are_told_apart_by_size_colour_or_the_first_convolution(load: Load) -> None:
    either = graphs.passing("float32", ["N", 3, 40, 1])
    with pytest.raises(ModelPackageError, match=r"'x' is \[N, 3, 40, 1\].* axis 1 or on axis 3: say color or size"):
        load(either, task="regression")
    assert _image(load(either, task="regression", color="grey")).layout == "NHWC"
    assert _image(load(either, task="regression", color="rgb")).layout == "NCHW"
    assert _image(load(either, task="regression", size=[3, 40])).layout == "NHWC"
    assert _image(load(graphs.conv_net("NHWC", size=(4, 40), channels=1))).layout == "NHWC"


def test_channels_that_the_axes_leave_open_are_told_by_the_first_convolution_or_by_color(load: Load) -> None:
    net = graphs.conv_net("NHWC", channels=3, size=(None, None))
    for axis in net.graph.input[0].type.tensor_type.shape.dim:
        axis.Clear()
    wanted = _image(load(net))
    assert (wanted.layout, wanted.channels, wanted.color) == ("NHWC", 3, "rgb")
    planes = graphs.passing("float32", [None, None, 28, 28])
    assert _image(load(planes, task="regression", color="grey")).channels == 1
    with pytest.raises(ModelPackageError, match=r"color: is missing: input 'x' is \[\?, \?, 28, 28\]"):
        load(planes)
    with pytest.raises(ModelPackageError, match=r"\[\?, \?, \?, \?\].* on axis 1 or on axis 3: .*task: tensors"):
        load(graphs.passing("float32", [None, None, None, None]), task="regression", color="grey")


def test_an_image_is_scaled_to_1_for_floats_and_left_alone_for_bytes(load: Load) -> None:
    floats, octets = _image(load(graphs.conv_net(channels=3))), _image(load(graphs.conv_net(dtype="uint8")))
    assert (floats.rescale_factor, floats.mean, floats.std) == (1 / 255, (0.0,) * 3, (1.0,) * 3)
    assert (octets.rescale_factor, octets.mean, octets.std) == (1.0, (0.0,), (1.0,))


def test_signed_bytes_are_centred_as_full_integer_quantisation_has_them(load: Load) -> None:
    assert _image(load(graphs.conv_net(dtype="int8"))).mean == (128.0,)


def test_preprocessing_is_taken_from_model_json(load: Load) -> None:
    wanted = _image(
        load(
            graphs.conv_net(channels=3, size=(None, None)),
            size=[32, 48],
            resample="bicubic",
            rescale_factor=0.5,
            image_mean=[1, 2, 3],
            image_std=4,
            color="bgr",
        )
    )
    assert (wanted.height, wanted.width, wanted.resample, wanted.color) == (32, 48, "bicubic", "bgr")
    assert (wanted.rescale_factor, wanted.mean, wanted.std) == (0.5, (1.0, 2.0, 3.0), (4.0, 4.0, 4.0))


def test_resample_may_be_the_number_that_hugging_face_writes(load: Load) -> None:
    assert _image(load(DIGITS, resample=3)).resample == "bicubic"
    assert _image(load(DIGITS)).resample == "bilinear"


@pytest.mark.parametrize("said", [{"color": "grey"}, {"size": [28, 28]}])
def test_rank_3_is_a_grey_image_where_model_json_says_so(load: Load, said: dict[str, object]) -> None:
    plane = graphs.passing("float32", ["N", 28, 28])
    wanted = _image(load(plane, task="regression", **said))
    assert (wanted.layout, wanted.channels, wanted.unbatched) == ("NHW", 1, False)
    with pytest.raises(ModelPackageError, match=r"'x' is \[N, 28, 28\], a series or a picture: say color or size"):
        load(plane, task="regression")


def test_rank_3_of_a_few_by_a_few_is_no_image_unless_model_json_says_so(load: Load) -> None:
    small = graphs.passing("float32", ["N", 6, 4])
    with pytest.raises(ModelPackageError, match=r"\[N, 6, 4\], of rank 3, and not plausibly a grey image"):
        load(small)
    assert _image(load(small, task="regression", color="grey")).layout == "NHW"


@pytest.mark.parametrize(("axes", "layout"), [([3, 24, 20], "NCHW"), ([24, 20, 3], "NHWC")])
def test_rank_3_with_a_channel_axis_is_an_image_without_batch_axis(load: Load, axes: list[int], layout: str) -> None:
    wanted = _image(load(graphs.passing("float32", axes, answer=[10]), task="regression", color="rgb"))
    assert (wanted.layout, wanted.channels, wanted.height, wanted.width) == (layout, 3, 24, 20)
    assert wanted.unbatched


@pytest.mark.parametrize(("axes", "width"), [(["N", 4], 4), ([3, 4], 4), (["N", 1], 1), ([1], 1), (["N", "F"], None)])
def test_rank_2_and_1_are_features(load: Load, axes: list[int | str], width: int | None) -> None:
    package = load(graphs.passing("float32", axes), task="regression")
    columns = _features(package).columns
    assert package.takes == "features"
    assert (None if columns is None else len(columns)) == width


def test_one_axis_is_a_row_or_rows_as_the_names_say_where_the_file_does_not(load: Load) -> None:
    one_row = _features(load(graphs.passing("float32", [4], answer=[3]), task="regression"))
    four = graphs.passing("float32", [4])
    with pytest.raises(ModelPackageError, match=r"'x' is \[4\] and so is an output, 4 rows or one .*feature_names"):
        load(four)
    assert _features(load(four, feature_names=["a", "b", "c", "d"], task="regression")).unbatched
    four_rows = _features(load(four, feature_names=["a"]))
    assert (one_row.unbatched, len(one_row.columns or ())) == (True, 4)
    assert (four_rows.batch, len(four_rows.columns or ())) == (4, 1)


def _columns_model(*columns: tuple[str, str, list[int | str | None]]) -> onnx.ModelProto:
    node = helper.make_node("Identity", [columns[0][0]], ["label"])
    inputs = [graphs.tensor(name, dtype, axes) for name, dtype, axes in columns]
    return graphs.graph([node], inputs, [graphs.tensor("label", columns[0][1], columns[0][2])])


def test_one_input_per_column_names_the_features(load: Load) -> None:
    package = load(_columns_model(("age", "int64", ["N", 1]), ("city", "string", ["N", 1]), ("member", "bool", ["N"])))
    assert package.feature_names == ("age", "city", "member")
    assert _features(package).columns == (
        FeatureColumn("age", "int64"),
        FeatureColumn("city", "string"),
        FeatureColumn("member", "bool"),
    )
    assert [column.type for column in _features(package).columns or ()] == ["integer", "string", "boolean"]


def test_the_inputs_own_names_in_another_order_are_an_order_for_the_api(load: Load) -> None:
    model = _columns_model(("age", "int64", ["N", 1]), ("city", "string", ["N", 1]))
    wanted = _features(load(model, feature_names=["city", "age"]))
    assert [column.dtype for column in wanted.columns or ()] == ["string", "int64"]
    assert wanted.tensors == (FeatureTensor("age", "int64", (1,), 2), FeatureTensor("city", "string", (0,), 2))


def test_other_names_rename_the_inputs_in_their_order(load: Load) -> None:
    model = _columns_model(("f0", "float32", ["N", 1]), ("f1", "string", ["N", 1]))
    assert _features(load(model, feature_names=["age", "city"])).columns == (
        FeatureColumn("age", "float32"),
        FeatureColumn("city", "string"),
    )


def test_inputs_of_several_columns_take_theirs_one_after_the_other(load: Load) -> None:
    model = _columns_model(("kind", "string", ["N", 1]), ("numbers", "float32", ["N", 3]))
    assert load(model).feature_names is None
    wanted = _features(load(model, feature_names=["kind", "a", "b", "c"]))
    assert [(one.name, one.columns) for one in wanted.tensors] == [("kind", (0,)), ("numbers", (1, 2, 3))]


def test_names_tell_how_many_features_there_are_where_the_file_does_not(load: Load) -> None:
    model = graphs.passing("float32", ["N", None])
    assert load(model, feature_names=["a", "b"], task="regression").feature_names == ("a", "b")
    assert _features(load(model, task="regression")).columns is None


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (graphs.passing("float32", [1, 2, 3, 4, 5]), r"\[1, 2, 3, 4, 5\], of rank 5"),
        (graphs.passing("float32", []), r"\[\], of rank 0"),
        (
            graphs.passing("float32", ["N", 8, 16, 16]),
            r"1, 3 or 4 channels, on axis 1 \(here 8\) or axis 3 \(here 16\)",
        ),
        (graphs.passing("complex64", ["N", 2]), "is of type complex64, which is not served"),
        (graphs.passing("string", ["N", 28, 28, 1]), "is an image of string"),
        (graphs.passing("float32", None), "has no shape"),
        (
            _columns_model(("left", "float32", ["N", 3, 32, 32]), ("right", "float32", ["N", 3, 32, 32])),
            r"has 2 inputs, of which 'left' is \[N, 3, 32, 32\]",
        ),
        (
            _columns_model(("a", "float32", [2, 1]), ("b", "float32", [3, 1])),
            "its inputs take different numbers of rows: 'a' 2, 'b' 3",
        ),
        (
            graphs.graph([helper.make_node("Identity", ["w"], ["y"])], [], [graphs.tensor("y", "float32", [1])]),
            "has no input",
        ),
        (graphs.passing("float32", [2, 4], answer=[3, 4]), r"takes 2 rows at a time, but its outputs are \[3, 4\]"),
        (graphs.passing("float32", ["N", 3, 32, None]), "size: is missing: .* fixes only one side"),
    ],
)
def test_a_model_that_takes_something_else_is_refused_in_words(
    load: Load, model: onnx.ModelProto, message: str
) -> None:
    with pytest.raises(ModelPackageError, match=message):
        load(model)


# --- what comes out --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [["N", 1], ["N"], ["N", 1, 1], [1]])
def test_one_value_is_a_regression(load: Load, answer: list[int | str | None]) -> None:
    assert load(graphs.passing("float32", ["N", 4], answer=answer)).task == "regression"


@pytest.mark.parametrize(
    ("answer", "row"),
    [(["N", 10], "[10]"), (["N", 10, 1, 1], "[10, 1, 1]"), (["N", 8, 8], "[8, 8]"), (["N", None], "[?]")],
)
def test_several_values_are_in_doubt_unless_something_says_what_they_are(
    load: Load, answer: list[int | str | None], row: str
) -> None:
    model = graphs.passing("float32", ["N", 4], answer=answer)
    with pytest.raises(ModelPackageError, match=rf"^model\.onnx: output 'y' is {re.escape(row)} .*: say task in model"):
        load(model)
    assert load(model, task="regression").task == "regression"
    shares = graphs.linear(np.ones((4, 10)), then=["Softmax"], answer=answer)
    if "8" in row:
        with pytest.raises(ModelPackageError, match="say task"):
            load(shares)
    else:
        assert load(shares).task == "classification"


def test_labels_or_an_activation_make_a_classification(load: Load) -> None:
    one_value = graphs.passing("float32", ["N", 1])
    assert load(one_value, labels=["no", "yes"], activation="none").task == "classification"
    assert load(one_value, activation="sigmoid").task == "classification"


def test_several_values_are_a_regression_where_model_json_says_so(load: Load) -> None:
    assert load(graphs.passing("float32", ["N", 4]), task="regression").task == "regression"


def test_a_label_beside_probabilities_is_a_classification_with_the_files_own_labels(tmp_path: Path) -> None:
    shutil.copy(Path(onnxruntime.__file__).parent / "datasets" / "logreg_iris.onnx", tmp_path / "model.onnx")
    package = ModelPackage.load(tmp_path)
    assert (package.task, package.labels) == ("classification", ("0", "1", "2"))
    assert _features(package).batch == 3


def _two_outputs(first: tuple[str, list[Any]], second: tuple[str, list[Any]]) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["x"], [name], to=graphs.tensor("", dtype, []).type.tensor_type.elem_type)
        for name, dtype in (("first", first[0]), ("second", second[0]))
    ]
    outputs = [graphs.tensor("first", *first), graphs.tensor("second", *second)]
    return graphs.graph(nodes, [graphs.tensor("x", "float32", ["N", 4])], outputs)


def test_of_several_outputs_of_numbers_model_json_names_the_answer_or_has_labels_that_fit_one(load: Load) -> None:
    model = _two_outputs(("float32", ["N", 64]), ("float32", ["N", 3]))
    with pytest.raises(ModelPackageError, match="outputs 'first', 'second' may each be the answer: say answer in"):
        load(model, task="regression")
    named = load(model, task="regression", answer="second").answer
    assert (named.width, [one.name for one in named.further]) == (3, ["first"])
    assert load(model, labels=["a", "b", "c"]).answer.width == 3


@pytest.mark.parametrize("name", [".", "..", "/", "scores/"])
def test_an_output_that_no_path_can_name_is_refused(load: Load, name: str) -> None:
    node = helper.make_node("Identity", ["x"], [name])
    x, y = graphs.tensor("x", "float32", ["N", 4]), graphs.tensor(name, "float32", ["N", 4])
    with pytest.raises(ModelPackageError, match=f'the output "{re.escape(name)}" could not be read by its path'):
        load(graphs.graph([node], [x], [y]), task="regression")


def test_an_output_that_has_no_part_for_each_input_must_be_left_out(load: Load) -> None:
    model = _two_outputs(("float32", [1]), ("float32", [3, 4]))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3
    with pytest.raises(ModelPackageError, match=r"3 rows at a time, but output 'first' \[1\] has no .* under keep"):
        load(model, task="regression")
    answer = load(model, task="regression", keep=["second"]).answer
    assert answer.scores is not None
    assert (answer.scores.name, answer.further) == ("second", ())


def test_a_whole_number_alone_is_a_label_where_model_json_says_classification(load: Load) -> None:
    model = graphs.passing("int64", ["N", 1])
    with pytest.raises(ModelPackageError, match="'y' is one value of int64, a class or a quantity: say task"):
        load(model)
    number, told = load(model, task="regression"), load(model, task="classification")
    assert (number.task, number.answer.label) == ("regression", None)
    assert told.answer.scores is None
    assert told.answer.label is not None


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        (TEN_OF_FOUR, {"labels": [*range(20)]}, "labels: 20 given, but output 'y' has 10 values"),
        (
            graphs.linear(np.ones((4, 1)), then=["Sigmoid"]),
            {"labels": ["a", "b", "c"]},
            "labels: 3 given, but output 'y' has 1 value, for 2 classes",
        ),
        (graphs.linear(np.ones((4, 3))), {"task": "regression", "labels": ["a"]}, "labels: 1 given, but a regression"),
        (TEN_OF_FOUR, {"feature_names": ["a"]}, "feature_names: has 1 names, but the model takes 4 features"),
        (TEN_OF_FOUR, {"size": [2, 2]}, r"size: is about images, but the model takes features \[N, 4\]"),
        (TEN_OF_FOUR, {"image_mean": 0.5}, "image_mean: is about images"),
        (TEN_OF_FOUR, {"activation": "softmax"}, "activation: is softmax, but output 'y' already is"),
        (
            graphs.linear(np.ones((4, 1))),
            {"activation": "softmax"},
            "activation: is softmax, but output 'y' has 1 value",
        ),
        (
            graphs.passing("string", ["N", 1]),
            {"activation": "softmax"},
            "activation: is softmax, but the model answers a label",
        ),
        (
            graphs.passing("string", ["N", 1]),
            {"task": "regression"},
            "task: is regression, but the model answers a label",
        ),
        (
            graphs.passing("float32", ["N", 1, 16, 16]),
            {"task": "classification"},
            r"task: is classification, but output 'y' is \[1, 16, 16\]",
        ),
        (DIGITS, {"image_mean": [1, 2, 3]}, "image_mean: has 3 values, but the model's image 1 channel"),
        (
            graphs.conv_net(channels=3),
            {"image_std": [1, 2]},
            "image_std: has 2 values, but the model's image 3 channels",
        ),
        (DIGITS, {"size": [32, 28]}, r"size: height is 32, but that of input 'image' \[N, 28, 28, 1\] is 28"),
        (DIGITS, {"size": [28, 32]}, r"size: width is 32, but that of input 'image' \[N, 28, 28, 1\] is 28"),
        (DIGITS, {"color": "rgb"}, "color: rgb has 3 channels, the model's input 1"),
        (graphs.conv_net(channels=3), {"color": "grey"}, "color: grey has 1 channels, the model's input 3"),
        (DIGITS, {"feature_names": ["a"]}, "feature_names: the model takes an image"),
        (
            graphs.conv_net(dtype="uint8"),
            {"image_mean": 128},
            "pixels become -128 to 127, but input 'image' is uint8, 0 to 255",
        ),
    ],
)
def test_a_package_that_contradicts_itself_is_refused_with_the_field_and_both_numbers(
    load: Load, model: onnx.ModelProto, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelPackageError, match=rf"^model\.json: .*{message}"):
        load(model, **settings)


def test_labels_are_compared_with_the_classes_that_the_file_keeps(tmp_path: Path) -> None:
    shutil.copy(Path(onnxruntime.__file__).parent / "datasets" / "logreg_iris.onnx", tmp_path / "model.onnx")

    def labelled(*labels: str) -> tuple[str, ...] | None:
        (tmp_path / "model.json").write_text(json.dumps({"labels": labels}))
        return ModelPackage.load(tmp_path).labels

    assert labelled("setosa", "versicolor", "virginica") == ("setosa", "versicolor", "virginica")
    with pytest.raises(ModelPackageError, match="labels: 4 given, but the model has 3 classes"):
        labelled("a", "b", "c", "d")
    with pytest.raises(ModelPackageError, match='labels: "1" stands at 0, where the model has "0"'):
        labelled("1", "0", "2")


# --- what is told of it ----------------------------------------------------------------------------------------------


def test_what_the_api_takes_is_told_for_an_image(load: Load) -> None:
    told = load(graphs.conv_net("NCHW", channels=3, size=(24, 20))).describe_input()
    assert told == {
        "takes": "image",
        "content_types": ["image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff"],
        "height": 24,
        "width": 20,
        "channels": 3,
        "color": "rgb",
        "resample": "bilinear",
        "fit": "stretch",
        "crop_size": None,
    }


def test_what_the_api_takes_is_told_for_features(load: Load) -> None:
    named = load(_columns_model(("age", "int64", ["N", 1]), ("city", "string", ["N", 1])))
    assert named.describe_input() == {
        "takes": "features",
        "features": [
            {"name": "age", "type": "integer", "dtype": "int64"},
            {"name": "city", "type": "string", "dtype": "string"},
        ],
    }
    nameless = load(graphs.passing("float32", ["N", 2]), task="regression").describe_input()
    assert nameless["features"] == [{"name": None, "type": "number", "dtype": "float32"}] * 2
    anything = load(graphs.passing("float32", ["N", None]), task="regression", missing="nan").describe_input()
    assert anything == {"takes": "features", "features": None, "missing": "nan"}
