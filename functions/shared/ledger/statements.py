"""Every SQL statement of the ledger.

The statements are constants or combinations of constant fragments (`page`): no value ever becomes part of the SQL text.
Each statement is one round trip and, outside an explicit transaction, one transaction. Every statement that writes is
safe to repeat.
"""

from functools import lru_cache

REGISTER_MODEL = """
INSERT INTO models (model_id, name, version, sha256, labels, task, provider, settings)
VALUES (:model_id, :name, :version, :sha256, :labels, :task, :provider, :settings)
ON CONFLICT (model_id) DO UPDATE SET served_at = now()
"""

SERVED_PROVIDER = """
SELECT provider FROM models
WHERE name = :name AND version = :version AND sha256 = :sha256
ORDER BY served_at DESC LIMIT 1
"""

# No ON CONFLICT here: a duplicate key must roll the whole statement back.
_WITH_KEY = """
WITH idempotency_key AS (
    INSERT INTO idempotency_keys (user_id, key, was_queued, digest, prediction_ids)
    VALUES (:key_user_id, :key, :was_queued, :digest, :prediction_ids)
), """

_ONE_INPUT = """
input AS (
    INSERT INTO inputs (input_id, size, sha256, contenttype, filename, features, content, uri)
    VALUES (:input_id, :size, :sha256, :contenttype, :filename, :features, :content, :uri)
    ON CONFLICT (input_id) DO NOTHING
)"""

_ONE_PREDICTION = """
INSERT INTO predictions (prediction_id, input_id, model_id, created_at, duration_ms, confidence, likely_class,
                         status, user_id, label, predicted_value, output, metadata)
VALUES (:prediction_id, :input_id, :model_id, :created_at, :duration_ms, :confidence, :likely_class,
        'succeeded', :user_id, :label, :predicted_value, :output, :metadata)
ON CONFLICT (prediction_id) DO NOTHING
"""

STORE_ONE = "WITH" + _ONE_INPUT + _ONE_PREDICTION
STORE_ONE_WITH_KEY = _WITH_KEY + _ONE_INPUT + _ONE_PREDICTION

# One array parameter per column carries any number of rows. likely_class is sent as bigint, so that PostgreSQL checks
# whether the value fits into the column.
_MANY_INPUTS = """
new_row AS (
    SELECT * FROM unnest(
        :prediction_id::uuid[], :input_id::uuid[], :created_at::timestamptz[], :duration_ms::double precision[],
        :confidence::double precision[], :likely_class::bigint[], :user_id::text[], :label::text[],
        :predicted_value::jsonb[], :output::jsonb[], :metadata::json[], :size::bigint[], :sha256::bytea[],
        :contenttype::text[], :filename::text[], :features::json[], :content::bytea[], :uri::text[]
    ) AS new_row (
        prediction_id, input_id, created_at, duration_ms, confidence, likely_class, user_id, label, predicted_value,
        output, metadata, size, sha256, contenttype, filename, features, content, uri
    )
), input AS (
    INSERT INTO inputs (input_id, size, sha256, contenttype, filename, features, content, uri)
    SELECT input_id, size, sha256, contenttype, filename, features, content, uri
    FROM new_row
    ON CONFLICT (input_id) DO NOTHING
)"""

_MANY_PREDICTIONS = """
INSERT INTO predictions (prediction_id, input_id, model_id, created_at, duration_ms, confidence, likely_class,
                         status, user_id, label, predicted_value, output, metadata)
SELECT prediction_id, input_id, :model_id, created_at, duration_ms, confidence, likely_class,
       'succeeded', user_id, label, predicted_value, output, metadata
FROM new_row
ON CONFLICT (prediction_id) DO NOTHING
"""

STORE_MANY = "WITH" + _MANY_INPUTS + _MANY_PREDICTIONS
STORE_MANY_WITH_KEY = _WITH_KEY + _MANY_INPUTS + _MANY_PREDICTIONS

_QUEUED_PREDICTION = """
INSERT INTO predictions (prediction_id, input_id, created_at, status_since, status, user_id, metadata)
VALUES (:prediction_id, :input_id, :created_at, now(), 'queued', :user_id, :metadata)
ON CONFLICT (prediction_id) DO NOTHING
"""

ENQUEUE = "WITH" + _ONE_INPUT + _QUEUED_PREDICTION
ENQUEUE_WITH_KEY = _WITH_KEY + _ONE_INPUT + _QUEUED_PREDICTION

