"""Every SQL statement of the ledger but those that list records (`page_statements`).

The statements are constants or combinations of constant fragments: no value ever becomes part of the SQL text.
Each statement is one round trip and, outside an explicit transaction, one transaction. Every statement that writes is
safe to repeat.
"""

from functions.shared.ledger.ground_truth_statements import CORRECT

REGISTER_MODEL = """
INSERT INTO models (model_id, name, version, sha256, labels, task, provider, settings, baseline)
VALUES (:model_id, :name, :version, :sha256, :labels, :task, :provider, :settings, :baseline)
ON CONFLICT (model_id) DO UPDATE SET served_at = now(), baseline = excluded.baseline
"""

SERVED_PROVIDER = """
SELECT provider FROM models
WHERE name = :name AND version = :version AND sha256 = :sha256
ORDER BY served_at DESC LIMIT 1
"""

# A key that has expired is free. One that has not must roll the whole statement back: an empty digest violates the
# table's CHECK.
_KEY = """
WITH idempotency_key AS (
    INSERT INTO idempotency_keys AS used (user_id, key, was_queued, digest, prediction_ids)
    VALUES (:key_user_id, :key, :was_queued, :digest, :prediction_ids)
    ON CONFLICT (user_id, key) DO UPDATE
    SET was_queued = excluded.was_queued, prediction_ids = excluded.prediction_ids, created_at = excluded.created_at,
        digest = CASE WHEN used.created_at < now() - make_interval(secs => :key_seconds) THEN excluded.digest
                      ELSE '' END"""
_WITH_KEY = (
    _KEY
    + """
), """
)

_INTO_INPUTS = """
input AS (
    INSERT INTO inputs (input_id, size, sha256, contenttype, filename, features, content, uri, upload_id, form,
                        header_length, declared_contenttype"""
_ONE_ROW = """)
    VALUES (:input_id, :size, :sha256, :contenttype, :filename, :features, :content, :uri, :upload_id, :form,
            :header_length, :declared_contenttype"""
_UNLESS_THERE = """
    ON CONFLICT (input_id) DO NOTHING
"""
_ONE_INPUT = _INTO_INPUTS + _ONE_ROW + ")" + _UNLESS_THERE + ")"

# Where there are quotas, a statement that stores also counts (functions/shared/ledger/quotas.py). It locks the row of
# the user last, and so for as long as the commit takes; but after the key, because a request that is repeated is no
# further one. Only what is new is counted, so that this is safe to repeat, too.
_WITH_COUNTED_KEY = (
    _KEY
    + """
    RETURNING 1
), """
)
_COUNTED = ", counted"
_TRUE = ", TRUE"
_THEN_PREDICTION = """    RETURNING input_id, size
), prediction AS ("""
_ONE_COUNTED_INPUT = _INTO_INPUTS + _COUNTED + _ONE_ROW + _TRUE + ")" + _UNLESS_THERE + _THEN_PREDICTION
_INTO_USAGE = """
), used AS (
    INSERT INTO quota_usage AS before (user_id, hour, predictions, stored_bytes)
    SELECT user_id, date_trunc('hour', now(), 'UTC'), """
_COUNT = "RETURNING user_id, input_id" + _INTO_USAGE
_ONE = "1, coalesce((SELECT size FROM input), 0) FROM prediction"
_MANY = """count(*), coalesce(sum(size), 0) FROM (
        SELECT p.user_id, CASE row_number() OVER (PARTITION BY p.input_id) WHEN 1 THEN i.size END AS size
        FROM prediction p LEFT JOIN input i ON i.input_id = p.input_id
    ) stored GROUP BY user_id ORDER BY user_id"""
_IF_KEY_WAS_FREE = " WHERE (SELECT count(*) FROM idempotency_key) = 1"
# The clock of the database may be set back: the count then stays with the later hour, unless that is far off.
_ADD_UP = """
    ON CONFLICT (user_id) DO UPDATE
    SET hour = CASE WHEN before.hour = excluded.hour + interval '1 hour' THEN before.hour ELSE excluded.hour END,
        predictions = excluded.predictions + CASE
            WHEN before.hour BETWEEN excluded.hour AND excluded.hour + interval '1 hour' THEN before.predictions ELSE 0
        END,
        stored_bytes = before.stored_bytes + excluded.stored_bytes
    RETURNING user_id, predictions, stored_bytes
)
SELECT CAST(CASE
    WHEN predictions > :quota_predictions_per_hour THEN 'predictions_per_hour'
    WHEN stored_bytes > :quota_stored_bytes THEN 'stored_bytes'"""
_ADD_UP_QUEUED = """
    WHEN more_unfinished_than(user_id, :quota_queued_predictions) THEN 'queued_predictions'"""
_CHECK = """
END AS within_quotas) FROM used
"""

_ONE_PREDICTION = """
INSERT INTO predictions (prediction_id, input_id, model_id, created_at, duration_ms, confidence, likely_class,
                         status, user_id, label, predicted_value, output, metadata, outputs, inference_id,
                         measured)
VALUES (:prediction_id, :input_id, :model_id, :created_at, :duration_ms, :confidence, :likely_class,
        'succeeded', :user_id, :label, :predicted_value, :output, :metadata, :outputs, :inference_id,
        :measured)
ON CONFLICT (prediction_id) DO NOTHING
"""

STORE_ONE = "WITH" + _ONE_INPUT + _ONE_PREDICTION
STORE_ONE_WITH_KEY = _WITH_KEY + _ONE_INPUT + _ONE_PREDICTION
_COUNT_ONE = _ONE_COUNTED_INPUT + _ONE_PREDICTION + _COUNT + _ONE
STORE_ONE_COUNTED = "WITH" + _COUNT_ONE + _ADD_UP + _CHECK
STORE_ONE_COUNTED_WITH_KEY = _WITH_COUNTED_KEY + _COUNT_ONE + _IF_KEY_WAS_FREE + _ADD_UP + _CHECK

# One array parameter per column carries any number of rows. `request` says which of the requests a row is of.
# likely_class is sent as bigint, so that PostgreSQL checks whether the value fits into the column.
_NEW_ROWS = """new_row AS (
    SELECT * FROM unnest(
        :prediction_id::uuid[], :input_id::uuid[], :created_at::timestamptz[], :duration_ms::double precision[],
        :confidence::double precision[], :likely_class::bigint[], :user_id::text[], :label::text[],
        :predicted_value::jsonb[], :output::jsonb[], :metadata::json[], :size::bigint[], :sha256::bytea[],
        :contenttype::text[], :filename::text[], :features::json[], :content::bytea[], :uri::text[],
        :upload_id::uuid[], :outputs::jsonb[], :form::text[], :header_length::bigint[], :declared_contenttype::text[],
        :inference_id::text[], :measured::text[], :request::bigint[]
    ) AS new_row (
        prediction_id, input_id, created_at, duration_ms, confidence, likely_class, user_id, label, predicted_value,
        output, metadata, size, sha256, contenttype, filename, features, content, uri, upload_id, outputs, form,
        header_length, declared_contenttype, inference_id, measured, request
    )"""
