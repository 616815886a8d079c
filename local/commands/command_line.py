"""The command line of the local server."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from functions.shared.api.scopes import Scope
from local.errors import CannotServeError
from local.settings import Settings


def main(arguments: Sequence[str]) -> int:
    """Run a command and return its exit status: 0 after success or a request to stop, 1 after a failure."""
    parser = argparse.ArgumentParser(prog="python -m local", description="Serve the API of template.yaml locally.")
    commands = parser.add_subparsers(dest="command", title="commands")
    invoke_parser = commands.add_parser("invoke", help="run one event through one function and print its result")
    invoke_parser.add_argument("function", help="the function's name in template.yaml")
    invoke_parser.add_argument("-e", "--event", type=Path, required=True, help="file with the event, as JSON")
    token_parser = commands.add_parser("token", help="print a token for a user, for a server with AUTH=on")
    token_parser.add_argument("user", help="the user, for the claim sub")
    token_parser.add_argument("--seconds", type=int, default=3600, help="how long it is valid (default: %(default)s)")
    token_parser.add_argument(
        "--scope", choices=[*Scope], action="append", default=[], help="what the user may do beyond its own records"
    )
    sam_parser = commands.add_parser("sam", help="run `sam local`, with a database that its containers reach")
    sam_parser.add_argument("arguments", nargs=argparse.REMAINDER, help="what comes after `sam local`")
    commands.add_parser(
        "psql", help="open the ledger's database with psql, which gets all other arguments", add_help=False
    )
    chosen, others = parser.parse_known_args(arguments)
    if others and chosen.command != "psql":
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    try:
        settings = Settings.from_environment()
        if chosen.command == "sam":
            from local.commands.sam import sam_local

            return sam_local(settings, chosen.arguments, os.environ)
        if chosen.command == "invoke":
            from local.commands.invoke import invoke

            return invoke(settings, chosen.function, chosen.event)
        if chosen.command == "token":
            from local.gateway.issuer import read_issuer

            print(read_issuer(settings.ledger_home).token(chosen.user, chosen.seconds, chosen.scope))
            return 0
        if chosen.command == "psql":
            from local.commands.psql import psql

            return psql(settings, others)
        from local.commands.serve import serve

        serve(settings)
    except CannotServeError as error:
        print(f"onnx-ledger: {error}", file=sys.stderr)
        return 1
    return 0
