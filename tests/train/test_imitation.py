"""How unlike its teachers' a network's outputs are."""

import numpy as np
import pytest
import torch

from tersor.codes.affine import Affine
from tersor.codes.codebook import Codebook
from tersor.codes.masked import Masked
from tersor.errors import DataError, InputError
from tersor.network.network import Network
from tersor.testing.networks import aten, perceptron
from tersor.train.imitation import Form, Imitation, forms, soft_targets, temperature_for


def softmax(rows):
    powers = np.exp(rows - rows.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def definition(own, teachers, t):
    """T^2 KL(p || q), word by word, in float64."""
    q = softmax(own.double().numpy() / t)
    p = np.mean([softmax(each.double().numpy() / t) for each in teachers], axis=0)
    return t * t * (p * np.log(p / q)).sum(-1).mean()


def scores(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 3


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("teachers", [1, 3])
def test_soft_targets_equal_their_definition(temperature, teachers):
    own, given = scores(0, 6, 5), [scores(i, 6, 5) for i in range(1, teachers + 1)]
    found = soft_targets(own, given, temperature)
    assert float(found) == pytest.approx(definition(own, given, temperature), rel=1e-5)


def test_soft_targets_of_another_axis_are_those_of_the_last_moved():
    own, given = scores(0, 2, 5, 3), scores(1, 2, 5, 3)
    moved = soft_targets(own.mT, [given.mT], 2.0)
    assert float(soft_targets(own, [given], 2.0, axis=1)) == pytest.approx(float(moved))


def test_the_size_of_gradients_does_not_depend_on_a_high_temperature():
    """Hinton et al., equation (4): (s - t) / classes, of centred scores."""
    own, given = scores(0, 1, 4), scores(1, 1, 4)
    own, given = own - own.mean(), given - given.mean()
    own.requires_grad_(True)
    soft_targets(own, [given], 1000.0).backward()
    assert torch.allclose(own.grad, (own.detach() - given) / 4, atol=0.02)


def with_softmax(target):
    """A perceptron that ends in a softmax."""
    network = perceptron().copy()
    (output,) = (node for node in network.graph.nodes if node.op == "output")
    with network.graph.inserting_before(output):
        last = network.graph.call_function(target, (output.args[0][0], -1))
    output.args = ((last,),)
    network.module.recompile()
    return Network(network.module, network.inputs, network.outputs)


def test_forms_tell_chances_and_their_axis():
    assert forms(perceptron()) == (Form(),)
    assert forms(with_softmax(aten.softmax.int)) == (Form(chances=True, axis=-1),)
    assert forms(with_softmax(aten.log_softmax.int)) == (Form(chances=False, axis=-1),)


def test_chances_are_read_as_scores():
    """A student of scores and a teacher of chances."""
    own, given = scores(0, 6, 3), scores(1, 6, 3)
    imitation = Imitation(perceptron(), [with_softmax(aten.softmax.int)], temperature=3.0)
    found = imitation([own], [[given.softmax(-1)]])
    assert float(found) == pytest.approx(definition(own, [given], 3.0), rel=1e-4)


def test_embeddings_are_imitated_by_their_angle():
    given = torch.nn.functional.normalize(scores(0, 5, 4), dim=1)
    own = scores(1, 5, 4)
    cosines = [float(a @ b / a.norm() / b.norm()) for a, b in zip(own, given, strict=True)]
    found = Imitation(perceptron(), [perceptron()])([own], [[given]])
    assert float(found) == pytest.approx(1 - np.mean(cosines), rel=1e-5)


def test_other_outputs_are_imitated_by_their_squares():
    own, one, other = scores(0, 4, 1), scores(1, 4, 1), scores(2, 4, 1)
    mean = (one + other) / 2
    wanted = float((own - mean).square().mean() / mean.var(correction=0))
    found = Imitation(perceptron(), [perceptron()] * 2)([own], [[one], [other]])
    assert float(found) == pytest.approx(wanted, rel=1e-5)


def test_more_axes_are_classes_only_if_somebody_says_so():
    own, given = scores(0, 2, 3, 5), scores(1, 2, 3, 5)
    squares = float((own - given).square().mean() / given.var(correction=0))
    plain = Imitation(perceptron(), [perceptron()], temperature=2.0)
    told = Imitation(perceptron(), [perceptron()], temperature=2.0, class_axis=-1)
    assert float(plain([own], [[given]])) == pytest.approx(squares, rel=1e-5)
    wanted = definition(own, [given], 2.0)
    assert float(told([own], [[given]])) == pytest.approx(wanted, rel=1e-5)


def test_of_several_outputs_the_mean_counts_and_whole_numbers_do_not():
    network = perceptron().copy()
    (output,) = (node for node in network.graph.nodes if node.op == "output")
    output.args = ((output.args[0][0],) * 3,)
    network.module.recompile()
    own, given = scores(0, 4, 3), scores(1, 4, 3)
    whole = torch.zeros(4, 3, dtype=torch.int64)
    found = Imitation(network, [network], temperature=1.0)(
        [own, whole, given], [[given, whole, given]]
    )
    assert float(found) == pytest.approx(definition(own, [given], 1.0) / 2, rel=1e-5)


def test_what_does_not_fit_is_refused():
    imitation = Imitation(perceptron(), [perceptron()])
    message = r"Outputs of a teacher have shape \(4, 2\), the network's \(4, 3\)"
    with pytest.raises(DataError, match=message):
        imitation([scores(0, 4, 3)], [[scores(0, 4, 2)]])
    whole = torch.zeros(4, 3, dtype=torch.int64)
    with pytest.raises(DataError, match="Outputs are no floats"):
        imitation([whole], [[whole]])
    two = perceptron().copy()
    (output,) = (node for node in two.graph.nodes if node.op == "output")
    output.args = ((output.args[0][0],) * 2,)
    with pytest.raises(InputError, match="outputs of a teacher must be 1, as many"):
        Imitation(perceptron(), [two])


def held(code, names=("first", "second")):
    """A perceptron of which some weights are held by codes."""
    network = perceptron().copy()
    for name in names:
        network.set_code(f"{name}.weight", code(network.tensor(f"{name}.weight").detach()))
    return network


def centroids(count):
    return lambda weight: Codebook.encode(weight, torch.linspace(-1, 1, count))


@pytest.mark.parametrize(
    ("network", "temperature"),
    [
        (perceptron(), 4.0),
        (held(lambda w: Affine.encode(w, bits=8, axis=0)), 4.0),
        (held(lambda w: Affine.encode(w, bits=4, axis=0)), 4.0),
        (held(lambda w: Affine.encode(w, bits=3, axis=0)), 1.0),
        (held(lambda w: Affine.encode(w, bits=2)), 1.0),
        (held(centroids(16)), 4.0),
        (held(centroids(8)), 1.0),
        (held(lambda w: Masked.encode(w, w.abs() > 0.3)), 4.0),
        (held(lambda w: Affine.encode(w, bits=3, axis=0), ("first",)), 4.0),  # 384 of 944
        (held(lambda w: Affine.encode(w, bits=3, axis=0), ("second",)), 1.0),  # 512 of 944
    ],
)
def test_the_temperature_is_low_where_most_weights_have_three_bits(network, temperature):
    assert temperature_for(network) == temperature
    assert Imitation(network, [network]).temperature == temperature


def test_a_given_temperature_stays():
    assert Imitation(perceptron(), [perceptron()], temperature=7.0).temperature == 7.0