_END = """
), """
_ROWS = """)
    SELECT input_id, size, sha256, contenttype, filename, features, content, uri, upload_id, form, header_length,
           declared_contenttype"""
_FROM_NEW_ROWS = """
    FROM new_row"""
_MANY_INPUTS = _INTO_INPUTS + _ROWS + _FROM_NEW_ROWS + _UNLESS_THERE + ")"
_MANY_COUNTED_INPUTS = _INTO_INPUTS + _COUNTED + _ROWS + _TRUE + _FROM_NEW_ROWS + _UNLESS_THERE + _THEN_PREDICTION

_MANY_PREDICTIONS = """
INSERT INTO predictions (prediction_id, input_id, model_id, created_at, duration_ms, confidence, likely_class,
                         status, user_id, label, predicted_value, output, metadata, outputs, inference_id,
                         measured)
SELECT prediction_id, input_id, :model_id, created_at, duration_ms, confidence, likely_class,
       'succeeded', user_id, label, predicted_value, output, metadata, outputs, inference_id,
       measured::real[]
FROM new_row
ON CONFLICT (prediction_id) DO NOTHING
"""
_AND_PREDICTIONS = ", prediction AS (" + _MANY_PREDICTIONS + ")"

# A request that would take its user over a quota is left out, and its key stays free. `over_quota` compares with what
# was committed before this statement began. The check at its end compares with all there is: of two statements at the
# same time that are for the last place, the later fails as a whole. What may have been counted before is left to that
# check: the sizes of uploads, and requests that are sent again. TOGETHER says that the request would have had room if
# it were not for those before it, some of which may not be stored either.
TOGETHER = "together"
_OVER_QUOTA = """
over_quota AS (
    SELECT request, reason FROM (
        SELECT request, prediction_id, CASE
                WHEN had.predictions + wanted.predictions > :quota_predictions_per_hour THEN 'predictions_per_hour'
                WHEN had.stored_bytes + wanted.stored_bytes > :quota_stored_bytes THEN 'stored_bytes'
                WHEN had.predictions + sum(wanted.predictions) OVER so_far > :quota_predictions_per_hour
                  OR had.stored_bytes + sum(wanted.stored_bytes) OVER so_far > :quota_stored_bytes THEN 'together'
            END AS reason
        FROM (
            SELECT request, user_id, count(*) AS predictions, (array_agg(prediction_id))[1] AS prediction_id,
                   coalesce(sum(size) FILTER (WHERE upload_id IS NULL), 0) AS stored_bytes
            FROM unnest(:request::bigint[], :user_id::text[], :prediction_id::uuid[], :size::bigint[],
                        :upload_id::uuid[]) AS new_row (request, user_id, prediction_id, size, upload_id)
            GROUP BY request, user_id
        ) wanted
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(u.predictions) FILTER (
                       WHERE hour BETWEEN this_hour AND this_hour + interval '1 hour'), 0) AS predictions,
                   coalesce(sum(u.stored_bytes), 0) AS stored_bytes
            FROM quota_usage u CROSS JOIN date_trunc('hour', now(), 'UTC') this_hour
            WHERE u.user_id = wanted.user_id
        ) had
        WINDOW so_far AS (PARTITION BY user_id ORDER BY request)
    ) compared
    WHERE reason IS NOT NULL
      AND (SELECT p.prediction_id FROM predictions p WHERE p.prediction_id = compared.prediction_id) IS NULL
), """

# A request whose key is taken is left out, and the others are stored. Where the key was taken by this very request,
# whose acknowledgement was lost, it is left out too. Keys are locked in their order: otherwise two servers could
# deadlock.
_KEYS = """
asked AS (
    SELECT request, user_id, key, digest, prediction_ids::uuid[] AS prediction_ids
    FROM unnest(:key_request::bigint[], :key_user_id::text[], :key::text[], :digest::bytea[], :key_stores::text[])
        AS asked (request, user_id, key, digest, prediction_ids)"""
_NOT_OVER = """
    WHERE request NOT IN (SELECT request FROM over_quota)"""
_TAKE_KEYS = """
), idempotency_key AS (
    INSERT INTO idempotency_keys AS used (user_id, key, was_queued, digest, prediction_ids)
    SELECT user_id, key, FALSE, digest, prediction_ids FROM asked ORDER BY user_id, key
    ON CONFLICT (user_id, key) DO UPDATE
    SET was_queued = excluded.was_queued, prediction_ids = excluded.prediction_ids, created_at = excluded.created_at,
        digest = excluded.digest
    WHERE used.created_at < now() - make_interval(secs => :key_seconds)
    RETURNING prediction_ids[1] AS prediction_id
), """
_LEFT_OUT = """left_out AS ("""
_BY_QUOTA = """
    SELECT reason, request FROM over_quota"""
_AND = """
    UNION ALL"""
_BY_KEY = """
    SELECT NULL AS reason, request FROM asked
    WHERE prediction_ids[1] NOT IN (SELECT prediction_id FROM idempotency_key)"""
_THAT_STAY = """
    WHERE request NOT IN (SELECT request FROM left_out)"""
_ROWS_THAT_STAY = _END + _NEW_ROWS + _THAT_STAY
_SAY_WHAT_IS_LEFT_OUT = """
SELECT reason, request FROM left_out"""
_CHECK_AND = """
END AS within_quotas), NULL FROM used
UNION ALL"""

# They return what is left out: the name of a quota, TOGETHER, or NULL where the key is taken; and the number of the
# request. Rows without a number say nothing.
STORE_MANY = "WITH " + _NEW_ROWS + _END + _MANY_INPUTS + _MANY_PREDICTIONS
_STORE_OTHERS = _ROWS_THAT_STAY + _END + _MANY_INPUTS + _AND_PREDICTIONS + _SAY_WHAT_IS_LEFT_OUT
STORE_MANY_WITH_KEYS = "WITH" + _KEYS + _TAKE_KEYS + _LEFT_OUT + _BY_KEY + _STORE_OTHERS
_COUNT_OTHERS = (
    _ROWS_THAT_STAY
    + _END
    + _MANY_COUNTED_INPUTS
    + _MANY_PREDICTIONS
    + _COUNT
    + _MANY
    + _ADD_UP
    + _CHECK_AND
    + _SAY_WHAT_IS_LEFT_OUT
)
STORE_MANY_COUNTED = "WITH" + _OVER_QUOTA + _LEFT_OUT + _BY_QUOTA + _COUNT_OTHERS
STORE_MANY_COUNTED_WITH_KEYS = (
    "WITH" + _OVER_QUOTA + _KEYS + _NOT_OVER + _TAKE_KEYS + _LEFT_OUT + _BY_QUOTA + _AND + _BY_KEY + _COUNT_OTHERS
)

