"""What the tests of the server that batches share."""

from collections.abc import Iterator

import pytest

from tests.support.collector import Collector


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A receiver of traces."""
    with Collector() as collector:
        yield collector
