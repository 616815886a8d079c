"""Create the database users that the other functions log in as, each with the rights that its functions need.

None of them owns a table or may create one: only the migration's user does. This applies only to a database that the
stack creates. In your own database, you create the users.
"""

from typing import Final

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url

FUNCTION_USERS: Final = (
    "ledger_reader",
    "ledger_uploader",
    "ledger_writer",
    "ledger_eraser",
    "ledger_judge",
    "ledger_roller",
)
"""The users' names. template.yaml puts one into each function's `DATABASE_URL` and into the policy of its role."""

# Any number will do that no other advisory lock in this database uses.
_LOCK: Final = "SELECT pg_advisory_lock(2025047)"

# Members of rds_iam, which RDS provides, log in with an IAM token instead of a password.
_USERS: Final = """
DO $$
DECLARE
    function_user text;
BEGIN
    FOREACH function_user IN ARRAY ARRAY[
        'ledger_reader', 'ledger_uploader', 'ledger_writer', 'ledger_eraser', 'ledger_judge', 'ledger_roller'
    ] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = function_user) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', function_user);
        END IF;
        EXECUTE format('GRANT rds_iam TO %I', function_user);
    END LOOP;
END
$$
"""

# This is one statement, hence one transaction: no function lacks its rights meanwhile. It names each table, so a new
# table is nobody's until somebody decides. ON CONFLICT (column) needs SELECT on the column, and FOR UPDATE needs UPDATE
# on any. The writer deletes nothing: withdraw_queued does it for a prediction that could not be queued. Nobody deletes
# a ground truth: it goes with its prediction, by the foreign key.
_RIGHTS: Final = """
DO $$
BEGIN
    REVOKE ALL ON ALL TABLES IN SCHEMA public FROM ledger_reader, ledger_uploader, ledger_writer, ledger_eraser,
        ledger_judge, ledger_roller;
    REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM ledger_reader, ledger_uploader, ledger_writer, ledger_eraser,
        ledger_judge, ledger_roller;

    GRANT SELECT ON models, inputs, predictions, large_outputs, judged_predictions TO ledger_reader;

    GRANT INSERT, SELECT (input_id) ON uploads TO ledger_uploader;
    GRANT EXECUTE ON FUNCTION more_open_uploads_than(text, bigint) TO ledger_uploader;

    GRANT SELECT, INSERT ON models, inputs, predictions, idempotency_keys TO ledger_writer;
    GRANT SELECT ON uploads TO ledger_writer;
    GRANT SELECT, INSERT ON large_outputs TO ledger_writer;
    GRANT UPDATE (served_at, baseline) ON models TO ledger_writer;
    GRANT UPDATE ON idempotency_keys TO ledger_writer;
    GRANT UPDATE (model_id, duration_ms, confidence, status_since, likely_class, status, label, predicted_value, output,
                  outputs, error, failure, correct, measured) ON predictions TO ledger_writer;
    GRANT EXECUTE ON FUNCTION withdraw_queued(uuid), withdraw_queued(uuid, text, text),
                              more_unfinished_than(text, bigint) TO ledger_writer;

    GRANT SELECT ON models TO ledger_eraser;
    GRANT SELECT, DELETE ON inputs, predictions, idempotency_keys, uploads, large_outputs TO ledger_eraser;
    GRANT UPDATE (status_since, status, error, failure) ON predictions TO ledger_eraser;
    GRANT SELECT, UPDATE (source_id, comment, given_by) ON ground_truths TO ledger_eraser;
    GRANT UPDATE (created_at) ON idempotency_keys, uploads TO ledger_eraser;
    GRANT SELECT, INSERT, UPDATE, DELETE ON deleted_inputs, deleted_objects TO ledger_eraser;
    GRANT SELECT, INSERT, UPDATE ON deletions TO ledger_eraser;

    GRANT SELECT ON models, predictions TO ledger_judge;
    GRANT UPDATE (ground_truth, correct, judged_at) ON predictions TO ledger_judge;
    GRANT SELECT, INSERT ON ground_truths TO ledger_judge;

    GRANT SELECT, INSERT, UPDATE (requests) ON refused_requests
        TO ledger_reader, ledger_uploader, ledger_writer, ledger_eraser, ledger_judge;
    GRANT SELECT, INSERT, UPDATE (correct, ground_truth) ON judged_predictions TO ledger_writer, ledger_judge;
    GRANT SELECT, DELETE ON judged_predictions TO ledger_judge, ledger_eraser;

    GRANT SELECT, INSERT, UPDATE ON quota_usage TO ledger_uploader, ledger_writer;
    GRANT SELECT, UPDATE, DELETE ON quota_usage TO ledger_eraser;

    GRANT SELECT ON rollups, rolled_until, stale_hours TO ledger_reader, ledger_roller;
    GRANT SELECT ON models, predictions TO ledger_roller;
    GRANT SELECT (input_id, form, features) ON inputs TO ledger_roller;
    GRANT INSERT, UPDATE, DELETE ON rollups TO ledger_roller;
    GRANT INSERT, UPDATE ON rolled_until TO ledger_roller;
    GRANT DELETE ON stale_hours TO ledger_roller;
END
$$
"""


def make_function_users(owner_url: str) -> None:
    """Create the users that do not exist, and set the rights of each to what its functions need.

    It is safe to run this again, and from several places at once.

    Parameters
    ----------
    owner_url : str
        ``DATABASE_URL`` of the role that owns the tables.

    Raises
    ------
    LedgerError
        If the database cannot be reached or refuses.
    """
    connection = Connection(parse_database_url(owner_url), prepared=False)
    try:
        # Concurrent grants fail on each other's catalogue rows. The lock ends with the connection.
        connection.run(_LOCK, {})
        connection.run(_USERS, {})
        connection.run(_RIGHTS, {})
    finally:
        connection.close()
