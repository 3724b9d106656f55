"""A budget says what is asked; judging says by how much it was missed."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.errors import InputError
from tersor.plan.budget import Budget

REACHED = {
    "compression": 4.0,
    "file_bytes": 250_000,
    "speedup": 2.0,
    "median_ms": 5.0,
    "drop_pp": 0.5,
}


def judge(budget, **changes):
    return budget.judge(**{**REACHED, **changes})


@pytest.mark.parametrize(
    ("size", "most"),
    [
        ("250KB", 250_000),
        ("250 kB", 250_000),
        ("0.25MB", 250_000),
        ("0.00025GB", 250_000),
        ("250000B", 250_000),
        ("250000", 250_000),
        (250_000, 250_000),
        ("1KiB", 1024),
        ("1.5MiB", 1_572_864),
        ("1GiB", 2**30),
    ],
)
def test_sizes_are_bytes_to_the_last_one(size, most):
    assert judge(Budget(size=size), file_bytes=most) == []
    (missed,) = judge(Budget(size=size), file_bytes=most + 1)
    assert missed["what"] == "size"


@pytest.mark.parametrize(
    ("latency", "most"), [("5ms", 5.0), ("800us", 0.8), ("800 µs", 0.8), ("1.5s", 1500.0)]
)
def test_times_are_milliseconds(latency, most):
    assert judge(Budget(latency=latency), median_ms=most) == []
    (missed,) = judge(Budget(latency=latency), median_ms=math.nextafter(most, math.inf))
    assert missed["what"] == "latency"


def test_factors_are_met_by_the_factor_itself():
    budget = Budget(size="4x", latency="2x")
    assert judge(budget) == []
    found = judge(budget, compression=3.99, speedup=1.99)
    assert [m["what"] for m in found] == ["size", "latency"]


def test_nothing_asked_is_nothing_missed():
    assert judge(Budget(), compression=0.1, speedup=0.1, drop_pp=None) == []
    assert Budget().asked() == {}
    assert Budget().drop_pp is None


def test_why_says_by_how_much():
    budget = Budget.parse("size=10x,latency=3ms,drop=0.2pp")
    size, latency, drop = judge(budget)
    assert size == {  # 4 * 250 000 / 10 = 100 000 were asked for
        "what": "size",
        "asked": "10x",
        "got": "4.0x",
        "why": "The file has 250.0 kB, 150.0 kB more than the 100.0 kB asked for.",
    }
    assert latency == {
        "what": "latency",
        "asked": "3ms",
        "got": "5.00 ms",
        "why": "One run takes 5.00 ms, 2.00 ms more than the 3.00 ms asked for.",
    }
    assert drop == {
        "what": "drop",
        "asked": "0.2pp",
        "got": "0.50 pp",
        "why": "The metric loses 0.50 pp, 0.30 pp more than the 0.20 pp allowed.",
    }


def test_bytes_and_a_factor_of_speed_say_by_how_much_too():
    size, latency = judge(Budget(size="200KB", latency="4x"))
    assert (size["got"], latency["got"]) == ("250.0 kB", "2.0x")
    assert size["why"] == "The file has 250.0 kB, 50.0 kB more than the 200.0 kB asked for."
    assert latency["why"] == "One run takes 5.00 ms, 2.50 ms more than the 2.50 ms asked for."


def test_a_drop_of_a_metric_without_points_is_missed_and_says_so():
    (missed,) = judge(Budget(drop="1pp"), drop_pp=None)
    assert (missed["what"], missed["asked"], missed["got"]) == ("drop", "1pp", None)
    assert "no proportion of the samples" in missed["why"]


def test_a_drop_that_is_the_limit_but_for_rounding_keeps_it():
    drop_pp = 100 * (0.93 - 0.92)
    assert drop_pp > 1.0
    assert judge(Budget(drop="1pp"), drop_pp=drop_pp) == []
    assert judge(Budget(drop="1pp"), drop_pp=1.001) != []


@pytest.mark.parametrize("drop", ["0.5pp", ".5PP", "0.5 pp", "0.5", 0.5])
def test_a_drop_is_in_percentage_points(drop):
    assert Budget(drop=drop).drop_pp == 0.5


def test_parse_reads_what_asked_writes():
    budget = Budget.parse(" size = 10x , drop=1pp,latency=2x")
    assert budget == Budget(size="10x", latency="2x", drop="1pp")
    assert budget.asked() == {"size": "10x", "latency": "2x", "drop": "1pp"}


@given(size=st.floats(1000, 1e15), drop=st.floats(0, 100), over=st.floats(-0.5, 0.5))
def test_a_budget_of_what_was_asked_judges_the_same(size, drop, over):
    budget = Budget(size=size, drop=drop)
    again = Budget(**budget.asked())
    bytes_, pp = round(size * (1 + over)), drop * (1 + over)
    first = judge(budget, file_bytes=bytes_, drop_pp=pp)
    assert judge(again, file_bytes=bytes_, drop_pp=pp) == first


@pytest.mark.parametrize(
    "size",
    ["10", 10, "0.5x", "0B", "x", "", "10pp", "1e3KB", "-3KB", True, math.nan, "9" * 31],
)
def test_sizes_that_are_not_understood_are_refused(size):
    with pytest.raises(
        InputError, match=r'budget size must be a factor as in "10x"'
    ) as caught:
        Budget(size=size)
    assert caught.value.got is size


@pytest.mark.parametrize("size", [1e19, "9999999999999999999x", math.inf, -1.0])
def test_numbers_beyond_reason_are_refused(size):
    with pytest.raises(InputError, match="budget size must be a factor"):
        Budget(size=size)


@pytest.mark.parametrize("latency", ["2", 2, "0ms", "0.9x", "5KB", "fast", [5]])
def test_latencies_that_are_not_understood_are_refused(latency):
    with pytest.raises(InputError, match=r'budget latency must be a factor as in "2x"'):
        Budget(latency=latency)


@pytest.mark.parametrize("drop", ["1x", "101pp", -1, "one", False])
def test_drops_that_are_not_understood_are_refused(drop):
    with pytest.raises(
        InputError, match="budget drop must be percentage points from 0 to 100"
    ):
        Budget(drop=drop)


def test_a_drop_in_per_cent_is_explained():
    with pytest.raises(InputError, match=r'must be "1pp" for percentage points .* Got \'1%\''):
        Budget(drop="1%")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("size", "budget must be parts as in \"size=10x,latency=2x,drop=1pp\". Got 'size'."),
        ("", "budget must be parts as in \"size=10x,latency=2x,drop=1pp\". Got ''."),
        (
            "sise=10x",
            "part of the budget must be size (did you mean that?) or one of latency, drop.",
        ),
        ("drop=1pp,drop=2pp", "budget drop must be given once. Got 'drop=1pp,drop=2pp'."),
    ],
)
def test_command_lines_that_are_not_understood_are_refused(text, told):
    with pytest.raises(InputError) as caught:
        Budget.parse(text)
    assert str(caught.value).startswith(told)
