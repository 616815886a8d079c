"""The SQL statements of ground truths: what predictions should have been.

As in `statements`, they are constants, each is one round trip and one transaction, and each is safe to repeat.
"""

from typing import Final

# Whether a prediction was right, from the columns task, label, predicted_value and ground_truth. Every statement uses
# this definition: a ground truth may come after the outcome (JUDGE) or before it (COMPLETE). A target with a decimal
# point is a quantity, which is neither right nor wrong: a model that answers one beside a class has no `correct`.
CORRECT: Final = """CASE
        WHEN task = 'classification' AND jsonb_typeof(ground_truth) = 'string' THEN to_jsonb(label) = ground_truth
        WHEN task = 'multi-target' AND jsonb_typeof(predicted_value) = 'array' AND NOT EXISTS (
            SELECT FROM jsonb_array_elements(predicted_value) target
            WHERE jsonb_typeof(target) = 'number' AND target::text LIKE '%.%'
        ) THEN predicted_value = ground_truth
    END"""

# `number` says which truth a row belongs to. `shape` is the value with 0 for each number and "" for each text.
_GIVEN = """
WITH given AS (
    SELECT * FROM unnest(
        :number::bigint[], :prediction_id::uuid[], :inference_id::text[], :kind::text[], :value::jsonb[],
        :shape::text[], :source::text[], :source_id::text[], :comment::text[]
    ) AS given (number, prediction_id, inference_id, kind, value, shape, source, source_id, comment)
), named AS MATERIALIZED (
    SELECT number, kind, value, shape, source, source_id, comment, prediction_id
    FROM given WHERE prediction_id IS NOT NULL
    UNION ALL
    (
        SELECT number, kind, value, shape, source, source_id, comment, found.prediction_id
        FROM given CROSS JOIN LATERAL (
            SELECT p.prediction_id FROM predictions p WHERE p.inference_id = given.inference_id"""
_OF_USER = " AND p.user_id = :user_id"
# Rows are locked in the order of their ids, as in every statement that locks several: otherwise two could deadlock.
_LOCKED = """
            ORDER BY p.prediction_id LIMIT :most::bigint + 1
        ) found
        WHERE given.inference_id IS NOT NULL
        LIMIT :most::bigint + 1
    )
), locked AS MATERIALIZED (
    SELECT found.* FROM (SELECT DISTINCT prediction_id FROM named ORDER BY prediction_id LIMIT :most::bigint + 1) wanted
    CROSS JOIN LATERAL (
        SELECT p.prediction_id, p.user_id, p.model_id, p.label, p.predicted_value, p.ground_truth, p.correct,
               p.judged_at
        FROM predictions p
        WHERE p.prediction_id = wanted.prediction_id"""
_FOR_UPDATE = """
        FOR UPDATE"""
