"""The search for a rate: as small as the limit allows, or as the budget asks for."""

from dataclasses import replace

import pytest
from tests.train.trainings import task, trained

from tersor.choosing.judge import Judge
from tersor.choosing.making import Maker
from tersor.choosing.rating import RATES, rate_search
from tersor.data.split import split
from tersor.errors import InputError
from tersor.pipeline import Options, compress
from tersor.plan.budget import Budget
from tersor.plan.recipe import Candidate, Step
from tersor.plan.recipe_file import load_recipe, parse_recipe
from tersor.verify import Reference

pytestmark = pytest.mark.usefixtures("made_up_memory")
SAMPLES = task(1000)
PARTS = split(SAMPLES, train=True)
STEP = Step("quantize.rate_distortion")
TUNE = Step("train.fine_tune", {"epochs": 1})


@pytest.fixture(scope="module")
def network():
    return replace(trained(epochs=8, samples=SAMPLES), origin=None, notes=())


def searched(network, limit_pp, *, most_bytes=None, steps=(STEP,), told=None):
    judge = Judge(
        Reference(network.run, PARTS.validation), PARTS.validation, None, limit_pp, 64
    )
    maker = Maker(network, PARTS.calibration, PARTS.training)
    candidate = Candidate("small", steps, "rate")
    return rate_search(
        candidate, maker, judge, lambda n: n.run, most_bytes, told or (lambda _: None)
    )


def test_the_highest_rate_that_keeps_the_limit_is_found(network):
    found = searched(network, 3.0)
    kept = {one.rate: one.objection is None for one in found.tries}
    assert kept[found.rate]
    above = RATES[RATES.index(found.rate) + 1]
    assert not kept[above]
    assert len(found.tries) <= 5
    assert found.found.search is None
    assert found.found.steps[0].settings["rate"] == found.rate


def test_a_wider_limit_gives_a_smaller_file(network):
    sizes = []
    for limit in (0.0, 3.0, 20.0):
        found = searched(network, limit)
        sizes.append({one.rate: one.file_bytes for one in found.tries}[found.rate])
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0]


def test_a_size_that_is_reached_asks_for_no_more(network):
    small = searched(network, 20.0)
    known = {one.rate: one.file_bytes for one in small.tries}
    goal = known[small.rate] + 200
    found = searched(network, 20.0, most_bytes=goal)
    known = {one.rate: one.file_bytes for one in found.tries}
    assert known[found.rate] <= goal
    assert found.rate < small.rate
    below = RATES[RATES.index(found.rate) - 1]
    assert known[below] > goal


def test_a_size_out_of_reach_gives_the_smallest(network):
    assert searched(network, 3.0, most_bytes=10).rate == searched(network, 3.0).rate


def test_without_any_rate_that_keeps_the_limit_nothing_is_found(network):
    found = searched(network, -50.0)
    assert (found.found, found.network, found.rate) == (None, None, None)
    assert all(one.objection for one in found.tries)


def test_later_steps_are_applied_to_what_was_found(network):
    told = []
    found = searched(network, 5.0, steps=(STEP, TUNE), told=told.append)
    assert [note.method for note in found.network.notes][-1] == "train.fine_tune"
    assert found.found.steps[1] == TUNE
    assert told == sorted(told)


@pytest.mark.usefixtures("clock_tells_nothing")
def test_the_recipe_smallest_reports_its_search_and_gives_the_same_again(network):
    recipe = load_recipe("smallest")
    only = replace(recipe, candidates=recipe.candidates[:1])
    options = Options(seconds=0.5, threads=1, engines=("onnxruntime",))
    given = {"budget": Budget(drop="3pp"), "options": options}
    result = compress(network, SAMPLES, recipe=only, **given)
    (rating,) = result.report["ratings"]
    assert rating["rate"] == result.recipe.candidates[0].steps[0].settings["rate"]
    assert len(rating["tries"]) > 3
    assert result.report["compression"] > 3
    again = compress(network, SAMPLES, recipe=parse_recipe(result.recipe.to_toml()), **given)
    assert again.tsr == result.tsr


def test_a_rate_needs_a_step_that_has_one():
    with pytest.raises(InputError, match="given where a step has the setting rate"):
        Candidate("x", (TUNE,), "rate")


def test_an_unknown_search_is_refused():
    with pytest.raises(InputError, match='search must be "sensitivity", "rate", or left out'):
        Candidate("x", (STEP,), "size")
