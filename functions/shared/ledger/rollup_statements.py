"""The SQL of summaries and of rollups.

A summary counts predictions by bucket of time, model and measure. Its source is either rows or, where they are good,
rollups: the counts of whole hours and days, and of a part of the open hour. Both have the same shape, and counts of the
same measure can be added.

A statement is assembled from constants, and computes only the kinds of measures that are asked for. No value may make
it fail: what a measure cannot use is left out, or counts as missing.
"""

from functools import lru_cache
from typing import Final

# --- where the rows are ---

# An hour is good if it ended at least 5 minutes ago, has been rolled up, and has no mark. The clock is asked again,
# because it may have been set back since. `rolled` is where the rollups end, but not before the first whole hour that
# is asked for. It is within the open hour if a part of that hour is rolled up and the whole part is asked for. A part
# of any other hour was left by a version that does not know parts, and is not used. A day is good if all its hours
# are. The rest are segments of rows: before the first whole hour, in stale hours, and after the rollups.
_GOOD = """
WITH rolled AS MATERIALIZED (
    SELECT greatest(:first_hour::timestamptz, CASE
        WHEN part_until >= moment AND part_until < moment + interval '1 hour'
             AND part_until <= least(:until::timestamptz, now() - interval '5 minutes')
        THEN part_until
        ELSE least(
            date_trunc('hour', :until::timestamptz, 'UTC'),
            date_trunc('hour', now() - interval '5 minutes', 'UTC'),
            coalesce(moment, '-infinity')
        )
    END) AS until
    FROM (VALUES (:may_be_rolled::boolean)) may_be (rolled) LEFT JOIN rolled_until ON may_be.rolled
), stale AS MATERIALIZED (
    SELECT DISTINCT starts_at FROM stale_hours
    WHERE starts_at >= :first_hour AND starts_at < (SELECT until FROM rolled)
), stale_day AS MATERIALIZED (
    SELECT DISTINCT date_trunc('day', starts_at, 'UTC') AS starts_at FROM stale
), whole_days AS MATERIALIZED (
    SELECT since, greatest(since, date_trunc('day', until, 'UTC')) AS until
    FROM (SELECT until, least(:first_day::timestamptz, until) AS since FROM rolled) rolled
), span AS (
    SELECT 'day' AS span, since, until FROM whole_days
    UNION ALL
    SELECT 'hour', :first_hour, since FROM whole_days
    UNION ALL
    SELECT 'hour', whole_days.until, rolled.until FROM whole_days, rolled
    UNION ALL
    SELECT 'hour', starts_at, starts_at + interval '1 day' FROM stale_day, whole_days
    WHERE starts_at >= since AND starts_at < until
), rolled_up AS (
    SELECT coalesce(date_trunc(:interval::text, r.starts_at, 'UTC'), :since::timestamptz) AS bucket, r.model_id,
           r.measure, r.counts
    FROM span CROSS JOIN LATERAL (
        SELECT starts_at, model_id, measure, counts FROM rollups
        WHERE rollups.span = span.span AND starts_at >= since AND starts_at < until
          AND split_part(measure, ':', 1) = ANY (:kinds::text[])"""
_GOOD_OF_MODELS = """
          AND model_id = ANY (:model_ids::bigint[])"""
_SEGMENTS = """
        OFFSET 0
    ) r
    WHERE CASE span WHEN 'day' THEN r.starts_at NOT IN (SELECT starts_at FROM stale_day)
                    ELSE r.starts_at NOT IN (SELECT starts_at FROM stale) END
), segment AS (
    SELECT :since_id::uuid AS first_id, least(:first_hour_id::uuid, :until_id::uuid) AS end_id
    UNION ALL
    SELECT first_id_at(starts_at), first_id_at(least(starts_at + interval '1 hour', until)) FROM stale, rolled
    UNION ALL
    SELECT first_id_at(until), :until_id FROM rolled
), """

