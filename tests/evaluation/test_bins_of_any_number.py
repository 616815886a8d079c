"""Whatever number it is, its bin holds it, and is in its place among the others."""

from hypothesis import given
from hypothesis import strategies as st

from functions.shared.evaluation import bins
from tests.support.properties import no_deadline

COUNTED = st.floats(bins.SMALLEST, bins.LARGEST)


@no_deadline
@given(COUNTED, st.sampled_from([1, -1]))
def test_the_middle_of_a_bin_is_within_one_percent_of_each_value_in_it(size: float, sign: int) -> None:
    number = bins.bin_of(sign * size)
    assert number is not None
    assert abs(bins.middle(number) / (sign * size) - 1) < 0.01


@no_deadline
@given(COUNTED)
def test_a_value_lies_between_the_edges_of_its_bin(size: float) -> None:
    lower, upper = bins.edges(bins.bin_of(size) or 0)
    assert lower * (1 - 1e-12) <= size < upper * (1 + 1e-12)


@no_deadline
@given(st.floats(), st.floats())
def test_bins_are_in_the_order_of_their_values(one: float, other: float) -> None:
    smaller, larger = bins.bin_of(min(one, other)), bins.bin_of(max(one, other))
    if smaller is not None and larger is not None:
        assert -bins.LAST <= smaller <= larger <= bins.LAST


@no_deadline
@given(st.floats())
def test_every_share_has_one_of_the_equal_bins(confidence: float) -> None:
    assert 0 <= (bins.confidence_bin_of(confidence) or 0) < bins.CONFIDENCE_BINS
    assert 0 <= (bins.calibration_bin_of(confidence) or 0) < bins.CALIBRATION_BINS
