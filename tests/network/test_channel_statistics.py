"""Statistics of channels: against all values held at once, and slopes against differences."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.growth import Growth
from torch import fx, nn
from torch.nn import functional

from tersor.codes.masked import Masked
from tersor.data.samples import Samples
from tersor.errors import DataError, InputError, ModelError
from tersor.network.channel_statistics import SliceGradients, gather, gradients
from tersor.network.network import Network, Port
from tersor.network.quantizer import ActivationQuantizer
from tersor.testing.networks import (
    convolutional,
    encoder,
    of_four,
    perceptron,
    samples_for,
)

aten = torch.ops.aten


class Keeper(fx.Interpreter):
    """Keeps all values."""

    def __init__(self, network):
        super().__init__(network.module, garbage_collect_values=False)
        self.values = {}

    def run_node(self, n):
        self.values[n.name] = super().run_node(n)
        return self.values[n.name]


def values_of(network, samples):
    keeper = Keeper(network)
    with torch.no_grad():
        keeper.run(*network.tensors(dict(samples.inputs)))
    return {
        n: v.detach().numpy() for n, v in keeper.values.items() if isinstance(v, torch.Tensor)
    }


def flowing(network):
    """Names of nodes that compute something of the samples."""
    return [n.name for n in network.graph.nodes if n.op == "call_function"]


def as_rows(value, axis):
    """(channels, everything else), in float64."""
    return np.moveaxis(value, axis, 0).reshape(value.shape[axis], -1).astype(float)


@pytest.mark.parametrize("axis", [1, -1])
def test_sums_are_those_of_all_values_held_at_once(axis):
    """37 samples are three batches; float32 sums over 64 positions have seven digits."""
    network = convolutional()
    samples = samples_for(network, 37)
    values = values_of(network, samples)
    wanted = dict.fromkeys(["x", *flowing(network)], axis)
    found = gather(network, samples, wanted)
    assert set(found) == set(wanted)
    for name, seen in found.items():
        rows = as_rows(values[name], axis)
        np.testing.assert_allclose(seen.sum_abs, np.abs(rows).sum(1), rtol=2e-6, atol=1e-4)
        if "relu" in name:  # elsewhere rounding decides what is exactly 0
            assert np.array_equal(seen.zeros, (rows == 0).sum(1))
            assert 0 < seen.zeros.sum() < rows.size
        assert seen.count == rows.shape[1]
        assert seen.ranks is None


def test_channels_may_be_counted_by_any_axis_but_that_of_the_samples():
    network = encoder()
    x = np.random.default_rng(0).standard_normal((20, 7, 16)).astype(np.float32)
    samples = Samples({"x": x})
    values = values_of(network, samples)
    for axis in (1, 2, -1, -2):
        seen = gather(network, samples, {"gelu_default": axis})["gelu_default"]
        rows = as_rows(values["gelu_default"], axis)
        np.testing.assert_allclose(seen.sum_abs, np.abs(rows).sum(1), rtol=1e-5)
        assert seen.count == rows.shape[1]


def test_the_same_samples_give_the_same_bits():
    network = convolutional()
    samples = samples_for(network, 70)
    wanted = dict.fromkeys(flowing(network), 1)
    first, second = (gather(network, samples, wanted) for _ in range(2))
    for name in wanted:
        assert np.array_equal(first[name].sum_abs, second[name].sum_abs)
        assert np.array_equal(first[name].zeros, second[name].zeros)
    one, two = (gradients(network, labelled(network, 70), squares) for _ in range(2))
    assert all(np.array_equal(one[n][0].squares, two[n][0].squares) for n in one)


@pytest.mark.parametrize("ranked", [5, 20, 99])
def test_ranks_are_those_of_the_first_samples(ranked):
    """Of 37 in batches of 16; values of fewer dimensions are no maps."""
    network = convolutional()
    samples = samples_for(network, 37)
    values = values_of(network, samples)
    name = next(n for n in flowing(network) if n.startswith("relu"))
    last = flowing(network)[-1]
    found = gather(network, samples, {name: 1, last: 1}, ranked=ranked)
    ranks = np.array(
        [[np.linalg.matrix_rank(m) for m in sample] for sample in values[name][:ranked]]
    )
    assert len(set(ranks.reshape(-1).tolist())) > 1
    np.testing.assert_allclose(found[name].ranks, ranks.mean(0), rtol=1e-12)
    assert found[last].ranks is None


def test_maps_may_have_their_channels_last():
    graph = fx.Graph()
    x = graph.placeholder("x")
    graph.create_node("call_function", aten.relu.default, (x,), name="y")
    graph.output((list(graph.nodes)[-1],))
    port = Port("x", ("n", 6, 5, 3), "float32")
    network = Network(fx.GraphModule({}, graph), (port,), (replace(port, name="y"),))
    maps = np.random.default_rng(0).standard_normal((4, 6, 5, 3)).astype(np.float32)
    maps[..., 1] = -1
    seen = gather(network, Samples({"x": maps}), {"y": -1}, ranked=4)["y"]
    y = np.maximum(maps, 0)
    ranks = [[np.linalg.matrix_rank(y[n, :, :, c]) for c in range(3)] for n in range(4)]
    np.testing.assert_allclose(seen.ranks, np.mean(ranks, 0))
    assert seen.ranks[1] == 0


def test_many_samples_take_little_more_memory_than_a_few():
    network = convolutional()
    one = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    most = {}
    for count in (100, 100, 5_000):  # the first makes what is made once
        samples = Samples({"x": np.broadcast_to(one, (count, 3, 8, 8))})  # takes no memory
        with Growth() as memory:
            gather(network, samples, dict.fromkeys(flowing(network), 1), ranked=8)
        most[count] = memory.bytes
    assert most[5_000] < most[100] + 20e6  # all values of 5,000 samples: 65 MB


def test_weights_in_codes_count_as_what_they_give():
    network = perceptron()
    samples = samples_for(network)
    coded = network.copy()
    weight = network.tensor("first.weight").detach()
    coded.set_code("first.weight", Masked.encode(weight * (weight > 0), weight > 0))
    plain = network.copy()
    plain.set_tensor("first.weight", weight * (weight > 0))
    found, wanted = (gather(n, samples, {"relu_default": 1}) for n in (coded, plain))
    expected = wanted["relu_default"].sum_abs
    np.testing.assert_allclose(found["relu_default"].sum_abs, expected, rtol=1e-6)


def test_nodes_behind_the_last_that_is_wanted_are_not_run():
    def fail(_):
        raise RuntimeError("was run")

    network = perceptron().copy()
    (last,) = network.graph.output_node().args[0]
    with network.graph.inserting_after(last):
        broken = network.graph.call_function(fail, (last,))
    network.graph.output_node().args = ((broken,),)
    network.module.recompile()
    found = gather(network, samples_for(network, 3), {"relu_default_1": 1})
    assert found["relu_default_1"].count == 3
    with pytest.raises(RuntimeError, match="was run"):
        gather(network, samples_for(network, 3), {broken.name: 1})


def test_networks_of_a_fixed_batch_see_whole_batches_only():
    network = of_four()
    samples = samples_for(network, 10)
    found = gather(network, samples, {"x": 1})["x"]
    np.testing.assert_allclose(
        found.sum_abs, np.abs(samples.inputs["x"][:8]).sum(0), rtol=1e-6
    )
    assert found.count == 8
    sums = gradients(network, samples, lambda outputs, *_: outputs[0].mean())
    assert sums["only.weight"][0].batches == 2
    for run in (
        lambda few: gather(network, few, {"x": 1}),
        lambda few: gradients(network, few, lambda outputs, *_: outputs[0].mean()),
    ):
        with pytest.raises(DataError, match=r"are 3, fewer than the 4 of a batch") as caught:
            run(samples.take(0, 3))
        assert caught.value.what == "Samples"


def test_what_cannot_be_counted_is_refused():
    network = encoder()
    x = np.random.default_rng(0).standard_normal((3, 7, 16)).astype(np.float32)
    samples = Samples({"x": x})
    with pytest.raises(InputError, match=r"names of nodes.*\['nobody'\]") as unknown:
        gather(network, samples, {"nobody": 1, "x": 1})
    assert unknown.value.got == ["nobody"]
    for axis in (0, 3, -3):
        with pytest.raises(InputError, match=r"channel axis of x .*other than the first"):
            gather(network, samples, {"x": axis})
    with pytest.raises(ModelError, match="gives no tensor of floats") as number:
        gather(network, samples, {"sym_size_int_1": 1})
    assert number.value.tensor == "sym_size_int_1"
    x[1, 2, 3] = np.nan
    with pytest.raises(ModelError, match="gives NaN or infinity on a sample") as infinite:
        gather(network, samples, {"gelu_default": -1})
    assert infinite.value.tensor == "gelu_default"


def test_an_axis_whose_size_varies_is_no_axis_of_channels():
    """The last of five batches is smaller, and the axis counts its samples."""
    graph = fx.Graph()
    x = graph.placeholder("x")
    turned = graph.create_node("call_function", aten.t.default, (x,), name="turned")
    graph.output((turned,))
    ports = (Port("x", ("n", 6), "float32"),), (Port("y", (6, "n"), "float32"),)
    network = Network(fx.GraphModule({}, graph), *ports)
    with pytest.raises(InputError, match=r"axis of turned must be of one size .*\(16, 6\)"):
        gather(network, samples_for(network, 70), {"turned": 1})


# Slopes.


def squares(outputs, labels, feeds):
    """A loss of everything that it is given, a mean over samples."""
    aim = torch.from_numpy(feeds["x"]).reshape(len(feeds["x"]), -1).sum(1, keepdim=True)
    return (outputs[0] - aim - torch.from_numpy(labels)[:, None]).square().mean()


def labelled(network, count, seed=0):
    samples = samples_for(network, count, seed)
    rng = np.random.default_rng(seed + 1)
    return replace(samples, labels=rng.standard_normal(count).astype(np.float32))


def by_definition(network, samples, size):
    """Whole slopes, batch by batch, as float64: (batch size, w, {name: slope})."""
    parameters = dict(network.module.named_parameters())
    for batch in samples.batches(size):
        outputs = network.module(*network.tensors(batch.inputs))
        loss = squares(outputs, batch.labels, batch.inputs)
        slopes = torch.autograd.grad(loss, list(parameters.values()))
        yield batch.size, {n: s.numpy() for n, s in zip(parameters, slopes, strict=True)}


@pytest.mark.parametrize("make", [perceptron, convolutional])
def test_sums_of_slopes_are_those_of_whole_slopes(make):
    """Batches of 5, 5, 5 and 2; every axis of every parameter."""
    network = make()
    samples = labelled(network, 17)
    found = gradients(network, samples, squares, batch=5)
    batches = list(by_definition(network, samples, 5))
    assert [size for size, _ in batches] == [5, 5, 5, 2]
    assert set(found) == dict(network.module.named_parameters()).keys()
    for name, axes in found.items():
        w = network.tensor(name).detach().numpy()
        assert len(axes) == w.ndim
        for axis, sums in enumerate(axes):
            products = [(m, as_rows(w * slopes[name], axis)) for m, slopes in batches]
            each = np.array([p.sum(1) for _, p in products])
            scale = np.abs(each).max() + 1e-6
            near = {"rtol": 1e-4, "atol": 1e-5 * scale}
            np.testing.assert_allclose(sums.first, each.sum(0), **near)
            near["atol"] *= scale
            np.testing.assert_allclose(sums.squares, np.square(each).sum(0), **near)
            fisher = sum(m * np.square(p).sum(1) for m, p in products)
            np.testing.assert_allclose(sums.fisher, fisher, **near)
            assert sums.batches == 4


def test_a_slice_changes_the_loss_as_its_slope_says():
    """Central differences in float64, each slice times 1 +- h: errors are of order h^2."""
    network = perceptron()
    network = replace(network, module=copy.deepcopy(network.module).double())
    samples = labelled(network, 6)
    samples = Samples({"x": samples.inputs["x"].astype(float)}, samples.labels.astype(float))
    found = gradients(network, samples, squares)

    def loss(name, axis, i, factor):
        other = network.copy()
        changed = network.tensor(name).detach().clone()
        changed.movedim(axis, 0)[i] *= factor
        other.set_tensor(name, changed)
        outputs = other.module(*other.tensors(samples.inputs))
        return float(squares(outputs, samples.labels, samples.inputs).detach())

    h = 1e-5
    for name, axis, i in [
        ("first.weight", 0, 3),
        ("first.weight", 1, 5),
        ("second.bias", 0, 2),
        ("third.weight", 1, 7),
    ]:
        slope = (loss(name, axis, i, 1 + h) - loss(name, axis, i, 1 - h)) / (2 * h)
        assert found[name][axis].first[i] == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_weights_that_are_read_twice_count_once_with_both_slopes():
    graph, root = fx.Graph(), nn.Module()
    w = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    root.register_parameter("w", nn.Parameter(w))
    x, read = graph.placeholder("x"), graph.get_attr("w")
    once = graph.call_function(aten.mm.default, (x, read))
    twice = graph.call_function(aten.mm.default, (once, graph.get_attr("w")))
    graph.output((twice,))
    port = Port("x", ("n", 4), "float32")
    network = Network(fx.GraphModule(root, graph), (port,), (replace(port, name="y"),))
    samples = labelled(network, 3)
    ((_, slopes),) = by_definition(network, samples, 3)
    (found, _) = gradients(network, samples, squares)["w"]
    expected = (w.numpy() * slopes["w"]).sum(1)
    np.testing.assert_allclose(found.first, expected, rtol=1e-4)
    np.testing.assert_allclose(found.squares, np.square(expected), rtol=2e-4)


def test_the_loss_gets_what_belongs_together():
    network = perceptron()
    samples = labelled(network, 23)
    heard = []

    def loss(outputs, labels, feeds):
        start = samples.labels.tolist().index(labels[0])
        rows = slice(start, start + len(labels))
        heard.append((start, len(labels)))
        assert np.array_equal(labels, samples.labels[rows])
        assert np.array_equal(feeds["x"], samples.inputs["x"][rows])
        y = network.run(dict(feeds))["y"]
        np.testing.assert_allclose(outputs[0].detach().numpy(), y, atol=1e-5)
        return functional.mse_loss(outputs[0], torch.zeros_like(outputs[0]))

    gradients(network, samples, loss, batch=9)
    assert sorted(heard) == [(0, 9), (9, 9), (18, 5)]


def test_samples_need_no_labels_where_the_loss_needs_none():
    def loss(outputs, labels, _):
        assert labels is None
        return outputs[0].mean()

    network = perceptron()
    (found,) = gradients(network, samples_for(network), loss)["third.bias"]
    bias = network.tensor("third.bias").detach().numpy()
    np.testing.assert_allclose(found.first, bias / 3, rtol=1e-5)  # of 3 outputs, one batch


def test_the_network_stays_as_it_is_and_frozen_parameters_count_too():
    network = convolutional()
    samples = labelled(network, 10)
    expected = gradients(network, samples, squares)
    network.module.requires_grad_(requires_grad=False)
    before = {name: t.clone() for name, t in network.module.state_dict().items()}
    found = gradients(network, samples, squares)
    for name, parameter in network.module.named_parameters():
        assert parameter.grad is None
        assert not parameter.requires_grad
        assert np.array_equal(found[name][0].first, expected[name][0].first)
    assert all(torch.equal(before[n], t) for n, t in network.module.state_dict().items())


def test_slopes_of_weights_in_codes_are_those_of_what_the_codes_give():
    network = perceptron()
    samples = labelled(network, 8)
    weight = network.tensor("second.weight").detach()
    kept = weight > 0
    coded, plain = network.copy(), network.copy()
    coded.set_code("second.weight", Masked.encode(weight * kept, kept))
    plain.set_tensor("second.weight", weight * kept)
    found, expected = (gradients(n, samples, squares) for n in (coded, plain))
    assert set(found) == set(expected)
    for axis in range(2):
        for kind in ("first", "squares", "fisher"):
            ours, wanted = (
                getattr(each["second.weight"][axis], kind) for each in (found, expected)
            )
            np.testing.assert_allclose(ours, wanted, rtol=1e-6)
    assert coded.is_coded("second.weight")


def test_slopes_pass_straight_through_roundings_also_where_the_caller_wants_none():
    network = perceptron().copy()
    network.module.add_submodule("rounding", ActivationQuantizer(0.25, 0, signed=True))
    node = next(n for n in network.graph.nodes if n.name == "linear_default_1")
    with network.graph.inserting_after(node):
        steps = network.graph.call_module("rounding", (node,))
    node.replace_all_uses_with(steps)
    steps.args = (node,)
    network.module.recompile()
    samples = labelled(network, 8)
    ((_, slopes),) = by_definition(network, samples, 8)
    with torch.no_grad():
        found = gradients(network, samples, squares)["first.weight"][0]
    expected = (network.tensor("first.weight").detach().numpy() * slopes["first.weight"]).sum(
        1
    )
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found.first, expected, rtol=1e-4, atol=1e-5)


def test_parameters_that_the_loss_does_not_feel_have_sums_of_zero():
    network = perceptron()

    def loss(outputs, *_):
        return (outputs[0] * torch.tensor([1.0, 0.0, 0.0])).square().mean()

    weight, _ = gradients(network, samples_for(network), loss)["third.weight"]
    assert weight.first[0] != 0
    assert weight.squares[1:].tolist() == [0, 0]
    bias = gradients(_without_bias(network), samples_for(network), loss)["third.bias"]
    assert bias[0].fisher.tolist() == [0, 0, 0]


def _without_bias(network):
    """The bias stays stored, but what is made of it is thrown away."""
    result = network.copy()
    last = [n for n in result.graph.nodes if n.target is aten.linear.default][-1]
    bias = last.args[2]
    last.args = last.args[:2]
    with result.graph.inserting_after(bias):
        result.graph.call_function(aten.neg.default, (bias,))
    result.module.recompile()
    return result


def test_taylor_scores_come_of_the_sums_as_their_definitions_say():
    """Two batches with s = 3 and -1; squares of g w times samples: 8 and 4."""
    sums = SliceGradients(np.array([2.0]), np.array([10.0]), np.array([12.0]), 2)
    assert sums.taylor_first().tolist() == [5.0]
    assert sums.taylor_second().tolist() == [2.0]  # |12 / 2 / 2 - 2 / 2|


def test_in_batches_of_one_the_fisher_sum_is_that_of_the_samples():
    network = perceptron()
    samples = labelled(network, 7)
    one = gradients(network, samples, squares, batch=1)["first.weight"][0]
    w = network.tensor("first.weight").detach().numpy()
    expected = sum(
        np.square(w * slopes["first.weight"]).sum(1)
        for _, slopes in by_definition(network, samples, 1)
    )
    np.testing.assert_allclose(one.fisher, expected, rtol=1e-4)
    assert one.batches == 7


def test_losses_that_tell_nothing_are_refused():
    network = perceptron()
    samples = samples_for(network)
    with pytest.raises(ModelError, match=r"loss is nan on the samples from number 0 on"):
        gradients(network, samples, lambda outputs, *_: outputs[0].sum() * float("nan"))
    with pytest.raises(ModelError, match="does not depend on any parameter"):
        gradients(network, samples, lambda outputs, *_: outputs[0].detach().sum())
    with pytest.raises(ModelError, match="has slopes that are NaN or infinity") as caught:
        gradients(network, samples, lambda outputs, *_: (outputs[0] * 0).sum().sqrt())
    assert caught.value.tensor == "first.weight"