# Functions of the database, because whoever runs these has no right to delete (revision 0007).
WITHDRAW = "SELECT withdraw_queued(:prediction_id)"
WITHDRAW_WITH_KEY = "SELECT withdraw_queued(:prediction_id, :key_user_id, :key)"

# Changes only the row's version (xmin).
KEEP_KEY = """
UPDATE idempotency_keys SET was_queued = was_queued
WHERE user_id = :key_user_id AND key = :key AND :prediction_id = ANY (prediction_ids)
RETURNING 1
"""

# The columns of a PredictionRecord and of a StoredInput, in the order of their fields.
_RECORD = """p.prediction_id, p.input_id, i.filename, i.contenttype, p.output, p.likely_class, p.label, p.confidence,
    p.predicted_value, m.name, m.version, p.user_id, p.metadata, p.duration_ms, p.status, p.error"""

_INPUT = "i.content, i.contenttype, i.filename, i.features::text, i.sha256, i.size, i.uri"

REPLAY = (
    "SELECT k.digest, k.was_queued, "
    + _RECORD
    + """
FROM idempotency_keys k
CROSS JOIN LATERAL unnest(k.prediction_ids) WITH ORDINALITY AS stored (prediction_id, position)
JOIN predictions p ON p.prediction_id = stored.prediction_id
JOIN inputs i ON i.input_id = p.input_id
LEFT JOIN models m ON m.model_id = p.model_id
WHERE k.user_id = :key_user_id AND k.key = :key
ORDER BY stored.position
"""
)

GET = (
    "SELECT "
    + _RECORD
    + ", "
    + _INPUT
    + """
FROM predictions p
JOIN inputs i ON i.input_id = p.input_id
LEFT JOIN models m ON m.model_id = p.model_id
WHERE p.prediction_id = :prediction_id
"""
)

GET_INPUT = (
    "SELECT "
    + _INPUT
    + """
FROM predictions p
JOIN inputs i ON i.input_id = p.input_id
WHERE p.prediction_id = :prediction_id
"""
)

IF_THEIRS = "AND p.user_id = :user_id"

GET_IF_THEIRS = GET + IF_THEIRS
GET_INPUT_IF_THEIRS = GET_INPUT + IF_THEIRS

PING = "SELECT 1 FROM predictions LIMIT 1"

# A worker that dies leaves its rows in processing; once the lease has expired, another worker may claim them.
# Each row must be looked up by its id: a join might scan all unfinished rows, which is slow with a long backlog. ANY
# and OFFSET 0 force the look-up, whatever the planner's statistics say.
CLAIM = """
WITH wanted AS (
    SELECT * FROM unnest(:prediction_ids::uuid[]) WITH ORDINALITY AS wanted (prediction_id, position)
), claimable AS (
    SELECT found.prediction_id FROM wanted CROSS JOIN LATERAL (
        SELECT p.prediction_id FROM predictions p
        WHERE p.prediction_id = wanted.prediction_id
          AND (p.status = 'queued'
               OR p.status = 'processing' AND p.status_since < now() - make_interval(secs => :lease_seconds))
        FOR UPDATE SKIP LOCKED
    ) found
), claimed AS (
    UPDATE predictions p SET status = 'processing', status_since = now()
    WHERE p.prediction_id = ANY (ARRAY(SELECT prediction_id FROM claimable))
    RETURNING p.prediction_id, p.input_id
)
SELECT wanted.position, claimed.prediction_id IS NOT NULL,
       CASE WHEN claimed.prediction_id IS NULL
            THEN (SELECT p.status FROM predictions p WHERE p.prediction_id = wanted.prediction_id) END,
       i.content, i.features::text, i.uri
FROM wanted
LEFT JOIN claimed ON claimed.prediction_id = wanted.prediction_id
LEFT JOIN LATERAL (SELECT * FROM inputs WHERE inputs.input_id = claimed.input_id OFFSET 0) i ON TRUE
"""

# A prediction that ends its worker was claimed later than those which that worker did not come to.
LEAST_RECENTLY_CLAIMED = """
SELECT wanted.prediction_id
FROM unnest(:prediction_ids::uuid[]) WITH ORDINALITY AS wanted (prediction_id, position)
LEFT JOIN LATERAL (
    SELECT p.status_since FROM predictions p WHERE p.prediction_id = wanted.prediction_id OFFSET 0
) p ON TRUE
ORDER BY p.status_since NULLS FIRST, wanted.position
"""

