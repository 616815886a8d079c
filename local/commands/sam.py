"""`python -m local sam`: `sam local`, with a database and AWS's stand-ins that its containers can reach.

A container has no way to this machine's unix sockets and loopback addresses. It has one to `host.docker.internal`, the
name that samconfig.toml gives the machine itself in every container of `sam local`:

- With Docker Engine on Linux that name is the address of Docker's bridge. PostgreSQL listens there and asks for a
  password, which is a new one at each start. moto asks for none, so its socket is bound to the bridge's interface:
  other machines, which can reach the address by a route of their own making, are refused. A firewall on this machine
  must let containers in.
- With Docker Desktop it leads to this machine's loopback address, and both listen there.

Neither of the two has TLS. What is sent stays on this machine, and `sslmode=disable` is allowed for this name.

The socket's folder could be mounted instead, but `sam local` mounts nothing besides the package, and Docker Desktop
passes no unix sockets on.
"""

import contextlib
import itertools
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import psutil

from functions.shared.inference.errors import InferenceError
from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from functions.shared.ledger.errors import RecordNotFoundError
from functions.shared.ledger.ledger import Ledger
from functions.shared.ledger.records import NewInput, QueuedPrediction
from functions.shared.prediction.pace import Pace
from functions.shared.prediction.serving import Serving
from functions.shared.prediction.worker_batch import predict_queued
from functions.shared.settings import WorkerSettings
from infra.migrations import MigrationError, upgrade
from local.account import region_of
from local.commands.console import to_stderr
from local.commands.lock_file import lock_home
from local.errors import CannotServeError
from local.sample_events import AWS_PORT, DELETED_ID, PREDICTION_ID, QUEUED_ID, SAMPLE, THIS_MACHINE, USER
from local.services.aws import CREDENTIALS, LocalAws
from local.services.postgres import EmbeddedPostgres, PostgresError
from local.settings import ROOT, Settings
from local.template import read_queues

_SAM: Final = ROOT / ".venv-deploy" / "bin" / "sam"
_BUILT: Final = ROOT / ".aws-sam" / "build" / "template.yaml"
_POSTGRES_PORT: Final = 5432
_LOOPBACK: Final = "127.0.0.1"
_MILLISECONDS: Final = 60_000

# As if it had just been queued and its message been lost an hour ago: a worker makes it, and a sweep sends it again.
_QUEUE_ANEW: Final = """\
UPDATE predictions
SET status = 'queued', status_since = now() - interval '1 hour', model_id = NULL, duration_ms = NULL,
    confidence = NULL, likely_class = NULL, label = NULL, predicted_value = NULL, output = NULL, error = NULL
WHERE prediction_id = :prediction_id
"""


def sam_local(settings: Settings, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run `sam local` with these arguments, in the project's folder, and return its exit status.

    Parameters
    ----------
    settings
        As for the server, which must not run in the same home.
    arguments
        What comes after `sam local`.
    environment
        The caller's environment variables, which sam passes on to a function that declares them.

    Raises
    ------
    CannotServeError
        If something that it needs is missing or does not start.
    """
    if settings.database_url is not None:
        raise CannotServeError(
            "DATABASE_URL is set: this command brings a database of its own. For yours call sam itself, which passes "
            f"DATABASE_URL on to functions; a container reaches this machine as {THIS_MACHINE}"
        )
    address, interface = _address_for_containers()
    for needed in (_SAM, _BUILT):
        if not needed.exists():
            raise CannotServeError(f"there is no {needed.relative_to(ROOT)}: run `make build` first")
    with (
        lock_home(settings.ledger_home),
        _database(settings.ledger_home / "postgres", address) as database,
        _aws(settings, address, interface),
    ):
        try:
            upgrade(database.url)
            make_samples(database.url, _event(arguments))
        except (MigrationError, InferenceError) as error:
            raise CannotServeError(str(error)) from error
        region = region_of(environment)
        given = {
            # What start-api makes of a request has no authorizer's claims in it, and would be refused every time.
            **({"AUTH": "off"} if arguments[:1] == ["start-api"] else {}),
            **environment,
            **CREDENTIALS,
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "DATABASE_URL": f"{database.tcp_url.replace(address, THIS_MACHINE)}?sslmode=disable",
        }
        return _run([str(_SAM), "local", *arguments], given)


def _run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Wait until it ends, also when we are asked to stop: sam removes its containers, and takes a while."""
    with subprocess.Popen(command, cwd=ROOT, env=environment) as sam:
        # Ctrl-C goes to everything in the terminal's foreground, so to sam as well. kill goes to us alone.
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: sam.send_signal(signal.SIGINT))
        return sam.wait()


