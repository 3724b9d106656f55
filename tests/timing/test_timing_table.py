"""The table with made-up times: what is measured, what is interpolated, what is liked."""

import math
from collections import Counter

import pytest

from tersor import engines
from tersor.errors import InputError
from tersor.timing.table import MULTIPLES, Table, liked_multiple
from tersor.timing.work import Work

CONV = Work("conv", ((1, 64, 8, 8), (64, 64, 3, 3)), (1, 1), (1, 1), (1, 1))
DEPTHWISE = Work("conv", ((1, 64, 8, 8), (64, 1, 3, 3)), (1, 1), (1, 1), (1, 1), 64)
FIRST = CONV.at((64, 3))
MATMUL = Work("matmul", ((10, 384), (384, 96)))


class Measure:
    """Gives a time for a work, and counts how often it was asked."""

    def __init__(self, of):
        self.of, self.asked = of, Counter()

    def __call__(self, work):
        self.asked[work] += 1
        return self.of(work)


@pytest.fixture
def table(tmp_path):
    def make(of, **settings):
        measure = of if isinstance(of, Measure) else Measure(of)
        engine = engines.find("reference")
        return Table(engine, threads=1, folder=tmp_path, measure=measure, **settings)

    return make


def bilinear(work):
    a, b = work.widths
    return 1 + 0.5 * a + 0.25 * b + 0.125 * a * b


def test_each_work_is_measured_once(table):
    measure = Measure(bilinear)
    made = table(measure)
    assert [made.milliseconds(CONV) for _ in range(3)] == [bilinear(CONV)] * 3
    assert measure.asked == {CONV: 1}
    assert made.measured == 1


def test_times_are_kept_for_the_next_table(table):
    table(bilinear).milliseconds(CONV)
    later = table(lambda _: math.nan)
    assert later.milliseconds(CONV) == bilinear(CONV)
    assert later.measured == 0


def test_the_shortest_of_several_times_counts(table):
    times = iter([3.0, 1.0, 2.0, 0.5])
    measure = Measure(lambda _: next(times))
    made = table(measure)
    assert made.milliseconds(CONV) == 3.0
    assert made.milliseconds(CONV, times=3) == 1.0
    assert table(measure).milliseconds(CONV, times=3) == 1.0
    assert table(measure).milliseconds(CONV, times=4) == 0.5


@pytest.mark.parametrize("widths", [(64, 64), (9, 3), (50, 61), (100, 8), (130, 250), (1, 1)])
@pytest.mark.parametrize("work", [CONV, MATMUL], ids=["conv", "matmul"])
def test_what_is_linear_between_the_points_is_exact(table, work, widths):
    wanted = work.at(widths)
    assert table(bilinear).between(wanted) == pytest.approx(bilinear(wanted))


def test_a_search_over_all_widths_measures_a_grid(table):
    measure = Measure(bilinear)
    made = table(measure)
    for a in range(1, 65):
        for b in range(1, 65):
            made.between(CONV.at((a, b)))
    grid = {*range(1, 9), 16, 24, 32, 48, 64}
    assert {work.widths for work in measure.asked} == {(a, b) for a in grid for b in grid}
    assert set(measure.asked.values()) == {1}


def test_moved_elements_are_interpolated_between_powers_of_two(table):
    measure = Measure(lambda work: 7.0 * work.widths[0])
    made = table(measure)
    assert made.between(Work("move", ((5000,),))) == pytest.approx(35_000.0)
    assert {work.widths for work in measure.asked} == {(4096,), (8192,)}


def test_what_has_no_widths_is_measured_as_it_is(table):
    work = Work("attention", ((1, 2, 5, 4),) * 3)
    measure = Measure(lambda _: 2.0)
    assert table(measure).between(work) == 2.0
    assert measure.asked == {work: 1}


def blocks(size):
    """An engine that computes blocks of channels, full or not."""
    return lambda work: math.prod(math.ceil(w / size) for w in work.widths) + 0.01


@pytest.mark.parametrize(
    "work", [CONV, DEPTHWISE, MATMUL], ids=["conv", "depthwise", "matmul"]
)
@pytest.mark.parametrize("size", MULTIPLES)
def test_the_size_of_blocks_is_liked(table, work, size):
    assert liked_multiple(table(blocks(size)), work) == size


def test_blocks_of_outputs_alone_are_liked(table):
    made = table(lambda work: work.widths[1] * math.ceil(work.widths[0] / 16))
    assert liked_multiple(made, CONV) == 16


def test_without_blocks_nothing_is_liked(table):
    assert liked_multiple(table(lambda work: work.macs), CONV) == 1


def test_an_engine_with_a_slow_way_for_odd_widths(table):
    """Six times slower unless divisible by four, else in proportion."""
    made = table(lambda work: work.macs * (1 if work.widths[0] % 4 == 0 else 6))
    assert liked_multiple(made, CONV) == 4


def test_a_multiple_fits_twice(table):
    assert liked_multiple(table(blocks(16)), CONV.at((16, 16))) == 8
    assert liked_multiple(table(blocks(16)), CONV.at((1, 1))) == 1


def test_few_channels_of_an_input_stay(table):
    measure = Measure(blocks(8))
    assert liked_multiple(table(measure), FIRST) == 8
    assert {work.widths[1] for work in measure.asked} == {3}


def test_noise_of_single_measurements_does_not_matter(table):
    """Blocks that are full take twice as long at first."""

    def disturbed(work):
        is_first = measure.asked[work] == 1 and work.widths[0] % 16 == 0
        return blocks(16)(work) * (2 if is_first else 1)

    measure = Measure(disturbed)
    assert liked_multiple(table(measure), CONV) == 16


def test_what_has_no_widths_likes_anything(table):
    assert liked_multiple(table(bilinear), Work("call", ())) == 1


def test_a_budget_of_nothing_is_refused(table):
    with pytest.raises(InputError, match=r"budget_ms must be above 0. Got 0"):
        table(bilinear, budget_ms=0)


def test_an_engine_is_asked_where_nothing_stands_in(tmp_path):
    made = Table(engines.find("onnxruntime"), threads=1, folder=tmp_path, budget_ms=2.0)
    assert 0 < made.milliseconds(CONV) < 100
    assert made.measured == 1
