"""Text that comes along with an input is checked before it is stored."""

import pytest

from functions.shared.api.fields import check_filename, check_metadata, check_user_id
from functions.shared.api.problems import Problem


@pytest.mark.parametrize(
    "name", ["seven.png", "ziffer ü.png", "数字.png", "Screenshot 9.41\u202fPM.png", "👩\u200d🔬.png"]
)
def test_a_file_name_is_any_text_on_one_line(name: str) -> None:
    assert check_filename("/filename", name) == name


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("a\nb.png", "printable text"),
        ("a\x00b.png", "printable text"),
        ("\ud800.png", "printable text"),
        ("x" * 10_000, "at most 255 characters long, and is 10000"),
        ("", "must not be empty"),
        (7, "must be a string"),
    ],
)
def test_a_file_name_that_is_no_line_of_text_is_refused(name: object, complaint: str) -> None:
    with pytest.raises(Problem, match=complaint) as caught:
        check_filename("/filename", name)

    assert caught.value.status == 422
    assert caught.value.errors[0][0] == "/filename"


def test_a_user_id_is_stored_as_it_was_sent() -> None:
    assert check_user_id("/user_id", "'; DROP TABLE predictions; --") == "'; DROP TABLE predictions; --"


@pytest.mark.parametrize(
    "metadata", [{}, {"source": "form-3", "nested": {"list": [1, None, True, 1.5]}}, {"é": "\\u0000"}]
)
def test_metadata_is_any_json_object(metadata: dict[str, object]) -> None:
    assert check_metadata("/metadata", metadata) == metadata


@pytest.mark.parametrize(
    ("metadata", "complaint"),
    [
        ([], "JSON object"),
        ("text", "JSON object"),
        ({"x": float("nan")}, "NaN"),
        ({"x": float("inf")}, "Infinity"),
        ({"x": "\ud800"}, "surrogate"),
        ({"x": ["a\x00b"]}, r"U\+0000"),
        ({"a\x00b": 1}, r"U\+0000"),
        ({"x": "y" * 20_000}, "at most 16384 bytes"),
    ],
)
def test_metadata_that_a_database_cannot_keep_is_refused(metadata: object, complaint: str) -> None:
    with pytest.raises(Problem, match=complaint) as caught:
        check_metadata("/metadata", metadata)

    assert caught.value.status == 422
