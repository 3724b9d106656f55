"""`prune.gates`: factors of channels that learn which of these go."""

import numpy as np
import pytest
import torch

from tersor.methods.prune.gates import PruneGates
from tersor.network.slimming import Target
from tersor.testing.networks import encoder, perceptron
from tersor.train.during import Run

THIRD = Target(macs=1 / 3)


def run_of(network, steps=100):
    return Run(network.copy(), steps=steps, epochs=1, samples=1, seed=0)


def test_gates_multiply_what_reads_channels():
    run = run_of(perceptron())
    before = run.network.tensor("third.weight").detach().clone()
    part = PruneGates(target=THIRD).start(run)
    assert run.network.code("first.weight") is None
    code = run.network.code("third.weight")
    assert torch.equal(code(), before)
    z = torch.linspace(0, 1, 48)
    with torch.no_grad():
        part._gates.values.copy_(z)
    torch.testing.assert_close(code().detach(), before * z[32:])
    code().square().sum().backward()
    slopes = (2 * z * before.square().sum(0).repeat(3))[32:]
    torch.testing.assert_close(part._gates.values.grad[32:], slopes)


def test_positions_that_belong_to_two_groups_have_two_gates():
    """Heads and the channels of each; queries and keys, which no weight reads, have some."""
    network = encoder()
    run = run_of(network)
    part = PruneGates(target=THIRD).start(run)
    with torch.no_grad():
        part._gates.values.uniform_(generator=torch.Generator().manual_seed(0))
    z = part._gates.values.detach().numpy()
    starts = dict(zip((g.name for g in part.soft.groups), part._starts, strict=True))
    heads, same, values = (
        z[starts[name] : starts[name] + 4] for name in ("query/0", "query/1", "value/1")
    )

    def gated(name):
        return run.network.code(name)().detach().numpy()

    before = {name: tensor.numpy() for name, tensor in network.module.state_dict().items()}
    wanted = before["dense.weight"] * np.outer(heads, values).reshape(-1)
    np.testing.assert_allclose(gated("dense.weight"), wanted, rtol=1e-5)
    wanted = before["query.bias"] * np.tile(same, 4)
    np.testing.assert_allclose(gated("query.bias"), wanted, rtol=1e-5)


def hear(part, slopes):
    """Steps in which these slopes come."""
    for each in slopes:
        part._gates.values.grad = torch.from_numpy(each)
        part.before_step()


def test_the_loss_without_a_channel_is_told_to_second_order():
    run = Run(perceptron().copy(), steps=100, epochs=4, samples=800, seed=0)  # 32 of a batch
    part = PruneGates(target=THIRD).start(run)
    slopes = np.random.default_rng(0).normal(0.1, 1, size=(60, 48)).astype(np.float32)
    hear(part, slopes)
    weights = 0.97 ** np.arange(60)[::-1]
    mean, square = (np.average(each, axis=0, weights=weights) for each in (slopes, slopes**2))
    wanted = 32 / 2 * (square - mean**2) - mean
    np.testing.assert_allclose(part._gates.losses(part._batch), wanted, rtol=1e-4)


def test_gates_close_where_the_loss_minds_less_than_the_price_and_open_again():
    run = run_of(perceptron(), steps=1000)
    part = PruneGates(target=THIRD, until=1.0).start(run)
    gates, losses = part._gates, torch.linspace(1, 2, 48)
    prices = torch.full((48,), 1.5)
    for _ in range(400):
        gates.step(1 / 200, prices, losses)
    z = gates.values.detach()
    assert ((z < 1) == (losses < 1.5)).all()
    assert z[:10].max() == 0  # force of more than half of the mean
    for _ in range(420):  # at half of the speed and more
        gates.step(1 / 200, torch.zeros(48), losses)
    assert (gates.values == 1).all()


def test_the_price_rises_while_too_much_is_left_and_falls_then():
    run = Run(perceptron().copy(), steps=100, epochs=4, samples=800, seed=0)
    part = PruneGates(target=THIRD, until=0.5).start(run)
    rng = np.random.default_rng(0)
    hear(part, rng.normal(size=(5, 48)).astype(np.float32))
    savings = part._savings.clone()
    run.step = 2  # a twentieth of the time
    part.after_step()
    ratios = (part._gates.losses(part._batch) / savings).numpy()
    assert part._price == pytest.approx(1.2 * np.quantile(ratios, 0.05), rel=1e-4)

    def factor():
        before = part._price
        run.step += 1
        part.after_step()
        return part._price / before

    assert factor() == pytest.approx(1.2)
    with torch.no_grad():
        part._gates.values[::2] = 0
    assert factor() == pytest.approx(1 / 1.2)  # about a half is left, and all was expected
    run.step = 44
    with torch.no_grad():
        part._gates.values[::2] = 0
        part._gates.values[1::2] = 1
    assert factor() == pytest.approx(1.2)  # a third was expected by now
    second = part._gates.values[32:].sum().item()
    assert part._savings[0].item() == pytest.approx(
        savings[0].item() * (12 + round(second)) / (12 + 16)
    )


def test_gates_that_stay_become_factors_of_weights():
    run = run_of(perceptron(), steps=2)
    part = PruneGates(target=Target(macs=0.9), until=0.5).start(run)
    weight = run.network.code("third.weight").weight.detach().clone()
    z = torch.linspace(0.1, 1, 16)
    with torch.no_grad():
        part._gates.values[32:] = z
    hear(part, np.random.default_rng(0).normal(size=(5, 48)).astype(np.float32))
    run.step = 1
    part.after_step()
    assert part.soft.keep["second"].any()
    wanted = weight * z * torch.from_numpy(part.soft.keep["second"])
    torch.testing.assert_close(run.network.code("third.weight")(), wanted)
    part.finish()
    assert run.network.code("third.weight") is None
    torch.testing.assert_close(run.network.tensor("third.weight").detach(), wanted)
