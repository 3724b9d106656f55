"""Pruning whose masks training finds: scores, gates, noise, surgery, projections."""

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from tests.methods.pruning import WEIGHTS, error, trained, zeros

from tersor.codes.masked import Masked
from tersor.errors import InputError
from tersor.methods.prune.admm import PruneAdmm
from tersor.methods.prune.dynamic import PruneDynamic
from tersor.methods.prune.gradual import PruneGradual
from tersor.methods.prune.l0 import PruneL0
from tersor.methods.prune.magnitude import PruneMagnitude
from tersor.methods.prune.movement import PruneMovement
from tersor.methods.prune.variational import PruneVariational
from tersor.testing.networks import perceptron
from tersor.train.during import Part, Run

WAYS = {
    "admm": PruneAdmm(sparsity=0.7),
    "dynamic": PruneDynamic(sparsity=0.7),
    "gradual": PruneGradual(sparsity=0.7),
    "l0": PruneL0(strength=4.0),
    "movement": PruneMovement(sparsity=0.7),
    "variational": PruneVariational(strength=5.0),
}


@cache
def dense():
    """What all begin with."""
    return trained(epochs=6)


@cache
def pruned(name):
    """What a way makes of it."""
    return trained(WAYS[name], network=dense(), epochs=12)


@dataclass(frozen=True)
class Watch:
    """Calls a function with the run after each step."""

    call: object

    def start(self, run):
        class Calling(Part):
            def after_step(_):  # noqa: N805
                self.call(run)

        return Calling()


@pytest.mark.parametrize("name", WAYS)
def test_weights_end_in_masks_and_the_network_still_works(name):
    result = pruned(name)
    for path in WEIGHTS:
        assert isinstance(result.code(path), Masked)
        assert zeros(result, path) > 0.2 * WEIGHTS[path]
        assert result.code(path).sparsity == pytest.approx(zeros(result, path) / WEIGHTS[path])
    assert error(result) < 0.2


@pytest.mark.parametrize("name", WAYS)
def test_notes_tell_the_zeros_of_each_layer_and_why_others_have_none(name):
    network = pruned(name)
    told = {n.layer: n for n in network.notes if n.method.startswith("prune.")}
    for weight, size in WEIGHTS.items():
        note = told.pop(weight.removesuffix(".weight"))
        share = f"{100 * zeros(network, weight) / size:.3g} % zeros"
        assert (note.done, note.text) == (True, share)
    assert told
    assert not any(note.done for note in told.values())


@pytest.mark.parametrize("name", WAYS)
def test_zeros_that_are_there_stay(name):
    before = PruneMagnitude(sparsity=0.3).apply(dense())
    result = trained(WAYS[name], network=before, epochs=2)
    gone = before.tensor("first.weight") == 0
    assert (result.tensor("first.weight")[gone] == 0).all()


@pytest.mark.parametrize("name", ["admm", "dynamic", "gradual", "movement"])
def test_the_wanted_fraction_is_zero(name):
    for path, size in WEIGHTS.items():
        assert zeros(pruned(name), path) == round(0.7 * size)


@pytest.mark.parametrize(
    ("weak", "strong"),
    [
        (PruneL0(strength=0.1), "l0"),
        (PruneVariational(strength=0.2), "variational"),
    ],
)
def test_more_strength_makes_more_zeros(weak, strong):
    few = trained(weak, network=dense(), epochs=12)
    assert zeros(few) < zeros(pruned(strong))


@pytest.mark.parametrize("name", ["l0", "movement", "variational"])
def test_inputs_that_mean_nothing_lose_their_weights(name):
    """Three of twelve inputs matter."""
    gone = (pruned(name).tensor("first.weight") == 0).float().mean(0)
    assert gone[3:].mean() > gone[:3].mean() + 0.1


def test_movement_cuts_what_moves_to_zero_however_large():
    """Of two large weights of a layer one is pulled to 0 by a penalty."""
    network = perceptron().copy()
    weight = network.tensor("first.weight").detach().clone()
    weight[0, 0], weight[0, 1] = 3.0, 3.0
    network.set_tensor("first.weight", weight)

    @dataclass(frozen=True)
    class Pull:
        def start(self, run):
            class Pulling(Part):
                def penalty(_):  # noqa: N805
                    w = run.network.code("first.weight")()
                    return w[0, 0].square() - w[0, 1]

            return Pulling()

    result = trained(PruneMovement(sparsity=0.5), Pull(), network=network, epochs=3, rate=1e-3)
    found = result.tensor("first.weight")
    assert found[0, 0] == 0
    assert found[0, 1] > 2.5


