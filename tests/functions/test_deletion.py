"""`DELETE`: what was deleted is gone from every table and bucket, whoever stores, replays or predicts meanwhile."""

import base64
import hashlib
import io
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import boto3
import httpx
import pytest
from botocore.exceptions import EndpointConnectionError
from moto import mock_aws
from moto.backends import get_backend
from PIL import Image

from functions.shared.ledger.deletions import DeletingLedger
from functions.shared.ledger.identifiers import first_id_at, new_id
from functions.shared.object_storage import bucket as bucket_module
from functions.shared.object_storage.bucket import key_of
from functions.shared.object_storage.errors import ObjectStoreUnavailableError
from functions.shared.prediction.deletion import LONGEST_WITHOUT_A_ROW
from tests.support.buckets import Bucket, make_bucket, put
from tests.support.database import Query
from tests.support.event_transport import Context, EventTransport
from tests.support.graphs import package, pixels
from tests.support.prediction_queue import AWS, Queue

UNKNOWN = "019a0000-0000-7000-8000-000000000000"
SCHEDULED: Any = {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}


def image() -> bytes:
    """An image that nobody else has."""
    file = io.BytesIO()
    Image.frombytes("L", (28, 28), os.urandom(784)).save(file, "png")
    return file.getvalue()


@dataclass(frozen=True)
class Stack:
    """The buckets and the queue, and all that is in the database."""

    inputs: Bucket
    uploads: Bucket
    queue: Queue
    query: Query

    def dump(self) -> str:
        """Return every value of every table, view, sequence and large object, and every key and byte of the buckets."""
        found = []
        for (name,) in self.query(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'S', 'm') "
            "AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version'"
        ):
            found += [row[0] for row in self.query(f"SELECT t::text FROM {name} t")]
        found += [row[0].hex() for row in self.query("SELECT data FROM pg_largeobject")]
        for bucket in (self.inputs, self.uploads):
            found += [f"{key} {content.hex()}" for key, content in bucket.contents().items()]
        return "\n".join(found)

    def count(self, table: str) -> int:
        [[count]] = self.query(f"SELECT count(*) FROM {table}")
        return int(count)

    def pending(self) -> int:
        """Return how much there is still to do."""
        return self.count("deleted_inputs") + self.count("deleted_objects")


@pytest.fixture(params=["database", "bucket", "quotas"])
def stack(request: pytest.FixtureRequest, environment: pytest.MonkeyPatch, query: Query) -> Iterator[Stack]:
    """What is deployed: inputs are kept in the database, or in a bucket, or in the database and there are quotas."""
    for name, value in AWS.items():
        environment.setenv(name, value)
    with mock_aws():
        inputs, uploads = make_bucket("inputs-of-tests"), make_bucket("uploads-of-tests")
        if request.param == "bucket":
            environment.setenv("INPUTS_BUCKET", inputs.name)
        else:
            environment.setenv("UPLOADS_BUCKET", uploads.name)
        if request.param == "quotas":
            for quota in ("PREDICTIONS_PER_HOUR", "STORED_BYTES", "QUEUED_PREDICTIONS", "OPEN_UPLOADS"):
                environment.setenv(f"QUOTA_{quota}", "1000000")
        sqs = boto3.client("sqs")
        url = sqs.create_queue(QueueName="predictions")["QueueUrl"]
        environment.setenv("QUEUE_URL", url)
        yield Stack(inputs, uploads, Queue(sqs, url), query)


def client(subject: str | None = None, **claims: object) -> httpx.Client:
    return httpx.Client(transport=EventTransport(subject, **claims), base_url="https://api.example")


def predict(api: httpx.Client, content: bytes, user_id: str | None = None, **headers: str) -> dict[str, Any]:
    data = {"metadata": '{"note": "private"}'} | ({} if user_id is None else {"user_id": user_id})
    answer = api.post("/prediction", files={"file": ("mine.png", content, "image/png")}, data=data, headers=headers)
    assert answer.status_code in (201, 202), answer.text
    return dict(answer.json())


def announce(api: httpx.Client, content: bytes, user_id: str) -> dict[str, Any]:
    members = {"contenttype": "image/png", "size": len(content), "user_id": user_id, "filename": "mine.png"}
    return dict(api.post("/upload", json=members).json())


def upload(api: httpx.Client, content: bytes, user_id: str) -> str:
    announced = announce(api, content, user_id)
    assert put(announced, content).status_code == 200
    return str(announced["input_id"])


def predict_upload(api: httpx.Client, input_id: str, user_id: str) -> httpx.Response:
    return api.post("/prediction", json={"input_id": input_id, "user_id": user_id})


def let_urls_expire(stack: Stack) -> None:
    for sql in (
        "UPDATE uploads SET expires_at = now() - interval '1 hour'",
        "UPDATE deleted_inputs SET writable_until = now() WHERE writable_until IS NOT NULL",
        "UPDATE deleted_objects SET writable_until = now()",
    ):
        stack.query(sql)


def sweep() -> Any:
    from functions.sweep.handler import handler

    return handler(SCHEDULED, Context())


def traces(dump: str, name: str, contents: list[bytes]) -> list[str]:
    """Return what a dump still has of a user: the name, bytes in any form, or a digest."""
    forms = [name, name.encode().hex(), base64.b64encode(name.encode()).decode().rstrip("=")]
    for content in contents:
        digest = hashlib.sha256(content).digest()
        forms += [content.hex(), base64.b64encode(content).decode(), digest.hex(), base64.b64encode(digest).decode()]
    return [form[:50] for form in forms if form in dump]


