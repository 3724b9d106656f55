"""Parts that zero whole channels during a training, and `prune.dead`, which cuts them."""

import itertools
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from tests.methods.pruning import error, samples, trained

from tersor.arrays.masks import cubic
from tersor.errors import InputError, ModelError
from tersor.methods.prune.dead import PruneDead
from tersor.methods.prune.gates import PruneGates
from tersor.methods.prune.gradual_channels import PruneGradualChannels
from tersor.methods.prune.group_lasso import PruneGroupLasso
from tersor.methods.prune.soft_filter import PruneSoftFilter
from tersor.methods.train.ema import Ema
from tersor.methods.train.fine_tune import FineTune
from tersor.network.channels import channels
from tersor.network.cost import cost
from tersor.network.network import WHOLE
from tersor.network.slimming import Target
from tersor.network.soft_channels import SoftChannels
from tersor.testing.networks import (
    convolutional,
    half_dead,
    perceptron,
    samples_for,
)
from tersor.train.during import Part, Run
from tersor.train.optimizer import Optimizer
from tersor.train.surroundings import Surroundings, surrounded

THIRD = Target(macs=1 / 3)
PARTS = {
    "gradual_taylor": PruneGradualChannels(target=THIRD),
    "gradual_norm": PruneGradualChannels(target=THIRD, score="norm", scope="local"),
    "soft_filter": PruneSoftFilter(target=THIRD),
    "group_lasso": PruneGroupLasso(target=THIRD),
    "gates": PruneGates(target=THIRD),
}
each_part = pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
STEPS = 18 * 10  # of `trained`: 576 samples in batches of 32, ten epochs


@dataclass(frozen=True)
class Watch:
    """Notes what a function of the run gives after each step."""

    look: object
    seen: list = field(default_factory=list)

    def start(self, run):
        class Noting(Part):
            def after_step(_):  # noqa: N805
                self.seen.append(self.look(run))

        return Noting()


def rows_that_are_zero(run, name="first"):
    return (run.network.tensor(f"{name}.weight") == 0).all(1).numpy()


def run_of(network, steps=100):
    return Run(network.copy(), steps=steps, epochs=1, samples=1, seed=0)


def random_inputs(network):
    return dict(samples_for(network, seed=1).inputs)


@each_part
def test_the_cut_network_is_the_trained_one_at_the_cost_that_was_asked_for(part):
    network = trained(part)
    small = PruneDead().apply(network)
    inputs = random_inputs(network)
    before, after = network.run(inputs)["y"], small.run(inputs)["y"]
    np.testing.assert_allclose(after, before, rtol=0, atol=2e-6 * np.abs(before).max())
    assert 0.25 < cost(small).macs / cost(perceptron()).macs <= 1 / 3
    assert error(small) < 0.25 < 0.5 < error(perceptron())


@each_part
def test_residuals_normalizations_and_depthwise_channels_go_together(part):
    during = (type(part)(target=Target(macs=0.6)),)
    network = convolutional()
    step = FineTune(epochs=3, batch=4, loss="original", during=during)
    result = step.apply(network, samples_for(network, 40))
    small = PruneDead().apply(result)
    assert small.tensor("stem.weight").shape == (5, 3, 3, 3)
    assert cost(small).macs <= 0.6 * cost(network).macs
    inputs = random_inputs(network)
    before, after = result.run(inputs)["scores"], small.run(inputs)["scores"]
    np.testing.assert_allclose(after, before, rtol=0, atol=2e-6 * np.abs(before).max())


@each_part
def test_channels_are_chosen_at_the_time_and_stay_zero(part):
    watch = Watch(rows_that_are_zero)
    during = (type(part)(target=THIRD, until=0.5), watch)
    momentum = Optimizer(kind="sgd", learning_rate=0.05, momentum=0.9, weight_decay=1e-3)
    step = FineTune(epochs=10, batch=32, during=during, optimizer=momentum)
    step.apply(perceptron(), samples())
    gone = watch.seen[STEPS // 2 - 1]
    assert 0 < gone.sum() < 32
    for later in watch.seen[STEPS // 2 :]:
        assert np.array_equal(later, gone)


@each_part
def test_no_epoch_counts_before_channels_are_chosen(part):
    run = run_of(perceptron(), steps=10)
    started = type(part)(target=THIRD, until=0.5).start(run)
    told = []
    for run.step in range(1, 11):
        started.before_step()
        started.after_step()
        told.append(started.settled)
    assert told == [False] * 4 + [True] * 6


@each_part
def test_an_interrupted_training_goes_on_to_the_same_bits(part, tmp_path):
    stops = {"now": True}

    @dataclass(frozen=True)
    class Stop:
        at: int

        def start(self, run):
            class Stopping(Part):
                def after_step(_):  # noqa: N805
                    if stops["now"] and run.step == self.at:
                        raise InterruptedError

            return Stopping()

    for at in (40, 170):  # before channels are chosen, and after
        stops["now"] = True
        given = (part, Stop(at))
        with surrounded(Surroundings(checkpoints=tmp_path)), pytest.raises(InterruptedError):
            trained(*given)
        stops["now"] = False
        with surrounded(Surroundings(checkpoints=tmp_path)):
            resumed = trained(*given)
        whole = trained(*given)
        one, other = resumed.module.state_dict(), whole.module.state_dict()
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[name]) for name, value in one.items())
        assert resumed.notes == whole.notes


