"""The SQL that figures need beside summaries. As in `statements`, no value ever becomes part of a text."""

# The first and the last prediction of each model, each found at one end of an index. As in `statements`, PostgreSQL is
# sure to use the index only with a bound on the pair and an order by the pair.
MODELS = """
SELECT m.model_id, m.name, m.version, m.task, m.labels, encode(m.sha256, 'hex'), m.registered_at, m.served_at,
       first.created_at, last.created_at
FROM models m
LEFT JOIN LATERAL (
    SELECT p.created_at FROM predictions p
    WHERE (p.model_id, p.prediction_id) >= (m.model_id, :first_id)
      AND (p.model_id, p.prediction_id) <= (m.model_id, :last_id)
    ORDER BY p.model_id, p.prediction_id LIMIT 1
) first ON TRUE
LEFT JOIN LATERAL (
    SELECT p.created_at FROM predictions p
    WHERE (p.model_id, p.prediction_id) >= (m.model_id, :first_id)
      AND (p.model_id, p.prediction_id) <= (m.model_id, :last_id)
    ORDER BY p.model_id DESC, p.prediction_id DESC LIMIT 1
) last ON TRUE
ORDER BY m.name, m.version, m.registered_at, m.model_id
"""

# The same for one user, whose predictions are all read: to find an end, an index would need the user and the model.
MODELS_OF_USER = """
SELECT m.model_id, m.name, m.version, m.task, m.labels, encode(m.sha256, 'hex'), m.registered_at, m.served_at,
       theirs.first, theirs.last
FROM models m
LEFT JOIN (
    SELECT model_id, min(created_at) AS first, max(created_at) AS last FROM predictions
    WHERE user_id = :user_id GROUP BY model_id
) theirs USING (model_id)
ORDER BY m.name, m.version, m.registered_at, m.model_id
"""

# A version may have been served from several packages: this takes the newest one with a baseline.
BASELINE = """
SELECT baseline FROM models
WHERE model_id = ANY (:model_ids::bigint[]) AND baseline IS NOT NULL
ORDER BY registered_at DESC, model_id LIMIT 1
"""

# When the first predictions of a version were asked for: the first of them, the last of them, and how many there are.
_FIRST_OF = """
SELECT min(created_at), max(created_at), count(*) FROM (
    SELECT p.created_at FROM """
_OF_MODELS = """unnest(:model_ids::bigint[]) AS served (model_id)
    CROSS JOIN LATERAL (
        SELECT p.prediction_id, p.created_at FROM predictions p
        WHERE (p.model_id, p.prediction_id) >= (served.model_id, :first_id)
          AND (p.model_id, p.prediction_id) <= (served.model_id, :last_id)
        ORDER BY p.model_id, p.prediction_id LIMIT :count
    ) p
    ORDER BY p.prediction_id LIMIT :count
) first
"""
_OF_USER = """predictions p
    WHERE (p.user_id, p.prediction_id) >= (:user_id, :first_id) AND (p.user_id, p.prediction_id) <= (:user_id, :last_id)
      AND p.model_id = ANY (:model_ids::bigint[])
    ORDER BY p.user_id, p.prediction_id LIMIT :count
) first
"""
FIRST, FIRST_OF_USER = _FIRST_OF + _OF_MODELS, _FIRST_OF + _OF_USER

# What two versions have both predicted, with a ground truth for both. Only the newest predictions of each are searched,
# so the cost is bounded however few are judged. A pair has the same bytes as its input, or the same inference_id. Each
# side takes the newest prediction of a digest, and the newest of an inference_id. Bytes that a pair has by its
# inference_id make no further pair: either side may have predicted them again without the id.
_RECENT = """ AS (
    SELECT recent.prediction_id, recent.correct, recent.inference_id, i.sha256
    FROM ("""
_OF = """
        SELECT newest.* FROM unnest(:model_ids::bigint[]) AS served (model_id)
        CROSS JOIN LATERAL (
            SELECT p.prediction_id, p.correct, p.inference_id, p.input_id FROM predictions p
            WHERE (p.model_id, p.prediction_id) >= (served.model_id, :since)
              AND (p.model_id, p.prediction_id) < (served.model_id, :before)
            ORDER BY p.model_id DESC, p.prediction_id DESC LIMIT :count
        ) newest
        ORDER BY newest.prediction_id DESC LIMIT :count"""
_OF_USERS = """
        SELECT p.prediction_id, p.correct, p.inference_id, p.input_id FROM predictions p
        WHERE (p.user_id, p.prediction_id) >= (:user_id, :since) AND (p.user_id, p.prediction_id) < (:user_id, :before)
          AND p.model_id = ANY (:model_ids::bigint[])
        ORDER BY p.user_id DESC, p.prediction_id DESC LIMIT :count"""
_JUDGED = """
    ) recent
    CROSS JOIN LATERAL (SELECT sha256 FROM inputs WHERE inputs.input_id = recent.input_id OFFSET 0) i
    WHERE recent.correct IS NOT NULL
)"""
_PAIRS = """, one_by_input AS MATERIALIZED (
    SELECT DISTINCT ON (sha256) * FROM one ORDER BY sha256, prediction_id DESC
), other_by_input AS MATERIALIZED (
    SELECT DISTINCT ON (sha256) * FROM other ORDER BY sha256, prediction_id DESC
), one_by_id AS MATERIALIZED (
    SELECT DISTINCT ON (inference_id) * FROM one WHERE inference_id IS NOT NULL
    ORDER BY inference_id, prediction_id DESC
), other_by_id AS MATERIALIZED (
    SELECT DISTINCT ON (inference_id) * FROM other WHERE inference_id IS NOT NULL
    ORDER BY inference_id, prediction_id DESC
), by_id AS MATERIALIZED (
    SELECT a.correct AS one, b.correct AS other, a.sha256, b.sha256 AS other_sha256
    FROM one_by_id a JOIN other_by_id b USING (inference_id)
), pair AS (
    SELECT one, other FROM by_id
    UNION ALL
    SELECT a.correct, b.correct FROM one_by_input a JOIN other_by_input b USING (sha256)
    WHERE NOT EXISTS (SELECT FROM by_id WHERE by_id.sha256 = a.sha256)
      AND NOT EXISTS (SELECT FROM by_id WHERE by_id.other_sha256 = a.sha256)
)
SELECT count(*) FILTER (WHERE one AND other), count(*) FILTER (WHERE one AND NOT other),
       count(*) FILTER (WHERE other AND NOT one), count(*) FILTER (WHERE NOT one AND NOT other)
FROM pair
"""


def _paired(of: str) -> str:
    others = of.replace(":model_ids", ":other_model_ids")
    return "WITH one" + _RECENT + of + _JUDGED + ", other" + _RECENT + others + _JUDGED + _PAIRS


PAIRED, PAIRED_OF_USER = _paired(_OF), _paired(_OF_USERS)