class TestOne:
    """`DELETE /prediction/{id}`."""

    def test_what_is_deleted_is_gone_for_ever(self, api: httpx.Client, stack: Stack) -> None:
        content = image()
        record = predict(api, content, "anna-of-rome", **{"idempotency-key": "once"})
        path = f"/prediction/{record['prediction_id']}"
        assert traces(stack.dump(), "anna-of-rome", [content])

        answer = api.delete(path)

        assert (answer.status_code, answer.content) == (204, b"")
        assert traces(stack.dump(), "anna-of-rome", [content]) == []
        assert stack.pending() == 0
        for again in (api.delete(path), api.get(path), api.get(f"{path}/input")):
            assert again.status_code == 404
            assert again.json()["detail"] == "There is no prediction with this id."
        assert api.get("/predictions").json()["predictions"] == []

    def test_the_others_stay(self, api: httpx.Client, stack: Stack) -> None:
        kept = [predict(api, image(), user) for user in ("anna", "bob")]
        gone = predict(api, image(), "anna")
        assert api.delete(f"/prediction/{gone['prediction_id']}/").status_code == 204  # a slash is accepted
        assert api.get("/predictions").json()["predictions"] == kept[::-1]
        for record in kept:
            assert "image" in api.get(f"/prediction/{record['prediction_id']}").json()
        assert stack.count("inputs") == 2

    def test_its_key_is_free_and_replays_nothing(self, api: httpx.Client, stack: Stack) -> None:
        content = image()
        first = predict(api, content, "anna", **{"idempotency-key": "once"})
        api.delete(f"/prediction/{first['prediction_id']}")
        second = predict(api, content, "anna", **{"idempotency-key": "once"})
        assert second["prediction_id"] != first["prediction_id"]
        third = predict(api, content, "anna", **{"idempotency-key": "once"})
        assert third == second
        assert stack.count("predictions") == 1

    def test_one_of_a_batch_frees_the_key_of_the_batch(self, api: httpx.Client, stack: Stack) -> None:
        files = [("file", (f"{n}.png", image(), "image/png")) for n in range(3)]
        batch = api.post("/predictions", files=files, headers={"idempotency-key": "batch"}).json()["predictions"]
        assert api.delete(f"/prediction/{batch[2]['prediction_id']}").status_code == 204
        assert stack.count("idempotency_keys") == 0
        assert stack.count("predictions") == 2

    def test_an_input_stays_for_as_long_as_a_record_has_it(self, api: httpx.Client, stack: Stack) -> None:
        content = image()
        input_id = upload(api, content, "anna")
        one, other = (predict_upload(api, input_id, "anna").json() for _ in range(2))

        assert api.delete(f"/prediction/{one['prediction_id']}").status_code == 204
        assert api.get(f"/prediction/{other['prediction_id']}/input").content == content

        assert api.delete(f"/prediction/{other['prediction_id']}").status_code == 204
        assert stack.count("inputs") == stack.count("uploads") == 0
        assert stack.inputs.contents() == stack.uploads.contents() == {}

    def test_a_url_that_can_still_be_used_leaves_nothing_behind(self, api: httpx.Client, stack: Stack) -> None:
        content = image()
        announced = announce(api, content, "anna")
        put(announced, content)
        record = predict_upload(api, announced["input_id"], "anna").json()
        assert api.delete(f"/prediction/{record['prediction_id']}").status_code == 204

        assert put(announced, content).status_code == 200  # the caller, after all
        assert predict_upload(api, announced["input_id"], "anna").status_code == 404
        let_urls_expire(stack)
        sweep()

        assert stack.inputs.contents() == stack.uploads.contents() == {}
        assert traces(stack.dump(), "anna", [content]) == []
        assert stack.pending() == 0

    def test_a_queued_prediction_leaves_a_harmless_message(self, api: httpx.Client, stack: Stack) -> None:
        content = image()
        queued = predict(api, content, "anna-of-rome", prefer="respond-async")
        assert api.delete(f"/prediction/{queued['prediction_id']}").status_code == 204
        assert stack.queue.deliver() == []  # acknowledged
        assert sweep()["sent"] == 0
        assert api.get(f"/prediction/{queued['prediction_id']}").status_code == 404
        assert traces(stack.dump(), "anna-of-rome", [content]) == []

    def test_a_worker_that_is_busy_with_it_does_not_bring_it_back(
        self, api: httpx.Client, stack: Stack, environment: pytest.MonkeyPatch
    ) -> None:
        from functions.shared.prediction import worker_batch

        content = image()
        queued = predict(api, content, "anna-of-rome", prefer="respond-async")
        into = worker_batch.outcomes_of

        def interrupted(*arguments: Any) -> Any:
            outcomes = into(*arguments)
            assert api.delete(f"/prediction/{queued['prediction_id']}").status_code == 204
            return outcomes

        environment.setattr(worker_batch, "outcomes_of", interrupted)
        assert stack.queue.deliver() == []
        assert stack.count("predictions") == 0
        assert traces(stack.dump(), "anna-of-rome", [content]) == []

    def test_without_the_database_it_is_safe_to_repeat(
        self, api: httpx.Client, environment: pytest.MonkeyPatch
    ) -> None:
        environment.setenv("DATABASE_URL", "postgresql://ledger@127.0.0.1:1/ledger")
        for path in (f"/prediction/{UNKNOWN}", "/predictions?user_id=anna"):
            answer = api.delete(path)
            assert answer.status_code == 503
            assert "safe to repeat" in answer.json()["detail"]
            assert int(answer.headers["retry-after"]) > 0

    def test_no_id_is_said_to_be_none(self, api: httpx.Client) -> None:
        answer = api.delete("/prediction/seven")
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/prediction_id"

    def test_without_s3_it_is_not_answered_as_done_and_is_done_later(
        self, api: httpx.Client, stack: Stack, environment: pytest.MonkeyPatch
    ) -> None:
        content = image()
        record = predict_upload(api, upload(api, content, "anna-of-rome"), "anna-of-rome").json()
        path = f"/prediction/{record['prediction_id']}"
        let_urls_expire(stack)

        def refuse(*_: object) -> None:
            raise ObjectStoreUnavailableError("S3 is on fire")

        with environment.context() as broken:
            broken.setattr(bucket_module.Bucket, "remove", refuse)
            for _ in range(2):
                answer = api.delete(path)
                assert answer.status_code == 503
                assert answer.headers["retry-after"] == "60"
                assert "deleted" in answer.json()["detail"]
                assert api.get(path).status_code == 404
            with pytest.raises(ObjectStoreUnavailableError):
                sweep()
        assert traces(stack.dump(), "anna-of-rome", [content])

        assert api.delete(path).status_code == 204
        assert traces(stack.dump(), "anna-of-rome", [content]) == []
        assert api.delete(path).status_code == 404

    def test_the_sweep_finishes_what_nobody_asks_for_again(
        self, api: httpx.Client, stack: Stack, environment: pytest.MonkeyPatch
    ) -> None:
        content = image()
        record = predict_upload(api, upload(api, content, "anna-of-rome"), "anna-of-rome").json()
        let_urls_expire(stack)
        with environment.context() as broken:
            broken.setattr(
                bucket_module.Bucket,
                "remove",
                lambda *_: (_ for _ in ()).throw(ObjectStoreUnavailableError("S3 is on fire")),
            )
            assert api.delete(f"/prediction/{record['prediction_id']}").status_code == 503
        sweep()
        assert traces(stack.dump(), "anna-of-rome", [content]) == []
        assert stack.query("SELECT count(*) FROM deletions WHERE finished_at IS NULL") == [[0]]


