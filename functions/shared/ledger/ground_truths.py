"""Keep, check, withdraw and read ground truths: what predictions should have been."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

from functions.shared.ledger import arrays
from functions.shared.ledger import ground_truth_statements as statements
from functions.shared.ledger.arrays import Array
from functions.shared.ledger.errors import LedgerError, LedgerUnavailableError, RecordNotFoundError
from functions.shared.ledger.json_text import jsonb_text
from functions.shared.ledger.ledger import Ledger

MOST_JUDGED: Final = 10_000
"""The most predictions that one statement judges. Many predictions may have the same `inference_id`."""

MOST_FAULTS: Final = 1_000
"""The most faults that a `GroundTruthsRefusedError` describes."""

MOST_EARLIER_BYTES: Final = 256
"""The most bytes of JSON of a current ground truth that `check_many` returns."""

MOST_HISTORY: Final = 100
"""The most entries of a history that are read."""

_COLUMNS: Final = {
    "number": arrays.BIGINT,
    "prediction_id": arrays.UUIDS,
    "inference_id": arrays.TEXT,
    "kind": arrays.TEXT,
    "value": arrays.JSONB,
    "shape": arrays.TEXT,
    "source": arrays.TEXT,
    "source_id": arrays.TEXT,
    "comment": arrays.TEXT,
}

Kind = Literal["label", "value"]
"""What a ground truth is: the name of a class, or anything else."""

Reason = Literal["none", "several users", "contradiction", "late", "kind", "label", "shape"]
"""Why a ground truth cannot be kept.

