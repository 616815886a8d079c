"""The ledger: stores predictions and their inputs before they are answered, and reads them back."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, Self
from uuid import UUID

from functions.shared.ledger import arrays, page_statements, statements
from functions.shared.ledger.arrays import Array, ElementType
from functions.shared.ledger.connection import Connection
from functions.shared.ledger.cursor import decode_cursor, decode_least_sure_cursor
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.errors import (
    IdempotencyConflictError,
    LedgerError,
    LedgerUnavailableError,
    RecordNotFoundError,
    StatementRefusedError,
    UploadNotAnnouncedError,
)
from functions.shared.ledger.identifiers import FIRST_ID, LAST_ID, created_at, first_id_at
from functions.shared.ledger.json_text import json_text, jsonb_text
from functions.shared.ledger.login import LONGEST_WAIT
from functions.shared.ledger.many_requests import (
    Told,
    answer_of_repetition,
    first_of_each_key,
    in_halves,
    of_moderate_size,
)
from functions.shared.ledger.pool import SIZE, Pool
from functions.shared.ledger.quotas import NO_QUOTAS, Quotas
from functions.shared.ledger.records import (
    Claim,
    ClaimedPrediction,
    Failure,
    IdempotencyKey,
    InputInDatabase,
    ModelIdentity,
    NewInput,
    NewPrediction,
    Order,
    Page,
    PredictionFilter,
    PredictionRecord,
    QueuedPrediction,
    Replay,
    StoredInput,
    StoredOutput,
    StoredRequest,
    Success,
    Sweep,
    Upload,
)
from functions.shared.ledger.refusals import Refusals
from functions.shared.ledger.secret import DatabaseSettings, resolve_database_url

# What the database refuses a statement with, as SQLSTATE and constraint, and what that means.
_NO_MODEL = ("23503", "predictions_model_id_fkey")
_NO_INPUT = ("23503", "predictions_input_id_fkey")  # it was deleted while this statement ran
_NO_UPLOAD = ("23503", "inputs_upload_id_fkey")
_KEY_IN_USE = ("23514", "idempotency_keys_digest_check")
IDEMPOTENCY_HOURS = 24.0
"""Hours after which an idempotency key is free again."""
CLAIM_BYTES = 32_000_000
"""Bytes of inputs that a worker reads at a time."""
CLAIM_WINDOW = 4096
"""How many of the oldest unfinished predictions a worker looks at, and so how many may be claimed at a time."""
_IDENTITY_COLUMNS = ModelIdentity._fields.index("baseline")
_RECORD_COLUMNS = len(PredictionRecord._fields)
_Row = list[Any]
_RESULT_COLUMNS = {
    "prediction_id": arrays.UUIDS,
    "duration_ms": arrays.DOUBLE_PRECISION,
    "confidence": arrays.DOUBLE_PRECISION,
    "likely_class": arrays.BIGINT,
    "label": arrays.TEXT,
    "predicted_value": arrays.JSONB,
    "output": arrays.JSONB,
    "outputs": arrays.JSONB,
    "measured": arrays.TEXT,  # an array of arrays would need equal lengths
}
_OUTCOME_COLUMNS = _RESULT_COLUMNS | {"error": arrays.TEXT, "failure": arrays.TEXT}
_PREDICTION_COLUMNS = _RESULT_COLUMNS | {
    "created_at": arrays.TIMESTAMPTZ,
    "user_id": arrays.TEXT,
    "metadata": arrays.JSON,
    "input_id": arrays.UUIDS,
    "size": arrays.BIGINT,
    "sha256": arrays.BYTEA,
    "contenttype": arrays.TEXT,
    "filename": arrays.TEXT,
    "features": arrays.JSON,
    "content": arrays.BYTEA,
    "uri": arrays.TEXT,
    "upload_id": arrays.UUIDS,
    "form": arrays.TEXT,
    "header_length": arrays.BIGINT,
    "declared_contenttype": arrays.TEXT,
    "inference_id": arrays.TEXT,
}
_OUTPUT_COLUMNS = {
    "of_prediction": arrays.UUIDS,
    "output_id": arrays.UUIDS,
    "output_name": arrays.TEXT,
    "output_datatype": arrays.TEXT,
    "output_shape": arrays.TEXT,
    "output_size": arrays.BIGINT,
    "output_sha256": arrays.BYTEA,
    "output_content": arrays.BYTEA,
    "output_uri": arrays.TEXT,
    "output_user_id": arrays.TEXT,
}
_ATTEMPTS = 3
_OTHER_REQUEST = "this idempotency key was used for another request"
_WITHDRAWN = "the requests that used this idempotency key were withdrawn again and again"
_TOO_LONG = "The prediction was not finished in time."


class Ledger:
    """Reads and writes predictions, and counts requests that were refused. Safe to share between threads.

    Parameters
    ----------
    pool : Pool
        The connections.
    idempotency_hours : float
        Hours after which an idempotency key is free again.
    quotas : Quotas
        What each user may store.
    """

    def __init__(self, pool: Pool, *, idempotency_hours: float = IDEMPOTENCY_HOURS, quotas: Quotas = NO_QUOTAS) -> None:
        self._pool = pool
        self._key_seconds = idempotency_hours * 3600
        self._quotas = quotas
        self._counts = quotas.count_predictions
        self._registered: dict[ModelIdentity, int] = {}
        self.refusals = Refusals(pool)

    @classmethod
    def at(
        cls,
        database_url: str,
        *,
        pool_size: int = SIZE,
        longest: float = LONGEST_WAIT,
        idempotency_hours: float = IDEMPOTENCY_HOURS,
        quotas: Quotas = NO_QUOTAS,
    ) -> Self:
        """Return the ledger of a database. The first statement opens the first connection.

        Parameters
        ----------
        database_url : str
            In the form that `database_url.parse_database_url` takes.
        pool_size : int
            The maximum number of open connections.
        longest : float
            Seconds that a call may take before it is given up. The default is for requests, whose callers wait.
        idempotency_hours, quotas
            As in `Ledger`.

        Raises
        ------
        DatabaseUrlError
            If the URL is invalid.
        """
        address = parse_database_url(database_url)

        def connect(until: float) -> Connection:
            return Connection(address, until=until, longest=longest)

        pool = Pool(connect, size=pool_size, longest=longest)
        return cls(pool, idempotency_hours=idempotency_hours, quotas=quotas)

    @classmethod
    def configured(
        cls,
        settings: DatabaseSettings,
        *,
        longest: float = LONGEST_WAIT,
        idempotency_hours: float = IDEMPOTENCY_HOURS,
        quotas: Quotas = NO_QUOTAS,
    ) -> Self:
        """Return the ledger for a function's settings. Raises as `resolve_database_url` and `at` do."""
        database_url = resolve_database_url(settings.database_url, settings.database_secret_arn)
        return cls.at(database_url, longest=longest, idempotency_hours=idempotency_hours, quotas=quotas)

    @property
    def connections(self) -> tuple[int, int]:
        """As in `Pool`."""
        return self._pool.connections

    def close(self) -> None:
        """Close the idle connections, as before a snapshot. The ledger stays usable and opens new ones."""
        self._pool.close()

    def ping(self) -> None:
        """Check that the database responds and has the ledger's tables.

        Raises
        ------
        LedgerUnavailableError
            If it does not respond or lacks the tables.
        """
        self._pool.run(statements.PING, {})

    def register(self, model: ModelIdentity) -> int:
        """Record that a model is being served, with its baseline, and return its id: the same in every database.

        `store` registers the model when necessary. Registering it earlier makes the first prediction faster.

        Parameters
        ----------
        model : ModelIdentity
            The model.

        Returns
        -------
        int
            ``model_id``.
        """
        model_id = _model_id(model)
        self._pool.run(
            statements.REGISTER_MODEL,
            {
                "model_id": model_id,
                "name": model.name,
                "version": model.version,
                "sha256": bytes.fromhex(model.sha256),
                "labels": None if model.labels is None else json_text(list(model.labels)),
                "task": model.task,
                "provider": model.provider,
                "settings": model.settings,
                "baseline": model.baseline,
            },
        )
        self._registered[model] = model_id
        return model_id

    def served_provider(self, name: str, version: str, sha256: str) -> str | None:
        """Return the execution provider that last served a model; None if the model was never served.

        Parameters
        ----------
        name, version, sha256 : str
            As in `ModelIdentity`.
        """
        rows = self._pool.run(
            statements.SERVED_PROVIDER, {"name": name, "version": version, "sha256": bytes.fromhex(sha256)}
        )
        return str(rows[0][0]) if rows else None

    def store(
        self, model: ModelIdentity, predictions: Sequence[NewPrediction], *, idempotency: IdempotencyKey | None = None
    ) -> Replay | None:
        """Commit predictions with their inputs, all or none, in one statement and one round trip.

        Parameters
        ----------
        model : ModelIdentity
            The model that made them.
        predictions : Sequence of NewPrediction
            At least one.
        idempotency : IdempotencyKey or None
            If given, nothing is stored when this key has already stored something.

        Returns
        -------
        Replay or None
            None if the predictions are stored. Otherwise the records that the key stored the first time.

        Raises
        ------
        IdempotencyConflictError
            If the key was used for a different request.
        QuotaExceededError
            If their user would have more than a quota allows.
        LedgerError
            If they cannot be stored. After a `LedgerUnavailableError` that is `in_doubt`, the predictions may be stored
            nevertheless: the acknowledgement of the commit was lost twice.
        """
        if len(predictions) > 1 or predictions[0].large:
            [told] = self.store_requests(model, [StoredRequest(predictions, idempotency)])
            if isinstance(told, LedgerError):
                raise told
            return told
        (prediction,) = predictions
        sql, sql_with_key = (
            (statements.STORE_ONE_COUNTED, statements.STORE_ONE_COUNTED_WITH_KEY)
            if self._counts
            else (statements.STORE_ONE, statements.STORE_ONE_WITH_KEY)
        )
        return self._write_once(model, sql, sql_with_key, _one_row(prediction), [prediction], idempotency)

    def store_requests(
        self, model: ModelIdentity, requests: Sequence[StoredRequest]
    ) -> list[Replay | LedgerError | None]:
        """Commit the predictions of many requests together, in one statement and one round trip unless they are large.

        Each request is stored all or not at all, whatever becomes of the others. Those whose key or quota does not
        admit them are left out by the statement itself. If the database refuses the statement, because of a value for
        instance, it is sent again in halves, until the request that it refuses is alone.

        Parameters
        ----------
        model : ModelIdentity
            The model that made the predictions.
        requests : Sequence of StoredRequest
            Requests of any users. Of those with the same key, the first comes first.

        Returns
        -------
        list of Replay or LedgerError or None
            For each request, in the same order, what `store` would have returned or raised. Requests that have failed
            together may share an error.
        """
        told: dict[int, Told] = {}
        left = dict(enumerate(requests))
        vanished: Counter[int] = Counter()
        while left:
            first, repeated = first_of_each_key(left)
            parts = of_moderate_size(requests, first)
            told |= in_halves(lambda some: self._store_some(model, requests, some, vanished), *parts)
            for number, earlier in repeated.items():
                if earlier in told:
                    answer = answer_of_repetition(model, requests[number], requests[earlier], told[earlier])
                    if answer is not None:
                        told[number] = answer
            left = {number: request for number, request in left.items() if number not in told}
        return [told[number] for number in range(len(requests))]

    def enqueue(self, prediction: QueuedPrediction, *, idempotency: IdempotencyKey | None = None) -> Replay | None:
        """Commit an input and its prediction with the status ``queued``, for a worker to make.

        Parameters
        ----------
        prediction : QueuedPrediction
            The input and its owner.
        idempotency : IdempotencyKey or None
            As in `store`.

        Returns
        -------
        Replay or None
            As in `store`.

        Raises
        ------
        LedgerError
            As in `store`.
        """
        parameters = _input_row(prediction.input) | {
            "prediction_id": prediction.prediction_id,
            "created_at": created_at(prediction.prediction_id),
            "user_id": prediction.user_id,
            "metadata": json_text(prediction.metadata),
            "inference_id": prediction.inference_id,
        }
        sql, sql_with_key = statements.ENQUEUE, statements.ENQUEUE_WITH_KEY
        if self._counts:
            sql, sql_with_key = statements.ENQUEUE_COUNTED, statements.ENQUEUE_COUNTED_WITH_KEY
        return self._write_once(None, sql, sql_with_key, parameters, [prediction], idempotency)

    def withdraw(self, prediction_id: UUID, *, idempotency: IdempotencyKey | None = None) -> bool:
        """Delete a prediction that `enqueue` committed, with its input and its key.

        Parameters
        ----------
        prediction_id : UUID
            The prediction. It is kept if a worker has already claimed it.
        idempotency : IdempotencyKey or None
            The key it was queued under. The prediction is also kept if this key has answered another request with it.

        Returns
        -------
        bool
            Whether it was deleted. If not, a worker or the sweep will finish it.
        """
        sql, parameters = statements.WITHDRAW, dict[str, object](prediction_id=prediction_id)
        if idempotency is not None:
            sql, parameters = statements.WITHDRAW_WITH_KEY, parameters | _key_row(idempotency)
        [[withdrawn]] = self._pool.run(sql, parameters)
        return bool(withdrawn)

    def replay(self, idempotency: IdempotencyKey) -> Replay | None:
        """Look up what a key has stored, so that a repeated request is not predicted again.

        Parameters
        ----------
        idempotency : IdempotencyKey
            The key.

        Returns
        -------
        Replay or None
            None if the key has stored nothing yet.

        Raises
        ------
        IdempotencyConflictError
            If the key was used for a different request.
        """
        replay = self._stored_under(idempotency)
        return None if replay is None else self._kept(replay, idempotency)

    def replays(self, keys: Sequence[IdempotencyKey]) -> list[Replay | LedgerError | None]:
        """Look up what many keys have stored, in one round trip, and one more for each prediction that is still queued.

        Parameters
        ----------
        keys : Sequence of IdempotencyKey
            The keys, of any users.

        Returns
        -------
        list of Replay or LedgerError or None
            For each key, in the same order, what `replay` would have returned or raised.
        """
        told = in_halves(lambda some: self._stored_under_some(keys, some), range(len(keys)))
        return [told.get(number) for number in range(len(keys))]

    def get(self, prediction_id: UUID, *, user_id: str | None = None) -> tuple[PredictionRecord, StoredInput]:
        """Read one prediction and its input.

        Parameters
        ----------
        prediction_id : UUID
            The prediction.
        user_id : str or None
            If given, the prediction must belong to this user.

        Returns
        -------
        tuple
            The record and the input.

        Raises
        ------
        RecordNotFoundError
            If the prediction does not exist, or belongs to another user.
        """
        row = self._one(statements.GET, statements.GET_IF_THEIRS, prediction_id, user_id)
        return PredictionRecord(*row[:_RECORD_COLUMNS]), _stored_input(row[_RECORD_COLUMNS:])

    def get_input(self, prediction_id: UUID, *, user_id: str | None = None) -> StoredInput:
        """Read only the input of a prediction. Parameters and errors as in `get`.

        Returns
        -------
        StoredInput
            The unchanged input.
        """
        return _stored_input(self._one(statements.GET_INPUT, statements.GET_INPUT_IF_THEIRS, prediction_id, user_id))

    def get_output(self, prediction_id: UUID, name: str, *, user_id: str | None = None) -> StoredOutput:
        """Read an output of a prediction that is stored apart from its record.

        Parameters
        ----------
        prediction_id, user_id
            As in `get`.
        name : str
            The output's name in the record.

        Raises
        ------
        RecordNotFoundError
            If there is none, or the prediction does not exist, or belongs to another user.
        """
        sql, parameters = statements.GET_OUTPUT, dict[str, object](prediction_id=prediction_id, name=name)
        if user_id is not None:
            sql, parameters["user_id"] = statements.GET_OUTPUT_IF_THEIRS, user_id
        rows = self._pool.run(sql, parameters)
        if not rows:
            raise RecordNotFoundError(f"no output {name!r} of prediction {prediction_id}")
        return StoredOutput(*rows[0])

    def list(
        self, matching: PredictionFilter, *, limit: int, cursor: str | None = None, order: Order = "newest"
    ) -> Page:
        """Read a page of predictions.

        The cursor is a position in the order, not an offset, and no record changes its position. So none is repeated,
        and none is skipped that meets the conditions all the while. One that is stored, judged or withdrawn between
        two pages is on the later one if it meets the conditions then, and comes after the cursor.

        Parameters
        ----------
        matching : PredictionFilter
            The conditions.
        limit : int
            The maximum number of records on the page, at least 1.
        cursor : str or None
            ``next_cursor`` of the previous page, in the same order.
        order : Order
            Whether the newest comes first, or the one of least confidence, and of equal confidence the oldest. In the
            latter order, records without a confidence are on no page.

        Returns
        -------
        Page
            The records, and the cursor of the next page. It has fewer than `limit` records if more do not fit into one
            answer of Lambda, but at least one.

        Raises
        ------
        InvalidCursorError
            If the ledger did not issue the cursor for this order.
        """
        ask = _newest if order == "newest" else _least_sure
        sql, parameters, keep = ask(matching, cursor)
        rows = self._pool.run(sql, parameters | {"count": limit + 1}, keep=keep)
        records = tuple(PredictionRecord(*row[:_RECORD_COLUMNS]) for row in rows[:limit])
        return Page.of(records, order, more=bool(records) and rows[0][_RECORD_COLUMNS] > len(records))

    def claim(self, prediction_ids: Iterable[UUID], *, lease_seconds: float) -> Claim:
        """Claim queued predictions for this worker alone, set them to ``processing``, and read their inputs.

        Parameters
        ----------
        prediction_ids : Iterable of UUID
            The ids in the worker's messages.
        lease_seconds : float
            Time that a worker has to finish. This worker takes over predictions claimed longer ago than that.

        Returns
        -------
        Claim
            Each id once: claimed, busy or done.
        """
        wanted = list(prediction_ids)
        parameters = {"prediction_ids": Array(arrays.UUIDS, wanted), "lease_seconds": lease_seconds}
        # Each row has the position of its id in `wanted`, from 1: parsing the id again would take longer.
        rows = self._pool.run(statements.CLAIM, parameters)
        return Claim(
            claimed=tuple(ClaimedPrediction(wanted[row[0] - 1], *row[3:]) for row in rows if row[1]),
            busy=tuple(wanted[row[0] - 1] for row in rows if not row[1] and row[2] in ("queued", "processing")),
            done=tuple(wanted[row[0] - 1] for row in rows if not row[1] and row[2] not in ("queued", "processing")),
        )

    def claim_oldest(
        self, *, limit: int, lease_seconds: float, again: bool = False, most_bytes: int = CLAIM_BYTES
    ) -> tuple[ClaimedPrediction, ...]:
        """Claim the oldest queued predictions, where no queue names them, and count the attempt.

        Parameters
        ----------
        limit : int
            The maximum number of predictions.
        lease_seconds : float
            Time that a worker has to finish. The lease doubles with each attempt: so long is the next one away.
        again : bool
            Whether to claim those that were claimed before, and whose lease is up; otherwise those that never were.
        most_bytes : int
            The maximum size of their inputs together. One is claimed whatever its size.

        Returns
        -------
        tuple of ClaimedPrediction
            Oldest first; empty if there is nothing to claim.
        """
        sql = statements.CLAIM_AGAIN if again else statements.CLAIM_OLDEST
        parameters = {"count": limit, "bytes": most_bytes, "window": CLAIM_WINDOW, "lease_seconds": lease_seconds}
        return tuple(ClaimedPrediction(*row) for row in self._pool.run(sql, parameters))

    def release(self, claimed: Sequence[ClaimedPrediction], *, counted: bool) -> tuple[UUID, ...]:
        """Queue claimed predictions again.

        Parameters
        ----------
        claimed : Sequence of ClaimedPrediction
            Of one call of `claim_oldest`, at least one.
        counted : bool
            Whether that was an attempt. If not, they are as if they had not been claimed.

        Returns
        -------
        tuple of UUID
            Those that are queued again. The others have an outcome, or another worker has taken them over.
        """
        identifiers = _uuids(one.prediction_id for one in claimed)
        parameters = {"prediction_ids": identifiers, "since": claimed[0].since, "counted": counted}
        return tuple(row[0] for row in self._pool.run(statements.RELEASE, parameters))

    def notify(self) -> None:
        """Wake the workers that listen (`listener`). They find what is queued; the notification says no more."""
        self._pool.run(statements.NOTIFY, {})

    def connect(self) -> Connection:
        """Open a connection of the caller's own, beside the pool, as one that listens needs.

        Raises
        ------
        LedgerUnavailableError
            If the database cannot be reached.
        """
        return self._pool.open()

    def begin_task(self, task: str, *, period: float) -> bool:
        """Tell whether a periodic task is to begin here and now: it began nowhere for `period` seconds.

        Parameters
        ----------
        task : str
            Its name.
        period : float
            Seconds from one beginning to the next.
        """
        return bool(self._pool.run(statements.BEGIN_TASK, {"task": task, "period": period}))

    def least_recently_claimed(self, prediction_ids: Iterable[UUID]) -> tuple[UUID, ...]:
        """Order predictions by when they were claimed, or queued if they were not claimed yet.

        Parameters
        ----------
        prediction_ids : Iterable of UUID
            The predictions.

        Returns
        -------
        tuple of UUID
            All of them. The last is the one that a worker was busy with when it ended, if one was.
        """
        parameters = {"prediction_ids": Array(arrays.UUIDS, list(prediction_ids))}
        return tuple(row[0] for row in self._pool.run(statements.LEAST_RECENTLY_CLAIMED, parameters))

    def complete(self, model: ModelIdentity, outcomes: Sequence[Success | Failure]) -> tuple[UUID, ...]:
        """Commit the outcomes of claimed predictions, in one statement.

        Parameters
        ----------
        model : ModelIdentity
            The model that made them.
        outcomes : Sequence of Success or Failure
            One for each prediction.

        Returns
        -------
        tuple of UUID
            Those that already had an outcome, from another delivery of the same message. That outcome stays.
        """
        columns = _columns(_OUTCOME_COLUMNS, [_outcome_row(outcome) for outcome in outcomes])
        large = _large_outputs(outcome for outcome in outcomes if isinstance(outcome, Success))
        sql = statements.COMPLETE_WITH_OUTPUTS if large else statements.COMPLETE
        rows = self._run(model, sql, columns | large)
        return tuple(row[0] for row in rows)

    def sweep(
        self,
        *,
        queued_seconds: float,
        processing_seconds: float,
        retry: bool = False,
        after: UUID = FIRST_ID,
        limit: int = 1000,
    ) -> Sweep:
        """Find stuck predictions: return those queued too long, and fail those in processing too long.

        Parameters
        ----------
        queued_seconds : float
            A queued prediction is returned if it was last sent longer ago than this.
        processing_seconds : float
            A prediction in processing fails if a worker claimed it longer ago than this.
        retry : bool
            Queue those in processing again instead of failing them: for when the queue lost its messages.
        after : UUID
            Consider only greater ids: pass the greatest id of the previous call to continue from there.
        limit : int
            The maximum number of predictions.

        Returns
        -------
        Sweep
            Their ids.
        """
        rows = self._pool.run(
            statements.SWEEP,
            {
                "queued_seconds": queued_seconds,
                "processing_seconds": processing_seconds,
                "after": after,
                "count": limit,
                "error": None if retry else _TOO_LONG,
            },
        )
        return Sweep(
            requeue=tuple(row[0] for row in rows if row[1] == "queued"),
            failed=tuple(row[0] for row in rows if row[1] == "failed"),
        )

    def announce_upload(self, upload: Upload, *, expires_at: datetime) -> None:
        """Record that a caller received a URL to upload an input, and until when it can be used.

        Raises
        ------
        QuotaExceededError
            If the user has announced as many uploads as the quota allows, and predicted none of them.
        """
        parameters = upload._asdict() | {"expires_at": expires_at}
        if self._quotas.open_uploads is None:
            self._pool.run(statements.ANNOUNCE_UPLOAD, parameters)
            return
        try:
            self._pool.run(statements.ANNOUNCE_UPLOAD_COUNTED, parameters | self._quotas.parameters())
        except StatementRefusedError as error:
            self._quotas.require(error)
            raise

    def upload(self, input_id: UUID, *, user_id: str) -> Upload:
        """Return an upload that a user has announced.

        Raises
        ------
        UploadNotAnnouncedError
            If no upload was announced with this id, or another user announced it, or it has expired.
        """
        rows = self._pool.run(statements.UPLOAD, {"input_id": input_id, "user_id": user_id})
        if not rows:
            raise UploadNotAnnouncedError(f"no upload {input_id}")
        return Upload(*rows[0])

    def known_objects(self, ids: Iterable[UUID]) -> set[UUID]:
        """Return those of the given ids of inputs and outputs that the ledger knows as objects."""
        return {row[0] for row in self._pool.run(statements.KNOWN_OBJECTS, {"ids": _uuids(ids)})}

    def objects(self, *, after: UUID = FIRST_ID, limit: int = 1000) -> Sequence[tuple[UUID, str]]:
        """Return the ids and URIs of inputs and outputs that are objects, ordered by id, at most `limit` of them."""
        rows = self._pool.run(statements.OBJECTS, {"after": after, "count": limit})
        return [(row[0], row[1]) for row in rows]

    def count_inputs_in_database(self) -> tuple[int, int]:
        """Return the number and the total size in bytes of the inputs whose bytes are in the database."""
        [[count, size]] = self._pool.run(statements.COUNT_INPUTS_IN_DATABASE, {})
        return count, size

    def inputs_in_database(self, *, after: UUID = FIRST_ID, limit: int = 20) -> Sequence[InputInDatabase]:
        """Return inputs whose bytes are in the database, ordered by the ids of their predictions.

        Parameters
        ----------
        after : UUID
            Consider only predictions with greater ids.
        limit : int
            The maximum number of inputs.
        """
        rows = self._pool.run(statements.INPUTS_IN_DATABASE, {"after": after, "count": limit})
        return [InputInDatabase(*row) for row in rows]

    def move_input(self, input_id: UUID, uri: str) -> bool:
        """Replace the bytes in an input's row by the URI of the object that holds them.

        Returns
        -------
        bool
            False if there is no such row, or it has no bytes: they were moved before, or deleted.
        """
        return bool(self._pool.run(statements.MOVE_INPUT, {"input_id": input_id, "uri": uri}))

    def _stored_under(self, idempotency: IdempotencyKey) -> Replay | None:
        rows = self._pool.run(statements.REPLAY, _key_row(idempotency) | {"key_seconds": self._key_seconds})
        if not rows:
            return None
        if rows[0][0] != idempotency.digest:
            raise IdempotencyConflictError(_OTHER_REQUEST)
        return Replay(records=tuple(PredictionRecord(*row[2:]) for row in rows), was_queued=rows[0][1])

    def _kept(self, replay: Replay, idempotency: IdempotencyKey) -> Replay | None:
        """Protect what is about to be answered from being withdrawn. Return None if it was just withdrawn."""
        first = replay.records[0]
        if first.status != "queued":
            return replay
        kept = self._pool.run(statements.KEEP_KEY, _key_row(idempotency) | {"prediction_id": first.prediction_id})
        return replay if kept else None

    def _stored_under_some(self, keys: Sequence[IdempotencyKey], some: Sequence[int]) -> dict[int, Told]:
        """Look up what some of the keys have stored. Those that have stored nothing are told nothing."""
        if len(some) == 1:
            return {some[0]: self.replay(keys[some[0]])}
        asked = _key_columns(keys[number] for number in some)
        rows = self._pool.run(statements.REPLAYS, asked | {"key_seconds": self._key_seconds})
        told: dict[int, Told] = {}
        for position, found in groupby(rows, itemgetter(0)):
            number = some[position - 1]
            (_, digest, was_queued, *first), *others = found
            if digest != keys[number].digest:
                told[number] = IdempotencyConflictError(_OTHER_REQUEST)
                continue
            records = (PredictionRecord(*first), *(PredictionRecord(*row[3:]) for row in others))
            try:
                told[number] = self._kept(Replay(records, was_queued), keys[number])
            except LedgerError as error:
                told[number] = error
        return told

    def _one(self, sql: str, sql_if_theirs: str, prediction_id: UUID, user_id: str | None) -> _Row:
        parameters: dict[str, object] = {"prediction_id": prediction_id}
        if user_id is not None:
            sql, parameters["user_id"] = sql_if_theirs, user_id
        rows = self._pool.run(sql, parameters)
        if not rows:
            raise RecordNotFoundError(f"no prediction {prediction_id}")
        return rows[0]

    def _run(self, model: ModelIdentity | None, sql: str, parameters: dict[str, object]) -> Sequence[_Row]:
        """Run a statement. If it refers to a model, register the model first if necessary."""
        if model is None:
            return self._pool.run(sql, parameters)
        model_id = self._registered.get(model)
        parameters["model_id"] = self.register(model) if model_id is None else model_id
        try:
            return self._pool.run(sql, parameters)
        except StatementRefusedError as error:
            if (error.sqlstate, error.constraint) != _NO_MODEL:
                raise
        # The database was emptied or replaced while this process was running.
        self.register(model)
        return self._pool.run(sql, parameters)

    def _store_some(
        self,
        model: ModelIdentity,
        requests: Sequence[StoredRequest],
        some: Sequence[int],
        vanished: Counter[int],
    ) -> dict[int, Told]:
        """Store some of the requests in one statement. Those that must be tried again are told nothing.

        `vanished` counts for each request how often its key was in use, and then free.
        """
        asked = [requests[number] for number in some]
        if len(asked) == 1 and len(asked[0].predictions) == 1 and not asked[0].predictions[0].large:
            return {some[0]: self.store(model, asked[0].predictions, idempotency=asked[0].idempotency)}
        sql, parameters = self._statement_of(some, asked)
        rows = self._insert(model, sql, parameters)
        told: dict[int, Told] = dict.fromkeys(some)
        left_out = {number: reason for reason, number in rows if number is not None}
        if not left_out:
            return told
        keys = {number: key for number in left_out if (key := requests[number].idempotency) is not None}
        found = dict(zip(keys, self.replays(list(keys.values())), strict=True))
        for number, reason in left_out.items():
            answer = found.get(number)
            if isinstance(answer, LedgerUnavailableError):
                answer.in_doubt = True  # the first attempt of this request may have taken the key
            if answer is not None:
                told[number] = None if _is_own(answer, requests[number]) else answer
            elif reason is None and vanished[number] + 1 == _ATTEMPTS:
                told[number] = LedgerUnavailableError(_WITHDRAWN)
            elif reason in (None, statements.TOGETHER):
                vanished[number] += reason is None
                del told[number]
            else:
                told[number] = self._quotas.exceeded(reason)
        return told

    def _statement_of(self, numbers: Sequence[int], asked: Sequence[StoredRequest]) -> tuple[str, dict[str, object]]:
        """Return the statement that stores requests, which it calls by these numbers, and its parameters."""
        parameters = _columns(
            _PREDICTION_COLUMNS, [_one_row(prediction) for request in asked for prediction in request.predictions]
        )
        parameters["request"] = Array(
            arrays.BIGINT, [number for number, one in zip(numbers, asked, strict=True) for _ in one.predictions]
        )
        if self._counts:
            parameters |= self._quotas.parameters()
        keyed = [
            (number, idempotency, one.predictions)
            for number, one in zip(numbers, asked, strict=True)
            if (idempotency := one.idempotency) is not None
        ]
        large = _large_outputs(prediction for one in asked for prediction in one.predictions)
        if not keyed:
            sql = statements.STORE_MANY_COUNTED if self._counts else statements.STORE_MANY
            return (statements.WITH_OUTPUTS[sql], parameters | large) if large else (sql, parameters)
        parameters |= _key_columns(idempotency for _, idempotency, _ in keyed) | {
            "key_request": Array(arrays.BIGINT, [number for number, _, _ in keyed]),
            "digest": Array(arrays.BYTEA, [idempotency.digest for _, idempotency, _ in keyed]),
            "key_stores": Array(
                arrays.TEXT,
                [f"{{{','.join(str(one.prediction_id) for one in predictions)}}}" for _, _, predictions in keyed],
            ),
            "key_seconds": self._key_seconds,
        }
        sql = statements.STORE_MANY_COUNTED_WITH_KEYS if self._counts else statements.STORE_MANY_WITH_KEYS
        return (statements.WITH_OUTPUTS[sql], parameters | large) if large else (sql, parameters)

    def _write_once(
        self,
        model: ModelIdentity | None,
        sql: str,
        sql_with_key: str,
        parameters: dict[str, object],
        predictions: Sequence[NewPrediction | QueuedPrediction],
        idempotency: IdempotencyKey | None,
    ) -> Replay | None:
        """Write, or return what the key has already written."""
        if self._counts:
            parameters |= self._quotas.parameters()
        if idempotency is None:
            self._insert(model, sql, parameters)
            return None
        identifiers = [prediction.prediction_id for prediction in predictions]
        parameters |= _key_row(idempotency) | {
            "digest": idempotency.digest,
            "was_queued": isinstance(predictions[0], QueuedPrediction),
            "prediction_ids": _uuids(identifiers),
            "key_seconds": self._key_seconds,
        }
        for _ in range(_ATTEMPTS):
            try:
                self._insert(model, sql_with_key, parameters)
            except StatementRefusedError as error:
                # The database reports this only after the other transaction has committed, so its row is readable now.
                if (error.sqlstate, error.constraint) != _KEY_IN_USE:
                    raise
            else:
                return None
            try:
                stored = self._stored_under(idempotency)
            except LedgerUnavailableError as error:
                error.in_doubt = True  # our own first attempt may have taken the key
                raise
            if stored is not None and [record.prediction_id for record in stored.records] == identifiers:
                return None  # our own first attempt, whose acknowledgement was lost: not a replay
            replay = None if stored is None else self._kept(stored, idempotency)
            if replay is not None:
                return replay
            # What had used the key was withdrawn or deleted meanwhile, so the key is free.
        raise LedgerUnavailableError(_WITHDRAWN)

    def _insert(self, model: ModelIdentity | None, sql: str, parameters: dict[str, object]) -> Sequence[_Row]:
        """Write predictions with their inputs, once more if an input was deleted under our eyes: then it is new again.

        Raises
        ------
        UploadNotAnnouncedError
            If the upload of an input was deleted, or has expired.
        QuotaExceededError
            If their user would have more than a quota allows.
        """
        try:
            try:
                return self._run(model, sql, parameters)
            except StatementRefusedError as error:
                if (error.sqlstate, error.constraint) != _NO_INPUT:
                    raise
                return self._run(model, sql, parameters)
        except StatementRefusedError as error:
            self._quotas.require(error)
            if (error.sqlstate, error.constraint) != _NO_UPLOAD:
                raise
            raise UploadNotAnnouncedError("the upload was deleted meanwhile") from error


