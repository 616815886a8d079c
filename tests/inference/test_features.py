"""From a caller's features to the model's tensors: exact conversion, and every mistake named where it stands."""

import json
import math
from typing import Any

import numpy as np
import pytest

from functions.shared.inference.errors import InvalidFeaturesError, MissingFeaturesError
from functions.shared.inference.feature_input import FeatureColumn, FeatureInput, FeatureTensor
from functions.shared.inference.features import FeatureDecoder


def vector(width: int, dtype: str = "float32", *, names: tuple[str, ...] | None = None) -> FeatureDecoder:
    """Make a decoder for one input of `width` features."""
    columns = tuple(FeatureColumn(names[at] if names else None, dtype) for at in range(width))
    return FeatureDecoder(FeatureInput(columns, (FeatureTensor("x", dtype, tuple(range(width)), 2),), None, False))


def columns(**dtypes: str) -> FeatureDecoder:
    """Make a decoder for one input per column."""
    return FeatureDecoder(
        FeatureInput(
            tuple(FeatureColumn(name, dtype) for name, dtype in dtypes.items()),
            tuple(FeatureTensor(name, dtype, (at,), 2) for at, (name, dtype) in enumerate(dtypes.items())),
            None,
            False,
        )
    )


IRIS = vector(4, names=("sepal_length", "sepal_width", "petal_length", "petal_width"))
PERSON = columns(age="int64", income="float32", city="string", member="bool")


def problems(decoder: FeatureDecoder, features: Any) -> dict[str, str]:
    with pytest.raises(InvalidFeaturesError) as caught:
        decoder.decode(features)
    assert str(caught.value).startswith(caught.value.problems[0].detail)
    return {problem.pointer: problem.detail for problem in caught.value.problems}


# --- what is taken ---------------------------------------------------------------------------------------------------


def test_a_list_in_order_and_an_object_by_name_are_the_same() -> None:
    (by_order,) = IRIS.decode([5.1, 3.5, 1.4, 0.2])
    (by_name,) = IRIS.decode({"petal_width": 0.2, "petal_length": 1.4, "sepal_width": 3.5, "sepal_length": 5.1})
    assert by_order.dtype == np.float32
    assert by_order.tolist() == by_name.tolist() == [[float(np.float32(value)) for value in (5.1, 3.5, 1.4, 0.2)]]


def test_each_column_gets_its_own_type() -> None:
    age, income, city, member = PERSON.decode({"city": "Oslo", "age": 41, "member": True, "income": 3})
    assert [array.dtype for array in (age, income, city, member)] == ["int64", "float32", "object", "bool"]
    assert [array.tolist() for array in (age, income, city, member)] == [[[41]], [[3.0]], [["Oslo"]], [[True]]]


def test_a_column_may_be_of_rank_1() -> None:
    wanted = FeatureInput((FeatureColumn("x", "float32"),), (FeatureTensor("x", "float32", (0,), 1),), None, False)
    (array,) = FeatureDecoder(wanted).decode([2])
    assert array.tolist() == [2.0]


def test_features_go_where_their_input_wants_them() -> None:
    wanted = FeatureInput(
        tuple(FeatureColumn(name, "float32") for name in "abc"),
        (FeatureTensor("first", "float32", (2,), 2), FeatureTensor("rest", "float32", (0, 1), 2)),
        None,
        False,
    )
    first, rest = FeatureDecoder(wanted).decode({"a": 1, "b": 2, "c": 3})
    assert (first.tolist(), rest.tolist()) == ([[3.0]], [[1.0, 2.0]])


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("int64", 2**53 + 1),
        ("int64", -(2**63)),
        ("int64", 2**63 - 1),
        ("uint64", 2**64 - 1),
        ("uint8", 255),
        ("int8", -128),
        ("float64", 0.1),
        ("float64", 1e308),
        ("float64", 5e-324),
        ("float64", 2**53 + 2),
        ("float32", 16_777_216),
        ("float32", -3.4e38),
        ("float16", 65_504),
    ],
)
def test_numbers_keep_the_precision_that_the_models_type_has(dtype: str, value: float) -> None:
    (array,) = vector(1, dtype).decode(json.loads(json.dumps([value])))
    assert array.dtype == dtype
    assert array[0, 0] == np.dtype(dtype).type(value)
    if dtype != "float32":
        assert array[0, 0].item() == value


def test_a_float_without_fraction_is_a_whole_number_to_json() -> None:
    (array,) = vector(2, "int64").decode([5.0, -3])
    assert array.tolist() == [[5, -3]]


def test_a_value_too_small_for_the_models_type_becomes_zero() -> None:
    assert vector(1, "float32").decode([1e-60])[0].tolist() == [[0.0]]


def test_texts_are_kept_whole() -> None:
    text = "Zürich\0 \N{SNOWMAN} " * 50
    assert columns(city="string").decode([text])[0].item() == text


def test_any_number_of_features_is_taken_where_the_model_takes_any() -> None:
    wanted = FeatureInput(None, (FeatureTensor("x", "float32", None, 2),), None, False)
    assert FeatureDecoder(wanted).decode([1, 2, 3])[0].shape == (1, 3)
    assert problems(FeatureDecoder(wanted), []) == {"/features": "features must not be empty"}
    assert "does not name its features" in problems(FeatureDecoder(wanted), {"a": 1})["/features"]


# --- what is refused -------------------------------------------------------------------------------------------------


def test_no_features_at_all_is_another_error_than_wrong_ones() -> None:
    with pytest.raises(MissingFeaturesError, match="there are no features: send a list of 4 values or an object with"):
        IRIS.decode(None)