# For one user, only rows are counted, by the index of users: they are few enough, and no rollup has them by themselves.
_ALL_ROWS = """
    FROM segment CROSS JOIN LATERAL (
        SELECT * FROM predictions WHERE prediction_id >= segment.first_id AND prediction_id < segment.end_id OFFSET 0
    ) p"""
_ROWS_OF_USER = """
    FROM (
        SELECT * FROM predictions
        WHERE (user_id, prediction_id) >= (:user_id, :since_id) AND (user_id, prediction_id) < (:user_id, :until_id)
    ) p"""
_OF_MODELS = """
    WHERE coalesce(p.model_id, 0) = ANY (:model_ids::bigint[])"""

# --- what is counted of them ---

_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "status": ("status",),
    "failure": ("status", "failure"),
    "label": ("status", "label", "predicted_value", "ground_truth"),
    "user_id": ("user_id",),
    "confidence": ("confidence",),
    "decode_ms": ("measured",),
    "inference_ms": ("measured",),
    "queue_ms": ("measured",),
    "picture": ("measured",),
    "value": ("status", "predicted_value", "ground_truth"),
    "feature": ("input_id",),
    "confusion": ("status", "label", "predicted_value", "ground_truth"),
    "residual": ("status", "predicted_value", "ground_truth"),
    "judged": ("ground_truth", "correct"),
    "calibration": ("confidence", "correct"),
    "log_loss": ("label", "likely_class", "confidence", "output", "ground_truth"),
    "brier": ("label", "likely_class", "confidence", "output", "ground_truth"),
}
MEASURES: Final = frozenset(_COLUMNS)
"""The kinds of measures. A measure's name is its kind, or its kind, a colon and a name: ``feature:age``."""

_SCORED = frozenset({"log_loss", "brier"})
_BY_TARGET = frozenset({"label", "value", "confusion", "residual"})

_MODEL = """
), model AS MATERIALIZED (
    SELECT model_id, task, labels, settings -> 'feature_names' AS feature_names,
           settings ? 'feature_names' AS has_features
    FROM models WHERE model_id = ANY (ARRAY(SELECT DISTINCT model_id FROM prediction))"""

# A regression and a model with several targets answer a value, or a list of values. With several targets, a whole
# number, a text or a boolean is a class.
_TARGET = """
), target AS MATERIALIZED (
    SELECT bucket, model_id, suffix, predicted, truth, is_number,
           CASE WHEN is_number THEN finite_double(predicted) END AS number
    FROM (
        SELECT *, task = 'regression'
                   OR jsonb_typeof(predicted) = 'number' AND strpos(predicted::text, '.') > 0 AS is_number
    FROM (
        SELECT p.bucket, p.model_id, m.task, '' AS suffix, p.predicted_value AS predicted, p.ground_truth AS truth
        FROM prediction p JOIN model m ON m.model_id = p.model_id AND m.task IN ('regression', 'multi-target')
        WHERE p.status = 'succeeded' AND jsonb_typeof(p.predicted_value) <> 'array'
        UNION ALL
        SELECT p.bucket, p.model_id, m.task, ':' || position - 1, value,
               CASE jsonb_typeof(p.ground_truth) WHEN 'array' THEN p.ground_truth -> (position - 1)::integer END
        FROM prediction p JOIN model m ON m.model_id = p.model_id AND m.task IN ('regression', 'multi-target')
        CROSS JOIN jsonb_array_elements(CASE WHEN jsonb_typeof(p.predicted_value) = 'array'
                                              AND jsonb_array_length(p.predicted_value) <= 100
                                             THEN p.predicted_value END) WITH ORDINALITY element (value, position)
        WHERE p.status = 'succeeded' AND jsonb_typeof(p.predicted_value) = 'array'
    ) one OFFSET 0
    ) typed"""

