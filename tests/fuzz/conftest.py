"""The API for one model at a time, with a queue and a bucket, for thousands of requests each."""

import os
import time
from collections.abc import Iterator

import boto3
import httpx
import pytest
from hypothesis import HealthCheck, Phase, settings
from moto import mock_aws

from tests.fuzz.serving import MODELS, Served, model_folder
from tests.support.event_transport import EventTransport, forget_environment
from tests.support.prediction_queue import AWS, Queue

# A test runs as often as FUZZ_EXAMPLES says. A failure prints the example, and how to run it again. FUZZ_SHRINK=1 looks
# for the smallest one that fails, which takes minutes.
_PHASES = [Phase.explicit, Phase.reuse, Phase.generate, *([Phase.shrink] if os.environ.get("FUZZ_SHRINK") else [])]
settings.register_profile(
    "fuzz",
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "50")),
    deadline=None,
    print_blob=True,
    phases=_PHASES,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("fuzz")

_END = time.monotonic() + float(os.environ.get("FUZZ_SECONDS", "240"))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Try the last model last: where time runs out, as much was tried of each of the others."""
    items.sort(key=lambda item: f"[{MODELS[-1]}" in item.name)


@pytest.fixture(autouse=True)
def _in_time() -> None:
    """Start no test once FUZZ_SECONDS are over: a slow machine tries less, and says so."""
    if time.monotonic() > _END:
        pytest.skip("FUZZ_SECONDS are over")


@pytest.fixture(scope="module", params=MODELS)
def served(request: pytest.FixtureRequest, migrated: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The API of a model, through real events and real handlers."""
    with pytest.MonkeyPatch.context() as environment, mock_aws():
        for name, value in AWS.items():
            environment.setenv(name, value)
        sqs = boto3.client("sqs")
        queue = Queue(sqs, sqs.create_queue(QueueName="predictions")["QueueUrl"])
        boto3.client("s3").create_bucket(Bucket="uploads")
        environment.setenv("DATABASE_URL", migrated)
        environment.setenv("MODEL", str(model_folder(request.param, tmp_path_factory.mktemp("models"))))
        environment.setenv("QUEUE_URL", queue.url)
        environment.setenv("UPLOADS_BUCKET", "uploads")
        environment.setenv("LOG_LEVEL", "CRITICAL")
        forget_environment()
        with httpx.Client(transport=EventTransport(), base_url="https://api.example") as api:
            yield Served(request.param, api, queue)
        forget_environment()
