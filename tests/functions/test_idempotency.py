"""The same request sent again under one key stores nothing more and gets the first answer, byte for byte."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest


def send(
    api: httpx.Client, content: bytes, key: str, path: str = "/prediction", *, user_id: str = "anna", copies: int = 1
) -> httpx.Response:
    files = [("file", ("seven.png", content, "image/png"))] * copies
    data = {"user_id": user_id, "metadata": '{"z": 1, "a": [0.1, 1e-7, 1e300, null]}'}
    return api.post(path, files=files, data=data, headers={"idempotency-key": key})


def stored(api: httpx.Client) -> int:
    return len(api.get("/predictions", params={"limit": 1000}).json()["predictions"])


@pytest.mark.parametrize(("path", "copies"), [("/prediction", 1), ("/predictions", 3), ("/predictions", 1)])
def test_the_first_answer_is_given_again_byte_for_byte(api: httpx.Client, digit: bytes, path: str, copies: int) -> None:
    first = send(api, digit, "key 1", path, copies=copies)
    again = send(api, digit, "key 1", path, copies=copies)

    assert first.status_code == again.status_code == 201
    assert again.content == first.content
    assert again.headers.get("location") == first.headers.get("location")
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert stored(api) == copies


def test_another_input_under_the_same_key_is_refused(api: httpx.Client, digit: bytes) -> None:
    send(api, digit, "key 1")

    for answer in (
        send(api, digit + b"\x00", "key 1"),
        send(api, digit, "key 1", "/predictions"),
        api.post("/prediction", content=digit, headers={"content-type": "image/png", "idempotency-key": "key 1"}),
    ):
        expected = 201 if answer.request.headers["content-type"] == "image/png" else 422  # that one is anonymous's
        assert answer.status_code == expected
    assert stored(api) == 2


def test_keys_of_different_users_have_nothing_to_do_with_each_other(api: httpx.Client, digit: bytes) -> None:
    anna = send(api, digit, "key 1", user_id="anna")
    bob = send(api, digit, "key 1", user_id="bob")

    assert anna.json()["prediction_id"] != bob.json()["prediction_id"]
    assert "idempotency-replayed" not in bob.headers


def test_a_request_that_failed_leaves_its_key_free(api: httpx.Client, digit: bytes) -> None:
    assert send(api, b"text", "key 1").status_code == 400

    assert send(api, digit, "key 1").status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "ümlaut", "a\tb"])
def test_a_key_that_is_no_short_printable_text_is_refused(api: httpx.Client, digit: bytes, key: str) -> None:
    headers = [(b"content-type", b"image/png"), (b"idempotency-key", key.encode())]

    answer = api.post("/prediction", content=digit, headers=headers)

    assert answer.status_code == 422
    assert "1 to 255 printable" in answer.json()["detail"]
    assert stored(api) == 0


def test_of_copies_that_race_each_other_one_is_stored_and_all_get_it(api: httpx.Client, digit: bytes) -> None:
    send(api, digit, "key 0")

    with ThreadPoolExecutor(4) as threads:
        for number in range(1, 11):
            copies = [threads.submit(send, api, digit, f"key {number}") for _ in range(4)]
            answers = [copy.result() for copy in copies]
            assert {answer.status_code for answer in answers} == {201}
            assert len({answer.content for answer in answers}) == 1
            assert api.get(answers[0].headers["location"]).status_code == 200
            assert stored(api) == number + 1