# Each value is the text of its JSON. Features that jsonb refuses are left out: those with U+0000, lone surrogates, or
# numbers that are out of range. An inference request of one row has its tensors under `inputs`: one tensor with all
# features, or one for each. Features are `plain` if no exponent in them has three digits. A list of numbers without
# exponents, which most models are sent, is read as an array: that takes half the time.
_FEATURE = r"""
), given AS MATERIALIZED (
    SELECT bucket, model_id, features, plain, json_typeof(features) AS type, is_named, CASE
            WHEN said ~ '^\[[-0-9., nul]*\]$' AND (octet_length(said) <= 100 OR said !~ '[0-9.]{100}')
            THEN translate(said, '[]', '{}')::double precision[]
        END AS numbers
    FROM (
    SELECT p.bucket, p.model_id, i.features, i.features::text AS said, i.plain,
           jsonb_typeof(m.feature_names) = 'array' AS is_named
    FROM prediction p
    JOIN model m ON m.model_id = p.model_id AND m.has_features
         AND CASE jsonb_typeof(m.feature_names) WHEN 'array' THEN jsonb_array_length(m.feature_names) ELSE 0 END <= 100
    CROSS JOIN LATERAL (
        SELECT plain, CASE
                WHEN form IS NULL THEN features
                WHEN json_array_length(features -> 'inputs') > 1 THEN (
                    SELECT json_object_agg(
                        tensor ->> 'name', coalesce(tensor #> '{data,0,0}', tensor #> '{data,0}'))
                    FROM json_array_elements(features -> 'inputs') tensor WHERE tensor ->> 'name' IS NOT NULL)
                WHEN json_typeof(features #> '{inputs,0,data,0}') = 'array' THEN features #> '{inputs,0,data,0}'
                ELSE features #> '{inputs,0,data}'
            END AS features
        FROM (
            SELECT form, features, strpos(features::text, 'e') + strpos(features::text, 'E') = 0
                       OR features::text !~ '[eE][-+]?[0-9]{3}' AS plain
            FROM inputs
            WHERE inputs.input_id = p.input_id AND octet_length(features::text) < 100000
              AND (strpos(features::text, '\u') = 0 OR features::text !~
                   '\\u0000|\\u[dD][89aAbB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89aAbB][0-9a-fA-F]{2})\\u[dD][c-fC-F]')
            OFFSET 0
        ) i
        WHERE plain OR features::text !~ '[eE][-+]?[0-9]{4}'
        OFFSET 0
    ) i
    OFFSET 0
    ) given
), listed AS (
    SELECT bucket, model_id, unnest(numbers) AS number, generate_subscripts(numbers, 1) AS position
    FROM given WHERE is_named OR cardinality(numbers) <= 100
), feature AS (
    SELECT bucket, model_id, NULL AS key, position, value::text AS value, ascii(value::text) AS first, plain
    FROM given CROSS JOIN json_array_elements(CASE
        WHEN is_named OR octet_length(features::text) <= 200 OR json_array_length(features) <= 100 THEN features
    END) WITH ORDINALITY element (value, position)
    WHERE type = 'array' AND numbers IS NULL
    UNION ALL
    SELECT bucket, model_id, key, NULL, value::text, ascii(value::text), plain
    FROM given CROSS JOIN jsonb_each(features::jsonb)
    WHERE type = 'object'"""

