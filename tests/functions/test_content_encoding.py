"""A request's body as it was before it was compressed, within a limit."""

import gzip
import tracemalloc
import zlib

import pytest

from functions.shared.api.content_encoding import decompressed
from functions.shared.api.problems import Problem

TEXT = b'{"features": [1, 2, 3]}' * 20


def bare(content: bytes) -> bytes:
    """Compress without zlib's header and checksum, as some clients do."""
    return zlib.compress(content)[2:-4]


@pytest.mark.parametrize("coding", [None, "", "identity", " Identity "])
def test_a_body_without_a_coding_stays_as_it_is(coding: str | None) -> None:
    assert decompressed(TEXT, coding, limit=1) == TEXT


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(TEXT)),
        ("GZIP", gzip.compress(TEXT)),
        ("x-gzip", gzip.compress(TEXT)),
        ("gzip", gzip.compress(TEXT[:7]) + gzip.compress(b"") + gzip.compress(TEXT[7:])),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", bare(TEXT)),
    ],
    ids=["gzip", "upper case", "x-gzip", "several members", "deflate", "bare deflate"],
)
def test_a_compressed_body_is_decompressed_up_to_the_limit(coding: str, body: bytes) -> None:
    assert decompressed(body, coding, limit=len(TEXT)) == TEXT

    with pytest.raises(Problem) as problem:
        decompressed(body, coding, limit=len(TEXT) - 1)
    assert problem.value.status == 413
    assert str(len(TEXT) - 1) in problem.value.detail


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("empty", [b"", b" "])
def test_nothing_is_no_compressed_body(coding: str, empty: bytes) -> None:
    with pytest.raises(Problem) as problem:
        decompressed(empty, coding, limit=1000)
    assert problem.value.status == 400
    assert coding in problem.value.detail


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_damaged_or_cut_body_is_refused(coding: str) -> None:
    body = gzip.compress(TEXT) if coding == "gzip" else zlib.compress(TEXT)
    flipped = bytes((*body[:-1], body[-1] ^ 1))
    for wrong in (body[:-1], body[:5], flipped, body + b"x", TEXT):
        with pytest.raises(Problem) as problem:
            decompressed(wrong, coding, limit=10_000)
        assert problem.value.status == 400


def test_very_many_members_are_refused() -> None:
    with pytest.raises(Problem) as problem:
        decompressed(gzip.compress(b"") * 1000, "gzip", limit=10)
    assert problem.value.status == 400


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip", "é"])
def test_another_coding_is_named_with_what_is_understood(coding: str) -> None:
    with pytest.raises(Problem) as problem:
        decompressed(TEXT, coding, limit=1000)
    assert problem.value.status == 415
    assert coding in problem.value.detail
    assert problem.value.headers["Accept-Encoding"] == "gzip, deflate"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_bomb_costs_no_more_memory_than_the_limit(coding: str) -> None:
    huge = bytes(50_000_000)
    bomb = gzip.compress(huge) if coding == "gzip" else zlib.compress(huge)
    tracemalloc.start()
    try:
        with pytest.raises(Problem) as problem:
            decompressed(bomb, coding, limit=100_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert problem.value.status == 413
    assert peak < 2_000_000