def _model_id(model: ModelIdentity) -> int:
    """Return the id of a model: 63 bits of a digest over its whole identity. Its baseline is no part of that.

    The database must not assign the id: a process that outlives its database (restored or emptied) would store
    predictions under a number that now belongs to another model.
    """
    said = list(model._replace(sha256=model.sha256.lower()))[:_IDENTITY_COLUMNS]
    return int.from_bytes(hashlib.sha256(json.dumps(said).encode()).digest()[:8], "big") >> 1


def _conditions(matching: PredictionFilter) -> tuple[frozenset[str], dict[str, object]]:
    """Return the conditions of a filter by their names in `page_statements`, and the parameters that these have."""
    parameters: dict[str, object] = {
        name: value for name in page_statements.EQUALITIES if (value := getattr(matching, name)) is not None
    }
    names = set(parameters)
    if matching.status is not None:
        names.add(matching.status)
    if matching.has_ground_truth is not None:
        names.add("judged" if matching.has_ground_truth else "unjudged")
    return frozenset(names), parameters


def _newest(matching: PredictionFilter, cursor: str | None) -> tuple[str, dict[str, object], bool]:
    """Return the statement for a page, newest first, its parameters, and whether to keep its plan."""
    bounds = [LAST_ID] if cursor is None else [decode_cursor(cursor)]
    if matching.until is not None:
        bounds.append(first_id_at(matching.until))
    names, parameters = _conditions(matching)
    confidence = {
        name: bound
        for name, bound in (("min_confidence", matching.min_confidence), ("max_confidence", matching.max_confidence))
        if bound is not None
    }
    window = {
        "since": FIRST_ID if matching.since is None else first_id_at(matching.since),
        "before": min(bounds),
    }
    sql, keep = page_statements.page(names.union(confidence))
    return sql, parameters | confidence | window, keep