# The probability that a model gave to the true label. A single score is that of the second of two labels. If only the
# largest scores are kept (`top_k`), none is counted: the true label has none where the model was most wrong. If there
# is a confidence, scores are about 0 to 1. OFFSET 0 keeps the planner from computing an expression once for each use.
_PROBABILITY = """
), class AS MATERIALIZED (
    SELECT model_id, labels IS NULL AS has_no_labels, (
            SELECT jsonb_object_agg(label, position - 1 ORDER BY position DESC)
            FROM jsonb_array_elements_text(CASE jsonb_typeof(labels) WHEN 'array' THEN labels END)
                WITH ORDINALITY element (label, position)
        ) AS places
    FROM model WHERE task = 'classification'
), probability AS MATERIALIZED (
    SELECT bucket, model_id, scores, lone, greatest(least(CASE
            WHEN lone THEN CASE place WHEN 1 THEN one::double precision WHEN 0 THEN 1 - one::double precision END
            ELSE one::double precision
        END, 1), 0) AS p
    FROM (
        SELECT bucket, model_id, scores, lone, place, CASE WHEN lone THEN scores -> 0 ELSE scores -> place END AS one
        FROM (
            SELECT p.bucket, p.model_id, p.scores,
                   jsonb_typeof(p.scores) = 'array' AND jsonb_array_length(p.scores) = 1 AS lone,
                   CASE WHEN NOT c.has_no_labels THEN (c.places -> p.truth)::integer
                        WHEN p.label = p.likely_class::text AND p.truth ~ '^[0-9]{1,9}$' THEN p.truth::integer
                   END AS place
            FROM (
                SELECT bucket, model_id, label, likely_class, ground_truth #>> '{}' AS truth, CASE
                        WHEN jsonb_typeof(output -> 0) IS DISTINCT FROM 'array' THEN output
                        WHEN jsonb_array_length(output) = 1 THEN output -> 0
                        ELSE (SELECT jsonb_agg(score -> 0 ORDER BY place)
                              FROM jsonb_array_elements(output) WITH ORDINALITY column_of_one (score, place))
                    END AS scores
                FROM prediction WHERE confidence IS NOT NULL AND jsonb_typeof(ground_truth) = 'string' OFFSET 0
            ) p
            JOIN class c ON c.model_id = p.model_id
            OFFSET 0
        ) placed
        WHERE place IS NOT NULL OFFSET 0
    ) found
    WHERE jsonb_typeof(one) = 'number' AND (NOT lone OR place IN (0, 1))"""

# Counts by key. Each is a SELECT of (bucket, model_id, measure, key, n).
_TALLIES: Final = {
    "status": """
    SELECT bucket, model_id, 'status' AS measure, status AS key, count(*) AS n
    FROM prediction GROUP BY bucket, model_id, status""",
    "failure": """
    SELECT bucket, model_id, 'failure' AS measure, coalesce(failure, 'unknown') AS key, count(*) AS n
    FROM prediction WHERE status = 'failed' GROUP BY bucket, model_id, failure""",
    "label": """
    SELECT bucket, model_id, 'label' AS measure, label AS key, count(*) AS n
    FROM prediction WHERE status = 'succeeded' AND label IS NOT NULL GROUP BY bucket, model_id, label
    UNION ALL
    SELECT bucket, model_id, 'label' || suffix, predicted #>> '{}', count(*)
    FROM target WHERE NOT is_number AND jsonb_typeof(predicted) IN ('string', 'number', 'boolean')
    GROUP BY bucket, model_id, suffix, predicted #>> '{}'""",
    "user_id": """
    SELECT bucket, model_id, 'user_id' AS measure, user_id AS key, count(*) AS n
    FROM prediction GROUP BY bucket, model_id, user_id""",
}
_OF_TALLIES = (
    """
SELECT bucket, model_id, measure, jsonb_object_agg(key, n) AS counts FROM (""",
    """
) tally GROUP BY bucket, model_id, measure""",
)