# Of each statement, the one that stores outputs apart as well, for one prediction or many: those of the rows that stay.
_UNNEST_OUTPUTS = """
    SELECT * FROM unnest(
        :of_prediction::uuid[], :output_id::uuid[], :output_name::text[], :output_datatype::text[],
        :output_shape::text[], :output_size::bigint[], :output_sha256::bytea[], :output_content::bytea[],
        :output_uri::text[], :output_user_id::text[]
    ) AS new_output (prediction_id, output_id, name, datatype, shape, size, sha256, content, uri, user_id)
"""
_INTO_OUTPUTS = """
output AS (
    INSERT INTO large_outputs (prediction_id, output_id, name, datatype, shape, size, sha256, content, uri"""
_OUTPUT_ROWS = """)
    SELECT prediction_id, output_id, name, datatype, shape::bigint[], size, sha256, content, uri"""
_FROM_NEW_OUTPUTS = """
    FROM new_output WHERE prediction_id IN (SELECT prediction_id FROM new_row)
    ON CONFLICT (prediction_id, name) DO NOTHING
    RETURNING prediction_id, size"""
_NEW_OUTPUTS = "new_output AS (" + _UNNEST_OUTPUTS + "), " + _INTO_OUTPUTS
_OUTPUTS = _NEW_OUTPUTS + _OUTPUT_ROWS + _FROM_NEW_OUTPUTS + _END
_COUNTED_OUTPUTS = _NEW_OUTPUTS + _COUNTED + _OUTPUT_ROWS + _TRUE + _FROM_NEW_OUTPUTS + _END
_MANY_OUTPUTS = """count(*), coalesce(sum(size), 0) FROM (
        SELECT p.user_id, coalesce(CASE row_number() OVER (PARTITION BY p.input_id) WHEN 1 THEN i.size END, 0)
            + coalesce((SELECT sum(o.size) FROM output o WHERE o.prediction_id = p.prediction_id), 0) AS size
        FROM prediction p LEFT JOIN input i ON i.input_id = p.input_id
    ) stored GROUP BY user_id ORDER BY user_id"""
_COUNT_OUTPUTS = "RETURNING prediction_id, user_id, input_id" + _INTO_USAGE + _MANY_OUTPUTS
WITH_OUTPUTS = {
    statement: statement.replace(_MANY_INPUTS, _OUTPUTS + _MANY_INPUTS)
    .replace(_MANY_COUNTED_INPUTS, _COUNTED_OUTPUTS + _MANY_COUNTED_INPUTS)
    .replace(_COUNT + _MANY, _COUNT_OUTPUTS)
    for statement in (STORE_MANY, STORE_MANY_WITH_KEYS, STORE_MANY_COUNTED, STORE_MANY_COUNTED_WITH_KEYS)
}

_QUEUED_PREDICTION = """
INSERT INTO predictions (prediction_id, input_id, created_at, status_since, status, user_id, metadata, inference_id)
VALUES (:prediction_id, :input_id, :created_at, now(), 'queued', :user_id, :metadata, :inference_id)
ON CONFLICT (prediction_id) DO NOTHING
"""

ENQUEUE = "WITH" + _ONE_INPUT + _QUEUED_PREDICTION
ENQUEUE_WITH_KEY = _WITH_KEY + _ONE_INPUT + _QUEUED_PREDICTION
_COUNT_QUEUED = _ONE_COUNTED_INPUT + _QUEUED_PREDICTION + _COUNT + _ONE
ENQUEUE_COUNTED = "WITH" + _COUNT_QUEUED + _ADD_UP + _ADD_UP_QUEUED + _CHECK
ENQUEUE_COUNTED_WITH_KEY = _WITH_COUNTED_KEY + _COUNT_QUEUED + _IF_KEY_WAS_FREE + _ADD_UP + _ADD_UP_QUEUED + _CHECK

# Functions of the database, because whoever runs these has no right to delete (revision 0007).
WITHDRAW = "SELECT withdraw_queued(:prediction_id)"
WITHDRAW_WITH_KEY = "SELECT withdraw_queued(:prediction_id, :key_user_id, :key)"

# Changes only the row's version (xmin).
KEEP_KEY = """
UPDATE idempotency_keys SET was_queued = was_queued
WHERE user_id = :key_user_id AND key = :key AND :prediction_id = ANY (prediction_ids)
RETURNING 1
"""

# The columns of a PredictionRecord and of a StoredInput, in the order of their fields. A repeated request is answered
# as the first time: without what became of the prediction.
_ANSWERED = """p.prediction_id, p.input_id, i.filename, i.contenttype, p.output, p.likely_class, p.label, p.confidence,
    p.predicted_value, m.name, m.version, p.user_id, p.metadata, p.duration_ms, p.status, p.error, p.outputs,
    i.declared_contenttype, p.inference_id, p.measured[1], p.measured[2], p.measured[3]"""
RECORD = _ANSWERED + ", p.ground_truth, p.correct"

_INPUT = "i.content, i.contenttype, i.filename, i.features::text, i.sha256, i.size, i.uri, i.form, i.header_length"

REPLAY = (
    "SELECT k.digest, k.was_queued, "
    + _ANSWERED
    + """
FROM idempotency_keys k
CROSS JOIN LATERAL unnest(k.prediction_ids) WITH ORDINALITY AS stored (prediction_id, position)
JOIN predictions p ON p.prediction_id = stored.prediction_id
JOIN inputs i ON i.input_id = p.input_id
LEFT JOIN models m ON m.model_id = p.model_id
WHERE k.user_id = :key_user_id AND k.key = :key AND k.created_at >= now() - make_interval(secs => :key_seconds)
ORDER BY stored.position
"""
)

