"""The main job: an image in, a prediction out, and both to be read back."""

from base64 import b64encode
from datetime import UTC, datetime
from json import loads

import httpx
import pytest

from tests.support.repository import ROOT

VERSION = loads((ROOT / "model_artifacts" / "mnist" / "model.json").read_text())["version"]


def predict(api: httpx.Client, content: bytes, name: str = "seven.png", **data: str) -> httpx.Response:
    """Send an image as a form does."""
    return api.post("/prediction", files={"file": (name, content, "image/png")}, data=data)


def stored(api: httpx.Client) -> int:
    """Return how many predictions there are."""
    return len(api.get("/predictions", params={"limit": 1000}).json()["predictions"])


def test_a_form_with_an_image_is_predicted_and_stored(api: httpx.Client, digit: bytes) -> None:
    before = datetime.now(UTC)

    answer = predict(api, digit, user_id="anna", metadata='{"source": "form-3"}')

    assert answer.status_code == 201
    record = answer.json()
    assert answer.headers["location"] == f"/prediction/{record['prediction_id']}"
    assert list(record) == [
        "prediction_id",
        "input_id",
        "filename",
        "contenttype",
        "prediction",
        "likely_class",
        "label",
        "confidence",
        "predicted_value",
        "model",
        "user_id",
        "metadata",
        "status",
        "duration_ms",
        "decode_ms",
        "inference_ms",
        "created_at",
    ]
    assert len(record["prediction"]) == 10
    assert sum(record["prediction"]) == pytest.approx(1, abs=1e-5)
    assert record["likely_class"] == 7
    assert record["label"] == record["predicted_value"] == "7"
    assert record["confidence"] == record["prediction"][7] == max(record["prediction"])
    assert record["model"] == {"name": "mnist", "version": VERSION}
    assert (record["filename"], record["contenttype"]) == ("seven.png", "image/png")
    assert (record["user_id"], record["metadata"], record["status"]) == ("anna", {"source": "form-3"}, "succeeded")
    assert record["created_at"].endswith("Z")
    assert before <= datetime.fromisoformat(record["created_at"]) <= datetime.now(UTC)


def test_the_record_that_was_answered_is_the_record_that_is_read_back(api: httpx.Client, digit: bytes) -> None:
    answered = predict(api, digit, metadata='{"b": 1, "a": [0.1, null, "é"]}').json()

    read = api.get(f"/prediction/{answered['prediction_id']}").json()
    listed = api.get("/predictions").json()["predictions"]

    assert read.pop("image") == f"data:image/png;base64,{b64encode(digit).decode()}"
    assert read == answered
    assert listed == [answered]
    assert list(read) == list(listed[0]) == list(answered)


def test_the_input_comes_back_byte_for_byte_with_its_content_type(api: httpx.Client, digit: bytes) -> None:
    record = predict(api, digit, "sieben ü.png").json()

    answer = api.get(f"/prediction/{record['prediction_id']}/input")

    assert answer.content == digit
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == "inline; filename*=UTF-8''sieben%20%C3%BC.png"


def test_an_input_is_never_a_page_of_this_api(api: httpx.Client, digit: bytes) -> None:
    path = f"/prediction/{predict(api, digit, 'page.html').json()['prediction_id']}/input"
    whole = api.get(path)

    answers = [
        whole,
        api.get(path, headers={"range": "bytes=0-9"}),
        api.get(path, headers={"if-none-match": whole.headers["etag"]}),
    ]

    assert [answer.status_code for answer in answers] == [200, 206, 304]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"