# Counts by bin or category. Each is a SELECT of (bucket, model_id, measure, bin, category, n, total, squares). A
# missing value has neither a bin nor a category.
_NUMBERS: Final = {
    "confidence": """
    SELECT bucket, model_id, 'confidence' AS measure, greatest(least(floor(confidence * 50), 49), 0)::integer AS bin,
           NULL AS category, count(*) AS n, sum(confidence) AS total, sum(confidence * confidence) AS squares
    FROM prediction WHERE abs(confidence) < 'Infinity' GROUP BY bucket, model_id, bin""",
    "value": """
    SELECT bucket, model_id, 'value' || suffix AS measure, log_bin(number) AS bin, NULL AS category, count(*) AS n,
           sum(number) AS total, sum(number * number) AS squares
    FROM target WHERE number IS NOT NULL GROUP BY bucket, model_id, suffix, bin""",
    "feature": """
    SELECT bucket, counted.model_id,
           'feature:' || coalesce(key, m.feature_names ->> (position - 1)::integer, (position - 1)::text) AS measure,
           bin, category, n, total, squares
    FROM (
        SELECT bucket, model_id, key, position, log_bin(number) AS bin, category, count(*) AS n, sum(number) AS total,
               sum(number * number) AS squares
        FROM (
            SELECT bucket, model_id, key, position, CASE WHEN first NOT BETWEEN 45 AND 57 THEN CASE first
                    WHEN 34 THEN left(value::jsonb #>> '{}', 100) WHEN 116 THEN 'true' WHEN 102 THEN 'false'
                END END AS category, CASE WHEN first BETWEEN 45 AND 57 THEN CASE
                    WHEN plain AND octet_length(value) < 40 THEN value::double precision
                    ELSE finite_double(value::jsonb)
                END END AS number
            FROM feature WHERE first <> 91 AND first <> 123 OFFSET 0
        ) typed GROUP BY bucket, model_id, key, position, bin, category
        UNION ALL
        SELECT bucket, model_id, NULL, position, log_bin(number) AS bin, NULL, count(*), sum(number),
               sum(number * number)
        FROM listed GROUP BY bucket, model_id, position, bin
    ) counted JOIN model m ON m.model_id = counted.model_id""",
}
_MEASURED: Final = {
    "decode_ms": (("decode_ms", "1"),),
    "inference_ms": (("inference_ms", "2"),),
    "queue_ms": (("queue_ms", "3"),),
    "picture": tuple(
        (f"picture:{name}", position)
        for name, position in (("width", "4"), ("height", "5"), ("bytes", "6"), ("brightness", "7"), ("contrast", "8"))
    ),
}
_ONE_MEASURED: Final = """
    SELECT bucket, model_id, ':measure' AS measure, log_bin(number) AS bin, NULL AS category, count(*) AS n,
           sum(number) AS total, sum(number * number) AS squares
    FROM (SELECT bucket, model_id, measured[:position]::double precision AS number FROM prediction OFFSET 0) measured
    WHERE abs(number) < 'Infinity' GROUP BY bucket, model_id, bin"""
_NUMBERS_MEASURED: Final = {
    kind: "\n    UNION ALL".join(
        _ONE_MEASURED.replace(":measure", measure).replace(":position", position) for measure, position in found
    )
    for kind, found in _MEASURED.items()
}
# Of many categories, the 100 most frequent keep their names.
_OF_NUMBERS = (
    """
SELECT bucket, model_id, measure, jsonb_strip_nulls(jsonb_build_object(
    'n', coalesce(sum(n) FILTER (WHERE bin IS NOT NULL OR category IS NOT NULL), 0),
    'missing', coalesce(sum(n) FILTER (WHERE bin IS NULL AND category IS NULL), 0),
    'sum', sum(total), 'squares', sum(squares),
    'bins', jsonb_object_agg(bin, n) FILTER (WHERE bin IS NOT NULL),
    'categories', jsonb_object_agg(category, n) FILTER (WHERE category IS NOT NULL)
)) AS counts
FROM (
    SELECT bucket, model_id, measure, bin, category, sum(n) AS n, sum(total) AS total, sum(squares) AS squares
    FROM (
        SELECT bucket, model_id, measure, bin, n, total, squares, CASE WHEN category IS NOT NULL AND row_number() OVER (
            PARTITION BY bucket, model_id, measure, category IS NULL ORDER BY n DESC, category) > 100
            THEN '' ELSE category END AS category
        FROM (""",
    """
        ) counted
    ) ranked GROUP BY bucket, model_id, measure, bin, category
) histogram GROUP BY bucket, model_id, measure""",
)

