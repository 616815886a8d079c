"""roll up a part of the open hour.

Until now, figures counted the rows of the open hour one by one: up to 65 minutes of them, and more until the next
rollup. Now a rollup also counts the open hour until 5 minutes ago. ``part_until`` says until when, so that a figure
counts only the rows after that.

So changes in the open hour must be marked too: a change or a deletion of a row that was made more than 4 minutes ago
marks its hour, whether the hour is over or not. A row that is stored late already did so (revision 0015). A change or a
deletion of any row that is rolled up marks its hour as well, however young the row is: the clock may have been set
back.

Nothing marks what is stored into an hour that was rolled up before the clock was set back. ``xid`` lets the next
rollup find it.

The migration only expands the schema. Functions of the previous version use neither the counts of an hour that is not
over nor its marks, and replace both when they roll up the whole hour. If they move ``moment`` on, ``part_until`` is no
longer within the hour that begins there, and the part is not used.
"""

from alembic import op

revision = "0017"
down_revision = "0016"

_STATEMENTS = (
    "ALTER TABLE rolled_until ADD COLUMN part_until timestamptz",
    """
    COMMENT ON TABLE rollups IS
        'Counts of the predictions of whole hours and days (UTC), and of a part of the open hour, by model and measure.'
    """,
    """
    COMMENT ON COLUMN rolled_until.part_until IS
        'In the hour that begins at moment: until when rollups has this hour. Null: it has nothing of it.'
    """,
    "ALTER TABLE rolled_until ADD COLUMN xid xid8",
    """
    COMMENT ON COLUMN rolled_until.xid IS
        'What an older transaction than this has stored was there when the hours before moment were counted.'
    """,
    """
    CREATE OR REPLACE FUNCTION mark_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO stale_hours (starts_at)
        SELECT DISTINCT date_trunc('hour', created_at, 'UTC') FROM changed
        WHERE created_at < greatest(
            now() - interval '4 minutes', (SELECT greatest(moment, part_until) FROM rolled_until));
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE OR REPLACE FUNCTION mark_deleted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    DECLARE
        hours timestamptz[] := ARRAY(
            SELECT DISTINCT date_trunc('hour', created_at, 'UTC') FROM changed
            WHERE created_at < greatest(
                now() - interval '4 minutes', (SELECT greatest(moment, part_until) FROM rolled_until)));
    BEGIN
        IF cardinality(hours) > 0 THEN
            PERFORM pg_advisory_xact_lock_shared(2025172);
            INSERT INTO stale_hours (starts_at, deleted) SELECT unnest(hours), TRUE;
            DELETE FROM rollups WHERE span = 'hour' AND starts_at = ANY (hours);
            DELETE FROM rollups WHERE span = 'day' AND starts_at = ANY (
                ARRAY(SELECT DISTINCT date_trunc('day', hour, 'UTC') FROM unnest(hours) hour));
        END IF;
        RETURN NULL;
    END
    $$
    """,
    # A replaced function has lost its settings (revision 0015), but keeps its owner and who may call it.
    """
    DO $$
    DECLARE
        name text;
    BEGIN
        FOREACH name IN ARRAY ARRAY['mark_changed', 'mark_deleted'] LOOP
            EXECUTE format('ALTER FUNCTION %I() SET search_path = %I, pg_temp', name, current_schema());
        END LOOP;
    END
    $$
    """,
)


def upgrade() -> None:
    """Add the columns, and mark what changes in the open hour."""
    for statement in _STATEMENTS:
        op.execute(statement)