def test_gates_are_those_of_the_concrete_distribution():
    """The penalty is the expected number of weights; evaluation takes the clipped mean."""
    run = Run(perceptron().copy(), steps=1, epochs=1, samples=1, seed=0)
    part = PruneL0(strength=2.0).start(run)
    code = run.network.code("first.weight")
    with torch.no_grad():
        for each in WEIGHTS:
            run.network.code(each).gates.fill_(0.05)
    chance = torch.sigmoid(torch.tensor(0.5 - 2 / 3 * np.log(0.1 / 1.1)))
    assert part.penalty().item() == pytest.approx(2.0 * float(chance), rel=1e-6)
    code.train()
    torch.manual_seed(0)
    drawn = torch.stack([code() for _ in range(400)])
    open_share = float((drawn != 0).float().mean())
    assert open_share == pytest.approx(float(chance), abs=0.01)
    code.eval()
    gate = min(1.0, float(torch.sigmoid(torch.tensor(0.5))) * 1.2 - 0.1)
    assert torch.allclose(code(), code.weight * gate)


def test_the_divergence_is_near_that_of_the_integral():
    """KL from the log-uniform prior: E log|1 + sqrt(alpha) e| - 0.5 log alpha, up to a sum."""
    run = Run(perceptron().copy(), steps=1, epochs=1, samples=1, seed=0)
    PruneVariational().start(run)
    code = run.network.code("first.weight")
    e = np.random.default_rng(0).standard_normal(2_000_000)
    found, exact = [], []
    for log_alpha in (-6.0, -3.0, -1.0, 0.0, 1.0, 3.0):
        with torch.no_grad():
            code.weight.fill_(1.0)
            code.log_variance.fill_(log_alpha)
        found.append(code.divergence().item() / 384)
        alpha = np.exp(log_alpha)
        exact.append(-0.5 * log_alpha + np.log(np.abs(1 + np.sqrt(alpha) * e)).mean())
    offset = np.array(found) - np.array(exact)
    assert np.ptp(offset) < 0.05


def test_surgery_lets_weights_come_back():
    seen = []
    watch = Watch(lambda run: seen.append(run.network.code("first.weight").mask.clone()))
    trained(PruneDynamic(sparsity=0.8, until=1.0, margin=0.05), watch, rate=3e-2)
    back = sum(int((b & ~a).sum()) for a, b in itertools.pairwise(seen))
    assert back > 10


def test_surgery_waits_for_a_margin():
    """With the widest margin nothing is cut before the last change."""
    seen = []
    watch = Watch(lambda run: seen.append(zeros(run.network)))
    trained(PruneDynamic(sparsity=0.8, until=1.0, margin=0.999), watch)
    assert max(seen[:-1]) < 20
    assert seen[-1] == round(0.8 * 384)


def test_alternating_directions_draw_weights_to_where_they_may_be():
    """Before the last projection, masked weights are smaller than without the pull."""

    def small(rho):
        seen = []

        def note(run):
            seen.append(run.network.code("first.weight").weight.detach().clone())

        trained(PruneAdmm(sparsity=0.7, rho=rho), Watch(note), network=dense(), epochs=5)
        ordered = seen[-1].abs().flatten().sort().values
        return float(ordered[: round(0.7 * 384)].square().mean() / ordered.square().mean())

    assert small(30.0) < small(1e-6) / 5


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_with_bits_all_others_are_steps_of_one_size(bits):
    result = trained(PruneAdmm(sparsity=0.6, bits=bits), network=dense(), epochs=2)
    weight = result.tensor("second.weight")
    kept = weight[weight != 0].abs()
    step = kept.min()
    codes = kept / step
    for factor in range(1, 9):  # the smallest kept may be several steps
        if (factor * codes - (factor * codes).round()).abs().max() < 1e-2:
            assert float((factor * codes).max()) <= (1 << (bits - 1)) - 1 + 0.5
            break
    else:
        raise AssertionError("no common step")
    assert zeros(result, "second.weight") == round(0.6 * 512)


@pytest.mark.parametrize(
    ("kind", "setting", "value"),
    [
        (PruneAdmm, "sparsity", 1.0),
        (PruneAdmm, "rho", 0.0),
        (PruneAdmm, "updates", 0),
        (PruneAdmm, "bits", 1),
        (PruneDynamic, "sparsity", -0.1),
        (PruneDynamic, "margin", 1.0),
        (PruneDynamic, "until", 0.0),
        (PruneL0, "strength", -1.0),
        (PruneMovement, "sparsity", 1.0),
        (PruneMovement, "until", 1.5),
        (PruneVariational, "strength", float("inf")),
    ],
)
def test_settings_out_of_range_are_refused(kind, setting, value):
    with pytest.raises(InputError, match=setting):
        kind(**{setting: value})
