"""Averages, regularizers and the entropy penalty, while training."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from tests.methods.pruning import error, trained

from tersor.arrays.rate_distortion import entropy_bits
from tersor.errors import InputError, ModelError
from tersor.methods.prune.magnitude import PruneMagnitude
from tersor.methods.quantize.weights import QuantizeWeights
from tersor.methods.train.ema import Ema
from tersor.methods.train.entropy_penalty import EntropyPenalty
from tersor.methods.train.group_lasso import GroupLasso
from tersor.methods.train.l1 import L1
from tersor.testing.networks import perceptron
from tersor.train.during import Part, Run


def run_of(network):
    return Run(network.copy(), steps=100, epochs=1, samples=1, seed=0)


def test_the_average_is_kept_and_judged_and_training_goes_on_with_its_own():
    seen = []

    @dataclass(frozen=True)
    class Watch:
        def start(self, run):
            class Noting(Part):
                def after_step(_):  # noqa: N805
                    seen.append(run.network.tensor("first.weight").detach().clone())

            return Noting()

    result = trained(Watch(), Ema(decay=0.9), epochs=1)
    mean = seen[0]
    for step, weight in enumerate(seen[1:], 2):
        decay = min(0.9, step / (9 + step))
        mean = decay * mean + (1 - decay) * weight
    assert torch.allclose(result.tensor("first.weight"), mean, atol=1e-6)
    assert not torch.allclose(seen[-1], mean, atol=1e-3)


def test_averaged_weights_are_at_least_as_good_where_the_rate_is_high():
    plain, averaged = (
        trained(*during, rate=0.1, epochs=5) for during in ((), (Ema(decay=0.98),))
    )
    assert error(averaged) <= error(plain) + 0.01


def test_the_average_is_kept_also_where_no_epoch_can_be_the_best():
    """A regularizer never settles."""
    one, other = (trained(*more, L1(strength=0.1), epochs=1) for more in ((), (Ema(),)))
    assert not torch.equal(one.tensor("first.weight"), other.tensor("first.weight"))


def test_the_average_of_a_masked_weight_keeps_its_zeros():
    network = PruneMagnitude(sparsity=0.5).apply(perceptron())
    result = trained(Ema(), network=network)
    gone = network.tensor("first.weight") == 0
    assert (result.tensor("first.weight")[gone] == 0).all()


def test_l1_costs_its_strength_at_first_and_draws_weights_to_zero():
    run = run_of(perceptron())
    part = L1(strength=0.3).start(run)
    assert part.penalty().item() == pytest.approx(0.3)
    run.network.module.get_parameter("first.weight").data *= 2
    run.network.module.get_parameter("second.weight").data *= 2
    run.network.module.get_parameter("third.weight").data *= 2
    assert part.penalty().item() == pytest.approx(0.6)

    def small(network):
        return float((network.tensor("first.weight").abs() < 0.02).float().mean())

    assert small(trained(L1(strength=2.0))) > 3 * small(trained())


def test_group_lasso_costs_its_strength_at_first_and_draws_channels_to_zero():
    part = GroupLasso(strength=0.3).start(run_of(perceptron()))
    assert part.penalty().item() == pytest.approx(0.3)

    def norms(network):
        return network.tensor("second.weight").norm(dim=1)

    lasso = norms(trained(GroupLasso(strength=2.0), epochs=10))
    plain = norms(trained(L1(strength=0.0)))
    assert float((lasso < 0.1 * lasso.max()).float().mean()) > 0.3
    assert float((plain < 0.1 * plain.max()).float().mean()) < 0.1


def test_a_regularizer_sees_the_weights_that_masks_leave():
    network = PruneMagnitude(sparsity=0.5).apply(perceptron())
    run = run_of(network)
    part = L1(strength=1.0).start(run)
    part.penalty().backward()
    code = run.network.code("first.weight")
    assert not code.weight.grad[~code.mask].any()
    assert code.weight.grad[code.mask].all()


def bits_per_weight(network):
    codes = [network.code(f"{name}.weight").codes().numpy() for name in ("first", "second")]
    total = sum(entropy_bits(each.astype(np.int16).reshape(-1)) for each in codes)
    return total / sum(each.size for each in codes)


@pytest.fixture(scope="module")
def integers():
    return QuantizeWeights(bits=5).apply(trained(epochs=5))


def test_the_penalty_is_the_mean_bits_where_weights_are_whole(integers):
    run = run_of(integers)
    for name in ("first", "second"):
        code = run.network.code(f"{name}.weight")
        with torch.no_grad():
            code.weight.copy_(code())
    part = EntropyPenalty(strength=1.0).start(run)
    assert part.penalty().item() == pytest.approx(bits_per_weight(run.network), abs=0.02)


def test_the_penalty_buys_bits(integers):
    plain, cheap = (
        trained(EntropyPenalty(strength=strength), network=integers, epochs=6)
        for strength in (0.0, 0.1)
    )
    assert bits_per_weight(cheap) < bits_per_weight(plain) - 0.3
    assert error(cheap) < error(plain) + 0.05


def test_without_integers_there_is_nothing_to_count():
    with pytest.raises(ModelError, match=r"holds no weight by integers\. Put quantize"):
        trained(EntropyPenalty())


@pytest.mark.parametrize(
    ("kind", "setting", "value"),
    [
        (Ema, "decay", 1.0),
        (Ema, "decay", -0.1),
        (L1, "strength", -1.0),
        (GroupLasso, "strength", float("inf")),
        (EntropyPenalty, "strength", -0.5),
    ],
)
def test_settings_out_of_range_are_refused(kind, setting, value):
    with pytest.raises(InputError, match=setting):
        kind(**{setting: value})
