"""JSON taken apart keeps the text that each member was written as."""

import json

import pytest

from functions.shared.api.json_source import Source, parse_items, parse_members
from functions.shared.api.problems import Problem


def test_each_member_comes_with_the_text_it_was_written_as() -> None:
    members = parse_members(' { "features" : [ 0.10, 1e2 ,12345678901234567890 ] , "user_id":"anna"} ')

    assert members["features"].text == "[ 0.10, 1e2 ,12345678901234567890 ]"
    assert members["features"].value == [0.1, 100.0, 12345678901234567890]
    assert members["user_id"] == Source("anna", '"anna"')


@pytest.mark.parametrize("text", ["{}", " { } ", "\n{\t}\r\n"])
def test_an_empty_object_has_no_members(text: str) -> None:
    assert parse_members(text) == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "}",
        '{"a"}',
        '{"a":}',
        '{"a":1,}',
        '{"a":1 "b":2}',
        "{a:1}",
        '{"a":1}}',
        '{"a":1} x',
        "nonsense",
        '{"a":tru}',
    ],
)
def test_what_is_not_json_is_malformed_and_the_answer_says_where(text: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)

    with pytest.raises(Problem, match=r"not JSON: .* at line 1, column \d+") as caught:
        parse_members(text)

    assert caught.value.status == 400


@pytest.mark.parametrize("text", ["[]", '"text"', "1", "null"])
def test_json_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(Problem, match="must be an object") as caught:
        parse_members(text)

    assert caught.value.status == 422


@pytest.mark.parametrize("text", ['{"a":1,"a":2}', '{"features":{"x":1,"x":2}}'])
def test_a_member_that_is_there_twice_is_ambiguous_and_refused(text: str) -> None:
    with pytest.raises(Problem, match="twice") as caught:
        parse_members(text)

    assert caught.value.status == 400


@pytest.mark.parametrize("text", ['{"a":' + "[" * 100_000, '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"])
def test_json_nested_too_deeply_is_malformed(text: str) -> None:
    with pytest.raises(Problem, match="nested too deeply") as caught:
        parse_members(text)

    assert caught.value.status == 400


def test_an_integer_of_more_digits_than_can_be_read_is_malformed() -> None:
    with pytest.raises(Problem, match="too many digits") as caught:
        parse_members('{"a":' + "1" * 10_000 + "}")

    assert caught.value.status == 400


@pytest.mark.parametrize("text", ["[]", "[ ]", "[1]", '[ 1 , [2, 3] , {"a": 0.10} ]'])
def test_each_element_comes_with_the_text_it_was_written_as(text: str) -> None:
    items = list(parse_items(Source(json.loads(text), text)))

    assert [item.value for item in items] == json.loads(text)
    assert all(item.text in text and json.loads(item.text) == item.value for item in items)