def _address_for_containers() -> tuple[str, str | None]:
    """Return where to listen for containers, and the network interface of that address where it is Docker's bridge.

    Raises
    ------
    CannotServeError
        If there is no Docker.
    """
    command = ["docker", "network", "inspect", "bridge", "--format", "{{json .Options}}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise CannotServeError("sam local needs Docker, and there is no command `docker`") from None
    if done.returncode != 0:
        raise CannotServeError(f"sam local needs Docker, which does not answer: {done.stderr.strip()}")
    name = json.loads(done.stdout).get("com.docker.network.bridge.name", "docker0")
    for address in psutil.net_if_addrs().get(name, ()):
        if address.family == socket.AF_INET:
            return address.address, name
    return _LOOPBACK, None  # Docker runs in a virtual machine


@contextlib.contextmanager
def _database(folder: Path, address: str) -> Iterator[EmbeddedPostgres]:
    """Run the database that the server runs, and have it listen for containers."""
    to_stderr(f"PostgreSQL in {folder}")
    try:
        with EmbeddedPostgres(folder, listen=address, port=_free_port(address)) as postgres:
            yield postgres
    except PostgresError as error:
        raise CannotServeError(str(error)) from error


def _free_port(address: str) -> int:
    """Return PostgreSQL's own port, or another one where some other PostgreSQL has it."""
    for port in (_POSTGRES_PORT, 0):
        with contextlib.suppress(OSError), socket.create_server((address, port)) as found:
            return int(found.getsockname()[1])
    raise CannotServeError(f"cannot listen on {address}")


@contextlib.contextmanager
def _aws(settings: Settings, address: str, interface: str | None) -> Iterator[None]:
    """Run moto where `local/sam.json` says that it is."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        if interface is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        listener.bind((address, AWS_PORT))
    except OSError as error:
        listener.close()
        raise CannotServeError(f"moto cannot listen on port {AWS_PORT} of {address}: {error.strerror}") from error
    aws = LocalAws(read_queues(settings.template), settings.ledger_home.absolute() / "logs" / "aws.log", listener)
    try:
        aws.start()
        yield
    finally:
        aws.stop()
        listener.close()


def _event(arguments: Sequence[str]) -> Mapping[str, Any]:
    """Return the event that is to be invoked, where there is one and it can be read: what is wrong, sam says."""
    for option, value in itertools.pairwise(arguments):
        if option in {"-e", "--event"}:
            with contextlib.suppress(OSError, ValueError):
                event = json.loads((ROOT / value).read_bytes())
                return event if isinstance(event, dict) else {}
    return {}


def make_samples(url: str, event: Mapping[str, Any]) -> None:
    """Make what a sample event asks for: the record to read or to delete, or the prediction that waits in the queue.

    The record is made like any other, of the sample image and by the model of digits. The one in the queue is queued
    anew each time.

    Parameters
    ----------
    url
        Where the ledger is.
    event
        Nothing is made for an event that is not one of `local/events`.
    """
    asked_for = event.get("pathParameters", {}).get("prediction_id")
    if event.get("routeKey", "").startswith(("POST /ground_truth", "GET /models/")):
        asked_for = PREDICTION_ID  # in the body, or made by the version that is asked for
    is_delivery = [message.get("body") for message in event.get("Records", ())] == [QUEUED_ID]
    is_sweep = any(str(rule).endswith(":rule/sweep") for rule in event.get("resources", ()))
    with contextlib.closing(Ledger.at(url)) as ledger:
        if asked_for in (PREDICTION_ID, DELETED_ID) and _queue(ledger, asked_for):
            _predict(asked_for, url)
        if is_delivery or is_sweep:
            _queue(ledger, QUEUED_ID)
            with contextlib.closing(Connection(parse_database_url(url), prepared=False)) as connection:
                connection.run(_QUEUE_ANEW, {"prediction_id": UUID(QUEUED_ID)})


def _queue(ledger: Ledger, prediction_id: str) -> bool:
    """Queue a prediction of the sample image. Tells whether it did: False if there is one of that id."""
    try:
        ledger.get(UUID(prediction_id))
    except RecordNotFoundError:
        sample = NewInput(SAMPLE.read_bytes(), "image/png", SAMPLE.name)
        ledger.enqueue(QueuedPrediction(prediction_id=UUID(prediction_id), input=sample, user_id=USER))
        return True
    return False


def _predict(prediction_id: str, url: str) -> None:
    """Make a queued prediction, as a worker does. It logs to standard error: the output is the function's answer."""
    settings = WorkerSettings(database_url=url, model=str(ROOT / "model_artifacts" / "mnist"))
    serving = Serving.start(settings)
    with contextlib.redirect_stdout(sys.stderr), contextlib.closing(serving.ledger):
        predict_queued(serving, Pace.of(serving.model), [UUID(prediction_id)], lambda: _MILLISECONDS)
