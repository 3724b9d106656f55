"""Figures at the edges of their units."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.report import units


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.00 MB"),
     (123_456_789, "123.5 MB"), (5_000_000_000, "5.00 GB"), (10**16, "10000.0 TB")],
)  # fmt: skip
def test_sizes_change_unit_at_a_thousand(count, text):
    assert units.bytes_text(count) == text


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 3))
def test_less_than_all_is_never_shown_as_all(fraction, digits):
    assert not units.percent_text(fraction, digits).startswith("100")


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0.9994, "0.999"), (0.9996, "1.00"), (9.994, "9.99"), (9.996, "10.0"), (99.96, "100")],
)
def test_times_keep_three_digits(ms, text):
    assert units.ms_number(ms) == text


@pytest.mark.parametrize("odd", [None, float("nan"), float("inf")])
@pytest.mark.parametrize(
    "show",
    [units.bytes_text, units.count_text, units.ms_text, units.ms_number, units.ratio_text,
     units.percent_text, units.pp_text, units.db_text, units.seconds_text,
     lambda x: units.range_text(x, 1.0)],
)  # fmt: skip
def test_what_is_not_known_is_a_dash(show, odd):
    assert show(odd) == "-"


def test_a_shape_that_is_none_is_a_dash():
    assert units.shape_text(None) == "-"


@given(st.floats(-0.004, 0.004))
def test_nothing_has_no_sign(pp):
    assert units.pp_text(pp) == "0.00 pp"
