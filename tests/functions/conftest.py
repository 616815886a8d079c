"""The API as API Gateway calls it: HTTP requests become events of payload format 2.0, for the real handlers.

Modules of the contract are run a second time against the server that batches, which answers the same.
"""

from collections.abc import Callable, Iterator

import httpx
import pytest

from functions.shared.ledger.connection import Connection
from functions.shared.ledger.database_url import parse_database_url
from tests.support.batching_transport import BatchingTransport
from tests.support.database import Query
from tests.support.event_transport import EventTransport, forget_environment
from tests.support.repository import DIGIT, ROOT


@pytest.fixture
def environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The environment variables of the functions, which a test may change before its first request."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("MODEL", str(ROOT / "model_artifacts" / "mnist"))
    forget_environment()
    yield monkeypatch
    forget_environment()


OF_BOTH_SERVERS = frozenset(
    f"tests.functions.test_{name}"
    for name in (
        *(
            "any_model",
            "bad_input",
            "clients_as_they_are",
            "deletion",
            "ground_truth",
            "health",
            "idempotency",
            "infer",
            "inference_id",
        ),
        *("list_by_outcome", "many", "object_storage", "openapi", "pages", "predict_store_list_get", "queries"),
        *(
            "console",
            "measured",
            "quotas",
            "tensors",
            "uploads",
            "drift",
            "performance",
            "refused_requests",
            "statistics",
        ),
    )
) | {"tests.functions.asynchronous.test_respond_async"}
"""The modules whose tests call `api`, and hold for whatever server answers."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of the contract against both servers."""
    of_lambda = metafunc.definition.get_closest_marker("of_lambda")
    if "api" in metafunc.fixturenames and metafunc.module.__name__ in OF_BOTH_SERVERS and not of_lambda:
        metafunc.parametrize("server", ["lambda", "batching"], indirect=True)


@pytest.fixture
def server(request: pytest.FixtureRequest) -> str:
    """The server that answers: `lambda`, or `batching`."""
    return getattr(request, "param", "lambda")


@pytest.fixture
def api(environment: pytest.MonkeyPatch, server: str) -> Iterator[httpx.Client]:
    """The API with the shipped digit model and no authorizer."""
    assert environment is not None
    transport = EventTransport() if server == "lambda" else BatchingTransport()
    with httpx.Client(transport=transport, base_url="https://api.example") as client:
        yield client


@pytest.fixture
def forget() -> Callable[[], None]:
    """Make the next request find a new execution environment."""
    return forget_environment


@pytest.fixture
def digit() -> bytes:
    """The sample image that the repository ships, a 7."""
    return DIGIT.read_bytes()


@pytest.fixture
def query(database_url: str) -> Iterator[Query]:
    """Ask the database itself, on a connection of its own."""
    connection = Connection(parse_database_url(database_url), longest=60)
    yield lambda sql, **parameters: connection.run(sql, parameters, keep=False)
    connection.close()