@each_part
def test_averaged_weights_have_the_same_zeros(part):
    result = trained(part, Ema(decay=0.99))
    small = PruneDead().apply(result)
    assert cost(small).macs <= cost(perceptron()).macs / 3


@each_part
def test_nothing_is_left_of_a_part_but_zeros_and_notes(part):
    network, result = perceptron(), trained(part)
    assert result.module.state_dict().keys() == network.module.state_dict().keys()
    assert all(isinstance(p, torch.nn.Parameter) for p in result.module.parameters())
    told = [note for note in result.notes if note.layer == WHOLE and not note.curve]
    assert [note.done for note in told] == [True]
    assert "% of the macs are left once zeros are cut" in told[0].text


def test_what_is_left_follows_the_cubic_schedule():
    def left(run):
        soft = SoftChannels(run.network, THIRD)
        keep = {g.name: int(rows.sum()) for g in soft.groups for rows in [alive(run, g.name)]}
        return soft.savings([keep[g.name] for g in soft.groups])[0]

    def alive(run, name):
        return ~rows_that_are_zero(run, name)

    watch = Watch(left)
    trained(PruneGradualChannels(target=THIRD, until=0.5), watch)
    half = STEPS // 2
    for step, found in enumerate(watch.seen[:half], 1):
        wanted = cubic(step / half, 1.0, 1 / 3)
        assert wanted - 0.05 < found <= wanted + 1e-9


def test_zeros_of_gradual_pruning_never_come_back():
    watch = Watch(rows_that_are_zero)
    trained(PruneGradualChannels(target=THIRD), watch)
    assert all((later | ~earlier).all() for earlier, later in itertools.pairwise(watch.seen))


def test_taylor_scores_are_running_means_of_squared_slopes():
    network = perceptron()
    run = run_of(network)
    part = PruneGradualChannels(target=THIRD).start(run)
    wanted = np.zeros(32)
    for step in range(3):
        weight = run.network.tensor("second.weight")
        weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(step))
        part.before_step()
        slopes = (weight.grad * weight.detach()).sum(0).double().numpy()
        wanted = 0.95 * wanted + 0.05 * slopes**2
    np.testing.assert_allclose(part.scores()["first"], wanted, rtol=1e-5)


def test_channels_that_matter_survive():
    """Nine of the twelve inputs are noise; hidden channels that see only these go."""
    network = perceptron()
    with torch.no_grad():
        network.tensor("first.weight")[:20, :3] = 0
        network.tensor("first.weight")[20:, 3:] = 0
    parts = (PruneGradualChannels(target=Target(macs=0.4), until=0.5),)
    small = PruneDead().apply(trained(*parts, network=network))
    assert error(small) < 0.15


@pytest.mark.parametrize("asymptotic", [False, True])
def test_filters_are_zero_for_a_moment_and_come_back(asymptotic):
    watch = Watch(rows_that_are_zero)
    part = PruneSoftFilter(target=THIRD, asymptotic=asymptotic, every=9, until=0.6)
    trained(part, watch)
    counts = [int(rows.sum()) for rows in watch.seen]
    last = round(0.6 * STEPS)
    for step in range(1, last):
        if step % 9:
            assert counts[step - 1] == 0
    at_once = [counts[step - 1] for step in range(9, last, 9)]
    if asymptotic:
        share = (1 - 4 ** (-8 * 9 / last)) / (1 - 4**-8)
        assert at_once[0] < at_once[-1]
        assert at_once[0] == pytest.approx(share * at_once[-1], abs=2)
    else:
        assert set(at_once) == {at_once[0]}
    assert counts[last - 1] == counts[-1] > 0