# A statement that has waited for a lock does not see what was committed to other tables meanwhile: a ground truth, or a
# model that was registered. It then changes nothing, and is sent again.
_CHECKED = """
    ) found
), model AS MATERIALIZED (
    SELECT model_id, task, labels FROM models WHERE model_id = ANY (ARRAY(SELECT DISTINCT model_id FROM locked))
), known AS MATERIALIZED (
    SELECT model_id, jsonb_array_elements_text(labels) AS label FROM model WHERE jsonb_typeof(labels) = 'array'
), paired AS MATERIALIZED (
    SELECT given.number, given.kind, given.value, given.shape, given.source, given.source_id, given.comment,
           locked.prediction_id, locked.user_id, locked.model_id, locked.label, locked.predicted_value,
           locked.ground_truth AS earlier, locked.correct, locked.judged_at, model.task,
           model.model_id IS NOT NULL AND jsonb_typeof(model.labels) = 'array' AS labels_are_known,
           latest.given_by,
           locked.ground_truth IS NOT DISTINCT FROM given.value AND latest.source IS NOT DISTINCT FROM given.source
               AND latest.source_id IS NOT DISTINCT FROM given.source_id
               AND latest.comment IS NOT DISTINCT FROM given.comment AS is_same,
           locked.judged_at IS DISTINCT FROM latest.created_at
               OR locked.model_id IS NOT NULL AND model.model_id IS NULL AS is_outdated,
           locked.judged_at >= :unless_judged_since::timestamptz AS is_late,
           row_number() OVER of_prediction AS position,
           first_value(given.value) OVER of_prediction IS NOT DISTINCT FROM given.value
               AND first_value(given.kind) OVER of_prediction IS NOT DISTINCT FROM given.kind
               AND first_value(given.source) OVER of_prediction IS NOT DISTINCT FROM given.source
               AND first_value(given.source_id) OVER of_prediction IS NOT DISTINCT FROM given.source_id
               AND first_value(given.comment) OVER of_prediction IS NOT DISTINCT FROM given.comment AS agrees,
           min(locked.user_id) OVER of_truth IS DISTINCT FROM max(locked.user_id) OVER of_truth AS is_of_several
    FROM named given
    JOIN locked ON locked.prediction_id = given.prediction_id
    LEFT JOIN model ON model.model_id = locked.model_id
    LEFT JOIN LATERAL (
        SELECT t.created_at, t.source, t.source_id, t.comment, t.given_by FROM ground_truths t
        WHERE t.prediction_id = locked.prediction_id AND locked.judged_at IS NOT NULL
        ORDER BY t.created_at DESC LIMIT 1
    ) latest ON TRUE
    WINDOW of_prediction AS (PARTITION BY locked.prediction_id ORDER BY given.number),
           of_truth AS (PARTITION BY given.number)
), fault AS MATERIALIZED (
    SELECT number, reason, task, model_id, size FROM (
        SELECT DISTINCT ON (number) number, task, model_id,
               CASE WHEN jsonb_typeof(predicted_value) = 'array' THEN jsonb_array_length(predicted_value) END AS size,
               CASE
                   WHEN is_of_several THEN 'several users'
                   WHEN NOT agrees THEN 'contradiction'
                   WHEN is_late AND NOT is_same THEN 'late'
                   WHEN task IS NULL THEN NULL
                   WHEN (task = 'classification') <> (kind = 'label') THEN 'kind'
                   WHEN kind = 'label' AND labels_are_known AND value #>> '{}' IS DISTINCT FROM label
                       AND (model_id, value #>> '{}') NOT IN (SELECT model_id, known.label FROM known) THEN 'label'
                   WHEN task NOT IN ('regression', 'embedding', 'multi-target') THEN NULL
                   WHEN jsonb_typeof(predicted_value) = 'null' THEN
                       CASE WHEN shape ~ '[^]0, []' THEN 'shape' END
                   WHEN jsonb_typeof(predicted_value) <> jsonb_typeof(value)
                       OR jsonb_typeof(value) = 'array'
                       AND (jsonb_array_length(value) <> jsonb_array_length(predicted_value)
                            OR regexp_replace(regexp_replace(predicted_value::text, '"([^"\\\\]|\\\\.)*"', '""', 'g'),
                                              '-?[0-9]+(\\.[0-9]+)?', '0', 'g') <> shape) THEN 'shape'
               END AS reason
        FROM paired ORDER BY number, reason
    ) judged WHERE reason IS NOT NULL
    UNION ALL
    SELECT number, 'none', NULL, NULL, NULL FROM given WHERE number NOT IN (SELECT number FROM paired)
)"""
_VERDICT = """, verdict AS MATERIALIZED (
    SELECT (SELECT count(*) FROM locked) > :most::bigint AS are_too_many, EXISTS (SELECT FROM fault) AS has_fault,
           EXISTS (SELECT FROM paired WHERE is_outdated) AS is_outdated
), changed AS MATERIALIZED (
    SELECT prediction_id, ground_truth, source, source_id, comment, judged_at, """
# A ground truth is later than the one before, whatever the clock says: the latest one is the current one.
_WRITTEN = """ AS correct
    FROM (
        SELECT prediction_id, task, label, predicted_value, value AS ground_truth, source, source_id, comment,
               greatest(clock_timestamp(), judged_at + interval '1 microsecond') AS judged_at
        FROM paired
        WHERE position = 1 AND NOT is_same
          AND (SELECT NOT are_too_many AND NOT has_fault AND NOT is_outdated FROM verdict)
    ) judged
), updated AS (
    UPDATE predictions p SET ground_truth = c.ground_truth, correct = c.correct, judged_at = c.judged_at
    FROM changed c
    WHERE p.prediction_id = ANY (ARRAY(SELECT prediction_id FROM changed)) AND p.prediction_id = c.prediction_id
), kept AS (
    INSERT INTO ground_truths (prediction_id, created_at, value, source, source_id, comment, given_by)
    SELECT prediction_id, judged_at, ground_truth, source, source_id, comment, :given_by::text FROM changed
)"""
_FAULTS = """
SELECT are_too_many, is_outdated, (SELECT count(*) FROM fault),
       (SELECT json_agg(json_build_array(number, reason, task, model_id::text, size) ORDER BY number)
        FROM (SELECT * FROM fault ORDER BY number LIMIT :most_faults::bigint) listed),
       (SELECT count(*) FROM locked), (SELECT count(*) FROM changed), """
# The predictions that do not belong to the user who judges them.
_OTHERS = """
       (SELECT json_agg(prediction_id ORDER BY prediction_id) FROM locked WHERE user_id <> :given_by::text)
FROM verdict
"""
# The one prediction of one truth, as it is now.
_NOW = """
       (SELECT user_id FROM paired LIMIT 1), (SELECT coalesce(c.judged_at, p.judged_at) FROM paired p
            LEFT JOIN changed c USING (prediction_id) LIMIT 1),
       (SELECT CASE WHEN c.prediction_id IS NULL THEN p.correct ELSE c.correct END FROM paired p
            LEFT JOIN changed c USING (prediction_id) LIMIT 1),
       (SELECT CASE WHEN c.prediction_id IS NULL THEN p.given_by ELSE :given_by::text END FROM paired p
            LEFT JOIN changed c USING (prediction_id) LIMIT 1)
FROM verdict
"""