# OFFSET 0 as in CLAIM: each row is looked up by its key.
_OF_KEYS = """
FROM unnest(:key_user_id::text[], :key::text[]) WITH ORDINALITY AS asked (user_id, key, position)
CROSS JOIN LATERAL (
    SELECT * FROM idempotency_keys used
    WHERE used.user_id = asked.user_id AND used.key = asked.key
      AND used.created_at >= now() - make_interval(secs => :key_seconds)
    OFFSET 0
) k
CROSS JOIN LATERAL unnest(k.prediction_ids) WITH ORDINALITY AS stored (prediction_id, position)
CROSS JOIN LATERAL (SELECT * FROM predictions WHERE predictions.prediction_id = stored.prediction_id OFFSET 0) p
CROSS JOIN LATERAL (SELECT * FROM inputs WHERE inputs.input_id = p.input_id OFFSET 0) i
LEFT JOIN LATERAL (SELECT * FROM models WHERE models.model_id = p.model_id OFFSET 0) m ON TRUE
ORDER BY asked.position, stored.position
"""
REPLAYS = "SELECT asked.position, k.digest, k.was_queued, " + _ANSWERED + _OF_KEYS

GET = (
    "SELECT "
    + RECORD
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

# `name` is one of those in the record.
GET_OUTPUT = """
SELECT o.datatype, to_json(o.shape), o.size, o.sha256, o.content, o.uri
FROM predictions p
JOIN large_outputs o ON o.prediction_id = p.prediction_id AND o.name = :name
WHERE p.prediction_id = :prediction_id
"""

GET_IF_THEIRS = GET + IF_THEIRS
GET_OUTPUT_IF_THEIRS = GET_OUTPUT + IF_THEIRS
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
    RETURNING p.prediction_id, p.input_id, p.user_id
)
SELECT wanted.position, claimed.prediction_id IS NOT NULL,
       CASE WHEN claimed.prediction_id IS NULL
            THEN (SELECT p.status FROM predictions p WHERE p.prediction_id = wanted.prediction_id) END,
       i.content, i.features::text, i.uri, i.sha256, i.form, i.header_length, claimed.user_id
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
_OUTCOME = """
WITH outcome AS (
    SELECT * FROM unnest(
        :prediction_id::uuid[], :duration_ms::double precision[], :confidence::double precision[],
        :likely_class::bigint[], :label::text[], :predicted_value::jsonb[], :output::jsonb[], :outputs::jsonb[],
        :measured::text[], :error::text[], :failure::text[]
    ) AS outcome (prediction_id, duration_ms, confidence, likely_class, label, predicted_value, output, outputs,
                  measured, error, failure)
), unfinished AS (
    SELECT found.prediction_id
    FROM (SELECT prediction_id FROM outcome ORDER BY prediction_id) decided CROSS JOIN LATERAL (
        SELECT p.prediction_id FROM predictions p
        WHERE p.prediction_id = decided.prediction_id AND p.status IN ('queued', 'processing')
        FOR UPDATE
    ) found
), """
# A worker has no quotas, and refuses nothing; but where a user's bytes are counted, it counts. It locks the users' rows
# in their order, after those of the predictions, as what stores predictions does.
_OUTPUTS_OF_OUTCOMES = """
), usage AS (
    SELECT user_id FROM quota_usage
    WHERE user_id = ANY (ARRAY(SELECT user_id FROM new_output)) AND (SELECT count(*) FROM unfinished) >= 0
    ORDER BY user_id FOR UPDATE
), output AS (
    INSERT INTO large_outputs (prediction_id, output_id, name, datatype, shape, size, sha256, content, uri, counted)
    SELECT prediction_id, output_id, name, datatype, shape::bigint[], size, sha256, content, uri,
           nullif(user_id IN (SELECT user_id FROM usage), FALSE)
    FROM new_output WHERE prediction_id IN (SELECT prediction_id FROM unfinished)
    ON CONFLICT (prediction_id, name) DO NOTHING
    RETURNING output_id, size, counted
), taken AS (
    UPDATE quota_usage u SET stored_bytes = u.stored_bytes + more.size
    FROM (
        SELECT new_output.user_id, sum(output.size) AS size FROM output JOIN new_output USING (output_id)
        WHERE output.counted GROUP BY new_output.user_id
    ) more
    WHERE u.user_id = ANY (ARRAY(SELECT user_id FROM usage)) AND u.user_id = more.user_id
), """
# A worker's claim has set status_since: until then, the prediction was in the queue.
_RECORDED = """
recorded AS (
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
        outputs = o.outputs,
        measured = CASE WHEN o.parts IS NOT NULL THEN ARRAY[
            o.parts[1], o.parts[2], greatest(0, extract(epoch FROM p.status_since - p.created_at) * 1000)::real,
            o.parts[4], o.parts[5], o.parts[6], o.parts[7], o.parts[8]
        ] END,
        error = o.error,
        failure = o.failure,
        correct = CASE WHEN p.ground_truth IS NOT NULL AND o.error IS NULL THEN (SELECT """
_OF_OUTCOME = """
            FROM (SELECT m.task, o.label, o.predicted_value, p.ground_truth FROM models m
                  WHERE m.model_id = :model_id) judged) END
    FROM (SELECT *, measured::real[] AS parts FROM outcome) o
    WHERE p.prediction_id = o.prediction_id AND p.prediction_id = ANY (ARRAY(SELECT prediction_id FROM unfinished))
)
SELECT prediction_id FROM outcome
WHERE NOT EXISTS (SELECT FROM unfinished WHERE unfinished.prediction_id = outcome.prediction_id)
"""
_RECORDED_AND_JUDGED = _RECORDED + CORRECT + _OF_OUTCOME
COMPLETE = _OUTCOME + _RECORDED_AND_JUDGED
COMPLETE_WITH_OUTPUTS = _OUTCOME + "new_output AS (" + _UNNEST_OUTPUTS + _OUTPUTS_OF_OUTCOMES + _RECORDED_AND_JUDGED

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
    error = CASE WHEN late.status = 'processing' THEN :error END,
    failure = CASE WHEN late.status = 'processing' AND :error IS NOT NULL THEN 'too_late' END