def _least_sure(matching: PredictionFilter, cursor: str | None) -> tuple[str, dict[str, object], bool]:
    """Return the same for a page with the least sure first."""
    after = (-math.inf, FIRST_ID) if cursor is None else decode_least_sure_cursor(cursor)
    if matching.min_confidence is not None:
        after = max(after, (matching.min_confidence, FIRST_ID))
    names, parameters = _conditions(matching)
    window = {
        name: first_id_at(moment)
        for name, moment in (("since", matching.since), ("before", matching.until))
        if moment is not None
    }
    place = {
        "after_confidence": after[0],
        "after": after[1],
        "most_confidence": math.inf if matching.max_confidence is None else matching.max_confidence,
    }
    sql, keep = page_statements.least_sure_page(names.union(window))
    return sql, parameters | window | place, keep


def _key_row(idempotency: IdempotencyKey) -> dict[str, object]:
    return {"key_user_id": idempotency.user_id, "key": idempotency.key}


def _key_columns(keys: Iterable[IdempotencyKey]) -> dict[str, object]:
    users, names, _ = zip(*keys, strict=True)
    return {"key_user_id": Array(arrays.TEXT, users), "key": Array(arrays.TEXT, names)}


def _is_own(replay: Replay | LedgerError, request: StoredRequest) -> bool:
    """Whether a key holds what this request has stored itself, by an attempt whose acknowledgement was lost."""
    return isinstance(replay, Replay) and replay.records[0].prediction_id == request.predictions[0].prediction_id