_OTHERS: Final = {
    "judged": """
SELECT bucket, model_id, 'judged' AS measure, jsonb_build_object(
    'judged', count(*), 'correct', count(*) FILTER (WHERE correct), 'wrong', count(*) FILTER (WHERE NOT correct)
) AS counts
FROM prediction WHERE ground_truth IS NOT NULL GROUP BY bucket, model_id""",
    "calibration": """
SELECT bucket, model_id, 'calibration' AS measure, jsonb_build_object('bins', jsonb_object_agg(bin, jsonb_build_object(
    'n', n, 'confidence', confidence, 'correct', correct))) AS counts
FROM (
    SELECT bucket, model_id, greatest(least(ceil(confidence * 15) - 1, 14), 0)::integer AS bin, count(*) AS n,
           sum(confidence) AS confidence, count(*) FILTER (WHERE correct) AS correct
    FROM prediction WHERE correct IS NOT NULL AND abs(confidence) < 'Infinity' GROUP BY bucket, model_id, bin
) binned GROUP BY bucket, model_id""",
    # The class 1 is the truth 1.0, too: whoever has a column of floats sends that.
    "confusion": """
SELECT bucket, model_id, measure, jsonb_object_agg(truth, predicted) AS counts
FROM (
    SELECT bucket, model_id, measure, truth, jsonb_object_agg(predicted, n) AS predicted
    FROM (
        SELECT bucket, model_id, 'confusion' AS measure, ground_truth #>> '{}' AS truth, label AS predicted,
               count(*) AS n
        FROM prediction WHERE label IS NOT NULL AND jsonb_typeof(ground_truth) = 'string'
        GROUP BY bucket, model_id, ground_truth #>> '{}', label
        UNION ALL
        SELECT bucket, model_id, 'confusion' || suffix, truth, predicted, count(*)
        FROM (
            SELECT bucket, model_id, suffix, predicted #>> '{}' AS predicted, CASE jsonb_typeof(truth)
                    WHEN 'number' THEN trim_scale((truth #>> '{}')::numeric)::text ELSE truth #>> '{}'
                END AS truth
            FROM target WHERE NOT is_number AND jsonb_typeof(predicted) IN ('string', 'number', 'boolean')
                          AND jsonb_typeof(truth) IN ('string', 'number', 'boolean')
        ) of_class GROUP BY bucket, model_id, suffix, truth, predicted
    ) pair GROUP BY bucket, model_id, measure, truth
) predicted GROUP BY bucket, model_id, measure""",
    "residual": """
SELECT bucket, model_id, 'residual' || suffix AS measure, jsonb_build_object(
    'n', sum(n), 'sum', sum(total), 'absolute', sum(absolute), 'squares', sum(squares), 'truth', sum(truth),
    'truth_squares', sum(truth_squares), 'bins', jsonb_object_agg(bin, n)) AS counts
FROM (
    SELECT bucket, model_id, suffix, log_bin(residual) AS bin, count(*) AS n, sum(residual) AS total,
           sum(abs(residual)) AS absolute, sum(residual * residual) AS squares, sum(truth) AS truth,
           sum(truth * truth) AS truth_squares
    FROM (
        SELECT bucket, model_id, suffix, truth, number - truth AS residual
        FROM (
            SELECT bucket, model_id, suffix, number, finite_double(truth) AS truth
            FROM target WHERE number IS NOT NULL OFFSET 0
        ) judged WHERE truth IS NOT NULL OFFSET 0
    ) residual GROUP BY bucket, model_id, suffix, bin
) binned GROUP BY bucket, model_id, suffix""",
    "log_loss": """
SELECT bucket, model_id, 'log_loss' AS measure, jsonb_build_object(
    'n', count(*), 'sum', sum(-ln(least(greatest(p, 2.220446049250313e-16), 1 - 2.220446049250313e-16)))) AS counts
FROM probability GROUP BY bucket, model_id""",
    # The sum of (p - y)² over all labels is 1 - 2p for the true one, and the sum of all squares.
    "brier": """
SELECT bucket, model_id, 'brier' AS measure, jsonb_build_object('n', sum(n), 'sum', sum(score)) AS counts
FROM (
    SELECT bucket, model_id, count(*) AS n, sum(CASE WHEN lone THEN 2 * (1 - p) * (1 - p) ELSE 1 - 2 * p END) AS score
    FROM probability GROUP BY bucket, model_id
    UNION ALL
    SELECT bucket, model_id, 0, sum(number * number)
    FROM (
        SELECT bucket, model_id, unnest(translate(scores::text, '[]', '{}')::double precision[]) AS number
        FROM probability WHERE NOT lone
    ) score GROUP BY bucket, model_id
) scored GROUP BY bucket, model_id""",
}


