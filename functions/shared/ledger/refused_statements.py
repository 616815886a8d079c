"""The SQL about refused requests. As in `statements`, no value ever becomes part of a text."""

# Adds, so it is not safe to repeat: it is sent once.
ADD_REFUSED = """
INSERT INTO refused_requests AS before (day, route, status, requests)
SELECT day::date, route, status, requests
FROM unnest(:day::text[], :route::text[], :status::bigint[], :requests::bigint[]) AS new (day, route, status, requests)
ORDER BY day, route, status
ON CONFLICT (day, route, status) DO UPDATE SET requests = before.requests + excluded.requests
"""

# Rows of (day, route, status, requests): a day with a status, a route alone, or a status alone.
REFUSED = """
SELECT day::text, route, status, sum(requests)::bigint
FROM refused_requests
WHERE day BETWEEN :since::text::date AND :until::text::date
GROUP BY GROUPING SETS ((day, status), (route), (status))
ORDER BY 1, 2, 3
"""