def test_the_lasso_is_the_sum_of_norms_times_roots_of_their_counts():
    run = run_of(perceptron())
    part = PruneGroupLasso(target=THIRD, strength=0.3).start(run)
    assert part.penalty().item() == pytest.approx(0.3)

    def size():
        t = {name: v.double().numpy() for name, v in run.network.module.state_dict().items()}
        total = 0.0
        for one, two in (("first", "second"), ("second", "third")):
            w, b, r = t[f"{one}.weight"], t[f"{one}.bias"], t[f"{two}.weight"]
            for c in range(len(b)):
                squares = (w[c] ** 2).sum() + b[c] ** 2 + (r[:, c] ** 2).sum()
                total += np.sqrt((w.shape[1] + 1 + len(r)) * squares)
        return total

    before = size()
    with torch.no_grad():
        run.network.tensor("first.weight")[:5] *= 3
    assert part.penalty().item() == pytest.approx(0.3 * size() / before)


def test_regularization_grows_for_what_is_to_go_and_shrinks_it():
    run = run_of(perceptron())
    part = PruneGroupLasso(target=THIRD, strength=0.0, growth=2.0, until=0.5).start(run)
    first = run.network.tensor("first.weight")
    assert part.penalty().item() == 0
    for step in range(1, 26):
        run.step = step
        part.after_step()
    part.penalty().backward()
    ratio = (first.grad / first.detach()).detach()
    factors = ratio.mean(1)
    torch.testing.assert_close(ratio, factors[:, None].expand_as(ratio), rtol=1e-4, atol=1e-5)
    assert set(factors.numpy().round(3)) == {0.0, 1.0}  # 25 of 50 updates, 2 after all
    norms = first.detach().norm(dim=1)
    assert norms[factors > 0.5].max() < norms[factors < 0.5].min()

    def share(**settings):
        watch = Watch(lambda run: run.network.tensor("first.weight").detach().norm(dim=1))
        part = PruneGroupLasso(target=THIRD, strength=0.0, until=0.5, **settings)
        trained(part, watch)
        before, after = watch.seen[STEPS // 2 - 2 : STEPS // 2]
        return float(before[after == 0].mean() / before[after > 0].mean())

    assert share(growth=5.0) < 0.5 * share(growth=0.0)


def test_dead_channels_are_cut_and_the_others_keep_their_weights():
    network = half_dead()
    small = PruneDead().apply(network)
    assert torch.equal(small.tensor("stem.weight"), network.tensor("stem.weight")[4:])
    assert torch.equal(small.tensor("branch.weight"), network.tensor("branch.weight")[4:, 4:])
    (note,) = small.notes
    assert (note.layer, note.text, note.done) == ("stem", "4 of 8 channels cut", True)


def test_one_channel_is_left_of_a_group_that_is_dead():
    network = convolutional()
    for group in channels(network).groups:
        for member in group.members:
            if not member.path.endswith("running_var"):
                network.tensor(member.path).detach().zero_()
    small = PruneDead().apply(network)
    assert small.tensor("stem.weight").shape[0] == 1
    inputs = random_inputs(network)
    assert np.array_equal(small.run(inputs)["scores"], network.run(inputs)["scores"])


def test_where_nothing_is_dead_it_is_told():
    network = convolutional()
    result = PruneDead().apply(network)
    assert [(note.done, note.text) for note in result.notes] == [
        (False, "no channel contributes nothing")
    ]
    assert not PruneDead(ignore=("stem",)).apply(half_dead()).notes[-1].done


@pytest.mark.parametrize(
    ("kind", "settings", "match"),
    [
        (PruneGradualChannels, {"until": 0.0}, "until must be in"),
        (PruneSoftFilter, {"until": 1.5}, "until must be in"),
        (PruneSoftFilter, {"every": -1}, "every must be 0 or more"),
        (PruneGroupLasso, {"strength": -1.0}, "strength must be 0 or more"),
        (PruneGroupLasso, {"growth": float("inf")}, "growth must be 0 or more"),
        (PruneGates, {"until": -0.5}, "until must be in"),
        (PruneGates, {"target": Target(latency=0.5)}, "target must be of macs, parameters"),
    ],
)
def test_settings_out_of_range_are_refused(kind, settings, match):
    with pytest.raises(InputError, match=match):
        kind(**settings)


@each_part
def test_a_network_without_channels_to_go_is_refused(part):
    network = perceptron()
    found = type(part)(target=THIRD, ignore=("first", "second"))
    with pytest.raises(ModelError, match="has no channels that can go"):
        trained(found, network=network)
