"""Which messages an event source mapping deletes after a function's result."""

import json

import pytest

from local.runtime.sqs_event import Message, messages_done


def messages(*names: str) -> list[Message]:
    return [{"MessageId": name, "ReceiptHandle": "", "Body": "", "MD5OfBody": "", "Attributes": {}} for name in names]


def failures(*names: str | None) -> dict[str, object]:
    return {"batchItemFailures": [{"itemIdentifier": name} for name in names]}


@pytest.mark.parametrize(
    ("result", "done"),
    [
        (None, ["a", "b"]),
        ({}, ["a", "b"]),
        (failures(), ["a", "b"]),
        ({"batchItemFailures": None}, ["a", "b"]),
        (failures("a"), ["b"]),
        (failures("a", "a"), ["b"]),
        (failures("a", "b"), []),
        (failures("c"), []),
        (failures(""), []),
        (failures(None), []),
        ({"batchItemFailures": ["a"]}, []),
        ({"batchItemFailures": "a"}, []),
        ("text", []),
    ],
)
def test_messages_are_done_unless_the_answer_names_them_or_makes_no_sense(result: object, done: list[str]) -> None:
    delivered = messages("a", "b")

    assert [one["MessageId"] for one in messages_done(delivered, json.dumps(result).encode())] == done