def test_an_input_comes_in_parts(api: httpx.Client, digit: bytes) -> None:
    path = f"/prediction/{predict(api, digit, 'seven.png').json()['prediction_id']}/input"
    size = len(digit)

    for asked, start, stop in (
        ("bytes=0-99", 0, 100),
        ("bytes=100-", 100, size),
        ("bytes=-7", size - 7, size),
        (f"bytes={size - 1}-{size * 2}", size - 1, size),
    ):
        answer = api.get(path, headers={"range": asked})
        assert (answer.status_code, answer.content) == (206, digit[start:stop])
        assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
        assert answer.headers["content-type"] == "image/png"
    for asked in ("bytes=0-1,3-4", "rows=0-1", "bytes=9-3"):
        answer = api.get(path, headers={"range": asked})
        assert (answer.status_code, answer.content, answer.headers["accept-ranges"]) == (200, digit, "bytes")
    beyond = api.get(path, headers={"range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    assert f"This input has {size} bytes" in beyond.json()["detail"]


def test_an_image_may_be_the_body_itself(api: httpx.Client, digit: bytes) -> None:
    answer = api.post("/prediction", content=digit, headers={"content-type": "image/png"})

    assert answer.status_code == 201
    assert "filename" not in answer.json()
    assert answer.json()["label"] == "7"


def test_an_image_may_be_a_data_uri(api: httpx.Client, digit: bytes) -> None:
    uri = f"data:image/png;base64,{b64encode(digit).decode()}"

    answer = api.post("/prediction", json={"image": uri, "filename": "seven.png", "user_id": None})

    assert answer.status_code == 201
    assert answer.json()["filename"] == "seven.png"
    assert answer.json()["user_id"] == "anonymous"
    assert api.get(f"/prediction/{answer.json()['prediction_id']}/input").content == digit


def test_a_part_without_a_content_type_is_told_by_its_first_bytes(api: httpx.Client, digit: bytes) -> None:
    answer = api.post("/prediction", files={"file": ("seven", digit, "application/octet-stream")})

    assert answer.json()["contenttype"] == "image/png"


@pytest.mark.parametrize("path", ["/prediction", "/prediction/"])
def test_a_trailing_slash_is_answered_and_not_redirected(api: httpx.Client, digit: bytes, path: str) -> None:
    answer = api.post(path, files={"file": ("seven.png", digit, "image/png")})

    assert answer.status_code == 201
    prediction_id = answer.json()["prediction_id"]
    for read in ("/predictions/", f"/prediction/{prediction_id}/", f"/prediction/{prediction_id}/input/"):
        assert api.get(read).status_code == 200


def test_pages_follow_each_other_newest_first_and_say_where_the_next_one_is(api: httpx.Client, digit: bytes) -> None:
    made = [predict(api, digit).json()["prediction_id"] for _ in range(7)]

    seen: list[list[str]] = []
    url: str | None = "/predictions?limit=3&label=7"
    while url:
        answer = api.get(url)
        page = answer.json()
        seen.append([record["prediction_id"] for record in page["predictions"]])
        link = answer.links.get("next", {}).get("url")
        assert (link is None) == (page["next_cursor"] is None)
        url = link

    assert [len(page) for page in seen] == [3, 3, 1]
    assert [prediction_id for page in seen for prediction_id in page] == made[::-1]


def test_what_is_written_while_a_client_pages_is_neither_skipped_nor_seen_twice(
    api: httpx.Client, digit: bytes
) -> None:
    made = [predict(api, digit).json()["prediction_id"] for _ in range(4)]
    first = api.get("/predictions?limit=2").json()
    predict(api, digit)

    second = api.get("/predictions", params={"limit": 2, "cursor": first["next_cursor"]}).json()

    assert [record["prediction_id"] for record in first["predictions"] + second["predictions"]] == made[::-1]
    assert second["next_cursor"] is None


def test_filters_choose_records(api: httpx.Client, digit: bytes) -> None:
    anna = predict(api, digit, user_id="anna").json()
    bob = predict(api, digit, user_id="bob").json()

    def found(**filters: str) -> list[str]:
        return [record["user_id"] for record in api.get("/predictions", params=filters).json()["predictions"]]

    assert found() == ["bob", "anna"]
    assert found(user_id="anna") == ["anna"]
    assert found(user_id="nobody") == []
    assert found(model="mnist", version=VERSION, label="7") == ["bob", "anna"]
    assert found(model="other") == found(version="0") == found(label="1") == []
    assert found(min_confidence="0.5") == ["bob", "anna"]
    assert found(max_confidence="0.0") == []
    assert found(since=bob["created_at"]) == ["bob"]
    assert found(until=bob["created_at"]) == ["anna"]
    assert found(since=anna["created_at"], until=bob["created_at"], user_id="anna") == ["anna"]
    assert found(since="0001-01-01T00:00:00Z", until="9999-12-31T23:59:59Z") == ["bob", "anna"]


@pytest.mark.parametrize(
    "text", ["'; DROP TABLE predictions; --", '" OR 1=1 --', "%s :name $1 {0}", "\\", "ünïcödé 数字"]
)
def test_sql_in_a_text_is_only_a_text(api: httpx.Client, digit: bytes, text: str) -> None:
    uri = f"data:image/png;base64,{b64encode(digit).decode()}"
    sent = {"image": uri, "filename": text, "user_id": text, "metadata": {text: text}}

    record = api.post("/prediction", json=sent).json()

    read = api.get(f"/prediction/{record['prediction_id']}").json()
    assert (read["filename"], read["user_id"], read["metadata"]) == (text, text, {text: text})
    for name in ("user_id", "model", "version", "label"):
        assert api.get("/predictions", params={name: text}).status_code == 200
    assert stored(api) == 1
