"""The settings of the server that batches: each is read, an empty one counts as not set, a wrong one is named."""

import os

import pytest

from local.batching.settings import BatchingSettings
from local.errors import CannotServeError
from local.settings import cores

NUMBERS = {
    "PORT": (0, 65_535),
    "WORKERS": (1, 256),
    "BATCH_THREADS": (1, 64),
    "MAX_BATCH_INPUTS": (1, 1_000_000),
    "MAX_QUEUED_INPUTS": (1, 1_000_000),
    "BATCH_WAIT_MS": (0, 10_000),
    "REQUEST_SECONDS": (1, 3_600),
    "STOP_SECONDS": (1, 3_600),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_is_read_within_its_range(name: str) -> None:
    least, most = NUMBERS[name]
    for value in (least, most):
        assert getattr(BatchingSettings.from_environment({name: str(value)}), name.lower()) == value


@pytest.mark.parametrize("name", NUMBERS)
def test_an_empty_variable_counts_as_not_set(name: str) -> None:
    assert BatchingSettings.from_environment({name: ""}) == BatchingSettings.from_environment({})


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("wrong", ["below", "above", "many", "1.5", "-1", " 1", "1_0"])
def test_a_number_that_is_wrong_is_named_with_what_is_right(name: str, wrong: str) -> None:
    least, most = NUMBERS[name]
    value = {"below": str(least - 1), "above": str(most + 1)}.get(wrong, wrong)
    with pytest.raises(CannotServeError) as raised:
        BatchingSettings.from_environment({name: value})
    assert str(raised.value) == f"{name}={value!r}: it must be a whole number from {least} to {most}"


def test_there_is_a_process_for_each_core_and_one_for_a_gpu() -> None:
    on_cpu = {"EXECUTION_PROVIDERS": "CPUExecutionProvider"}
    on_gpu = {"EXECUTION_PROVIDERS": "CUDAExecutionProvider,CPUExecutionProvider"}
    for environment, workers, threads in (({}, cores(), 1), (on_cpu, cores(), 1), (on_gpu, 1, 2)):
        settings = BatchingSettings.from_environment(environment)
        assert (settings.workers, settings.batch_threads) == (workers, threads)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system does not let one choose a core")
@pytest.mark.parametrize(
    ("more_workers", "other"),
    [
        (1, {}),
        (0, {"BATCH_THREADS": "2"}),
        (0, {"INTRA_OP_THREADS": "2"}),
        (0, {"INTRA_OP_THREADS": "0"}),
        (0, {"EXECUTION_PROVIDERS": "CUDAExecutionProvider"}),
    ],
)
def test_a_process_has_a_core_of_its_own_where_each_core_has_one_process_that_runs_one_thing(
    more_workers: int, other: dict[str, str]
) -> None:
    every = tuple(sorted(os.sched_getaffinity(0)))
    each = {"WORKERS": str(len(every)), "EXECUTION_PROVIDERS": "CPUExecutionProvider"}
    for same in ({}, {"INTRA_OP_THREADS": "1"}, {"INTRA_OP_THREADS": ""}, {"BATCH_THREADS": "1"}):
        assert BatchingSettings.from_environment(each | same).cores == every
    changed = each | {"WORKERS": str(len(every) + more_workers)} | other
    assert BatchingSettings.from_environment(changed).cores == ()


@pytest.mark.parametrize(
    ("environment", "host", "status"),
    [
        ({}, "127.0.0.1:3000", None),
        ({}, "evil.example", 421),
        ({"HOST": "0.0.0.0"}, "my.service", None),
        ({"HOST": "0.0.0.0", "ALLOWED_HOSTS": "my.service"}, "my.service", None),
        ({"HOST": "0.0.0.0", "ALLOWED_HOSTS": "my.service"}, "evil.example", 421),
    ],
    ids=["loopback", "rebound", "anything", "named", "not named"],
)
def test_a_server_refuses_other_names_where_it_knows_its_own(
    environment: dict[str, str], host: str, status: int | None
) -> None:
    sites = BatchingSettings.from_environment(environment).sites()
    assert sites is not None
    refusal = sites.refusal("GET", [(b"host", host.encode())])
    assert (None if refusal is None else refusal.status) == status


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_server_without_tokens_refuses_what_a_page_of_another_site_writes(host: str) -> None:
    sites = BatchingSettings(host=host).sites()
    assert sites is not None
    headers = [(b"host", b"127.0.0.1:3000"), (b"origin", b"https://evil.example")]
    refusal = sites.refusal("POST", headers)
    assert refusal is not None
    assert refusal.status == 403


def test_a_server_with_tokens_leaves_it_to_them() -> None:
    environment = {"AUTH": "on", "ISSUER": "https://issuer.example", "AUDIENCE": "onnx-ledger"}
    assert BatchingSettings.from_environment(environment).sites() is None