FROM late WHERE p.prediction_id = late.prediction_id
RETURNING p.prediction_id, p.status
"""

# Where there is no queue but the table, a worker finds the oldest predictions itself. It looks at a window of the
# oldest unfinished ones, so that neither a long backlog slows it down nor many that wait for their next attempt. Rows
# are locked one by one as they are found, and those that another worker is just claiming are passed over.
_OLDEST = """
WITH claimable AS (
    SELECT found.prediction_id, found.input_id FROM (
        SELECT prediction_id, status, status_since, attempts FROM predictions
        WHERE status IN ('queued', 'processing')
        ORDER BY prediction_id LIMIT :window
    ) oldest CROSS JOIN LATERAL (
        SELECT p.prediction_id, p.input_id FROM predictions p
        WHERE p.prediction_id = oldest.prediction_id AND ("""
_LOCKED = """)
        FOR UPDATE SKIP LOCKED
    ) found
    WHERE ("""
# A claim reads no more bytes of inputs than a worker has memory for, but one input in any case.
_CLAIMED = """)
    ORDER BY oldest.prediction_id LIMIT :count
), fitting AS (
    SELECT prediction_id FROM (
        SELECT c.prediction_id, sum(i.size) OVER (ORDER BY c.prediction_id ROWS UNBOUNDED PRECEDING) - i.size AS before
        FROM claimable c CROSS JOIN LATERAL (
            SELECT CASE WHEN uri IS NULL THEN size ELSE 0 END AS size FROM inputs
            WHERE inputs.input_id = c.input_id OFFSET 0
        ) i
    ) summed WHERE before < :bytes
), claimed AS (
    UPDATE predictions p
    SET status = 'processing', status_since = now(),
        attempts = coalesce(attempts, CASE status WHEN 'processing' THEN 1 ELSE 0 END) + 1
    WHERE p.prediction_id = ANY (ARRAY(SELECT prediction_id FROM fitting))
    RETURNING p.prediction_id, p.input_id, p.user_id, p.attempts, p.status_since
)
SELECT claimed.prediction_id, i.content, i.features::text, i.uri, i.sha256, i.form, i.header_length,
       claimed.user_id, claimed.attempts, claimed.status_since
FROM claimed
LEFT JOIN LATERAL (SELECT * FROM inputs WHERE inputs.input_id = claimed.input_id OFFSET 0) i ON TRUE
ORDER BY claimed.prediction_id
"""
_NEVER_CLAIMED = "status = 'queued' AND attempts IS NULL"
# The next attempt is twice as far away each time: five take 31 minutes with a lease of a minute, as long as SQS takes
# for its five deliveries.
_CLAIMED_BEFORE = """status = 'queued' AND attempts IS NOT NULL
          OR status = 'processing' AND status_since < now() - make_interval(
              secs => :lease_seconds * power(2, least(coalesce(attempts, 1), 9) - 1))"""
CLAIM_OLDEST = _OLDEST + _NEVER_CLAIMED + _LOCKED + _NEVER_CLAIMED + _CLAIMED
CLAIM_AGAIN = _OLDEST + _CLAIMED_BEFORE + _LOCKED + _CLAIMED_BEFORE + _CLAIMED

# Only what is still claimed by the claim of that time: another worker may have taken it over.
RELEASE = """
UPDATE predictions
SET status = 'queued', status_since = now(),
    attempts = CASE WHEN :counted::boolean THEN attempts ELSE nullif(attempts - 1, 0) END
WHERE prediction_id = ANY (:prediction_ids::uuid[]) AND status = 'processing' AND status_since = :since
RETURNING prediction_id
"""

# A statement of its own, not part of ENQUEUE: PostgreSQL commits one transaction that notifies at a time, and one that
# has written rows takes as long as the disk does.
NOTIFY = "NOTIFY predictions_queued"
LISTEN = "LISTEN predictions_queued"

BEGIN_TASK = """
INSERT INTO schedule (task, began_at) VALUES (:task, now())
ON CONFLICT (task) DO UPDATE SET began_at = excluded.began_at
WHERE schedule.began_at < now() - make_interval(secs => :period)
RETURNING 1
"""

ANNOUNCE_UPLOAD = """
INSERT INTO uploads (input_id, size, user_id, contenttype, filename, sha256, uri, expires_at)
VALUES (:input_id, :size, :user_id, :contenttype, :filename, :sha256, :uri, :expires_at)
ON CONFLICT (input_id) DO NOTHING
"""

# Nothing is counted, but the row of the user is locked, so that of two uploads the later sees the earlier.
_LOCK_USER = """RETURNING input_id
), used AS (
    INSERT INTO quota_usage AS before (user_id, hour, predictions, stored_bytes)
    SELECT :user_id, date_trunc('hour', now(), 'UTC'), 0, 0 FROM upload
    ON CONFLICT (user_id) DO UPDATE SET stored_bytes = before.stored_bytes
    RETURNING user_id
)
SELECT CAST(CASE WHEN more_open_uploads_than(user_id, :quota_open_uploads) THEN 'open_uploads' END AS within_quotas)
FROM used
"""
ANNOUNCE_UPLOAD_COUNTED = "WITH upload AS (" + ANNOUNCE_UPLOAD + _LOCK_USER

UPLOAD = """
SELECT input_id, user_id, contenttype, filename, size, sha256, uri
FROM uploads WHERE input_id = :input_id AND user_id = :user_id
"""

KNOWN_OBJECTS = """
SELECT input_id FROM inputs WHERE input_id = ANY(:ids::uuid[]) AND uri IS NOT NULL
UNION ALL
SELECT output_id FROM large_outputs WHERE output_id = ANY(:ids::uuid[]) AND uri IS NOT NULL
"""

OBJECTS = """
(SELECT input_id AS id, uri FROM inputs WHERE uri IS NOT NULL AND input_id > :after ORDER BY input_id LIMIT :count)
UNION ALL
(SELECT output_id, uri FROM large_outputs WHERE uri IS NOT NULL AND output_id > :after
 ORDER BY output_id LIMIT :count)
ORDER BY id LIMIT :count
"""

# Joins the predictions because an object's key contains the user.
INPUTS_IN_DATABASE = """
SELECT p.prediction_id, i.input_id, p.user_id, i.contenttype, i.content, i.sha256
FROM predictions p JOIN inputs i ON i.input_id = p.input_id
WHERE p.prediction_id > :after AND i.content IS NOT NULL
ORDER BY p.prediction_id LIMIT :count
"""

COUNT_INPUTS_IN_DATABASE = "SELECT count(*), coalesce(sum(size), 0)::bigint FROM inputs WHERE content IS NOT NULL"

MOVE_INPUT = """
UPDATE inputs SET uri = :uri, content = NULL WHERE input_id = :input_id AND content IS NOT NULL RETURNING 1
"""

# Deletions. Each statement is a transaction of its own, and locks a limited number of rows, in the order of their ids,
# as COMPLETE does. It looks rows up by lists of ids: a join might scan a whole table.

_LAST_OF_ALL = """
SELECT prediction_id FROM predictions WHERE prediction_id < :before
ORDER BY prediction_id DESC LIMIT 1
"""
_LAST_OF_USER = """
SELECT prediction_id FROM predictions
WHERE (user_id, prediction_id) >= (:user_id, :first_id) AND (user_id, prediction_id) < (:user_id, :before)
ORDER BY user_id DESC, prediction_id DESC LIMIT 1
"""
_BEGIN = """
INSERT INTO deletions (deletion_id, user_id, requested_by, erases_user, deleted, position, uploads_until, last_id)
SELECT :deletion_id::uuid, :user_id::text, :requested_by::text, :erases_user::boolean, 0, :first_id::uuid,
       least(now(), :until::timestamptz), coalesce(("""
_END_OF_BEGIN = """), :first_id)
ON CONFLICT (deletion_id) DO NOTHING
"""

# What is stored later is not deleted, however long the deletion takes: `last_id` is the greatest id there is now.
BEGIN_DELETION = _BEGIN + _LAST_OF_ALL + _END_OF_BEGIN
BEGIN_DELETION_OF_USER = _BEGIN + _LAST_OF_USER + _END_OF_BEGIN

_DELETION = """
SELECT deletion_id, user_id, erases_user, position, last_id, uploads_until, deleted, requested_at, finished_at
FROM deletions
"""
DELETION = _DELETION + "WHERE deletion_id = :deletion_id"
UNFINISHED_DELETIONS = (
    _DELETION
    + """