# Rows are locked in the order of their ids: otherwise two deliveries of the same messages could deadlock.
# Returns the ids that already had an outcome, usually none.
COMPLETE = """
WITH outcome AS (
    SELECT * FROM unnest(
        :prediction_id::uuid[], :duration_ms::double precision[], :confidence::double precision[],
        :likely_class::bigint[], :label::text[], :predicted_value::jsonb[], :output::jsonb[], :error::text[]
    ) AS outcome (prediction_id, duration_ms, confidence, likely_class, label, predicted_value, output, error)
), unfinished AS (
    SELECT found.prediction_id
    FROM (SELECT prediction_id FROM outcome ORDER BY prediction_id) decided CROSS JOIN LATERAL (
        SELECT p.prediction_id FROM predictions p
        WHERE p.prediction_id = decided.prediction_id AND p.status IN ('queued', 'processing')
        FOR UPDATE
    ) found
), recorded AS (
    UPDATE predictions p
    SET status = CASE WHEN o.error IS NULL THEN 'succeeded' ELSE 'failed' END,
        status_since = now(),
        model_id = CASE WHEN o.error IS NULL THEN :model_id::bigint END,
        duration_ms = o.duration_ms,
        confidence = o.confidence,
        likely_class = o.likely_class,
        label = o.label,
        predicted_value = o.predicted_value,
        output = o.output,
        error = o.error
    FROM outcome o
    WHERE p.prediction_id = o.prediction_id AND p.prediction_id = ANY (ARRAY(SELECT prediction_id FROM unfinished))
)
SELECT prediction_id FROM outcome
WHERE NOT EXISTS (SELECT FROM unfinished WHERE unfinished.prediction_id = outcome.prediction_id)
"""

