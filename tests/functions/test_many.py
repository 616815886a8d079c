"""Many inputs in one request: all of them are predicted and stored in one transaction, or none is."""

from base64 import b64encode

import httpx
import pytest


def part(content: bytes, name: str = "seven.png") -> tuple[str, tuple[str, bytes, str]]:
    """Return one part `file` of a form."""
    return ("file", (name, content, "image/png"))


def uri(content: bytes) -> str:
    """Return an image as a data URI."""
    return f"data:image/png;base64,{b64encode(content).decode()}"


def stored(api: httpx.Client) -> int:
    return len(api.get("/predictions", params={"limit": 1000}).json()["predictions"])


def test_several_files_are_answered_in_the_order_sent(api: httpx.Client, digit: bytes) -> None:
    names = [f"{index}.png" for index in range(5)]

    answer = api.post("/predictions", files=[part(digit, name) for name in names], data={"user_id": "anna"})

    assert answer.status_code == 201
    records = answer.json()["predictions"]
    assert [record["filename"] for record in records] == names
    assert {record["user_id"] for record in records} == {"anna"}
    for record in records:
        read = api.get(f"/prediction/{record['prediction_id']}").json()
        assert read.pop("image") == uri(digit)
        assert read == record


def test_instances_may_carry_metadata_of_their_own(api: httpx.Client, digit: bytes) -> None:
    instances = [{"image": uri(digit), "metadata": {"own": 1}}, {"image": uri(digit), "filename": "b.png"}]

    answer = api.post("/predictions/", json={"instances": instances, "metadata": {"shared": 2}})

    assert answer.status_code == 201
    assert [record["metadata"] for record in answer.json()["predictions"]] == [{"own": 1}, {"shared": 2}]


def test_many_say_what_one_at_a_time_says(api: httpx.Client, digit: bytes) -> None:
    one = api.post("/prediction", files=[part(digit)]).json()

    many = api.post("/predictions", files=[part(digit)] * 3).json()["predictions"]

    for record in many:
        assert record["prediction"] == pytest.approx(one["prediction"], abs=1e-5)
        assert record["label"] == one["label"]


def test_one_bad_input_refuses_all_and_every_bad_one_is_pointed_at(api: httpx.Client, digit: bytes) -> None:
    form = api.post("/predictions", files=[part(digit), part(b"text"), part(digit), part(digit[:60])])
    instances = [{"image": uri(digit)}, {"image": "nonsense"}, {}, {"image": uri(b"text")}]
    body = api.post("/predictions", json={"instances": instances})

    assert form.status_code == body.status_code == 400
    assert [error["pointer"] for error in form.json()["errors"]] == ["/file/1/image", "/file/3/image"]
    assert [error["pointer"] for error in body.json()["errors"]] == ["/instances/1/image", "/instances/2"]
    assert stored(api) == 0


def test_images_that_cannot_be_decoded_are_all_pointed_at(api: httpx.Client, digit: bytes) -> None:
    instances = [{"image": uri(b"text")}, {"image": uri(digit)}, {"image": uri(digit[:60])}]

    answer = api.post("/predictions", json={"instances": instances})

    assert answer.status_code == 400
    assert "2 of the inputs" in answer.json()["detail"]
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/instances/0/image", "/instances/2/image"]
    assert stored(api) == 0


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        ({}, 400, None),
        ({"instances": []}, 422, "/instances"),
        ({"instances": {}}, 422, "/instances"),
        ({"instances": ["text"]}, 422, "/instances/0"),
        ({"instances": [{"features": [1]}]}, 422, "/instances/0/features"),
        ({"instances": [{"image": "", "user_id": "anna"}]}, 422, "/instances/0/user_id"),
        ({"instances": [{}], "colour": 1}, 422, "/colour"),
    ],
)
def test_a_body_without_proper_instances_is_refused(
    api: httpx.Client, body: dict[str, object], status: int, pointer: str | None
) -> None:
    answer = api.post("/predictions", json=body)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    if pointer is not None:
        assert answer.json()["errors"][0]["pointer"] == pointer
    assert stored(api) == 0


def test_more_inputs_than_the_limit_are_refused_and_the_answer_names_it(
    api: httpx.Client, digit: bytes, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("MAX_BATCH_INPUTS", "3")

    form = api.post("/predictions", files=[part(digit)] * 4)
    body = api.post("/predictions", json={"instances": [{"image": uri(digit)}] * 4})

    for answer in (form, body):
        assert answer.status_code == 413
        assert "at most 3" in answer.json()["detail"]
    assert api.post("/predictions", files=[part(digit)] * 3).status_code == 201
    assert stored(api) == 3


def test_a_raw_image_is_one_input_and_not_many(api: httpx.Client, digit: bytes) -> None:
    answer = api.post("/predictions", content=digit, headers={"content-type": "image/png"})

    assert answer.status_code == 415
    assert "multipart/form-data" in answer.json()["detail"]