WHERE finished_at IS NULL AND (requested_at, deletion_id) > (:requested_at, :deletion_id)
ORDER BY requested_at, deletion_id LIMIT :count
"""
)

# A key is found by the first prediction that it stored, or by any if it stored several.
_GONE = """
), gone AS (
    DELETE FROM predictions WHERE prediction_id = ANY (ARRAY(SELECT prediction_id FROM doomed))
    RETURNING prediction_id, input_id, user_id
), idempotency_key AS (
    DELETE FROM idempotency_keys
    WHERE prediction_ids[1] = ANY (ARRAY(SELECT prediction_id FROM doomed))
       OR cardinality(prediction_ids) > 1 AND prediction_ids && ARRAY(SELECT prediction_id FROM doomed)
), input AS (
    INSERT INTO deleted_inputs (deleted_id, deletion_id, input_id, user_id)
    SELECT prediction_id, :deletion_id::uuid, input_id, user_id FROM gone
    ON CONFLICT (deleted_id) DO NOTHING
)"""

_DELETE_ONE = """
WITH doomed AS (
    SELECT prediction_id FROM predictions p WHERE prediction_id = :deletion_id """
_RECORD_ONE = """
INSERT INTO deletions AS earlier (deletion_id, user_id, requested_by, erases_user, deleted, position, uploads_until,
                                  last_id)
SELECT prediction_id, user_id, CASE WHEN :requested_by::text <> user_id THEN :requested_by END, FALSE, 1,
       :first_id::uuid, :no_uploads::timestamptz, :first_id
FROM gone
ON CONFLICT (deletion_id) DO UPDATE
SET deleted = earlier.deleted + 1, finished_at = NULL, user_id = excluded.user_id, requested_by = excluded.requested_by
"""
_LOCK_ONE = " FOR UPDATE"
DELETE_ONE = _DELETE_ONE + _LOCK_ONE + _GONE + _RECORD_ONE
DELETE_ONE_IF_THEIRS = _DELETE_ONE + IF_THEIRS + _LOCK_ONE + _GONE + _RECORD_ONE

# The deletion of one prediction that is still to be finished.
UNFINISHED_ONE = "SELECT 1 FROM deletions p WHERE deletion_id = :deletion_id AND finished_at IS NULL "
UNFINISHED_ONE_IF_THEIRS = UNFINISHED_ONE + IF_THEIRS

# A deletion without a user is everybody's, or of a user and finished. Only of the first kind anything may be deleted.
_EVERYBODYS = """
      AND EXISTS (SELECT FROM deletions
                  WHERE deletion_id = :deletion_id::uuid AND user_id IS NULL AND finished_at IS NULL)"""

_DOOMED_OF_ALL = """
WITH doomed AS (
    SELECT prediction_id FROM predictions
    WHERE prediction_id > :position AND prediction_id <= :last_id"""
_FIRST_OF_ALL = """
    ORDER BY prediction_id LIMIT :count FOR UPDATE"""
_DOOMED_OF_USER = """
WITH doomed AS (
    SELECT prediction_id FROM predictions
    WHERE (user_id, prediction_id) > (:user_id, :position) AND (user_id, prediction_id) <= (:user_id, :last_id)
    ORDER BY user_id, prediction_id LIMIT :count FOR UPDATE"""
_RECORD_MANY = """
UPDATE deletions
SET deleted = deleted + (SELECT count(*) FROM gone),
    position = greatest(position, (SELECT prediction_id FROM doomed ORDER BY prediction_id DESC LIMIT 1))
WHERE deletion_id = :deletion_id
RETURNING position, (SELECT count(*) FROM doomed)
"""
DELETE_MANY = _DOOMED_OF_ALL + _EVERYBODYS + _FIRST_OF_ALL + _GONE + _RECORD_MANY
DELETE_MANY_OF_USER = _DOOMED_OF_USER + _GONE + _RECORD_MANY

# A URL is taken for usable for some minutes more: an upload that was begun in time may still be running.
_DELETE_UPLOADS = """
), gone AS (
    DELETE FROM uploads WHERE input_id = ANY (ARRAY(SELECT input_id FROM doomed))
    RETURNING input_id, user_id, uri, coalesce(expires_at, created_at + interval '7 days') AS expires_at
)
INSERT INTO deleted_inputs (deleted_id, deletion_id, input_id, user_id, uri, writable_until)
SELECT input_id, :deletion_id::uuid, input_id, user_id, uri, expires_at + interval '5 minutes' FROM gone
ON CONFLICT (deleted_id) DO NOTHING
RETURNING 1
"""
_DOOMED_UPLOADS = """
WITH doomed AS (
    SELECT input_id FROM uploads
    WHERE created_at <= :uploads_until"""
_FIRST_UPLOADS = """
    ORDER BY created_at LIMIT :count FOR UPDATE"""
_DOOMED_UPLOADS_OF_USER = """
WITH doomed AS (
    SELECT input_id FROM uploads
    WHERE (user_id, created_at) > (:user_id, '-infinity') AND (user_id, created_at) <= (:user_id, :uploads_until)
    ORDER BY user_id, created_at LIMIT :count FOR UPDATE"""
_EXPIRED_UPLOADS = """
WITH doomed AS (
    SELECT input_id FROM uploads
    WHERE created_at < now() - make_interval(secs => :key_seconds)
      AND coalesce(expires_at, created_at + interval '7 days') < now()
    ORDER BY created_at LIMIT :count FOR UPDATE SKIP LOCKED"""
DELETE_UPLOADS = _DOOMED_UPLOADS + _EVERYBODYS + _FIRST_UPLOADS + _DELETE_UPLOADS
DELETE_UPLOADS_OF_USER = _DOOMED_UPLOADS_OF_USER + _DELETE_UPLOADS
EXPIRE_UPLOADS = _EXPIRED_UPLOADS + _DELETE_UPLOADS

# A row is deleted where it was found: a key that was used again meanwhile is found no more.
EXPIRE_KEYS = """
DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM idempotency_keys WHERE created_at < now() - make_interval(secs => :key_seconds)
    ORDER BY created_at LIMIT :count FOR UPDATE SKIP LOCKED
))
RETURNING 1
"""
DELETE_KEYS_OF_USER = """
DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM idempotency_keys WHERE user_id = :user_id AND created_at <= :uploads_until
    ORDER BY user_id, key LIMIT :count FOR UPDATE
))
RETURNING 1
"""
# The row of a user goes who has no predictions any more, and no inputs to be settled. While one is being stored, it is
# locked, and another version of it afterwards (xmin): then it stays.
DELETE_USAGE_OF_USER = """
DELETE FROM quota_usage u
WHERE u.user_id = :user_id AND u.xmin = (SELECT xmin FROM quota_usage WHERE user_id = :user_id)
  AND (SELECT prediction_id FROM predictions
       WHERE (user_id, prediction_id) >= (:user_id, :first_id) AND user_id <= :user_id
       ORDER BY user_id, prediction_id LIMIT 1) IS NULL
  AND (SELECT user_id FROM deleted_inputs WHERE (user_id, deleted_id) > (:user_id, :first_id) AND user_id <= :user_id
       ORDER BY user_id, deleted_id LIMIT 1) IS NULL
RETURNING 1
"""
EXPIRE_USAGE = """
DELETE FROM quota_usage WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM quota_usage
    WHERE stored_bytes = 0 AND (predictions = 0 OR hour < now() - interval '1 hour')
    LIMIT :count FOR UPDATE SKIP LOCKED
))
RETURNING 1
"""
FORGET_REQUESTER = """
UPDATE deletions SET requested_by = NULL WHERE deletion_id = ANY (ARRAY(
    SELECT deletion_id FROM deletions WHERE requested_by = :user_id
    ORDER BY requested_by, deletion_id LIMIT :count FOR UPDATE
))
RETURNING 1
"""

# Deletes the inputs of deleted predictions that no prediction has any more, and notes which objects nothing names any
# more. Counted bytes are given back to their users, whose rows it locks first; one who has none left is forgotten. It
# sees the deletion of every prediction that it finds here, so whoever comes last finds no prediction left, and
# the input goes. The copy that `get_prediction` lends of a large input has a name that is made from the input's.
#
# Outputs that are stored apart go here, too, and not with their predictions: a worker that had a prediction locked when
# it was to be deleted may have stored them meanwhile. This statement sees them.
_SETTLE = """
    ORDER BY deleted_id LIMIT :count FOR UPDATE
), usage AS (
    SELECT user_id, stored_bytes FROM quota_usage
    WHERE user_id = ANY (ARRAY(SELECT user_id FROM deleted)) ORDER BY user_id FOR UPDATE
), orphan AS (
    DELETE FROM inputs i
    WHERE i.input_id = ANY (ARRAY(SELECT input_id FROM deleted))
      AND NOT EXISTS (SELECT FROM predictions p WHERE p.input_id = i.input_id)
      AND (SELECT count(*) FROM usage) >= 0
    RETURNING i.input_id, i.uri, i.size, i.counted
), output AS (
    DELETE FROM large_outputs o
    WHERE o.prediction_id = ANY (ARRAY(SELECT deleted_id FROM deleted)) AND (SELECT count(*) FROM usage) >= 0
    RETURNING o.prediction_id, o.uri, o.size, o.counted
), freed AS (
    SELECT user_id, usage.stored_bytes - sum(size) AS stored_bytes FROM (
        SELECT DISTINCT orphan.input_id, deleted.user_id, orphan.size
        FROM orphan JOIN deleted USING (input_id) WHERE orphan.counted
        UNION ALL
        SELECT output.prediction_id, deleted.user_id, output.size
        FROM output JOIN deleted ON deleted.deleted_id = output.prediction_id WHERE output.counted
    ) orphan JOIN usage USING (user_id) GROUP BY user_id, usage.stored_bytes
), given_back AS (
    UPDATE quota_usage u SET stored_bytes = freed.stored_bytes FROM freed
    WHERE u.user_id = ANY (ARRAY(SELECT user_id FROM freed WHERE stored_bytes > 0)) AND u.user_id = freed.user_id
), forgotten AS (
    DELETE FROM quota_usage
    WHERE user_id = ANY (ARRAY(SELECT user_id FROM freed WHERE stored_bytes <= 0))
), upload AS (
    DELETE FROM uploads u WHERE u.input_id = ANY (ARRAY(SELECT input_id FROM orphan))
    RETURNING u.input_id, u.uri, coalesce(u.expires_at, u.created_at + interval '7 days') AS expires_at
), unnamed AS (
    SELECT orphan.uri, deleted.deletion_id, deleted.user_id, now() AS writable_until
    FROM orphan JOIN deleted USING (input_id) WHERE orphan.uri IS NOT NULL
    UNION ALL
    SELECT output.uri, deleted.deletion_id, deleted.user_id, now()
    FROM output JOIN deleted ON deleted.deleted_id = output.prediction_id WHERE output.uri IS NOT NULL
    UNION ALL
    SELECT upload.uri, deleted.deletion_id, deleted.user_id, upload.expires_at + interval '5 minutes'
    FROM upload JOIN deleted USING (input_id)
    UNION ALL
    SELECT :lent_prefix::text || orphan.input_id, deleted.deletion_id, NULL, now() + interval '5 minutes'
    FROM orphan JOIN deleted USING (input_id)
    WHERE :lent_prefix IS NOT NULL AND orphan.uri IS NULL AND orphan.size > :lent_above::bigint
    UNION ALL
    SELECT deleted.uri, deleted.deletion_id, deleted.user_id, deleted.writable_until
    FROM deleted
    WHERE deleted.uri IS NOT NULL AND NOT EXISTS (
        SELECT FROM inputs i WHERE i.input_id = deleted.input_id AND i.uri = deleted.uri
           AND EXISTS (SELECT FROM predictions p WHERE p.input_id = i.input_id)
    )
), object AS (
    INSERT INTO deleted_objects (uri, deletion_id, user_id, writable_until)
    SELECT DISTINCT ON (uri) uri, deletion_id, user_id, writable_until FROM unnamed ORDER BY uri, writable_until DESC
    ON CONFLICT (uri) DO UPDATE SET writable_until = greatest(deleted_objects.writable_until, excluded.writable_until)
)
DELETE FROM deleted_inputs WHERE deleted_id = ANY (ARRAY(SELECT deleted_id FROM deleted))
RETURNING 1
"""
_DELETED = """
WITH deleted AS (
    SELECT deleted_id, deletion_id, input_id, user_id, uri, writable_until FROM deleted_inputs"""
SETTLE = _DELETED + _SETTLE
_DELETED_BY = """
    WHERE deleted_id = ANY (
        ARRAY(SELECT deleted_id FROM deleted_inputs
              WHERE (deletion_id, deleted_id) > (:deletion_id, :first_id) AND deletion_id <= :deletion_id
              ORDER BY deletion_id, deleted_id LIMIT :count)
        || ARRAY(SELECT deleted_id FROM deleted_inputs
                 WHERE (user_id, deleted_id) > (:erased, :first_id) AND user_id <= :erased
                 ORDER BY user_id, deleted_id LIMIT :count))"""
SETTLE_DELETION = _DELETED + _DELETED_BY + _SETTLE

# The second column says that nobody can put the object again.
_OBJECTS = "SELECT uri, writable_until <= now() FROM deleted_objects WHERE "
_DUE = "(removed_at IS NULL OR writable_until <= now())"
_FIRST_OBJECTS = " ORDER BY uri LIMIT :count"
_OF_DELETION = """uri = ANY (
    ARRAY(SELECT uri FROM deleted_objects
          WHERE (deletion_id, uri) > (:deletion_id, :after) AND deletion_id <= :deletion_id AND """
_OR_OF_ERASED = """
          ORDER BY deletion_id, uri LIMIT :count)
    || ARRAY(SELECT uri FROM deleted_objects
             WHERE (user_id, uri) > (:erased, :after) AND user_id <= :erased AND """
_END_OF_ERASED = """
             ORDER BY user_id, uri LIMIT :count))"""
DELETED_OBJECTS = _OBJECTS + "uri > :after AND " + _DUE + _FIRST_OBJECTS
DELETED_OBJECTS_OF_DELETION = _OBJECTS + _OF_DELETION + _DUE + _OR_OF_ERASED + _DUE + _END_OF_ERASED + _FIRST_OBJECTS

# Ids that a row may still name an object by: an upload's row comes before its object, and an input's may get its URI
# later (MOVE_INPUT).
IDS_IN_USE = """
SELECT input_id FROM inputs WHERE input_id = ANY (:ids::uuid[])
UNION ALL
SELECT output_id FROM large_outputs WHERE output_id = ANY (:ids::uuid[])
UNION ALL
SELECT input_id FROM uploads WHERE input_id = ANY (:ids::uuid[])
"""
NOTE_OBJECTS = """
INSERT INTO deleted_objects (uri, deletion_id, user_id, writable_until)
SELECT uri, :deletion_id::uuid, :user_id::text, now() FROM unnest(:uris::text[]) uri ORDER BY uri
ON CONFLICT (uri) DO NOTHING
"""

OBJECTS_REMOVED = """
WITH forgotten AS (DELETE FROM deleted_objects WHERE uri = ANY (:for_ever::text[]))
UPDATE deleted_objects SET removed_at = now() WHERE uri = ANY (:for_now::text[]) AND removed_at IS NULL
"""

# A deletion is finished when there is nothing left of what it deletes. A user is erased when, besides, their name is in
# none of these tables. Earlier deletions of that user then have nothing left to do either, and are finished with it.
# EXISTS would not do: the planner expects to find a row soon, scans a table for it, and there is none. Only an index
# gives the first row in order.
_FINISH = """
UPDATE deletions d SET finished_at = now(), user_id = NULL
FROM (SELECT * FROM deletions WHERE deletion_id = :deletion_id AND finished_at IS NULL) this
WHERE d.deletion_id = ANY (:deletion_id::uuid || ARRAY(
        SELECT deletion_id FROM deletions WHERE user_id = :erased ORDER BY user_id, deletion_id))
  AND d.finished_at IS NULL AND (d.requested_at, d.deletion_id) <= (this.requested_at, this.deletion_id)
  AND (SELECT deletion_id FROM deleted_inputs
       WHERE (deletion_id, deleted_id) > (:deletion_id, :first_id) AND deletion_id <= :deletion_id
       ORDER BY deletion_id, deleted_id LIMIT 1) IS NULL
  AND (SELECT deletion_id FROM deleted_objects
       WHERE (deletion_id, uri) > (:deletion_id, '') AND deletion_id <= :deletion_id AND removed_at IS NULL
       ORDER BY deletion_id, uri LIMIT 1) IS NULL
  AND (SELECT user_id FROM deleted_inputs WHERE (user_id, deleted_id) > (:erased, :first_id) AND user_id <= :erased
       ORDER BY user_id, deleted_id LIMIT 1) IS NULL
  AND (SELECT user_id FROM deleted_objects WHERE (user_id, uri) > (:erased, '') AND user_id <= :erased
       ORDER BY user_id, uri LIMIT 1) IS NULL
  AND (SELECT user_id FROM idempotency_keys WHERE user_id = :erased AND created_at <= :uploads_until
       ORDER BY user_id, key LIMIT 1) IS NULL
  AND (SELECT requested_by FROM deletions WHERE requested_by = :erased
       ORDER BY requested_by, deletion_id LIMIT 1) IS NULL
  AND (SELECT given_by FROM ground_truths WHERE given_by = :erased ORDER BY given_by LIMIT 1) IS NULL
  AND (SELECT user_id FROM quota_usage WHERE user_id = :erased AND (
        SELECT prediction_id FROM predictions
        WHERE (user_id, prediction_id) >= (:erased, :first_id) AND user_id <= :erased
        ORDER BY user_id, prediction_id LIMIT 1) IS NULL) IS NULL"""
_NONE_OF_ALL = """
  AND (SELECT prediction_id FROM predictions WHERE prediction_id > :position AND prediction_id <= :last_id
       ORDER BY prediction_id LIMIT 1) IS NULL
  AND (SELECT input_id FROM uploads WHERE created_at <= :uploads_until ORDER BY created_at LIMIT 1) IS NULL"""
_NONE_OF_USER = """
  AND (SELECT prediction_id FROM predictions
       WHERE (user_id, prediction_id) > (:user_id, :position) AND (user_id, prediction_id) <= (:user_id, :last_id)
       ORDER BY user_id, prediction_id LIMIT 1) IS NULL
  AND (SELECT input_id FROM uploads
       WHERE (user_id, created_at) > (:user_id, '-infinity') AND (user_id, created_at) <= (:user_id, :uploads_until)
       ORDER BY user_id, created_at LIMIT 1) IS NULL"""
FINISH_DELETION = _FINISH + _NONE_OF_ALL
FINISH_DELETION_OF_USER = _FINISH + _NONE_OF_USER
