"""The error's path: each value against the original's own, nothing kept, noise told apart."""

import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import fx

from tersor.errors import InputError
from tersor.methods.quantize.static import QuantizeStatic
from tersor.methods.quantize.weights import QuantizeWeights
from tersor.network import trace as trace_module
from tersor.network.fold import fold_batch_norm
from tersor.network.network import Port
from tersor.network.quantizer import without_roundings
from tersor.network.trace import MOST_SAMPLES, trace
from tersor.testing import networks

NET = networks.convolutional()
SAMPLES = networks.samples_for(NET, 40)
INT8 = QuantizeStatic().apply(NET, SAMPLES)


def value_of(network, name, samples):
    """The value of one node over all samples, with an interpreter of its own."""
    kept = {}

    class Keep(fx.Interpreter):
        def run_node(self, n):
            result = super().run_node(n)
            if n.name == name:
                kept["value"] = result.detach().double().numpy()
            return result

    Keep(network.module).run(torch.from_numpy(np.asarray(samples.inputs["x"])))
    return kept["value"]


def sqnr_db(exact, found):
    return 10 * np.log10((exact**2).sum() / ((found - exact) ** 2).sum())


@pytest.fixture(scope="module")
def points():
    return trace(NET, INT8, SAMPLES)


def test_every_layer_and_every_rounded_value_is_a_point(points):
    assert [p.name for p in points if p.kind == "layer"] == [
        "stem", "branch", "depthwise", "head"
    ]  # fmt: skip
    roundings = [n for n in INT8.graph.nodes if n.op == "call_module" and n.args]
    assert sum(p.kind == "rounded" for p in points) == len(roundings) >= 5
    assert points[0].name == "x"
    assert points[-1] == next(p for p in points if p.name == "head")


@pytest.mark.parametrize(
    ("layer", "before", "after"),
    [
        ("stem", "batch_norm_default", "conv2d_default"),
        ("branch", "conv2d_default_1", "conv2d_default_1"),
    ],
)
def test_a_layer_is_compared_with_its_own_value_folded_normalization_included(
    points, layer, before, after
):
    few = SAMPLES.take(0, MOST_SAMPLES)
    wanted = sqnr_db(value_of(NET, before, few), value_of(INT8, after, few))
    (found,) = [p for p in points if p.name == layer]
    assert found.sqnr_db == pytest.approx(wanted, abs=1e-3)


def test_the_last_point_is_the_error_of_the_output(points):
    few = SAMPLES.take(0, MOST_SAMPLES)
    exact, found = (n.run(dict(few.inputs))["scores"].astype(float) for n in (NET, INT8))
    assert points[-1].sqnr_db == pytest.approx(sqnr_db(exact, found), abs=1e-3)


def test_added_noise_is_that_beyond_the_noisiest_source(points):
    by_name = {p.name: p for p in points}
    ratio = {p: 10 ** (-p.sqnr_db / 10) for p in points}
    first, stem = points[0], by_name["stem"]
    assert first.added == pytest.approx(ratio[first])  # nothing is before it
    assert stem.added == pytest.approx(max(ratio[stem] - ratio[first], 0.0))
    assert all(p.added >= 0 for p in points)
    assert (first.sources, stem.sources) == ((), ("x",))
    joined = by_name["relu_default_2"]
    assert joined.sources == ("relu_default_1", "relu_default")


def test_a_network_against_itself_is_exact():
    assert {p.sqnr_db for p in trace(NET, NET.copy(), SAMPLES)} == {float("inf")}
    assert {p.added for p in trace(NET, NET, SAMPLES)} == {0.0}


def test_folding_alone_costs_no_more_than_float32_rounds_off():
    points = trace(NET, fold_batch_norm(NET), SAMPLES)
    assert [p.name for p in points] == ["stem", "branch", "depthwise", "head"]
    # the longest sum has 72 products: errors of 1e3 roundings of 2**-24 are 84 dB down
    assert min(p.sqnr_db for p in points) > 84


def test_only_the_layer_that_was_changed_adds_noise_where_it_stands():
    network = NET.copy()
    weight = network.tensor("depthwise.weight").detach().clone()
    network.set_tensor("depthwise.weight", weight * 1.25)
    network.module.recompile()
    by_name = {p.name: p for p in trace(NET, network, SAMPLES)}
    assert by_name["stem"].sqnr_db == by_name["branch"].sqnr_db == float("inf")
    assert by_name["depthwise"].added == pytest.approx(0.0625, rel=1e-5)  # 0.25 squared
    assert by_name["depthwise"].sqnr_db == pytest.approx(20 * np.log10(4), abs=1e-3)