def _uuids(identifiers: Iterable[UUID]) -> Array:
    return Array(arrays.UUIDS, list(identifiers))


def _input_row(new: NewInput) -> dict[str, object]:
    raw = new.content if new.content is not None else (new.features or "").encode()
    return {
        "input_id": new.input_id,
        "size": len(raw),
        "sha256": hashlib.sha256(raw).digest(),
        "contenttype": new.contenttype,
        "filename": new.filename,
        "features": new.features,
        "content": None if new.uri is not None else new.content,
        "uri": new.uri,
        "upload_id": new.upload_id,
        "form": new.form,
        "header_length": new.header_length,
        "declared_contenttype": new.declared_contenttype,
    }


def _result_row(result: NewPrediction | Success) -> dict[str, object]:
    return {
        "prediction_id": result.prediction_id,
        "duration_ms": result.duration_ms,
        "confidence": result.confidence,
        "likely_class": result.likely_class,
        "label": result.label,
        "predicted_value": jsonb_text(result.predicted_value),
        "output": jsonb_text(result.output),
        "outputs": None if result.outputs is None else jsonb_text(result.outputs),
        "measured": None if result.measured is None else result.measured.array_text,
    }


def _one_row(prediction: NewPrediction) -> dict[str, object]:
    return {
        **_input_row(prediction.input),
        **_result_row(prediction),
        "created_at": created_at(prediction.prediction_id),
        "user_id": prediction.user_id,
        "metadata": json_text(prediction.metadata),
        "inference_id": prediction.inference_id,
    }


