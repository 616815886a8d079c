"""``python -m infra.migrations upgrade`` (or ``current``) works on the database that DATABASE_URL names."""

import argparse
import os
import sys

from infra.migrations import MigrationError, UnknownRevisionError, current, upgrade


def main() -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m infra.migrations", description=__doc__)
    parser.add_argument(
        "command", choices=("upgrade", "current"), help="apply the missing revisions; print the current one"
    )
    parser.add_argument(
        "--or-newer",
        action="store_true",
        help="leave a database as it is that a newer version has migrated, as after a rollback of the deployment",
    )
    arguments = parser.parse_args()
    command = arguments.command
    database_url = os.environ.get("DATABASE_URL")
    if not database_url:
        print("DATABASE_URL is not set", file=sys.stderr)
        return 2
    try:
        if command == "upgrade":
            upgrade(database_url, report=print)
        else:
            print(current(database_url) or "empty")
    except MigrationError as error:
        print(f"migrations: {error}", file=sys.stderr)
        return 0 if arguments.or_newer and isinstance(error, UnknownRevisionError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
