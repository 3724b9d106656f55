"""Variants of what won: what is changed, and that nothing else is."""

import pytest

from tersor.plan.recipe import Step
from tersor.plan.variants import ablated, dense, draws, seeded

PRUNE = Step("prune.magnitude", {"sparsity": 0.5})
TRAIN = Step("train.fine_tune", {"epochs": 2, "seed": 7})
SHARE = Step("share.kmeans", {"bits": 4})
GRADUAL = {"method": "prune.gradual", "sparsity": 0.5}
EMA = {"method": "train.ema"}
PRUNING = Step("train.fine_tune", {"during": [GRADUAL, EMA]})
ROUND = Step("quantize.rate_distortion", {"rate": 0.01})
PENALTY = {"method": "train.entropy_penalty"}


def test_every_seed_moves_on_and_all_else_stays():
    steps = (PRUNE, TRAIN, SHARE)
    first, second = seeded(steps, 3)
    assert (first.kind, first.name) == ("seed", "seeds moved on by 1")
    assert [step.settings.get("seed") for step in second.steps] == [None, 9, 2]
    for one, other in zip(first.steps, steps, strict=True):
        assert {**one.settings, "seed": 0} == {**other.settings, "seed": 0}
        assert one.method == other.method


def test_seeds_stay_in_the_range_of_every_method():
    (last,) = seeded((Step("share.hashing", {"seed": (1 << 31) - 1}),), 2)
    assert last.steps[0].settings["seed"] == 0


def test_one_seed_asks_for_nothing_and_so_does_what_draws_nothing():
    assert seeded((TRAIN,), 1) == []
    assert seeded((PRUNE,), 3) == []
    assert (draws((PRUNE,)), draws((PRUNE, TRAIN))) == (False, True)


def test_each_step_and_each_part_is_left_out_once():
    found = {variant.name: variant.steps for variant in ablated((PRUNING, SHARE, TRAIN))}
    assert list(found) == [
        "without train.fine_tune (1)",
        "without share.kmeans",
        "without train.fine_tune (2)",
        "without prune.gradual",
        "without train.ema",
        "only train.fine_tune (1)",
        "only share.kmeans",
        "only train.fine_tune (2)",
    ]
    assert found["without share.kmeans"] == (PRUNING, TRAIN)
    only_ema = Step("train.fine_tune", {"during": [EMA]})
    assert found["without prune.gradual"] == (only_ema, SHARE, TRAIN)
    assert found["only train.fine_tune (2)"] == (TRAIN,)


def test_the_entropy_penalty_is_tried_on_where_it_was_off_and_off_where_it_was_on():
    (one,) = (each for each in ablated((PRUNING, ROUND, TRAIN)) if each.kind == "with")
    penalty = Step("train.fine_tune", {**TRAIN.settings, "during": [PENALTY]})
    assert (one.name, one.steps) == ("with train.entropy_penalty", (PRUNING, ROUND, penalty))
    back = [each for each in ablated(one.steps) if each.kind in {"with", "without"}]
    assert "without train.entropy_penalty" in [each.name for each in back]
    assert (PRUNING, ROUND, TRAIN) in [each.steps for each in back]
    assert "with" not in {each.kind for each in back}


@pytest.mark.parametrize("steps", [(TRAIN, ROUND), (SHARE, TRAIN), (ROUND,), (PRUNE,)])
def test_the_penalty_is_not_tried_where_no_training_follows_a_rounding(steps):
    assert "with" not in {each.kind for each in ablated(steps)}


def test_of_a_single_step_only_its_parts_are_left_out():
    assert ablated((SHARE,)) == []
    assert [each.name for each in ablated((PRUNING,))] == [
        "without prune.gradual",
        "without train.ema",
    ]


def test_no_variant_comes_twice():
    steps = [each.steps for each in ablated((SHARE, SHARE, SHARE))]
    assert steps == [(SHARE, SHARE), (SHARE,)]


def test_dense_leaves_out_what_makes_zeros_and_rounds_to_eight_bits():
    eight = Step("quantize.weights", {"bits": 8, "minimum": 0})
    lasso = Step("train.fine_tune", {"during": [GRADUAL, EMA, {"method": "train.l1"}]})
    averaged = Step("train.fine_tune", {"during": [EMA]})
    assert dense((PRUNE, lasso, ROUND, TRAIN, SHARE)) == (averaged, eight, TRAIN)
    assert dense((PRUNING,)) == (averaged, eight)
    assert dense((TRAIN, SHARE, ROUND)) == (TRAIN, eight)