def _outcome_row(outcome: Success | Failure) -> dict[str, object]:
    if isinstance(outcome, Failure):
        return {"prediction_id": outcome.prediction_id, "error": outcome.error, "failure": outcome.kind}
    return _result_row(outcome)


def _large_outputs(results: Iterable[NewPrediction | Success]) -> dict[str, object]:
    """Convert the outputs that are stored apart to one array per column; nothing if there are none."""
    outputs = [(result.prediction_id, one) for result in results for one in result.large]
    if not outputs:
        return {}
    rows = [
        {
            "of_prediction": prediction_id,
            "output_id": one.output_id,
            "output_name": one.name,
            "output_datatype": one.datatype,
            "output_shape": "{" + ",".join(map(str, one.shape)) + "}",  # an array of arrays would need equal lengths
            "output_size": one.size,
            "output_sha256": one.sha256,
            "output_content": one.content if one.uri is None else None,
            "output_uri": one.uri,
            "output_user_id": one.user_id,
        }
        for prediction_id, one in outputs
    ]
    return _columns(_OUTPUT_COLUMNS, rows)


def _columns(types: Mapping[str, ElementType], rows: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """Convert rows to one array per column, for a statement that takes any number of rows."""
    return {name: Array(element, [row.get(name) for row in rows]) for name, element in types.items()}


def _stored_input(row: _Row) -> StoredInput:
    content, contenttype, filename, features, sha256, size, uri, form, header_length = row
    return StoredInput(content, contenttype, filename, features, sha256.hex(), size, uri, form, header_length)
