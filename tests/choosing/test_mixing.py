"""The search for a mix: as few layers in float as keep the limit, the noisiest first."""

import math
from dataclasses import replace

import pytest

from tersor.choosing import mixing
from tersor.choosing.making import Maker
from tersor.choosing.mixing import search
from tersor.data.samples import Samples
from tersor.network.network import Note
from tersor.plan.recipe import Candidate, Step
from tersor.testing import networks

STATIC = Step("quantize.static", {"min_sqnr_db": -1000.0})
PARTLY = Candidate("partly", (STATIC,), "sensitivity")
NET = networks.convolutional()
NAMES = {"stem", "branch", "depthwise", "head"}


class Strict:
    """A judge of what is in integers: the fewest floats that it accepts."""

    def __init__(self, floats, *, mixes_only=()):
        self.floats, self.refused, self.seen = floats, list(mixes_only), []

    def verdict(self, run):
        self.seen.append(run)
        return run

    def objection(self, integer):
        if len(NAMES) - len(integer) < self.floats:
            return "too coarse"
        return self.refused.pop() if self.refused else None


def runner(network):
    return {n for n in NAMES if network.is_coded(f"{n}.weight")}


def found(floats, candidate=PARTLY, **refused):
    judge = Strict(floats, **refused)
    maker = Maker(NET, networks.samples_for(NET, 40))
    told = []
    result = search(candidate, maker, judge, runner, told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    return result, judge


def test_the_order_is_that_of_the_measured_noise():
    result, _ = found(0)
    notes = Maker(NET, networks.samples_for(NET, 40)).after([STATIC]).notes
    noise = {note.layer: note.noise for note in notes if note.done}
    assert result.order == tuple(sorted(noise, key=lambda name: -noise[name]))
    assert set(result.order) == NAMES


def test_nothing_goes_back_where_all_integers_keep_the_limit():
    result, judge = found(0)
    assert (result.floats, len(judge.seen)) == ((), 1)
    assert result.found == replace(PARTLY, search=None)
    assert runner(result.network) == NAMES


@pytest.mark.parametrize("floats", [1, 2, 3])
def test_finds_the_fewest_floats_and_judges_few_mixes(floats):
    result, judge = found(floats)
    assert result.floats == result.order[:floats]
    assert runner(result.network) == set(result.order[floats:])
    assert set(result.found.steps[0].settings["keep"]) == set(result.floats)
    assert result.found.search is None
    assert len(judge.seen) <= 2 + math.log2(len(NAMES))
    tries = {one.floats: one.objection for one in result.tries}
    assert tries[floats] is None
    assert tries.get(floats - 1) == "too coarse"


def test_no_mix_is_handed_back_where_none_keeps_the_limit():
    result, _ = found(4)
    assert (result.found, result.network, result.floats) == (None, None, ())
    assert [one.floats for one in result.tries] == [0, 2, 3]


def test_a_mix_that_misses_the_limit_once_it_is_made_gives_way_to_a_larger_one():
    """Judged: 0 floats, 2, 1 (all mixes in question), then 1 as the method makes it."""
    judge_once = ["once made"]
    result, _ = found(1, mixes_only=[])
    assert [one.floats for one in result.tries] == [0, 2, 1, 1]

    class Fickle(Strict):
        def objection(self, integer):
            said = super().objection(integer)
            made = len(self.seen) == 4
            return said or (judge_once.pop() if made else None)

    judge = Fickle(1)
    maker = Maker(NET, networks.samples_for(NET, 40))
    result = search(PARTLY, maker, judge, runner)
    assert [one.floats for one in result.tries] == [0, 2, 1, 1, 2]
    assert result.floats == result.order[:2]


def test_steps_around_stay_and_what_was_asked_to_stay_float_does():
    steps = (
        Step("quantize.equalize"),
        Step("quantize.static", {"min_sqnr_db": -1000.0, "keep": ("stem",)}),
        Step("quantize.weights"),
    )
    judge = Strict(1)
    maker = Maker(NET, networks.samples_for(NET, 40))

    def rounded_inputs(network):
        done = [n for n in network.notes if n.method == "quantize.static" and n.done]
        return {n.layer for n in done} if network.notes else set()

    result = search(Candidate("p", steps, "sensitivity"), maker, judge, rounded_inputs)
    assert result.found.steps[0] == steps[0]
    assert result.found.steps[2] == steps[2]
    assert "stem" not in result.order
    assert set(result.found.steps[1].settings["keep"]) == {"stem", *result.floats}


def test_layers_that_the_method_left_float_for_their_noise_stay_float():
    notes = [
        Note("a", "quantize.static", True, "int8", 0.1),
        Note("b", "quantize.static", False, "noisy", 0.9),
        Note("c", "quantize.static", False, "no integer kernel"),
        Note("d", "quantize.static", True, "int8", 0.2),
        Note("e", "quantize.weights", True, "int8", 0.5),
    ]
    order, kept = mixing._order(notes, STATIC)
    assert (order, kept) == (("d", "a"), {"b"})


def test_equal_steps_are_applied_once(monkeypatch):
    from tersor.choosing import making

    count = []
    real = making.apply
    monkeypatch.setattr(making, "apply", lambda *args: count.append(1) or real(*args))
    maker = Maker(NET, Samples(networks.samples_for(NET, 8).inputs))
    first = maker.after([Step("quantize.equalize"), Step("quantize.weights")])
    again = maker.after([Step("quantize.equalize"), Step("quantize.weights")])
    assert again is first
    maker.after([Step("quantize.equalize")])
    assert len(count) == 2
    maker.after([Step("quantize.weights")])
    assert len(count) == 3
