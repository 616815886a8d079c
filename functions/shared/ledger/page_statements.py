"""The SQL statements that list records: for each combination of conditions, one that reads a page from an index.

As in `statements`, a statement is a combination of constant fragments, and no value ever becomes part of its text.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

from functions.shared.ledger.statements import RECORD

# The innermost subquery finds the page by scanning an index backwards; the joins then complete its records. OFFSET 0
# keeps the planner from replacing the look-ups of a few rows by joins over whole tables.
#
# The subqueries around it end the page before it is larger than an answer: otherwise a page of large outputs takes
# more memory than a function has. The size as text decides (6 MB, Lambda's largest answer), but to get it PostgreSQL
# decompresses the value, which takes minutes for a thousand large ones. So the size as stored ends the page first.
# `found` is how many rows there were.
_FITTING = """, p.found
FROM (
SELECT *, sum(answered) OVER newer AS answered_before FROM (
SELECT *, CASE WHEN kept < 500 THEN kept ELSE
    coalesce(octet_length(output::text), 0) + coalesce(octet_length(predicted_value::text), 0)
    + coalesce(octet_length(outputs::text), 0) + coalesce(octet_length(ground_truth::text), 0)
    + octet_length(metadata::text) END AS answered FROM (
SELECT *, count(*) OVER () AS found, sum(kept) OVER newer AS kept_before FROM (
SELECT *, coalesce(pg_column_size(output), 0) + coalesce(pg_column_size(predicted_value), 0)
    + coalesce(pg_column_size(outputs), 0) + coalesce(pg_column_size(ground_truth), 0)
    + pg_column_size(metadata) AS kept FROM ("""
_PAGE = "SELECT " + RECORD + _FITTING
_END_OF_PAGE = """
) walked
) weighed WINDOW newer AS (ORDER BY prediction_id DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
) counted WHERE coalesce(kept_before, 0) < 2000000
) measured WINDOW newer AS (ORDER BY prediction_id DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
) p
CROSS JOIN LATERAL (
    SELECT filename, contenttype, declared_contenttype FROM inputs WHERE inputs.input_id = p.input_id OFFSET 0
) i
LEFT JOIN LATERAL (SELECT name, version FROM models WHERE models.model_id = p.model_id OFFSET 0) m ON TRUE
WHERE coalesce(p.answered_before, 0) < 6000000
ORDER BY p.prediction_id DESC
"""


def _walk(columns: Sequence[str], values: Sequence[str], only: str = "") -> tuple[str, str]:
    """Return the two parts of a walk over the index on some columns and the id: conditions can go between them.

    "label = 'x' ORDER BY prediction_id" would be equivalent, but lets the planner scan the primary key and discard rows
    with other labels. It does so if 'x' is common on average, and then reads ten million rows if 'x' has not occurred
    lately. Only one index can serve bounds on the pair and an order by the pair.

    `only` is what the index says in its WHERE: the planner does not conclude it from a comparison of rows.
    """
    return _WALKED + _bounds(columns, values) + only, _in_order(columns)


def _walk_judged(columns: Sequence[str], values: Sequence[str]) -> tuple[str, str]:
    """Return the same for an index of `judged_predictions`, whose rows are looked up in `predictions`.

    OFFSET 0 keeps the planner from a join over whole tables.
    """
    columns = ["judged." + column for column in columns]
    bounds = _bounds(columns, values, "judged.prediction_id")
    return _WALKED_JUDGED, _END_OF_JUDGED + bounds + _in_order(columns, "judged.prediction_id")


_WALKED = """
    SELECT * FROM predictions
    WHERE """
_WALKED_JUDGED = """
    SELECT p.* FROM judged_predictions judged CROSS JOIN LATERAL (
        SELECT * FROM predictions WHERE predictions.prediction_id = judged.prediction_id"""
_END_OF_JUDGED = """ OFFSET 0
    ) p
    WHERE """
_ORDER_BY = """
    ORDER BY """


def _bounds(columns: Sequence[str], values: Sequence[str], identifier: str = "prediction_id") -> str:
    row = _row(*columns, identifier)
    return row + " >= " + _row(*values, ":since") + " AND " + row + " < " + _row(*values, ":before")


def _row(*parts: str) -> str:
    return "(" + ", ".join(parts) + ")" if len(parts) > 1 else parts[0]


def _in_order(columns: Sequence[str], identifier: str = "prediction_id") -> str:
    return _ORDER_BY + ", ".join([column + " DESC" for column in (*columns, identifier)]) + " LIMIT :count"


_WALKS = {
    frozenset[str](): _walk([], []),
    frozenset({"user_id"}): _walk(["user_id"], [":user_id"]),
    frozenset({"label"}): _walk(["label"], [":label"]),
    frozenset({"inference_id"}): _walk(["inference_id"], [":inference_id"], " AND inference_id IS NOT NULL"),
    frozenset({"judged"}): _walk_judged([], []),
    frozenset({"user_id", "judged"}): _walk_judged(["user_id"], [":user_id"]),
    frozenset({"correct"}): _walk_judged(["correct"], [":correct"]),
    frozenset({"user_id", "correct"}): _walk_judged(["user_id", "correct"], [":user_id", ":correct"]),
    frozenset({"ground_truth"}): _walk_judged(["ground_truth"], [":ground_truth"]),
}
_, _NEWEST_FIRST = _WALKS[frozenset()]

# A name may match several models (versions, files, providers), and no index has the rows of several models in order. So
# this scans the index once per model and takes the newest rows of all scans. What has succeeded has a model.
_BEGIN_OF_MODELS = """
    SELECT walk.* FROM models CROSS JOIN LATERAL ("""
_WALK_MODEL, _NEWEST_OF_MODEL_FIRST = _walk(["predictions.model_id"], ["models.model_id"])
_END_OF_MODELS = """
    ) walk WHERE TRUE"""

# What has failed has no model, nor has what is unfinished. So the index of the models has it in order.
_WALK_WITHOUT_MODEL = (
    """
    SELECT * FROM predictions
    WHERE model_id IS NULL AND prediction_id >= :since AND prediction_id < :before""",
    """
    ORDER BY model_id DESC, prediction_id DESC LIMIT :count""",
)

_JUDGED = " AND prediction_id IN (SELECT prediction_id FROM judged_predictions WHERE TRUE"
_END_OF_JUDGED_ONES = ")"
_OF_USER = ("user_id", " AND user_id = :user_id")
# The table has 256 characters of a ground truth, and a parameter fewer: it is the whole of one, or none.
_JUDGEMENTS = (
    _OF_USER,
    ("correct", " AND correct = :correct"),
    ("ground_truth", " AND ground_truth = :ground_truth"),
)
_MODELED = " AND model_id = ANY (ARRAY(SELECT model_id FROM models WHERE TRUE"
_END_OF_MODELED = "))"
_MODELS = (("model", " AND models.name = :model"), ("version", " AND models.version = :version"))
_FILTERS = (
    _OF_USER,
    ("label", " AND label = :label"),
    ("inference_id", " AND inference_id = :inference_id"),
    ("unjudged", " AND ground_truth IS NULL"),
)
_STATUSES = (
    ("queued", " AND status = 'queued'"),
    ("processing", " AND status = 'processing'"),
    ("failed", " AND status = 'failed'"),
)
_CONFIDENCES = (
    ("succeeded", " AND status = 'succeeded'"),
    ("min_confidence", " AND confidence >= :min_confidence"),
    ("max_confidence", " AND confidence <= :max_confidence"),
)

# What is least sure comes first; of equal confidence, what is oldest. The index has the user last: of a user's records,
# the planner either walks it, and looks up none of those of others, or sorts them all, if they are few.
_MORE_SURE = """
    SELECT * FROM predictions
    WHERE (confidence, prediction_id) > (:after_confidence, :after) AND confidence <= :most_confidence"""
_LEAST_SURE_FIRST = """
    ORDER BY confidence, prediction_id LIMIT :count"""
_WINDOW = (("since", " AND prediction_id >= :since"), ("before", " AND prediction_id < :before"))
_END_OF_SURE_PAGE = _END_OF_PAGE.replace("prediction_id DESC", "confidence, prediction_id")

EQUALITIES = frozenset({"user_id", "label", "model", "version", "inference_id", "ground_truth", "correct"})
"""Conditions that something is equal to the parameter of the same name."""

CONDITIONS = EQUALITIES | {
    *("min_confidence", "max_confidence"),
    *("judged", "unjudged"),
    *("queued", "processing", "succeeded", "failed"),
}
"""All conditions. The bounds of the confidence are parameters as well."""


def _texts(fragments: Iterable[tuple[str, str]], conditions: frozenset[str]) -> str:
    return "".join([text for name, text in fragments if name in conditions])


def _filters(conditions: frozenset[str]) -> str:
    """Return conditions on a row of `predictions`, of which the planner may take any index."""
    text = _texts((*_FILTERS, *_STATUSES, *_CONFIDENCES), conditions)
    if models := _texts(_MODELS, conditions):
        text += _MODELED + models + _END_OF_MODELED
    if conditions & {"judged", "correct", "ground_truth"}:
        text += _JUDGED + _texts(_JUDGEMENTS, conditions) + _END_OF_JUDGED_ONES
    return text


@lru_cache(maxsize=256)
def page(conditions: frozenset[str]) -> tuple[str, bool]:
    """Return the statement for a page of records, newest first.

    Parameters
    ----------
    conditions : frozenset of str
        Names from `CONDITIONS`. The other parameters are ``since`` and ``before``, which bound the ids, and ``count``.

    Returns
    -------
    str
        A SELECT.
    bool
        Whether one plan suits all values. With one condition, the plan scans its index. With several, the best index
        depends on how common each value is, so the statement must be planned for each call.
    """
    confidences, models = _texts(_CONFIDENCES, conditions), _texts(_MODELS, conditions)
    others = conditions - {"min_confidence", "max_confidence", "succeeded", "model", "version"}
    if others & {"correct", "ground_truth"}:
        others -= {"judged"}
    if not others and (models or "succeeded" in conditions):
        walk = _BEGIN_OF_MODELS + _WALK_MODEL + confidences + _NEWEST_OF_MODEL_FIRST
        walk += _END_OF_MODELS + models + _NEWEST_FIRST
    elif others in _WALKS and not models:
        begin, end = _WALKS[others]
        walk = begin + confidences + end
    else:
        begin, end = _WALK_WITHOUT_MODEL if "failed" in others else _WALKS[frozenset()]
        return _PAGE + begin + _filters(conditions) + end + _END_OF_PAGE, False
    return _PAGE + walk + _END_OF_PAGE, True


@lru_cache(maxsize=256)
def least_sure_page(conditions: frozenset[str]) -> tuple[str, bool]:
    """Return the statement for a page of records, least sure first. Those without a confidence are on no page.

    Parameters
    ----------
    conditions : frozenset of str
        Names from `CONDITIONS` but the bounds of the confidence, and ``since`` and ``before`` where the ids are
        bounded. The other parameters are ``after_confidence`` and ``after``, which the records come after,
        ``most_confidence`` and ``count``.

    Returns
    -------
    tuple
        As of `page`.
    """
    filters = _filters(conditions) + _texts(_WINDOW, conditions)
    return _PAGE + _MORE_SURE + filters + _LEAST_SURE_FIRST + _END_OF_SURE_PAGE, not filters
