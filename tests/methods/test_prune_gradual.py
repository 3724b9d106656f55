"""`prune.gradual`: masks that grow, and stay, while training goes on."""

import itertools
from dataclasses import dataclass

import pytest
import torch

from tersor.arrays.masks import cubic
from tersor.data.samples import Samples
from tersor.errors import InputError
from tersor.methods.prune.gradual import PruneGradual
from tersor.methods.prune.magnitude import PruneMagnitude
from tersor.methods.train.fine_tune import FineTune
from tersor.testing.networks import perceptron
from tersor.train.during import Part
from tersor.train.optimizer import Optimizer

STEPS = 40


def samples():
    x = torch.randn(64, 12, generator=torch.Generator().manual_seed(0)).numpy()
    return Samples({"x": x}, (x[:, 0] > x[:, 1]).astype("i8"))


@dataclass(frozen=True)
class Masks:
    """Notes the mask of the first layer after each step."""

    seen: list

    def start(self, run):
        class Noting(Part):
            def after_step(_):  # noqa: N805
                self.seen.append(run.network.code("first.weight").mask.clone())

        return Noting()


def pruned(network=None, **settings):
    """The result and all masks of the first layer, after each of 40 steps."""
    seen = []
    during = (PruneGradual(**settings), Masks(seen))
    optimizer = Optimizer(learning_rate=1e-2)
    step = FineTune(epochs=STEPS // 2, batch=32, during=during, optimizer=optimizer)
    return step.apply(network or perceptron(), samples()), seen


def zeros(mask):
    return int((~mask).sum())


def test_the_sparsity_follows_the_cubic_schedule():
    _, seen = pruned(sparsity=0.9, until=0.5)
    for step, mask in enumerate(seen, 1):
        assert zeros(mask) == round(cubic(step / 20, 0, 0.9) * 384)


def test_masks_stay_after_the_last_change():
    _, seen = pruned(sparsity=0.9, until=0.5)
    assert all(torch.equal(mask, seen[19]) for mask in seen[19:])
    assert not torch.equal(seen[9], seen[19])


def test_it_begins_with_the_zeros_that_are_there():
    network = PruneMagnitude(sparsity=0.5).apply(perceptron())
    result, seen = pruned(network, sparsity=0.75, until=0.5)
    assert zeros(seen[0]) == round(cubic(1 / 20, 0.5, 0.75) * 384)
    assert zeros(result.code("first.weight").mask) == 288


def test_what_is_zero_in_the_end_is_zero_underneath_too():
    result, _ = pruned(sparsity=0.75)
    code = result.code("second.weight")
    assert (code.weight[~code.mask] == 0).all()
    assert not code.straight_through


def test_with_regrowth_elements_come_back():
    _, without = pruned(sparsity=0.8, until=1.0)
    result, seen = pruned(sparsity=0.8, until=1.0, regrow=0.3)

    def back(masks):
        pairs = itertools.pairwise(masks)
        return sum(int((later & ~earlier).sum()) for earlier, later in pairs)

    assert back(seen) > 10 * max(1, back(without))
    assert zeros(result.code("first.weight").mask) == round(0.8 * 384)


def test_elements_that_are_out_do_not_move_while_gradients_are_watched():
    seen = []

    @dataclass(frozen=True)
    class Latent:
        def start(self, run):
            class Noting(Part):
                def after_step(_):  # noqa: N805
                    code = run.network.code("first.weight")
                    seen.append((code.weight.detach().clone(), code.mask.clone()))

            return Noting()

    during = (PruneGradual(sparsity=0.8, regrow=0.1, until=0.1), Latent())
    sgd = Optimizer(kind="sgd", momentum=0.0, learning_rate=0.1)
    FineTune(epochs=10, batch=32, during=during, optimizer=sgd).apply(perceptron(), samples())
    (early, mask), (late, _) = seen[5], seen[-1]
    assert torch.equal(early[~mask], late[~mask])
    assert not torch.equal(early[mask], late[mask])


@pytest.mark.parametrize(
    ("setting", "value"),
    [("sparsity", 1.0), ("sparsity", -0.1), ("regrow", 1.0), ("until", 0.0), ("until", 1.1)],
)
def test_settings_out_of_range_are_refused(setting, value):
    with pytest.raises(InputError, match=f"{setting} must be in"):
        PruneGradual(**{setting: value})