`none`: no prediction of the caller has this id. `several users`: predictions of several users have this inference id.
`contradiction`: it differs from an earlier one of the same request for the same prediction. `late`: something else was
said of the prediction at or after the time that the caller names. `kind`: it is a value and the prediction is a
classification, or the other way round. `label`: the model does not know it. `shape`: its numbers and texts are not
nested as those of the prediction are.
"""


class GroundTruth(NamedTuple):
    """What a prediction should have been.

    Attributes
    ----------
    kind : str
        What `value` is.
    value : str, float, int, list or dict
        The name of a class; or a number, or JSON. It must not be None, nor have a NaN.
    prediction_id : UUID or None
        The prediction.
    inference_id : str or None
        The caller's own id of the prediction, or of several predictions, instead of a `prediction_id`.
    source : str or None
        Who or what knows it: ``human``, ``code`` or ``model``.
    source_id, comment : str or None
        Which one, and why, in the caller's words.
    """

    kind: Kind
    value: Any
    prediction_id: UUID | None = None
    inference_id: str | None = None
    source: str | None = None
    source_id: str | None = None
    comment: str | None = None


class Fault(NamedTuple):
    """Why a ground truth cannot be kept.

    Attributes
    ----------
    number : int
        Which one: its position in what was given, from 0.
    reason : str
        Why.
    task : str or None
        The task of the model that made the prediction; None if it is not made yet.
    labels : tuple of str or None
        The labels that the model knows, if the reason is `label` or `kind`.
    size : int or None
        The length of the prediction; None if it is no list.
    """

    number: int
    reason: Reason
    task: str | None
    labels: tuple[str, ...] | None
    size: int | None


class GroundTruthsRefusedError(LedgerError):
    """Some of the ground truths cannot be kept, and so none was.

    Attributes
    ----------
    faults : Sequence of Fault
        By their number; at most `MOST_FAULTS`.
    count : int
        How many there are.
    """

    def __init__(self, faults: Sequence[Fault], count: int) -> None:
        super().__init__(f"{count} ground truths cannot be kept")
        self.faults = faults
        self.count = count


class TooManyJudgedError(LedgerError):
    """The ground truths apply to more than `MOST_JUDGED` predictions. None was kept."""


class Judged(NamedTuple):
    """A prediction that has been judged.

    Attributes
    ----------
    user_id : str
        Its owner.
    given_at : datetime
        When its ground truth was given.
    given_by : str or None
        Who gave it; None if that is not known.
    correct : bool or None
        Whether the prediction was right; None if it can be neither right nor wrong.
    """

    user_id: str
    given_at: datetime
    given_by: str | None
    correct: bool | None


class JudgedMany(NamedTuple):
    """What the ground truths of one call have changed.

    Attributes
    ----------
    predictions : int
        How many predictions they apply to.
    changed : int
        For how many of these the ground truth has changed.
    others : Sequence of str
        The ids of those predictions that do not belong to the user who gave the ground truths.
    """

    predictions: int
    changed: int
    others: Sequence[str]


What = Literal["new", "changed", "same", "repeated"]
"""What would become of a ground truth: its prediction has none yet, it differs from the current one, it equals the
current one, or it equals an earlier one of the same request. If it applies to several predictions, this is the first of
`changed`, `new`, `same` and `repeated` that holds for any of them."""


class Outcome(NamedTuple):
    """What would become of a ground truth that could be kept.

    Attributes
    ----------
    number : int
        Which one: its position in what was given, from 0.
    what : str
        What would become of it.
    predictions : int
        How many predictions it applies to.
    changed : int
        For how many of these it would change the ground truth.
    earlier : Any
        The current one, if it applies to one prediction and this is at most `MOST_EARLIER_BYTES` long; else None.
    """

    number: int
    what: What
    predictions: int
    changed: int
    earlier: Any


class CheckedMany(NamedTuple):
    """What `judge_many` would do with each ground truth if those that cannot be kept were left out.

    Attributes
    ----------
    outcomes : Sequence of Outcome
        Those that could be kept, by their number.
    faults : Sequence of Fault
        All the others, by their number.
    predictions, changed : int
        As in `JudgedMany`.
    others : Sequence of str
        As in `JudgedMany`.
    """

    outcomes: Sequence[Outcome]
    faults: Sequence[Fault]
    predictions: int
    changed: int
    others: Sequence[str]


class HistoryEntry(NamedTuple):
    """A ground truth that was given, or withdrawn if `value` is None. Attributes as in `GroundTruth` and `Judged`."""

    given_at: datetime
    value: Any
    source: str | None
    source_id: str | None
    comment: str | None
    given_by: str | None


class History(NamedTuple):
    """The ground truths of a prediction.

    Attributes
    ----------
    user_id : str
        The owner of the prediction.
    value : Any
        The current one; None if there is none.
    correct : bool or None
        As in `Judged`.
    entries : Sequence of HistoryEntry
        The newest first; the first is the current one.
    """

    user_id: str
    value: Any
    correct: bool | None
    entries: Sequence[HistoryEntry]


class JudgingLedger(Ledger):
    """A ledger that keeps ground truths."""

    def judge(
        self,
        truth: GroundTruth,
        *,
        user_id: str | None = None,
        given_by: str | None = None,
        unless_judged_since: datetime | None = None,
    ) -> Judged:
        """Keep the ground truth of the prediction with a `prediction_id`. If it equals the current one, change nothing.

        Parameters
        ----------
        truth : GroundTruth
            What the prediction should have been.
        user_id : str or None
            If given, the prediction must belong to this user.
        given_by : str or None
            Who says so.
        unless_judged_since : datetime or None
            If given, nothing else may have been said of the prediction at this time or later.

        Raises
        ------
        RecordNotFoundError
            If the prediction does not exist, or belongs to another user.
        GroundTruthsRefusedError
            If it cannot be a ground truth of this prediction.
        """
        sql = statements.JUDGE_ONE if user_id is None else statements.JUDGE_ONE_IF_THEIRS
        try:
            row = self._judge(sql, _parameters([truth], user_id, given_by, unless_judged_since), keep=True)
        except GroundTruthsRefusedError as error:
            if error.faults[0].reason == "none":
                raise RecordNotFoundError(f"no prediction {truth.prediction_id}") from error
            raise
        owner, given_at, correct, giver = row[2:]
        return Judged(owner, given_at, giver, correct)

    def judge_many(
        self,
        truths: Sequence[GroundTruth],
        *,
        user_id: str | None = None,
        given_by: str | None = None,
        unless_judged_since: datetime | None = None,
    ) -> JudgedMany:
        """Keep ground truths, all or none, in one statement and one round trip.

        Parameters
        ----------
        truths : Sequence of GroundTruth
            Each with a `prediction_id` or an `inference_id`. Several for one prediction must be equal.
        user_id, given_by, unless_judged_since
            As in `judge`.

        Raises
        ------
        GroundTruthsRefusedError
            If some cannot be kept.
        TooManyJudgedError
            If they apply to too many predictions.
        """
        sql = statements.JUDGE_MANY if user_id is None else statements.JUDGE_MANY_IF_THEIRS
        parameters = _parameters(truths, user_id, given_by, unless_judged_since)
        predictions, changed, others = self._judge(sql, parameters, keep=False)
        return JudgedMany(predictions, changed, others or ())

    def check_many(
        self,
        truths: Sequence[GroundTruth],
        *,
        user_id: str | None = None,
        given_by: str | None = None,
        unless_judged_since: datetime | None = None,
    ) -> CheckedMany:
        """Say what `judge_many` would do, in the same round trips. Nothing is written and nothing is locked.

        Parameters
        ----------
        truths, user_id, given_by, unless_judged_since
            As in `judge_many`.

        Raises
        ------
        TooManyJudgedError
            If they apply to too many predictions.
        """
        if not truths:
            return CheckedMany((), (), 0, 0, ())
        sql = statements.CHECK_MANY if user_id is None else statements.CHECK_MANY_IF_THEIRS
        parameters = _parameters(truths, user_id, given_by, unless_judged_since)
        parameters |= {"most_earlier": MOST_EARLIER_BYTES}
        [[are_too_many, faults, predictions, outcomes, others]] = self._pool.run(sql, parameters, keep=False)
        if are_too_many:
            raise TooManyJudgedError(f"more than {MOST_JUDGED} predictions")
        found = [Outcome(*outcome) for outcome in outcomes or ()]
        changed = sum(outcome.changed for outcome in found)
        return CheckedMany(found, self._faults(faults or ()), predictions, changed, others or ())

    def _judge(self, sql: str, parameters: dict[str, object], *, keep: bool) -> list[Any]:
        """Run a statement that judges, and again if somebody else has judged meanwhile. Return the rest of its row.

        A kept plan suits any number of ground truths, and takes minutes for many: `keep` it only where there is one.
        """
        parameters = parameters | {"most_faults": MOST_FAULTS}
        rows = self._pool.run(sql, parameters, keep=keep)
        if rows[0][1]:
            rows = self._judge_locked(sql, parameters, keep=keep)
        [[are_too_many, is_outdated, count, faults, *rest]] = rows
        if are_too_many:
            raise TooManyJudgedError(f"more than {MOST_JUDGED} predictions")
        if is_outdated:
            raise LedgerUnavailableError("the predictions were judged by others again and again")
        if faults:
            raise GroundTruthsRefusedError(self._faults(faults), count)
        return list(rest)

    def _judge_locked(self, sql: str, parameters: Mapping[str, object], *, keep: bool) -> list[list[Any]]:
        """Run a statement that judges twice in a transaction.

        The first run locks the predictions, whatever it finds. So the second sees everything that the first has waited
        for, and nobody else can judge them in between.
        """
        with self._pool.connection() as connection:
            connection.run("BEGIN", {})
            rows = connection.run(sql, parameters, keep=keep)
            if rows[0][1]:
                rows = connection.run(sql, parameters, keep=keep)
            connection.run("COMMIT", {})
        return rows

    def _faults(self, rows: Sequence[Sequence[Any]]) -> Sequence[Fault]:
        model_ids = {int(model_id) for _, reason, _, model_id, _ in rows if reason in ("label", "kind") and model_id}
        labels = {}
        if model_ids:
            parameters = {"model_ids": Array(arrays.BIGINT, sorted(model_ids))}
            found = self._pool.run(statements.LABELS, parameters)
            labels = {model_id: tuple(known) for model_id, known in found if isinstance(known, list)}
        return [
            Fault(number, reason, task, labels.get(model_id), size) for number, reason, task, model_id, size in rows
        ]

    def withdraw_truth(
        self,
        prediction_id: UUID,
        *,
        user_id: str | None = None,
        given_by: str | None = None,
        unless_judged_since: datetime | None = None,
    ) -> str:
        """Withdraw the ground truth of a prediction, if it has one. The history keeps it, and its withdrawal.

        Parameters
        ----------
        prediction_id : UUID
            The prediction.
        user_id, given_by, unless_judged_since
            As in `judge`.

        Returns
        -------
        str
            The owner of the prediction.

        Raises
        ------
        RecordNotFoundError
            If the prediction does not exist, or belongs to another user.
        GroundTruthsRefusedError
            If it has a ground truth that was given since. It stays.
        """
        sql = statements.WITHDRAW_TRUTH if user_id is None else statements.WITHDRAW_TRUTH_IF_THEIRS
        parameters = {
            "prediction_id": prediction_id,
            "user_id": user_id,
            "given_by": given_by,
            "unless_judged_since": unless_judged_since,
        }
        rows = self._pool.run(sql, parameters)
        if not rows:
            raise RecordNotFoundError(f"no prediction {prediction_id}")
        [[owner, is_late]] = rows
        if is_late:
            raise GroundTruthsRefusedError([Fault(0, "late", None, None, None)], 1)
        return str(owner)

    def history(self, prediction_id: UUID, *, user_id: str | None = None, limit: int = MOST_HISTORY) -> History:
        """Read the ground truths of a prediction.

        Parameters
        ----------
        prediction_id : UUID
            The prediction.
        user_id : str or None
            If given, the prediction must belong to this user.
        limit : int
            The maximum number of entries.

        Raises
        ------
        RecordNotFoundError
            If the prediction does not exist, or belongs to another user.
        """
        sql = statements.HISTORY if user_id is None else statements.HISTORY_IF_THEIRS
        rows = self._pool.run(sql, {"prediction_id": prediction_id, "user_id": user_id, "count": limit})
        if not rows:
            raise RecordNotFoundError(f"no prediction {prediction_id}")
        owner, value, correct = rows[0][:3]
        return History(owner, value, correct, [HistoryEntry(*row[3:]) for row in rows if row[3] is not None])


def _parameters(
    truths: Sequence[GroundTruth], user_id: str | None, given_by: str | None, unless_judged_since: datetime | None
) -> dict[str, object]:
    columns: dict[str, Sequence[object]] = dict(zip(GroundTruth._fields, zip(*truths, strict=True), strict=True))
    columns["shape"] = [_shape(value) for value in columns["value"]]
    columns["value"] = [jsonb_text(value) for value in columns["value"]]
    columns["number"] = range(len(truths))
    arrays_of: dict[str, object] = {name: Array(element, columns[name]) for name, element in _COLUMNS.items()}
    said = {"user_id": user_id, "given_by": given_by, "unless_judged_since": unless_judged_since}
    return arrays_of | said | {"most": MOST_JUDGED}


def _shape(value: Any) -> str:  # noqa: ANN401  # any JSON value
    """Return the text that PostgreSQL makes of a value once its numbers are 0 and its texts are empty."""
    if isinstance(value, list):
        return f"[{', '.join(map(_shape, value))}]"
    if isinstance(value, str):
        return '""'
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "0"
    return "{}"