def test_at_most_32_samples_are_looked_at():
    some = trace(NET, INT8, SAMPLES.take(0, MOST_SAMPLES))
    assert trace(NET, INT8, SAMPLES) == some
    assert trace(NET, INT8, SAMPLES.take(0, 8)) != some


def test_a_fixed_batch_is_filled():
    fixed = [replace(n, inputs=(Port("x", (40, 3, 8, 8), "float32"),)) for n in (NET, INT8)]
    assert trace(*fixed, SAMPLES)[-1].sqnr_db != trace(NET, INT8, SAMPLES)[-1].sqnr_db


def test_a_matrix_product_that_became_another_operation_finds_its_partner():
    """Folding turns a product without a bias into addmm, a node of a new name."""
    made = networks._Builder(0)
    x = made.graph.placeholder("x")
    product = made.call(
        torch.ops.aten.matmul.default, x, made.tensor("a.w", made.normal(6, 4))
    )
    y = made.batch_norm("bn", product, 4)
    net = made.network(
        Port("x", ("batch", 6), "float32"), Port("y", ("batch", 4), "float32"), y
    )
    folded = fold_batch_norm(net)
    assert {n.name for n in folded.graph.nodes} - {n.name for n in net.graph.nodes}
    (point,) = [p for p in trace(net, folded, networks.samples_for(net)) if p.kind == "layer"]
    assert point.sqnr_db > 84


def test_values_of_another_shape_are_left_out():
    network = fold_batch_norm(NET)
    network.set_tensor("head.weight", network.tensor("head.weight")[:3])
    network.set_tensor("head.bias", network.tensor("head.bias")[:3])
    network.module.recompile()
    assert [p.name for p in trace(NET, network, SAMPLES)] == ["stem", "branch", "depthwise"]


@pytest.mark.parametrize("odd", [0.0, float("inf"), float("nan")])
def test_values_that_are_silent_or_not_finite_have_no_ratio(odd):
    nets = [NET.copy(), fold_batch_norm(NET)]
    for net in nets:
        net.set_tensor("head.weight", torch.zeros(5, 16))
        net.set_tensor("head.bias", torch.full((5,), odd))
        net.module.recompile()
    assert [p.name for p in trace(*nets, SAMPLES)] == ["stem", "branch", "depthwise"]


def test_weights_alone_add_noise_at_their_layers():
    points = trace(NET, QuantizeWeights().apply(NET), SAMPLES)
    assert {p.kind for p in points} == {"layer"}
    assert all(20 < p.sqnr_db < 80 for p in points)


def test_without_roundings_only_the_weights_make_noise():
    bare = without_roundings(INT8)
    assert all(not (n.op == "call_module" and n.args) for n in bare.graph.nodes)
    assert {p.kind for p in trace(NET, bare, SAMPLES)} == {"layer"}
    assert trace(NET, bare, SAMPLES)[-1].sqnr_db > trace(NET, INT8, SAMPLES)[-1].sqnr_db
    assert [n.name for n in INT8.graph.nodes if n.op == "call_module" and n.args]  # kept


def test_no_value_outlives_its_last_reader(monkeypatch):
    made, most = [], 0
    stored = {
        id(t) for net in (NET, INT8) for t in (*net.module.parameters(), *net.module.buffers())
    }
    values = trace_module.each_value

    def watched(network, arrays):
        nonlocal most
        for name, value in values(network, arrays):
            if isinstance(value, torch.Tensor) and id(value) not in stored:
                made.append(weakref.ref(value))
            most = max(most, sum(one() is not None for one in made))
            yield name, value
            del value

    monkeypatch.setattr(trace_module, "each_value", watched)
    trace(NET, INT8, SAMPLES.take(0, 8))
    assert len(made) > 30
    assert most <= 2 * 4 + 1  # at the sum: two terms, a weight, the result; and what waits


def test_networks_of_other_inputs_are_refused():
    other = replace(INT8, inputs=(Port("z", ("batch", 3, 8, 8), "float32"),))
    with pytest.raises(InputError, match="inputs of the compressed network"):
        trace(NET, other, SAMPLES)