@pytest.mark.parametrize("count", [0, 3, 5])
def test_a_wrong_count_tells_both_numbers(count: int) -> None:
    found = problems(IRIS, [1.0] * count)
    assert found == {
        "/features": "features must be a list of 4 values or an object with "
        f"sepal_length, sepal_width, petal_length, petal_width, but {count} came"
    }


def test_a_missing_feature_and_an_unknown_one_are_both_named() -> None:
    found = problems(IRIS, {"sepal_length": 1, "sepal_width": 1, "petal_length": 1, "petalwidth": 1})
    assert found["/features/petal_width"] == 'feature "petal_width" is missing: it must be a finite number'
    assert found["/features/petalwidth"].startswith('the model has no feature "petalwidth": send')


def test_no_feature_at_all_by_name_names_every_one() -> None:
    assert list(problems(PERSON, {})) == [f"/features/{name}" for name in ("age", "income", "city", "member")]


@pytest.mark.parametrize("features", ["1,2,3,4", 4, True, 1.5])
def test_what_is_neither_list_nor_object_is_refused(features: object) -> None:
    assert "features must be a list of 4 values or an object" in problems(IRIS, features)["/features"]


def test_an_object_is_refused_where_the_features_have_no_names() -> None:
    found = problems(vector(2), {"a": 1, "b": 2})
    assert found == {"/features": "this model does not name its features: send a list of 2 values, not an object"}


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("1.4", "not a text"),
        (True, "not a boolean"),
        (None, "not null"),
        ([1], "not a list"),
        ({}, "not an object"),
        (math.nan, "not NaN"),
        (math.inf, "not Infinity"),
        (-math.inf, "not Infinity"),
        (1e39, "not one beyond the float32 that the model takes"),
        (10**39, "not one beyond the float32 that the model takes"),
        (10**400, "not one beyond the float32 that the model takes"),
    ],
)
def test_a_feature_that_is_no_finite_number_is_named(value: object, what: str) -> None:
    sentence = f'feature "petal_length" must be a finite number, {what}'
    assert problems(IRIS, [5.1, 3.5, value, 0.2]) == {"/features/2": sentence}
    by_name = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": value, "petal_width": 0.2}
    assert problems(IRIS, by_name) == {"/features/petal_length": sentence}


@pytest.mark.parametrize(
    ("dtype", "value", "sentence"),
    [
        ("uint8", 300, "feature 0 must be a whole number from 0 to 255, not one beyond that"),
        ("uint8", -1, "feature 0 must be a whole number from 0 to 255, not one beyond that"),
        ("int8", 128, "feature 0 must be a whole number from -128 to 127, not one beyond that"),
        ("int64", 2**63, f"feature 0 must be a whole number from {-(2**63)} to {2**63 - 1}, not one beyond that"),
        ("int64", 1.5, f"feature 0 must be a whole number from {-(2**63)} to {2**63 - 1}, not 1.5"),
        ("int32", 2.0**31, f"feature 0 must be a whole number from {-(2**31)} to {2**31 - 1}, not 2.14748e+09"),
        (
            "int64",
            2.0**53,
            (
                f"feature 0 must be a whole number from {-(2**63)} to {2**63 - 1}, not 9.0072e+15, which may be "
                "rounded: write it without a point or an exponent"
            ),
        ),
        ("int32", math.nan, f"feature 0 must be a whole number from {-(2**31)} to {2**31 - 1}, not NaN"),
        ("int32", "7", f"feature 0 must be a whole number from {-(2**31)} to {2**31 - 1}, not a text"),
        ("int32", True, f"feature 0 must be a whole number from {-(2**31)} to {2**31 - 1}, not a boolean"),
        ("float16", 70_000, "feature 0 must be a finite number, not one beyond the float16 that the model takes"),
        ("float64", 10**400, "feature 0 must be a finite number, not one beyond the float64 that the model takes"),
        ("string", 5, "feature 0 must be a text, not a number"),
        ("string", None, "feature 0 must be a text, not null"),
        ("string", "\ud800", "feature 0 must be a text, not half of a surrogate pair"),
        ("bool", 1, "feature 0 must be true or false, not a number"),
        ("bool", "true", "feature 0 must be true or false, not a text"),
    ],
)
def test_a_value_that_the_models_type_cannot_hold_is_refused(dtype: str, value: object, sentence: str) -> None:
    assert problems(vector(1, dtype), [value]) == {"/features/0": sentence}


def test_everything_wrong_with_one_vector_is_told_at_once() -> None:
    found = problems(PERSON, {"age": 1.5, "income": math.nan, "city": 7, "nickname": "x"})
    assert list(found) == [
        "/features/nickname",
        "/features/member",
        "/features/age",
        "/features/income",
        "/features/city",
    ]
    with pytest.raises(InvalidFeaturesError, match=r"\(and 4 more\)$"):
        PERSON.decode({"age": 1.5, "income": math.nan, "city": 7, "nickname": "x"})


def test_of_very_many_problems_the_first_hundred_are_told() -> None:
    found = problems(vector(10_000), ["x"] * 10_000)
    assert len(found) == 101
    assert found["/features"] == "and 9900 more problems"
    with pytest.raises(InvalidFeaturesError, match=r"\(and 9999 more\)$"):
        vector(10_000).decode(["x"] * 10_000)


def test_pointers_are_escaped_as_rfc_6901_says_and_names_cut() -> None:
    found = problems(columns(**{"a/b": "float32", "c~d": "float32"}), {"a/b": "x", "c~d": "x", "y" * 1000: 1})
    assert list(found) == ["/features/" + "y" * 100, "/features/a~1b", "/features/c~0d"]
    assert len(found["/features/" + "y" * 100]) < 300
