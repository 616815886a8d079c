"""roll predictions up.

Figures over millions of predictions are read from counts of whole hours and days. A summary is right at every moment
all the same: it counts the rows themselves wherever a count may be old. So a change of an hour that may have been
counted leaves a mark in ``stale_hours``, in the same transaction.

Only triggers can do that: they also see what a function of the previous version changes while the new ones are being
deployed. They run with their owner's rights, so no database user needs a right to the marks.

- A row that is stored more than 4 minutes after its id was made is late: its hour may have been counted, which happens
  5 minutes after its end at the earliest. The trigger's WHEN spares all other rows the call.
- A change or a deletion of a row in an hour that ended more than 4 minutes ago marks the hour.
- A deletion also deletes the counts of that hour and of its day, which may name the row's user or what they sent. It
  waits while counts are written (the lock), so that no name is written after it.

The migration only expands the schema.
"""

from alembic import op

revision = "0015"
down_revision = "0014"

_STATEMENTS = (
    """
    CREATE TABLE rollups (
        starts_at timestamptz NOT NULL,
        model_id bigint NOT NULL,
        span text NOT NULL,
        measure text NOT NULL,
        counts jsonb NOT NULL,
        PRIMARY KEY (span, starts_at, model_id, measure),
        CONSTRAINT rollups_span CHECK (span IN ('hour', 'day'))
    )
    """,
    "COMMENT ON TABLE rollups IS 'Counts of the predictions of whole hours and days (UTC), by model and measure.'",
    "COMMENT ON COLUMN rollups.model_id IS '0 for predictions without a model: not made yet, or failed.'",
    "COMMENT ON COLUMN rollups.counts IS 'Numbers by name. Two can be merged by adding the numbers of the same name.'",
    """
    CREATE TABLE rolled_until (
        single boolean PRIMARY KEY DEFAULT TRUE CHECK (single),
        moment timestamptz NOT NULL
    )
    """,
    "COMMENT ON TABLE rolled_until IS 'One row: rollups has all hours before this moment, and their whole days.'",
    """
    CREATE TABLE stale_hours (
        mark_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        starts_at timestamptz NOT NULL,
        marked_at timestamptz NOT NULL DEFAULT now(),
        deleted boolean NOT NULL DEFAULT FALSE
    )
    """,
    "CREATE INDEX stale_hours_by_hour ON stale_hours (starts_at)",
    "CREATE INDEX stale_hours_in_turn ON stale_hours (marked_at)",
    """
    COMMENT ON TABLE stale_hours IS
        'Hours in which predictions have changed since they were counted: their rollups are not to be used.'
    """,
    "COMMENT ON COLUMN stale_hours.deleted IS 'Whether predictions were deleted, so that a name may have to go.'",
    """
    CREATE FUNCTION mark_late() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO stale_hours (starts_at) VALUES (date_trunc('hour', new.created_at, 'UTC'));
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE FUNCTION mark_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO stale_hours (starts_at)
        SELECT DISTINCT date_trunc('hour', created_at, 'UTC') FROM changed
        WHERE created_at < date_trunc('hour', now() - interval '4 minutes', 'UTC');
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE FUNCTION mark_deleted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    DECLARE
        hours timestamptz[] := ARRAY(
            SELECT DISTINCT date_trunc('hour', created_at, 'UTC') FROM changed
            WHERE created_at < date_trunc('hour', now() - interval '4 minutes', 'UTC'));
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
    "REVOKE EXECUTE ON FUNCTION mark_late, mark_changed, mark_deleted FROM PUBLIC",
    # The functions use these tables, whatever search_path or temporary tables the caller has.
    """
    DO $$
    DECLARE
        name text;
    BEGIN
        FOREACH name IN ARRAY ARRAY['mark_late', 'mark_changed', 'mark_deleted'] LOOP
            EXECUTE format('ALTER FUNCTION %I() SET search_path = %I, pg_temp', name, current_schema());
        END LOOP;
    END
    $$
    """,
    """
    CREATE TRIGGER mark_late AFTER INSERT ON predictions FOR EACH ROW
    WHEN (new.created_at < now() - interval '4 minutes') EXECUTE FUNCTION mark_late()
    """,
    """
    CREATE TRIGGER mark_changed AFTER UPDATE ON predictions REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION mark_changed()
    """,
    """
    CREATE TRIGGER mark_deleted AFTER DELETE ON predictions REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION mark_deleted()
    """,
    # As in functions/shared/ledger/identifiers.py, to the millisecond.
    """
    CREATE FUNCTION first_id_at(moment timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid
    """,
    "COMMENT ON FUNCTION first_id_at IS 'The smallest prediction_id of a moment, to the millisecond.'",
    # As bin_of in functions/shared/evaluation/bins.py. The bins never change, so this function must not either.
    """
    CREATE FUNCTION log_bin(value double precision) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN abs(value) < 1e-9 THEN 0
        WHEN abs(value) < 'Infinity'::double precision
        THEN sign(value) * least(floor(ln(abs(value)) / 0.01980262729617973) + 1048, 2443)
    END::integer
    """,
    # No number may make a count fail: one that double precision cannot hold, or whose square it cannot hold, counts as
    # the nearest that it can.
    """
    CREATE FUNCTION finite_double(value jsonb) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN jsonb_typeof(value) <> 'number' THEN NULL
        WHEN octet_length(value::text) < 40 THEN value::text::double precision
        WHEN abs(value::numeric) > 1e100 THEN sign(value::numeric) * 1e100
        WHEN abs(value::numeric) < 1e-100 THEN 0
        ELSE value::double precision
    END
    """,
    """
    COMMENT ON FUNCTION finite_double IS 'A number that can be squared and added up, null if the value is no number.'
    """,
    "COMMENT ON FUNCTION log_bin IS 'The bin of a number in every histogram: each is 2 % wider than the one before.'",
)


def upgrade() -> None:
    """Add the tables, the triggers that mark what has changed, and the bins."""
    for statement in _STATEMENTS:
        op.execute(statement)