SWEEP = """
WITH late AS (
    SELECT prediction_id, status FROM predictions
    WHERE status IN ('queued', 'processing') AND prediction_id > :after
      AND status_since < now() - make_interval(
          secs => CASE status WHEN 'queued' THEN :queued_seconds::float8 ELSE :processing_seconds::float8 END)
    ORDER BY prediction_id
    LIMIT :count
    FOR UPDATE SKIP LOCKED
)
UPDATE predictions p
SET status_since = now(),
    status = CASE WHEN late.status = 'queued' OR :error::text IS NULL THEN 'queued' ELSE 'failed' END,
    error = CASE WHEN late.status = 'processing' THEN :error END
FROM late WHERE p.prediction_id = late.prediction_id
RETURNING p.prediction_id, p.status
"""

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
    + octet_length(metadata::text) END AS answered FROM (
SELECT *, count(*) OVER () AS found, sum(kept) OVER newer AS kept_before FROM (
SELECT *, coalesce(pg_column_size(output), 0) + coalesce(pg_column_size(predicted_value), 0)
    + pg_column_size(metadata) AS kept FROM ("""
_PAGE = "SELECT " + _RECORD + _FITTING
_END_OF_PAGE = """
) walked
) weighed WINDOW newer AS (ORDER BY prediction_id DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
) counted WHERE coalesce(kept_before, 0) < 2000000
) measured WINDOW newer AS (ORDER BY prediction_id DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
) p
CROSS JOIN LATERAL (SELECT filename, contenttype FROM inputs WHERE inputs.input_id = p.input_id OFFSET 0) i
LEFT JOIN LATERAL (SELECT name, version FROM models WHERE models.model_id = p.model_id OFFSET 0) m ON TRUE
WHERE coalesce(p.answered_before, 0) < 6000000
ORDER BY p.prediction_id DESC
"""

_WALK_ALL = """
    SELECT * FROM predictions
    WHERE prediction_id >= :since AND prediction_id < :before"""
_NEWEST_FIRST = """
    ORDER BY prediction_id DESC LIMIT :count"""

# "label = 'x' ORDER BY prediction_id" is equivalent, but lets the planner scan the primary key and discard rows with
# other labels. It does so if 'x' is common on average, and then reads ten million rows if 'x' has not occurred lately.
# Only one index can serve bounds on the pair and an order by the pair.
_WALK_USER = """
    SELECT * FROM predictions
    WHERE (user_id, prediction_id) >= (:user_id, :since) AND (user_id, prediction_id) < (:user_id, :before)"""
_NEWEST_OF_USER_FIRST = """
    ORDER BY user_id DESC, prediction_id DESC LIMIT :count"""
_WALK_LABEL = """
    SELECT * FROM predictions
    WHERE (label, prediction_id) >= (:label, :since) AND (label, prediction_id) < (:label, :before)"""
_NEWEST_OF_LABEL_FIRST = """
    ORDER BY label DESC, prediction_id DESC LIMIT :count"""

# A name may match several models (versions, files, providers), and no index has the rows of several models in order. So
# this scans the index once per model and takes the newest rows of all scans.
_WALK_MODELS = """
    SELECT walk.* FROM models CROSS JOIN LATERAL (
        SELECT * FROM predictions
        WHERE (predictions.model_id, prediction_id) >= (models.model_id, :since)
          AND (predictions.model_id, prediction_id) < (models.model_id, :before)"""
_NEWEST_OF_MODELS_FIRST = """
        ORDER BY predictions.model_id DESC, prediction_id DESC LIMIT :count
    ) walk WHERE TRUE"""

_OF_USER = " AND user_id = :user_id"
_OF_LABEL = " AND label = :label"
_OF_MODELS = " AND model_id = ANY (ARRAY(SELECT model_id FROM models WHERE TRUE"
_END_OF_MODELS = "))"
_NAMED = " AND models.name = :model"
_OF_VERSION = " AND models.version = :version"
_AT_LEAST = " AND confidence >= :min_confidence"
_AT_MOST = " AND confidence <= :max_confidence"

CONDITIONS = frozenset({"user_id", "label", "model", "version", "min_confidence", "max_confidence"})


@lru_cache(maxsize=64)  # the number of combinations
def page(conditions: frozenset[str]) -> tuple[str, bool]:
    """Return the statement for a page of records, newest first.

    Parameters
    ----------
    conditions : frozenset of str
        Names from `CONDITIONS`; each is also the name of a parameter. The other parameters are ``since`` and
        ``before``, which bound the ids, and ``count``.

    Returns
    -------
    str
        A SELECT.
    bool
        Whether one plan suits all values. With one condition, the plan scans its index. With several, the best index
        depends on how common each value is, so the statement must be planned for each call.
    """
    models = "".join(text for name, text in (("model", _NAMED), ("version", _OF_VERSION)) if name in conditions)
    confidence = "".join(
        text for name, text in (("min_confidence", _AT_LEAST), ("max_confidence", _AT_MOST)) if name in conditions
    )
    indexed = conditions & {"user_id", "label"} | ({"model"} if models else set())
    if not indexed:
        walk = _WALK_ALL + confidence + _NEWEST_FIRST
    elif indexed == {"user_id"}:
        walk = _WALK_USER + confidence + _NEWEST_OF_USER_FIRST
    elif indexed == {"label"}:
        walk = _WALK_LABEL + confidence + _NEWEST_OF_LABEL_FIRST
    elif indexed == {"model"}:
        walk = _WALK_MODELS + confidence + _NEWEST_OF_MODELS_FIRST + models + _NEWEST_FIRST
    else:
        walk = _WALK_ALL + confidence
        walk += _OF_USER if "user_id" in conditions else ""
        walk += _OF_LABEL if "label" in conditions else ""
        walk += _OF_MODELS + models + _END_OF_MODELS if models else ""
        walk += _NEWEST_FIRST
    return _PAGE + walk + _END_OF_PAGE, len(indexed) < 2


ANNOUNCE_UPLOAD = """
INSERT INTO uploads (input_id, size, user_id, contenttype, filename, sha256, uri)
VALUES (:input_id, :size, :user_id, :contenttype, :filename, :sha256, :uri)
ON CONFLICT (input_id) DO NOTHING
"""

UPLOAD = """
SELECT input_id, user_id, contenttype, filename, size, sha256, uri
FROM uploads WHERE input_id = :input_id AND user_id = :user_id
"""

KNOWN_INPUTS = "SELECT input_id FROM inputs WHERE input_id = ANY(:input_ids::uuid[]) AND uri IS NOT NULL"

INPUTS_AS_OBJECTS = """
SELECT input_id, uri FROM inputs WHERE uri IS NOT NULL AND input_id > :after ORDER BY input_id LIMIT :count
"""

# Joins the predictions because an object's key contains the user.
INPUTS_IN_DATABASE = """
SELECT p.prediction_id, i.input_id, p.user_id, i.contenttype, i.content, i.sha256
FROM predictions p JOIN inputs i ON i.input_id = p.input_id
WHERE p.prediction_id > :after AND i.content IS NOT NULL
ORDER BY p.prediction_id LIMIT :count
"""

COUNT_INPUTS_IN_DATABASE = "SELECT count(*), coalesce(sum(size), 0)::bigint FROM inputs WHERE content IS NOT NULL"

MOVE_INPUT = "UPDATE inputs SET uri = :uri, content = NULL WHERE input_id = :input_id AND content IS NOT NULL"