def _counts(kinds: frozenset[str], source: str) -> tuple[str, str]:
    """Return what follows the source's WITH list, and the SELECTs of (bucket, model_id, measure, counts)."""
    columns = "".join(f", p.{name}" for name in sorted({name for kind in kinds for name in _COLUMNS[kind]}))
    tables = (
        "prediction AS MATERIALIZED (\n    SELECT coalesce(date_trunc(:interval::text, p.created_at, 'UTC'), "
        ":since::timestamptz) AS bucket, coalesce(p.model_id, 0) AS model_id"
    )
    tables += columns + source
    if kinds & (_BY_TARGET | _SCORED | {"feature"}):
        tables += _MODEL
    if kinds & _BY_TARGET:
        tables += _TARGET
    if "feature" in kinds:
        tables += _FEATURE
    if kinds & _SCORED:
        tables += _PROBABILITY
    selects = []
    for texts, (before, after) in ((_TALLIES, _OF_TALLIES), (_NUMBERS | _NUMBERS_MEASURED, _OF_NUMBERS)):
        parts = [text for kind, text in texts.items() if kind in kinds]
        if parts:
            selects.append(before + "\n    UNION ALL".join(parts) + after)
    selects += [text for kind, text in _OTHERS.items() if kind in kinds]
    return tables + "\n)", "\nUNION ALL".join(selects)


_IN_ORDER = """
ORDER BY bucket, model_id, measure"""


@lru_cache(maxsize=64)
def summary(kinds: frozenset[str], *, of_models: bool, of_user: bool) -> str:
    """Return the statement of a summary: a SELECT of bucket, model_id, measure and counts, in this order.

    Rows of the same bucket, model and measure are to be added.

    Parameters
    ----------
    kinds : frozenset of str
        From `MEASURES`.
    of_models : bool
        Whether only the models of ``model_ids`` are counted.
    of_user : bool
        Whether only the rows of ``user_id`` are counted; no rollup is used then.
    """
    where = _OF_MODELS if of_models else ""
    if of_user:
        tables, selects = _counts(kinds, _ROWS_OF_USER + where)
        return "WITH " + tables + selects + _IN_ORDER
    tables, selects = _counts(kinds, _ALL_ROWS + where)
    good = _GOOD + (_GOOD_OF_MODELS if of_models else "") + _SEGMENTS
    return good + tables + "\nSELECT bucket, model_id, measure, counts FROM rolled_up\nUNION ALL" + selects + _IN_ORDER


# --- rollups ---

# Only one rolls up at a time: otherwise one that counted earlier could write later, and its counts would be old. Sorts
# are off, because the planner expects few rows and so prefers them where they are slow.
ALONE = """
SELECT set_config('work_mem', '64MB', TRUE), set_config('jit', 'off', TRUE), set_config('enable_sort', 'off', TRUE),
       pg_advisory_xact_lock(2025171)
"""

# A deletion waits while a rollup is written, and a rollup waits for deletions (revision 0015). The one that waited then
# sees what the other did, because each statement sees what was committed before it.
LOCK = "SELECT pg_advisory_xact_lock(2025172)"

