"""Statistics of channels: against all values held at once, and slopes against differences."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.growth import Growth
from torch import fx

from tersor.codes.masked import Masked
from tersor.data.samples import Samples
from tersor.errors import DataError, InputError, ModelError
from tersor.network.channel_statistics import gather
from tersor.network.network import Network, Port
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
    with pytest.raises(DataError, match=r"are 3, fewer than the 4 of a batch") as caught:
        gather(network, samples.take(0, 3), {"x": 1})
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