def _judge(condition: str, answer: str) -> str:
    found = _GIVEN + condition + _LOCKED + condition + _FOR_UPDATE + _CHECKED
    return found + _VERDICT + CORRECT + _WRITTEN + _FAULTS + answer


JUDGE_ONE: Final = _judge("", _NOW)
JUDGE_ONE_IF_THEIRS: Final = _judge(_OF_USER, _NOW)
JUDGE_MANY: Final = _judge("", _OTHERS)
JUDGE_MANY_IF_THEIRS: Final = _judge(_OF_USER, _OTHERS)

# What JUDGE_MANY would do with each truth, at one moment: nothing is locked, so there is nothing to wait for. The
# current ground truth is returned if it is short.
_WOULD_BE = """, kept AS MATERIALIZED (
    SELECT number, prediction_id, earlier, is_same,
           row_number() OVER (PARTITION BY prediction_id ORDER BY number) = 1 AS is_first
    FROM paired WHERE number NOT IN (SELECT number FROM fault)
), outcome AS MATERIALIZED (
    SELECT number, count(*) AS predictions, count(*) FILTER (WHERE is_first AND NOT is_same) AS changed,
           CASE WHEN bool_or(is_first AND NOT is_same AND earlier IS NOT NULL) THEN 'changed'
                WHEN bool_or(is_first AND NOT is_same) THEN 'new'
                WHEN bool_or(is_first) THEN 'same' ELSE 'repeated' END AS what,
           CASE WHEN count(*) = 1 AND max(octet_length(earlier::text)) <= :most_earlier::bigint
                THEN min(earlier::text)::json END AS earlier
    FROM kept GROUP BY number
)
SELECT (SELECT count(*) FROM locked) > :most::bigint,
       (SELECT json_agg(json_build_array(number, reason, task, model_id::text, size) ORDER BY number) FROM fault),
       (SELECT count(DISTINCT prediction_id) FROM kept),
       (SELECT json_agg(json_build_array(number, what, predictions, changed, earlier) ORDER BY number) FROM outcome),
       (SELECT json_agg(prediction_id ORDER BY prediction_id) FROM locked WHERE user_id <> :given_by::text)
"""


def _check(condition: str) -> str:
    return _GIVEN + condition + _LOCKED + condition + _CHECKED + _WOULD_BE


CHECK_MANY: Final = _check("")
CHECK_MANY_IF_THEIRS: Final = _check(_OF_USER)

_WITHDRAW = """
WITH locked AS MATERIALIZED (
    SELECT p.prediction_id, p.user_id, p.ground_truth, p.judged_at,
           p.ground_truth IS NOT NULL AND coalesce(p.judged_at >= :unless_judged_since::timestamptz, FALSE) AS is_late
    FROM predictions p
    WHERE p.prediction_id = :prediction_id"""
_WITHDRAWN = """
    FOR UPDATE
), changed AS MATERIALIZED (
    SELECT prediction_id, greatest(clock_timestamp(), judged_at + interval '1 microsecond') AS judged_at
    FROM locked WHERE ground_truth IS NOT NULL AND NOT is_late
), updated AS (
    UPDATE predictions p SET ground_truth = NULL, correct = NULL, judged_at = c.judged_at
    FROM changed c WHERE p.prediction_id = c.prediction_id
), kept AS (
    INSERT INTO ground_truths (prediction_id, created_at, given_by)
    SELECT prediction_id, judged_at, :given_by::text FROM changed
)
SELECT user_id, is_late FROM locked
"""
WITHDRAW_TRUTH: Final = _WITHDRAW + _WITHDRAWN
WITHDRAW_TRUTH_IF_THEIRS: Final = _WITHDRAW + _OF_USER + _WITHDRAWN

# The newest first. A prediction that was never judged is one row without a time.
_HISTORY = """
SELECT p.user_id, p.ground_truth, p.correct, t.created_at, t.value, t.source, t.source_id, t.comment, t.given_by
FROM predictions p
LEFT JOIN LATERAL (
    SELECT * FROM ground_truths WHERE ground_truths.prediction_id = p.prediction_id
    ORDER BY created_at DESC LIMIT :count
) t ON TRUE
WHERE p.prediction_id = :prediction_id"""
_NEWEST_FIRST = """
ORDER BY t.created_at DESC
"""
HISTORY: Final = _HISTORY + _NEWEST_FIRST
HISTORY_IF_THEIRS: Final = _HISTORY + _OF_USER + _NEWEST_FIRST

LABELS: Final = """
SELECT model_id::text, labels FROM models WHERE model_id = ANY (:model_ids::bigint[])
"""

# What an erased user said about the predictions of others stays, without the user's name and words.
FORGET_GIVER: Final = """
UPDATE ground_truths SET given_by = NULL, source_id = NULL, comment = NULL WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM ground_truths WHERE given_by = :user_id
    ORDER BY given_by LIMIT :count FOR UPDATE
))
RETURNING 1
"""