class TestMany:
    """`DELETE /predictions`."""

    def test_a_users_erasure_leaves_no_trace(
        self, api: httpx.Client, stack: Stack, capsys: pytest.CaptureFixture[str]
    ) -> None:
        contents = [image() for _ in range(6)]
        name = "anna-of-rome"
        judged = f"/prediction/{predict(api, contents[0], name)['prediction_id']}/ground_truth"
        for label in ("1", "7"):
            said = {"label": label, "source": "human", "source_id": name, "comment": f"{name} says so"}
            assert api.put(judged, json=said).status_code == 200
        predict(api, contents[1], name, **{"idempotency-key": "anna-of-rome's key"})
        predict(api, contents[2], name, prefer="respond-async")
        predict_upload(api, upload(api, contents[3], name), name)
        upload(api, contents[4], name)  # and never predicted
        announce(api, contents[5], name)  # and never uploaded
        bobs = predict(api, image(), "bob", **{"idempotency-key": "bob's"})
        let_urls_expire(stack)

        answer = api.delete(f"/predictions?user_id={name}")

        assert (answer.status_code, answer.json()) == (200, {"deleted": 4})
        assert traces(stack.dump(), name, contents) == []
        assert stack.queue.deliver() == []
        assert traces(stack.dump(), name, contents) == []
        logged = capsys.readouterr().out
        assert {"predicted", "queued", "deleted"} <= {json.loads(line)["message"] for line in logged.splitlines()}
        assert traces(logged, name, contents) == []
        assert "private" in stack.dump()  # bob's metadata
        assert api.get("/predictions").json()["predictions"] == [bobs]
        assert "image" in api.get(f"/prediction/{bobs['prediction_id']}").json()
        assert stack.count("idempotency_keys") == 1
        # Counted, and no more than that.
        assert stack.query(
            "SELECT deleted, erases_user, user_id, requested_by, finished_at > requested_at FROM deletions"
        ) == [[4, True, None, None, True]]

    def test_outputs_that_are_stored_apart_go_with_their_predictions(
        self, api: httpx.Client, stack: Stack, environment: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        environment.setenv("MODEL", str(package(tmp_path, pixels(["N", 1, 224, 224]), task="regression")))
        name = "anna-of-rome"
        made = [predict(api, image(), user) for user in (name, name, "bob")]
        made.append(predict(api, image(), name, prefer="respond-async"))
        assert stack.queue.deliver() == []
        paths = [f"/prediction/{one['prediction_id']}" for one in made]
        outputs = [api.get(f"{path}/output/y").content for path in paths]
        assert stack.count("large_outputs") == 4
        assert traces(stack.dump(), name, outputs)

        assert api.delete(paths[0]).status_code == 204
        assert stack.count("large_outputs") == 3
        assert traces(stack.dump(), "anyone", outputs[:1]) == []
        assert api.get(f"{paths[0]}/output/y").status_code == 404

        assert api.delete(f"/predictions?user_id={name}").json() == {"deleted": 2}
        assert traces(stack.dump(), name, [*outputs[:2], outputs[3]]) == []
        assert stack.pending() == 0
        assert stack.count("large_outputs") == 1
        assert len(stack.inputs.contents()) == (2 if "INPUTS_BUCKET" in os.environ else 0)  # bob's input and output
        assert api.get(f"{paths[2]}/output/y").content == outputs[2]

    def test_an_output_that_a_worker_stores_while_its_prediction_is_deleted_goes_too(
        self, api: httpx.Client, stack: Stack, environment: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        environment.setenv("MODEL", str(package(tmp_path, pixels(["N", 1, 224, 224]), task="regression")))
        queued = predict(api, image(), "anna-of-rome", prefer="respond-async")
        stored = DeletingLedger.delete

        def while_a_worker_completes_it(*arguments: Any, **options: Any) -> None:
            with ThreadPoolExecutor() as threads:
                work = threads.submit(stack.queue.deliver)
                stored(*arguments, **options)
                # A worker passes over a row that is locked, and its message comes again.
                assert work.result() in ([], [queued["prediction_id"]])

        environment.setattr(DeletingLedger, "delete", while_a_worker_completes_it)
        assert api.delete(f"/prediction/{queued['prediction_id']}").status_code == 204
        assert stack.queue.deliver() == []
        sweep()
        assert stack.count("large_outputs") == stack.pending() == 0
        assert stack.inputs.contents() == {}

    def test_while_an_upload_is_possible_it_goes_on_by_itself(self, api: httpx.Client, stack: Stack) -> None:
        content = image()
        announced = announce(api, content, "anna-of-rome")

        answer = api.delete("/predictions?user_id=anna-of-rome")

        assert answer.status_code == 202
        assert answer.json()["status"] == "running"
        assert "anna" not in answer.text
        where = answer.headers["location"]
        assert api.get(where).json() == answer.json()
        assert int(answer.headers["retry-after"]) > 0

        put(announced, content)
        sweep()
        assert api.get(where).json()["status"] == "running"
        let_urls_expire(stack)
        sweep()
        state = api.get(where).json()
        assert (state["status"], state["deleted"]) == ("finished", 0)
        assert traces(stack.dump(), "anna-of-rome", [content]) == []

    def test_a_time_deletes_what_is_older(self, api: httpx.Client, stack: Stack) -> None:
        old = [predict(api, image(), user) for user in ("anna", "bob")]
        new = [predict(api, image(), user) for user in ("anna", "bob")]
        until = new[0]["created_at"]

        answer = api.delete("/predictions", params={"until": until, "user_id": "anna"})
        assert (answer.status_code, answer.json()) == (200, {"deleted": 1})
        assert api.get("/predictions").json()["predictions"] == [*new[::-1], old[1]]

        answer = api.delete("/predictions/", params={"until": until})
        assert answer.json() == {"deleted": 1}
        assert api.get("/predictions").json()["predictions"] == new[::-1]
        assert api.delete("/predictions", params={"until": "2100-01-01T00:00:00+01:00"}).json() == {"deleted": 2}
        assert stack.count("inputs") == 0

    @pytest.mark.parametrize(
        ("until", "deleted"),
        [
            ("0001-01-01T00:00:00+23:59", 0),
            ("2026-01-31", 0),
            ("9999-12-31", 1),
            ("1969-12-31T23:59:59Z", 0),
            ("9999-12-31T23:59:59-23:59", 1),
        ],
    )
    def test_any_time_that_can_be_written_is_taken(self, api: httpx.Client, until: str, deleted: int) -> None:
        predict(api, image())
        assert api.delete("/predictions", params={"until": until}).json() == {"deleted": deleted}

    @pytest.mark.parametrize(
        ("asked", "detail"),
        [
            ("", "Say whose predictions to delete, or until when: ?user_id=anna"),
            ("user_id=", "at least 1 character"),
            ("user_id=" + "x" * 256, "at most 255"),
            ("user_id=%00", "match pattern"),
            ("until=yesterday", "until: "),
            ("until=20260131", "as in until=2026-01-31T00:00:00Z"),
            ("until=2026-01-31T00:00:00", "timezone info, as in until=2026-01-31T00:00:00Z"),
            ("label=7", "label: there is no such parameter: use user_id, until"),
            ("user_id=anna&since=2026-01-01T00:00:00Z", "since: there is no such parameter"),
            ("user_id=anna&user_id=bob", "user_id is given more than once"),
            ("user_id=Andr%E9", "user_id is not UTF-8: write é as %C3%A9"),
        ],
    )
    def test_what_is_not_clear_deletes_nothing(self, api: httpx.Client, stack: Stack, asked: str, detail: str) -> None:
        predict(api, image(), "anna")
        answer = api.delete(f"/predictions?{asked}")
        assert answer.status_code == 422
        assert detail in answer.json()["detail"]
        assert stack.count("predictions") == 1
        assert stack.count("deletions") == 0

    @pytest.mark.of_lambda
    def test_what_does_not_fit_into_one_request_goes_on_by_itself(
        self, api: httpx.Client, environment: pytest.MonkeyPatch
    ) -> None:
        for _ in range(5):
            predict(api, image(), "anna-of-rome")
        kept = predict(api, image(), "bob")
        remaining = iter([30_000] * 5 + [0] * 100)
        with environment.context() as slow:
            slow.setattr(Context, "get_remaining_time_in_millis", lambda _: next(remaining))
            slow.setattr("functions.shared.ledger.deletions.DeletingLedger.delete_some.__kwdefaults__", {"limit": 2})
            answer = api.delete("/predictions?user_id=anna-of-rome")
        assert answer.status_code == 202
        assert 0 < answer.json()["deleted"] < 5
        later = predict(api, image(), "anna-of-rome")

        assert sweep()["deleted"] == 5 - answer.json()["deleted"]
        state = api.get(answer.headers["location"]).json()
        assert (state["status"], state["deleted"]) == ("finished", 5)
        # What was stored after the request was not meant.
        assert api.get("/predictions").json()["predictions"] == [later, kept]

    def test_an_unknown_deletion_is_not_found(self, api: httpx.Client, stack: Stack) -> None:
        record = predict(api, image(), "anna")
        api.delete(f"/prediction/{record['prediction_id']}")
        for deletion_id in (UNKNOWN, record["prediction_id"]):
            answer = api.get(f"/deletion/{deletion_id}")
            assert answer.status_code == 404
            assert answer.json()["detail"] == "There is no deletion with this id."
        assert api.get("/deletion/seven").status_code == 422
        assert stack.count("deletions") == 1

    def test_those_who_store_meanwhile_keep_their_account(self, api: httpx.Client, stack: Stack) -> None:
        def store(number: int) -> list[str]:
            user = ("anna", "bob")[number % 2]
            with client() as own:
                return [
                    str(predict(own, image(), user, **{"idempotency-key": str(uuid4())})["prediction_id"])
                    for _ in range(15)
                ]

        def delete(_: int) -> int:
            with client() as own:
                return int(sum(own.delete("/predictions?user_id=anna").json()["deleted"] for _ in range(15)))

        predict(api, image(), "anna")  # an environment serves one request at a time: make it before there are threads
        assert api.delete("/predictions?user_id=anna").json() == {"deleted": 1}
        with ThreadPoolExecutor(6) as threads:
            stored = [threads.submit(store, number) for number in range(4)]
            deleted = [threads.submit(delete, number) for number in range(2)]
            ids = {one for each in stored for one in each.result()}
            count = sum(each.result() for each in deleted)
        left = api.get("/predictions?limit=1000").json()["predictions"]
        assert len(ids) == 60
        assert count + len(left) == 60
        assert sum(record["user_id"] == "bob" for record in left) == 30
        assert {record["prediction_id"] for record in left} <= ids
        assert stack.count("inputs") == stack.count("idempotency_keys") == len(left)
        assert api.delete("/predictions?user_id=anna").json()["deleted"] == len(left) - 30
        assert len(stack.inputs.contents()) in (0, 30)
        assert traces(stack.dump(), "anna", []) == []


@pytest.mark.parametrize("stack", ["bucket"], indirect=True)
class TestObjectsWithoutARow:
    """Objects whose rows, which come after them, did not come: an erasure finds them by the user's name."""

    def test_an_erasure_removes_them_and_nobody_elses(self, api: httpx.Client, stack: Stack) -> None:
        name = "anna/rome"
        predict(api, image(), "bob")
        bobs = set(stack.inputs.contents())
        predict(api, image(), name)
        lost = [orphan(stack, name) for _ in range(3)]
        of_others = [orphan(stack, other) for other in ("anna", "anna/rome2", "anna/rome/x", "bob", "lent")]

        assert api.delete("/predictions", params={"user_id": name}).json() == {"deleted": 1}

        assert not {*lost} & {*stack.inputs.contents()}
        assert {*stack.inputs.contents()} == bobs | {*of_others}
        assert stack.pending() == 0
        assert api.delete("/predictions", params={"user_id": "anna"}).json() == {"deleted": 0}
        assert {*stack.inputs.contents()} == bobs | {*of_others[1:]}

    def test_a_name_too_long_for_a_key_is_found_by_its_digest(self, api: httpx.Client, stack: Stack) -> None:
        name = "\N{SNOWMAN}" * 200
        before = stack.inputs.contents()
        orphan(stack, name)
        assert api.delete("/predictions", params={"user_id": name}).status_code == 200
        assert stack.inputs.contents() == before

    @pytest.mark.of_lambda  # a function dies by an exception of the test's own
    @pytest.mark.parametrize("mode", ["sync", "respond-async"])
    def test_inputs_and_outputs_of_a_function_that_died_before_its_commit(
        self, api: httpx.Client, stack: Stack, environment: pytest.MonkeyPatch, tmp_path: Path, mode: str
    ) -> None:
        environment.setenv("MODEL", str(package(tmp_path, pixels(["N", 1, 224, 224]), task="regression")))
        kept = predict(api, image(), "bob")
        before = stack.inputs.contents()
        queued = [predict(api, image(), "anna", prefer="respond-async")] if mode == "respond-async" else []
        with environment.context() as dying:
            dying.setattr(bucket_module.Bucket, "put", then_die(bucket_module.Bucket.put))
            with pytest.raises(Died):
                stack.queue.deliver() if queued else predict(api, image(), "anna")
        assert len(stack.inputs.contents()) == len(before) + 2
        age(stack)

        assert api.delete("/predictions?user_id=anna").json() == {"deleted": len(queued)}
        assert stack.inputs.contents() == before
        assert api.get(f"/prediction/{kept['prediction_id']}/output/y").status_code == 200

    def test_a_young_one_may_still_get_its_row_so_the_erasure_waits(self, api: httpx.Client, stack: Stack) -> None:
        old, young = orphan(stack, "anna-of-rome"), orphan(stack, "anna-of-rome", age=timedelta(0))

        answer = api.delete("/predictions?user_id=anna-of-rome")

        assert answer.status_code == 202
        assert old not in stack.inputs.contents()
        for _ in range(2):
            sweep()
            assert young in stack.inputs.contents()
            assert api.get(answer.headers["location"]).json()["status"] == "running"
        age(stack)
        sweep()
        assert api.get(answer.headers["location"]).json()["status"] == "finished"
        assert traces(stack.dump(), "anna-of-rome", []) == []
        assert stack.pending() == 0

    def test_a_request_that_goes_on_meanwhile_keeps_its_objects(
        self, api: httpx.Client, stack: Stack, environment: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        environment.setenv("MODEL", str(package(tmp_path, pixels(["N", 1, 224, 224]), task="regression")))
        content = image()
        into = bucket_module.Bucket.put
        asked: list[httpx.Response] = []

        def interrupted(*arguments: Any) -> None:
            into(*arguments)
            asked.append(client().delete("/predictions?user_id=anna"))

        with environment.context() as meanwhile:
            meanwhile.setattr(bucket_module.Bucket, "put", interrupted)
            record = predict(api, content, "anna")
        assert [answer.status_code for answer in asked] == [202]
        age(stack)
        sweep()

        assert api.get(asked[0].headers["location"]).json()["status"] == "finished"
        assert api.get(f"/prediction/{record['prediction_id']}/input").content == content
        assert api.get(f"/prediction/{record['prediction_id']}/output/y").status_code == 200
        assert api.delete("/predictions?user_id=anna").json() == {"deleted": 1}
        assert stack.inputs.contents() == {}

    def test_what_is_put_after_the_erasure_was_asked_for_is_not_meant(self, api: httpx.Client, stack: Stack) -> None:
        later = orphan(stack, "anna", input_id=first_id_at(datetime.now(UTC) + timedelta(hours=1)))
        assert api.delete("/predictions?user_id=anna").json() == {"deleted": 0}
        assert later in stack.inputs.contents()

    def test_an_upload_that_is_announced_meanwhile_keeps_its_object(self, api: httpx.Client, stack: Stack) -> None:
        content = image()
        input_id = upload(api, content, "anna")
        age(stack)
        # Its id was made before the erasure was asked for, and its row was committed afterwards.
        stack.query("UPDATE uploads SET created_at = now() + interval '1 hour'")
        assert api.delete("/predictions?user_id=anna").json() == {"deleted": 0}
        record = predict_upload(api, input_id, "anna").json()
        assert api.get(f"/prediction/{record['prediction_id']}/input").content == content

    def test_an_upload_that_was_announced_before_and_not_predicted_waits_for_its_url(
        self, api: httpx.Client, stack: Stack
    ) -> None:
        content = image()
        upload(api, content, "anna-of-rome")
        age(stack)
        answer = api.delete("/predictions?user_id=anna-of-rome")
        assert answer.status_code == 202
        let_urls_expire(stack)
        sweep()
        assert api.get(answer.headers["location"]).json()["status"] == "finished"
        assert traces(stack.dump(), "anna-of-rome", [content]) == []

    @pytest.mark.parametrize("call", ["list_objects_v2", "delete_objects"])
    def test_without_s3_the_sweep_finds_them_later(
        self, api: httpx.Client, stack: Stack, environment: pytest.MonkeyPatch, call: str
    ) -> None:
        lost = orphan(stack, "anna-of-rome")
        with environment.context() as broken:
            broken.setattr(bucket_module.Bucket, "_call", refusing(bucket_module.Bucket._call, call))
            answer = api.delete("/predictions?user_id=anna-of-rome")
            assert answer.status_code == 202
            with pytest.raises(ObjectStoreUnavailableError):
                sweep()
            assert lost in stack.inputs.contents()
            assert api.get(answer.headers["location"]).json()["status"] == "running"
        sweep()
        assert api.get(answer.headers["location"]).json()["status"] == "finished"
        assert traces(stack.dump(), "anna-of-rome", []) == []

    @pytest.mark.of_lambda  # says how much time is left
    def test_more_than_a_page_that_does_not_fit_into_one_request(
        self, api: httpx.Client, stack: Stack, environment: pytest.MonkeyPatch
    ) -> None:
        before = stack.inputs.contents()
        for _ in range(1500):
            orphan(stack, "anna")
        # One round for rows, and one page of the list.
        remaining = iter([30_000] * 4 + [0] * 100)
        with environment.context() as slow:
            slow.setattr(Context, "get_remaining_time_in_millis", lambda _: next(remaining))
            answer = api.delete("/predictions?user_id=anna")
        assert answer.status_code == 202
        left = len(stack.inputs.contents())
        assert left == len(before) + 500
        sweep()
        assert stack.inputs.contents() == before
        assert api.get(answer.headers["location"]).json()["status"] == "finished"

    def test_a_finished_erasure_is_not_done_again(self, api: httpx.Client, stack: Stack) -> None:
        assert api.delete("/predictions?user_id=anna").status_code == 200
        lost = orphan(stack, "anna")
        sweep()
        assert lost in stack.inputs.contents()
        assert api.delete("/predictions?user_id=anna").status_code == 200
        assert lost not in stack.inputs.contents()

    def test_a_deletion_by_time_does_not_list(self, api: httpx.Client, stack: Stack) -> None:
        lost = orphan(stack, "anna")
        until = {"until": "2100-01-01T00:00:00Z"}
        for asked in (until, until | {"user_id": "anna"}):
            assert api.delete("/predictions", params=asked).status_code == 200
        assert [*stack.inputs.contents()] == [lost]


class Died(BaseException):
    """A function has ended: nothing of it runs any more."""


def then_die(put: Any) -> Any:
    def died(*arguments: Any) -> None:
        put(*arguments)
        raise Died

    return died


def refusing(into: Any, name: str) -> Any:
    """Return the context of a call to S3 that does not reach it, if it is one of this name."""

    @contextmanager
    def call(bucket: bucket_module.Bucket) -> Iterator[Any]:
        with into(bucket) as s3:
            yield _Refusing(s3, name)

    return call


class _Refusing:
    def __init__(self, s3: Any, name: str) -> None:
        self._s3, self._name = s3, name

    def __getattr__(self, name: str) -> Any:
        if name == self._name:
            raise EndpointConnectionError(endpoint_url="https://s3.example")
        return getattr(self._s3, name)


def orphan(
    stack: Stack,
    user_id: str,
    *,
    age: timedelta = 2 * LONGEST_WITHOUT_A_ROW,
    input_id: UUID | None = None,
) -> str:
    """Put an object that no row names, and return its key."""
    key = key_of(user_id, input_id or new_id())
    stack.inputs.s3.put_object(Bucket=stack.inputs.name, Key=key, Body=image())
    _objects(stack)[key].last_modified = datetime.now(UTC).replace(tzinfo=None) - age
    return key


def age(stack: Stack) -> None:
    """Let every object be older than a request can live."""
    for one in _objects(stack).values():
        one.last_modified = datetime.now(UTC).replace(tzinfo=None) - 2 * LONGEST_WITHOUT_A_ROW


def _objects(stack: Stack) -> Any:
    """Return what moto has of each object, by its key. S3 itself says when an object was put, and no client can."""
    [of_account] = get_backend("s3").values()
    return of_account["aws"].buckets[stack.inputs.name].keys


class TestWhoMay:
    """With an authorizer: one's own, and others' by scope alone."""

    @pytest.fixture
    def anna(self, environment: pytest.MonkeyPatch, stack: Stack) -> httpx.Client:
        assert stack is not None
        environment.setenv("AUTH", "on")
        return client("anna")

    @pytest.fixture
    def admin(self) -> httpx.Client:
        return client("admin-of-rome", scope="openid predictions:delete-all")

    def test_somebody_elses_record_answers_as_an_unknown_one(self, anna: httpx.Client) -> None:
        record = predict(anna, image())
        bob = client("bob")
        theirs, unknown = (bob.delete(f"/prediction/{one}") for one in (record["prediction_id"], UNKNOWN))
        assert theirs.status_code == unknown.status_code == 404
        assert theirs.content == unknown.content
        assert anna.delete(f"/prediction/{record['prediction_id']}").status_code == 204

    def test_somebody_elses_unfinished_deletion_answers_as_an_unknown_one(
        self, anna: httpx.Client, environment: pytest.MonkeyPatch, stack: Stack
    ) -> None:
        record = predict(anna, image())
        stack.query(
            "INSERT INTO deleted_objects VALUES ('s3://uploads-of-tests/inputs/x', :id, now(), NULL, 'anna')",
            id=record["prediction_id"],
        )
        path = f"/prediction/{record['prediction_id']}"
        with environment.context() as broken:
            broken.setattr(
                bucket_module.Bucket,
                "remove",
                lambda *_: (_ for _ in ()).throw(ObjectStoreUnavailableError("S3 is on fire")),
            )
            assert anna.delete(path).status_code == 503
        assert client("bob").delete(path).status_code == 404
        assert anna.delete(path).status_code == 204

    def test_many_are_ones_own(self, anna: httpx.Client, stack: Stack) -> None:
        bob = client("bob")
        predict(anna, image())
        kept = predict(bob, image())
        assert anna.delete("/predictions?user_id=bob").status_code == 403
        assert anna.delete("/predictions?until=2100-01-01T00:00:00Z").json() == {"deleted": 1}
        assert bob.get("/predictions").json()["predictions"] == [kept]
        assert anna.delete("/predictions").status_code == 422
        assert stack.query("SELECT DISTINCT requested_by FROM deletions") == [[None]]

    def test_the_scope_deletes_everybodys_and_says_who_it_was(
        self, anna: httpx.Client, admin: httpx.Client, stack: Stack
    ) -> None:
        one, _ = predict(anna, image()), predict(anna, image())
        own = predict(admin, image())
        assert admin.delete(f"/prediction/{one['prediction_id']}").status_code == 204
        assert admin.delete("/predictions?user_id=anna").json() == {"deleted": 1}
        assert admin.delete(f"/prediction/{own['prediction_id']}").status_code == 204
        assert stack.query("SELECT requested_by, deleted FROM deletions ORDER BY requested_at") == [
            ["admin-of-rome", 1],
            ["admin-of-rome", 1],
            [None, 1],
        ]
        assert traces(stack.dump(), "anna", []) == []

        assert admin.delete("/predictions?user_id=admin-of-rome").json() == {"deleted": 0}
        assert traces(stack.dump(), "admin-of-rome", []) == []

    def test_the_scope_without_a_user_deletes_everybodys(self, anna: httpx.Client, admin: httpx.Client) -> None:
        predict(anna, image())
        assert admin.delete("/predictions?until=2100-01-01T00:00:00Z").json() == {"deleted": 1}
        assert anna.get("/predictions").json()["predictions"] == []

    def test_without_a_token_nothing_is_deleted(self, anna: httpx.Client, stack: Stack) -> None:
        record = predict(anna, image())
        nobody = client()
        for path in (f"/prediction/{record['prediction_id']}", "/predictions?user_id=anna"):
            assert nobody.delete(path).status_code == 401
        assert nobody.get(f"/deletion/{UNKNOWN}").status_code == 401
        assert stack.count("predictions") == 1


class TestExpiry:
    """Idempotency keys and uploads, after IDEMPOTENCY_HOURS."""

    def test_an_expired_key_is_free_even_before_the_sweep(self, api: httpx.Client, stack: Stack) -> None:
        content, other = image(), image()
        first = predict(api, content, "anna", **{"idempotency-key": "once"})
        stack.query("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
        second = predict(api, other, "anna", **{"idempotency-key": "once"})
        assert second["prediction_id"] != first["prediction_id"]
        assert predict(api, other, "anna", **{"idempotency-key": "once"}) == second
        assert stack.count("predictions") == 2
        assert api.delete(f"/prediction/{first['prediction_id']}").status_code == 204
        assert predict(api, other, "anna", **{"idempotency-key": "once"}) == second

    def test_of_those_who_take_an_expired_key_at_once_one_stores(self, api: httpx.Client, stack: Stack) -> None:
        content = image()
        predict(api, content, "anna", **{"idempotency-key": "once"})
        stack.query("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")

        def again(_: int) -> Any:
            with client() as own:
                return predict(own, content, "anna", **{"idempotency-key": "once"})["prediction_id"]

        with ThreadPoolExecutor(4) as threads:
            assert len(set(threads.map(again, range(8)))) == 1
        assert stack.count("predictions") == 2

    def test_the_sweep_deletes_expired_keys_and_their_records_stay(
        self, api: httpx.Client, stack: Stack, environment: pytest.MonkeyPatch
    ) -> None:
        environment.setenv("IDEMPOTENCY_HOURS", "2")
        predict(api, image(), "anna", **{"idempotency-key": "old"})
        stack.query("UPDATE idempotency_keys SET created_at = now() - interval '3 hours'")
        predict(api, image(), "anna", **{"idempotency-key": "new"})
        assert sweep()["expired"] == 1
        assert stack.query("SELECT key FROM idempotency_keys") == [["new"]]
        assert stack.count("predictions") == 2
        assert sweep()["expired"] == 0

    def test_abandoned_uploads_are_removed_and_used_ones_keep_their_record(
        self, api: httpx.Client, stack: Stack
    ) -> None:
        abandoned, used = image(), image()
        upload(api, abandoned, "anna-of-rome")
        input_id = upload(api, used, "bob")
        record = predict_upload(api, input_id, "bob").json()
        stack.query("UPDATE uploads SET created_at = now() - interval '25 hours'")
        assert sweep()["expired"] == 0  # their URLs can still be used
        let_urls_expire(stack)
        assert sweep()["expired"] == 2
        let_urls_expire(stack)
        sweep()
        assert traces(stack.dump(), "anna-of-rome", [abandoned]) == []
        assert api.get(f"/prediction/{record['prediction_id']}/input").content == used
        assert predict_upload(api, input_id, "bob").status_code == 404
        assert stack.pending() == 0
        assert len(stack.inputs.contents()) + len(stack.uploads.contents()) in (0, 1)

    def test_an_upload_that_is_deleted_while_it_is_predicted_is_not_stored(
        self, api: httpx.Client, stack: Stack, environment: pytest.MonkeyPatch
    ) -> None:
        from functions.shared.prediction import synchronous, uploads

        input_id = upload(api, image(), "anna-of-rome")
        into = uploads.fetch_uploads

        def interrupted(*arguments: Any) -> Any:
            fetched = into(*arguments)
            assert api.delete("/predictions?user_id=anna-of-rome").status_code == 202
            return fetched

        environment.setattr(synchronous, "fetch_uploads", interrupted)
        answer = predict_upload(api, input_id, "anna-of-rome")
        assert answer.status_code == 404
        assert answer.json()["detail"] == "There is no upload with this input_id."
        assert stack.count("predictions") == stack.count("inputs") == 0


def test_a_browser_asks_before_it_shows_an_input_again(api: httpx.Client, stack: Stack) -> None:
    content = image()
    path = f"/prediction/{predict(api, content, 'anna')['prediction_id']}"
    answer = api.get(f"{path}/input")
    assert answer.headers["cache-control"] == "private, no-cache"
    known = {"if-none-match": answer.headers["etag"]}
    assert answer.headers["etag"] == f'"{hashlib.sha256(content).hexdigest()}"'

    same = api.get(f"{path}/input", headers=known)
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", answer.headers["etag"])
    assert api.get(f"{path}/input", headers={"if-none-match": '"another"'}).content == content
    api.delete(path)
    assert api.get(f"{path}/input", headers=known).status_code == 404
    assert stack.pending() == 0


def test_a_lent_copy_is_removed(api: httpx.Client, stack: Stack, environment: pytest.MonkeyPatch) -> None:
    from functions.get_prediction import stored_input
    from functions.shared.prediction import deletion

    environment.setattr(stored_input, "LARGEST_UNLENT", 100)
    environment.setattr(deletion, "LARGEST_UNLENT", 100)
    content = image()
    path = f"/prediction/{predict(api, content, 'anna-of-rome')['prediction_id']}"
    assert api.get(f"{path}/input").status_code == 307
    assert api.delete(path).status_code == 204
    assert stack.inputs.contents() == stack.uploads.contents() == {}
    assert traces(stack.dump(), "anna-of-rome", [content]) == []


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/predictions", "DELETE, GET, HEAD, POST"),
        (f"/prediction/{UNKNOWN}", "DELETE, GET, HEAD"),
        (f"/prediction/{UNKNOWN}/input", "GET, HEAD"),
        (f"/deletion/{UNKNOWN}", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(api: httpx.Client, path: str, allow: str) -> None:
    answer = api.patch(path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)
