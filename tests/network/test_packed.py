import pytest
import torch

from tersor.network.network import Network, Port
from tersor.network.packed import convolution, pack

aten = torch.ops.aten
FUNCTIONS = {
    "none": None,
    "relu": (aten.relu.default,),
    "clamp": (aten.clamp.default, 0.0, 1.5),
    "hardtanh": (aten.hardtanh.default, -0.5, 0.5),
    "hardtanh of -1 and 1": (aten.hardtanh.default,),
    "clamp from below": (aten.clamp.default, 0.25),
}


def network_of(weight, window=(), *, bias=None, function="none", twice=False, batched=True):
    """A convolution, and what reads it, of one input x."""
    graph, root = torch.fx.Graph(), torch.nn.Module()
    root.register_parameter("weight", torch.nn.Parameter(weight))
    x, given = graph.placeholder("x"), [graph.get_attr("weight"), None]
    if bias is not None:
        root.register_parameter("bias", torch.nn.Parameter(bias))
        given[1] = graph.get_attr("bias")
    y = graph.create_node(
        "call_function", aten.conv2d.default, (x, *given, *window), name="layer"
    )
    result = y
    if FUNCTIONS[function]:
        target, *limits = FUNCTIONS[function]
        result = graph.create_node("call_function", target, (y, *limits), name="function")
    graph.output((result, y) if twice else (result,))
    shape = ("batch",) * batched + (weight.shape[1], 9, 9)
    outputs = tuple(Port(f"y{i}", shape, "float32") for i in range(1 + twice))
    module = torch.fx.GraphModule(root, graph)
    return Network(module, (Port("x", shape, "float32"),), outputs)


def weight_of(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)


def both(network, x):
    """What the network gives before and after."""
    packed = network.copy()
    pack(packed)
    with torch.no_grad():
        return network.module(x), packed.module(x), packed


def targets(network):
    return [n.target for n in network.graph.nodes if n.op == "call_function"]


def bound(x, weight):
    """How far two sums of the same products may be apart, in any order."""
    products = weight[0].numel()
    largest = float(x.abs().max()) * float(weight.abs().flatten(1).sum(1).max())
    return 2 * (products + 1) * float(torch.finfo(torch.float32).eps) * largest


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("shape", "window"),
    [
        ((8, 4, 3, 3), ()),
        ((8, 4, 1, 1), ([1, 1], [0, 0])),
        ((8, 4, 3, 3), ([2], [1], [1], 1)),
        ((8, 4, 3, 2), ([2, 1], [0, 1], [1, 3], 1)),
        ((4, 1, 3, 3), ([1, 1], [1, 1], [2, 2], 4)),
        ((8, 2, 5, 5), ([1, 2], [2, 2], [1, 1], 2)),
    ],
)
def test_a_packed_convolution_gives_the_same(shape, window, form):
    groups = window[3] if len(window) > 3 else 1
    weight, x = (
        weight_of(*shape),
        torch.randn(3, groups * shape[1], 9, 9).to(memory_format=form),
    )
    for bias in (None, weight_of(shape[0])):
        (wanted,), (found,), packed = both(network_of(weight, window, bias=bias), x)
        assert targets(packed) == [convolution]
        torch.testing.assert_close(found, wanted, rtol=0, atol=bound(x, weight))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_function_behind_gives_the_same(function):
    weight, x = weight_of(8, 4, 3, 3), torch.randn(2, 4, 9, 9)
    (wanted,), (found,), _ = both(network_of(weight, function=function), x)
    torch.testing.assert_close(found, wanted, rtol=0, atol=bound(x, weight))


def test_functions_of_two_limits_are_fused_and_keep_their_names():
    for function in ("relu", "clamp", "hardtanh"):
        _, _, packed = both(
            network_of(weight_of(8, 4, 3, 3), function=function), torch.ones(1, 4, 9, 9)
        )
        assert targets(packed) == [convolution]
        assert "function" in {node.name for node in packed.graph.nodes}
    _, _, packed = both(
        network_of(weight_of(8, 4, 3, 3), function="clamp from below"), torch.ones(1, 4, 9, 9)
    )
    assert targets(packed) == [convolution, aten.clamp.default]


def test_nothing_is_fused_to_a_value_that_somebody_else_looks_at():
    network = network_of(weight_of(8, 4, 3, 3), function="relu", twice=True)
    x = torch.randn(2, 4, 9, 9)
    wanted, found, packed = both(network, x)
    assert targets(packed) == [convolution, aten.relu.default]
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(
            one, other, rtol=0, atol=bound(x, network.tensor("weight").detach())
        )
    kept = network_of(weight_of(8, 4, 3, 3), function="relu")
    pack(kept, keep={"layer"})
    assert targets(kept) == [convolution, aten.relu.default]


def test_an_image_without_a_batch_gives_the_same():
    weight, x = weight_of(8, 4, 3, 3), torch.randn(4, 9, 9)
    (wanted,), (found,), _ = both(network_of(weight, function="relu", batched=False), x)
    assert found.shape == wanted.shape
    torch.testing.assert_close(found, wanted, rtol=0, atol=bound(x, weight))


def test_what_it_has_no_kernel_for_stays_as_it_is(monkeypatch):
    double = network_of(weight_of(8, 4, 3, 3, dtype=torch.float64))
    pack(double)
    assert targets(double) == [aten.conv2d.default]
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    network = network_of(weight_of(8, 4, 3, 3))
    pack(network)
    assert targets(network) == [aten.conv2d.default]


def test_a_weight_that_is_computed_stays_as_it_is():
    network = network_of(weight_of(8, 4, 3, 3))
    (held,) = (n for n in network.graph.nodes if n.op == "get_attr")
    with network.graph.inserting_after(held):
        twice = network.graph.call_function(aten.add.Tensor, (held, held))
    held.replace_all_uses_with(twice, delete_user_cb=lambda user: user is not twice)
    pack(network)
    assert aten.conv2d.default in targets(network)
