"""With an authorizer, the token says who the user is, and each user sees their own records and no others."""

import httpx
import pytest

from tests.support.event_transport import EventTransport


@pytest.fixture
def clients(environment: pytest.MonkeyPatch) -> dict[str | None, httpx.Client]:
    """A client of each of two users, and one without a token."""
    environment.setenv("AUTH", "on")
    users = ("anna", "bob", None)
    return {user: httpx.Client(transport=EventTransport(user), base_url="https://api.example") for user in users}


def predict(client: httpx.Client, digit: bytes, **data: str) -> httpx.Response:
    return client.post("/prediction", files={"file": ("seven.png", digit, "image/png")}, data=data)


def test_the_record_belongs_to_the_tokens_user(clients: dict[str, httpx.Client], digit: bytes) -> None:
    assert predict(clients["anna"], digit).json()["user_id"] == "anna"
    assert predict(clients["anna"], digit, user_id="anna").json()["user_id"] == "anna"


def test_another_user_in_the_body_is_refused(clients: dict[str, httpx.Client], digit: bytes) -> None:
    answer = predict(clients["anna"], digit, user_id="bob")

    assert answer.status_code == 403
    assert clients["anna"].get("/predictions").json()["predictions"] == []
    assert clients["anna"].get("/predictions?user_id=bob").status_code == 403


def test_somebody_elses_record_answers_as_an_unknown_one(clients: dict[str, httpx.Client], digit: bytes) -> None:
    prediction_id = predict(clients["anna"], digit).json()["prediction_id"]
    unknown = "019a0000-0000-7000-8000-000000000000"

    for suffix in ("", "/input"):
        theirs = clients["bob"].get(f"/prediction/{prediction_id}{suffix}")
        nobodys = clients["bob"].get(f"/prediction/{unknown}{suffix}")
        assert theirs.status_code == nobodys.status_code == 404
        assert theirs.content == nobodys.content
        assert clients["anna"].get(f"/prediction/{prediction_id}{suffix}").status_code == 200


def test_a_list_holds_ones_own_records_only(clients: dict[str, httpx.Client], digit: bytes) -> None:
    anna = predict(clients["anna"], digit).json()
    predict(clients["bob"], digit)

    assert clients["anna"].get("/predictions").json()["predictions"] == [anna]


def test_without_a_token_there_is_nothing_to_predict_or_read(
    clients: dict[str | None, httpx.Client], digit: bytes
) -> None:
    prediction_id = predict(clients["anna"], digit).json()["prediction_id"]

    for answer in (
        predict(clients[None], digit),
        predict(clients[None], digit, user_id="anna"),
        clients[None].get("/predictions"),
        clients[None].get(f"/prediction/{prediction_id}"),
        clients[None].get(f"/prediction/{prediction_id}/input"),
        clients[None].head(f"/prediction/{prediction_id}"),
    ):
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("required", ["on", "off"])
@pytest.mark.parametrize("subject", ["", "\x00", "\ud800", "a\nb", "x" * 2700, 0, False, [], {}, 7], ids=repr)
def test_a_token_that_names_no_user_is_refused_and_never_taken_for_everybodys(
    environment: pytest.MonkeyPatch, digit: bytes, subject: object, required: str
) -> None:
    environment.setenv("AUTH", required)
    anna, nobody = (
        httpx.Client(transport=EventTransport(user), base_url="https://api.example") for user in ("anna", subject)
    )
    prediction_id = predict(anna, digit).json()["prediction_id"]

    for answer in (
        predict(nobody, digit),
        nobody.get("/predictions"),
        nobody.get(f"/prediction/{prediction_id}"),
        nobody.get(f"/prediction/{prediction_id}/input"),
        nobody.post("/upload", json={"contenttype": "image/png", "size": 1}),
    ):
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "names no user" in answer.json()["detail"]


def test_what_is_served_may_be_read_without_a_token(clients: dict[str | None, httpx.Client]) -> None:
    for path in ("/", "/health", "/openapi.json", "/docs"):
        assert clients[None].get(path).status_code == 200
