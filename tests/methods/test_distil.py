"""What the parts of distillation add to the loss of a training."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from tests.methods.distilling import (
    EACH,
    OF_THE_TEACHER,
    at_work,
    run_of,
    student_of,
    thin,
    wide,
)

from tersor.codes.affine import Affine
from tersor.errors import InputError, ModelError
from tersor.methods.distil.attention import Attention, attention
from tersor.methods.distil.features import Features
from tersor.methods.distil.itself import Itself
from tersor.methods.distil.layers import Layers, blocks_of, guide
from tersor.methods.distil.soft_targets import SoftTargets
from tersor.methods.distil.teachers import Teachers
from tersor.methods.train.fine_tune import FineTune
from tersor.testing.networks import convolutional, encoder, perceptron, samples_for
from tersor.train.during import Part
from tersor.train.projection import unexplained


def test_soft_targets_are_those_of_the_temperature():
    part, forward = at_work(SoftTargets(temperature=3.0, weight=0.5), student_of(perceptron()))
    q, p = (
        (forward.outputs[0] / 3).log_softmax(1),
        forward.teacher.outputs[0].div(3).softmax(1),
    )
    wanted = 0.5 * 9 * (p * (p.log() - q)).sum(1).mean()
    assert part.loss(forward).item() == pytest.approx(wanted.item(), rel=1e-5)
    assert part.notes()[0].text == "soft targets at temperature 3"


def low_bits(network):
    for name in ("first", "second"):
        weight = network.tensor(f"{name}.weight").detach()
        network.set_code(f"{name}.weight", Affine.encode(weight, bits=3, axis=0))
    return network


@pytest.mark.parametrize(("bits", "temperature"), [(None, "4"), (3, "1")])
def test_the_temperature_falls_with_the_bits(bits, temperature):
    network = perceptron().copy() if bits is None else low_bits(perceptron().copy())
    for during in (SoftTargets(), Teachers(), Itself()):
        part, forward = at_work(during, network)
        part.loss(forward)
        assert part.notes()[0].text.endswith(f"at temperature {temperature}")


def test_the_temperature_is_that_of_codes_that_another_part_put_in_place():
    @dataclass(frozen=True)
    class Rounds:
        def start(self, run):
            low_bits(run.network)
            return Part()

    step = FineTune(epochs=1, batch=8, during=(SoftTargets(), Rounds()), loss="original")
    notes = step.apply(perceptron(), samples_for(perceptron())).notes
    assert "soft targets at temperature 1" in [note.text for note in notes]


def test_features_are_the_shares_that_maps_miss():
    """Stages of a perceptron: two hidden layers, 16 for 32 channels and 8 for 16."""
    part, forward = at_work(Features(weight=2.0), student_of(perceptron()))
    found = part.loss(forward).item()  # the maps have begun
    maps = list(part.parameters())
    shares = []
    for name, weight, bias in zip(forward.values, maps[::2], maps[1::2], strict=True):
        own, wanted = forward.values[name], forward.teacher.values[name]
        assert weight.shape == (wanted.shape[1], own.shape[1])
        shares.append(unexplained(own @ weight.T + bias, wanted).item())
    assert len(shares) == 2
    assert found == pytest.approx(2 * np.mean(shares), rel=1e-5)


def test_attention_maps_are_sums_of_squares_of_length_one():
    value = torch.randn(3, 5, 4, 2, generator=torch.Generator().manual_seed(0))
    found = attention(value, axis=1).numpy()
    squares = np.square(value.numpy()).sum(1).reshape(3, 8)
    assert np.allclose(found, squares / np.linalg.norm(squares, axis=1)[:, None], atol=1e-6)
    last = attention(value.movedim(1, -1), axis=3).numpy()
    assert np.allclose(last, found, atol=1e-6)
    wave = attention(value[:, :, :, 0], axis=1).numpy()
    squares = np.square(value.numpy()[..., 0]).sum(1)
    assert np.allclose(wave, squares / np.linalg.norm(squares, axis=1)[:, None], atol=1e-6)


def test_relations_are_cosines_of_tokens():
    value = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    found = attention(value, axis=2).numpy()
    for own, tokens in zip(found, value.numpy(), strict=True):
        units = tokens / np.linalg.norm(tokens, axis=1)[:, None]
        cosines = units @ units.T
        assert np.allclose(own, (cosines / np.linalg.norm(cosines)).ravel(), atol=1e-6)
    samples = attention(value[0], axis=1)
    assert torch.allclose(samples[0], torch.from_numpy(found[0]), atol=1e-6)


def test_of_long_sequences_some_tokens_are_looked_at():
    value = torch.randn(1, 600, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(attention(value, axis=2), attention(value[:, ::3], axis=2))


def test_attention_is_the_distance_of_maps():
    part, forward = at_work(Attention(weight=3.0), student_of(wide()))
    wanted = [
        (attention(own, 1) - attention(forward.teacher.values[name], 1)).square().sum(1).mean()
        for name, own in forward.values.items()
    ]
    assert len(wanted) == 2
    loss = part.loss(forward)
    assert loss.item() == pytest.approx(3 * torch.stack(wanted).mean().item(), rel=1e-5)
    assert not list(part.parameters())


def test_attention_of_a_transformer_is_that_of_its_tokens():
    inputs = {"x": np.random.default_rng(0).standard_normal((8, 5, 16), np.float32)}
    network = replace(encoder(seed=1), origin=encoder())
    part, forward = at_work(Attention(), network, inputs)
    assert part.loss(forward).item() > 1e-3
    part, forward = at_work(Attention(), encoder().copy(), inputs)
    assert part.loss(forward).item() == pytest.approx(0, abs=1e-9)


def test_values_of_one_position_have_no_attention():
    network = convolutional().copy()
    with pytest.raises(ModelError, match="max_pool2d_default: it has one position"):
        Attention(nodes=("max_pool2d_default",)).start(run_of(_shrunk(network)))


def _shrunk(network):
    """A network whose pool leaves one position."""
    (pool,) = (n for n in network.graph.nodes if n.name == "max_pool2d_default")
    pool.args = (pool.args[0], [8, 8])
    network.module.recompile()
    return replace(network, origin=network)


def test_layers_teach_each_block_with_its_own_loss_alone():
    """Gradients of a block are those of its share with its input held fixed."""
    network = student_of(perceptron())
    part, forward = at_work(Layers(weight=2.0), network)
    loss = part.loss(forward)
    loss.backward()
    maps = list(part.parameters())
    value, shares = forward.inputs[0], []
    for i, name in enumerate(("first", "second")):
        weight, bias = (
            network.tensor(f"{name}.{leaf}").detach() for leaf in ("weight", "bias")
        )
        weight.requires_grad_(True)
        value = torch.relu(value.detach() @ weight.T + bias)
        wanted = forward.teacher.values[f"relu_default{'_1' * i}"]
        share = unexplained(value @ maps[2 * i].T + maps[2 * i + 1], wanted)
        (gradient,) = torch.autograd.grad(2 * share, weight, retain_graph=True)
        found = network.module.get_parameter(f"{name}.weight").grad
        assert torch.allclose(found, gradient, atol=1e-5)
        shares.append(share.item())
    assert loss.item() == pytest.approx(2 * np.mean(shares), rel=1e-5)
    assert network.module.get_parameter("third.weight").grad is None
    assert all(map_.grad is not None for map_ in maps)


def test_a_guide_has_the_gradient_of_a_loss_for_some_parameters():
    one, other = (torch.nn.Parameter(torch.tensor([2.0, 3.0])) for _ in range(2))
    unused = torch.nn.Parameter(torch.ones(2))
    guide((one * other).sum() ** 2, [one, unused]).backward()
    assert torch.equal(one.grad, 2 * 13 * other)
    assert other.grad is None
    assert unused.grad is None


def test_blocks_hold_all_that_lies_between_two_ends():
    network = thin()
    relus = [n.name for n in network.graph.nodes if n.name.startswith("relu")]
    stem, _, a, _, b, _, c = relus
    found = blocks_of(network, [stem, a, b, c])
    assert found[stem] == ("stem.weight", "stem.bias")
    norms = [f"b.bn{i}.{leaf}" for i in (1, 2) for leaf in ("weight", "bias")]
    convs = ["b.conv1.weight", "b.conv2.weight", "b.short.weight", "b.short.bias"]
    assert sorted(found[b]) == sorted([*norms, *convs])
    assert not set(found[a]) & set(found[c])
    network.set_code("stem.weight", Affine.encode(network.tensor("stem.weight"), bits=4))
    assert set(blocks_of(network, [stem])[stem]) == {"stem.weight.weight", "stem.bias"}


@pytest.mark.parametrize("name", OF_THE_TEACHER)
def test_without_a_teacher_it_says_so(name):
    with pytest.raises(ModelError, match="has no teacher"):
        EACH[name].start(run_of(perceptron()))


@pytest.mark.parametrize("name", EACH)
def test_with_no_weight_nothing_is_asked(name):
    part = replace(EACH[name], weight=0.0).start(run_of(perceptron()))
    assert type(part) is Part


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SoftTargets(temperature=-1.0), "temperature must be above 0, or 0"),
        (lambda: SoftTargets(weight=-1.0), "weight must be 0 or more"),
        (lambda: Features(count=-1), "count must be 0 or more"),
        (lambda: Features(weight=float("inf")), "weight must be 0 or more"),
        (lambda: Attention(count=-1), "count must be 0 or more"),
        (lambda: Attention(weight=-1.0), "weight must be 0 or more"),
        (lambda: Layers(weight=-1.0), "weight must be 0 or more"),
        (lambda: Teachers(models=("a.pt",)), r"models must be files .onnx, .pt2, .tsr"),
        (lambda: Teachers(original=False), "models must be given, or original = true"),
        (lambda: Teachers(temperature=-1.0), "temperature must be above 0, or 0"),
        (lambda: Teachers(weight=-1.0), "weight must be 0 or more"),
        (lambda: Itself(decay=1.0), r"decay must be in \[0, 1\)"),
        (lambda: Itself(temperature=-1.0), "temperature must be above 0, or 0"),
        (lambda: Itself(weight=-1.0), "weight must be 0 or more"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