# The end of the last hour that may be rolled up now, and the end of the part of the open hour, to the millisecond, as
# in first_id_at. And this transaction: any that may still store into that time is older.
CLOSED = """
SELECT date_trunc('hour', moment, 'UTC'), moment, pg_current_xact_id()::text
FROM (SELECT date_trunc('milliseconds', now() - make_interval(secs => :grace)) AS moment) closed
"""

# What to roll up next: whether new hours may be rolled up, the first hour with a row after those that are, and the
# stale hour that has waited longest. New hours must wait while a transaction is open that began before they were
# closed: what it stores leaves no mark. Hours that are not closed count as not rolled up: the clock was set back. If it
# has caught up since, the last hour may have a row that was stored after the hour was counted, and that has no mark.
# Then this hour counts as not rolled up, too.
NEXT_HOURS = """
WITH rolled AS MATERIALIZED (
    SELECT least(coalesce(moment, '1970-01-01 UTC'), :closed::timestamptz, CASE WHEN EXISTS (
        SELECT FROM predictions
        WHERE prediction_id >= first_id_at(moment - interval '1 hour') AND prediction_id < first_id_at(moment)
          AND age(predictions.xmin) <= age(xid::xid)
    ) THEN moment - interval '1 hour' END) AS until
    FROM (VALUES (TRUE)) AS always LEFT JOIN rolled_until ON TRUE
)
SELECT pg_snapshot_xmin(pg_current_snapshot()) >= :xid::xid8, (
    SELECT date_trunc('hour', created_at, 'UTC') FROM predictions
    WHERE prediction_id >= (SELECT first_id_at(until) FROM rolled) AND prediction_id < :closed_id::uuid
    ORDER BY prediction_id LIMIT 1
), (
    SELECT starts_at FROM stale_hours WHERE starts_at < (SELECT until FROM rolled) ORDER BY marked_at LIMIT 1
)
"""
ROLLED_UNTIL = """
INSERT INTO rolled_until (moment, part_until, xid) VALUES (:moment, :part_until, :xid)
ON CONFLICT (single) DO UPDATE SET moment = excluded.moment, part_until = excluded.part_until, xid = excluded.xid
"""

_HOUR = """
WITH segment AS (
    SELECT :since_id::uuid AS first_id, :until_id::uuid AS end_id
), """
# The last row has the marks whose changes the counts include.
_MARKS = """
UNION ALL
SELECT NULL, NULL, NULL, to_jsonb(ARRAY(SELECT mark_id FROM stale_hours WHERE starts_at = :since::timestamptz))
"""


def _count_hour() -> str:
    tables, selects = _counts(MEASURES, _ALL_ROWS)
    return _HOUR + tables + selects + _MARKS


COUNT_HOUR = _count_hour()

# Whether rows of the hour were deleted after it was counted.
DELETED_SINCE = """
SELECT 1 FROM stale_hours WHERE starts_at = :since::timestamptz AND deleted AND mark_id <> ALL (:marks::uuid[]) LIMIT 1
"""

UNMARK = "DELETE FROM stale_hours WHERE mark_id = ANY (:marks::uuid[])"

HOURS_OF_DAY = """
SELECT model_id, measure, counts FROM rollups
WHERE span = 'hour' AND starts_at >= :day::timestamptz AND starts_at < :day::timestamptz + interval '1 day'
"""
REPLACE = """
WITH counted AS MATERIALIZED (
    SELECT * FROM unnest(:model_id::bigint[], :measure::text[], :counts::jsonb[]) AS counted (model_id, measure, counts)
), gone AS (
    DELETE FROM rollups
    WHERE span = :span AND starts_at = :starts_at::timestamptz
      AND (model_id, measure) NOT IN (SELECT model_id, measure FROM counted)
)
INSERT INTO rollups (span, starts_at, model_id, measure, counts)
SELECT :span, :starts_at::timestamptz, model_id, measure, counts FROM counted
ON CONFLICT (span, starts_at, model_id, measure) DO UPDATE SET counts = excluded.counts
"""
