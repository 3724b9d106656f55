import pytest
import torch
from capture_models import Transformer
from torch import fx, nn

from tersor.codes.affine import Affine
from tersor.network.capture import capture
from tersor.network.layers import layers, weighted_layers
from tersor.network.network import Network, Port
from tersor.testing.networks import convolutional

aten = torch.ops.aten


def single(build, **tensors):
    """A network of one input "x" and what `build` makes of it and of named tensors."""
    graph, root = fx.Graph(), nn.Module()
    x = graph.placeholder("x")
    for name, tensor in tensors.items():
        root.register_parameter(name, nn.Parameter(tensor))
    result = build(graph, x, *(graph.get_attr(name) for name in tensors))
    graph.output((result,))
    module = fx.GraphModule(root, graph)
    return Network(module, (Port("x", ("batch", 4), "float32"),), (Port("y", (), "float32"),))


def only_layer(build, **tensors):
    (found,) = layers(single(build, **tensors))
    return found


def test_layers_come_in_order_under_their_names():
    names = ["stem", "stem_bn", "branch", "depthwise", "deep_bn", "head"]
    assert [layer.name for layer in layers(convolutional())] == names


def test_a_convolution_shows_weight_bias_groups_and_axis():
    found = {layer.name: layer for layer in layers(convolutional())}
    branch, depthwise = found["branch"], found["depthwise"]
    assert (branch.op, branch.weight, branch.bias) == (
        "conv2d",
        "branch.weight",
        "branch.bias",
    )
    assert (depthwise.shape, depthwise.groups, depthwise.bias) == ((8, 1, 3, 3), 8, None)
    assert branch.channel_axis == depthwise.channel_axis == 0


def test_weighted_layers_leave_out_what_cannot_be_compressed():
    names = ["stem", "branch", "depthwise", "head"]
    assert [layer.name for layer in weighted_layers(convolutional())] == names


def test_a_weight_held_by_a_code_is_found_under_its_name():
    network = convolutional().copy()
    before = layers(network)
    network.set_code("branch.weight", Affine.encode(network.tensor("branch.weight"), axis=0))
    assert layers(network) == before


@pytest.mark.parametrize(
    ("groups", "shape", "axis"), [(1, (4, 6, 3), 1), (2, (4, 3, 3), 1), (4, (4, 1, 3), 0)]
)
def test_axis_of_a_transposed_convolution(groups, shape, axis):
    args = ([1], [0], [0], groups, [1])
    found = only_layer(
        lambda g, x, w: g.call_function(aten.conv_transpose1d.default, (x, w, None, *args)),
        w=torch.zeros(shape),
    )
    assert (found.op, found.channel_axis, found.groups) == ("conv_transpose1d", axis, groups)


def through(*steps):
    """A product with a weight that goes through `steps` first."""

    def build(g, x, w):
        for target, *args in steps:
            w = g.call_function(target, (w, *args))
        return g.call_function(aten.matmul.default, (x, w))

    return build


@pytest.mark.parametrize(
    ("steps", "shape", "axis"),
    [
        ([], (4, 5), 1),
        ([(aten.t.default,)], (5, 4), 0),
        ([(aten.transpose.int, 0, 1)], (5, 4), 0),
        ([(aten.permute.default, [1, 0])], (5, 4), 0),
        ([(aten.t.default,), (aten.t.default,)], (4, 5), 1),
        ([(aten.permute.default, [2, 0, 1])], (4, 5, 3), 1),
        ([(aten.transpose.int, -1, -2)], (3, 5, 4), 1),
        ([(aten.permute.default, [2, 0, 1]), (aten.transpose.int, 0, 2)], (4, 5, 3), 2),
    ],
    ids=["plain", "t", "transpose", "permute", "twice", "three axes", "last of three", "both"],
)
def test_axis_of_a_matrix_is_followed_through_transpositions(steps, shape, axis):
    found = only_layer(through(*steps), w=torch.zeros(shape))
    assert (found.op, found.weight, found.channel_axis) == ("matmul", "w", axis)


