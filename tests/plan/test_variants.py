"""Variants of what won: what is changed, and that nothing else is."""

from tersor.plan.recipe import Step
from tersor.plan.variants import draws, seeded

PRUNE = Step("prune.magnitude", {"sparsity": 0.5})
TRAIN = Step("train.fine_tune", {"epochs": 2, "seed": 7})
SHARE = Step("share.kmeans", {"bits": 4})


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
