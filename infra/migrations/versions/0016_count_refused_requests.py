"""count refused requests.

A refused request stores nothing, so the ledger has no trace of it. This table counts refused requests by day, route and
status. It has nothing of their content, and names nobody.

The migration only expands the schema: functions of the previous version count nothing.
"""

from alembic import op

revision = "0016"
down_revision = "0015"

_STATEMENTS = (
    """
    CREATE TABLE refused_requests (
        day date NOT NULL,
        status smallint NOT NULL,
        route text NOT NULL,
        requests bigint NOT NULL,
        PRIMARY KEY (day, route, status)
    )
    """,
    "COMMENT ON TABLE refused_requests IS 'How many requests were answered with 4xx, without their content.'",
    "COMMENT ON COLUMN refused_requests.day IS 'In UTC.'",
    "COMMENT ON COLUMN refused_requests.status IS 'The HTTP status.'",
    "COMMENT ON COLUMN refused_requests.route IS 'Method and path, with the names of the path''s variables.'",
    "COMMENT ON COLUMN refused_requests.requests IS 'At least so many: some counts may be lost with their process.'",
)


def upgrade() -> None:
    """Add the table."""
    for statement in _STATEMENTS:
        op.execute(statement)