def test_a_weight_on_the_left_has_its_rows_as_channels():
    found = only_layer(
        lambda g, x, w: g.call_function(aten.matmul.default, (w, x)), w=torch.zeros(3, 4)
    )
    assert (found.op, found.channel_axis, found.compressible) == ("matmul_left", 0, True)


def test_addmm_has_its_bias_first():
    found = only_layer(
        lambda g, x, b, w: g.call_function(aten.addmm.default, (b, x, w)),
        b=torch.zeros(5),
        w=torch.zeros(4, 5),
    )
    assert (found.weight, found.bias, found.channel_axis) == ("w", "b", 1)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (
            lambda g, x, w: g.call_function(
                aten.linear.default, (x, g.call_function(aten.relu.default, (w,)))
            ),
            "its weight is computed at run time",
        ),
        (
            lambda g, x, w: g.call_function(aten.addmm.default, (w, x, w), {"beta": 2}),
            "its factors alpha and beta are not 1",
        ),
        (
            lambda g, x, w: g.call_function(aten.einsum.default, ("bi,io->bo", [x, w])),
            "its equation hides which axis counts output channels",
        ),
        (
            lambda g, x, w: g.call_function(aten.layer_norm.default, (x, [4], w)),
            "it has one number per channel",
        ),
        (
            lambda g, x, _: g.call_function(aten.layer_norm.default, (x, [4])),
            "it has one number per channel",
        ),
    ],
)  # fmt: skip
def test_why_a_layer_cannot_be_compressed(build, reason):
    found = only_layer(build, w=torch.zeros(4, 4))
    assert (found.compressible, found.reason) == (False, reason)


def test_a_transformer_lists_its_products_and_names_a_tied_weight_once():
    network = capture(Transformer(), torch.zeros(2, 4, dtype=torch.int64))
    found = layers(network)
    assert [layer.op for layer in found] == [
        *("embedding", "linear", "attention", "linear", "layer_norm"),
        *("linear", "linear", "layer_norm", "linear"),
    ]
    assert found[0].weight == found[-1].weight
    assert len({layer.name for layer in found}) == len(found)
    assert found[1].name == "block.self_attn.in_proj_weight"
    assert found[2].reason == "it multiplies activations"


def test_integers_are_no_weights():
    network = single(
        lambda g, x, w: g.call_function(aten.linear.default, (x, w)), w=torch.ones(4, 4)
    )
    network.set_tensor("w", torch.ones(4, 4, dtype=torch.int8))
    assert layers(network)[0].reason == "its weight holds int8"


def recurrent(kind, **settings):
    made = getattr(nn, kind)(3, 4, batch_first=True, **settings)
    return capture(made, torch.randn(2, 5, 3))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("settings", [{}, {"num_layers": 2}, {"bidirectional": True}])
@pytest.mark.parametrize("bias", [True, False])
def test_every_matrix_of_a_recurrent_layer_is_a_layer_with_its_own_bias(kind, settings, bias):
    network = recurrent(kind, bias=bias, **settings)
    found = layers(network)
    matrices = [n for n, t in network.module.state_dict().items() if t.ndim == 2]
    assert [layer.weight for layer in found] == matrices
    assert all(layer.compressible and layer.channel_axis == 0 for layer in found)
    wanted = [n.replace("weight", "bias") if bias else None for n in matrices]
    assert [layer.bias for layer in found] == wanted


def test_the_projection_of_an_lstm_is_a_layer_without_bias():
    found = layers(recurrent("LSTM", proj_size=2))
    assert [(layer.weight, layer.bias) for layer in found] == [
        ("weight_ih_l0", "bias_ih_l0"),
        ("weight_hh_l0", "bias_hh_l0"),
        ("weight_hr_l0", None),
    ]
