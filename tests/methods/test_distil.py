"""Learning from a teacher, while training."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch
from tests.methods.distilling import images, taught, thin, unlike, wide
from tests.train.trainings import FAST, same

from tersor.codes.affine import Affine
from tersor.codes.codebook import Codebook
from tersor.codes.masked import Masked
from tersor.data.samples import Samples
from tersor.errors import InputError, ModelError
from tersor.export.onnx import to_onnx
from tersor.methods.distil import teachers
from tersor.methods.distil.attention import Attention, attention
from tersor.methods.distil.features import Features
from tersor.methods.distil.itself import Itself
from tersor.methods.distil.layers import Layers, blocks_of, guide
from tersor.methods.distil.soft_targets import SoftTargets
from tersor.methods.distil.teachers import Teachers
from tersor.methods.train.augment import Augment
from tersor.methods.train.fine_tune import FineTune
from tersor.network.modes import set_training
from tersor.network.narrow import narrowed
from tersor.network.network import Network, Port
from tersor.store.model import save_model
from tersor.testing.networks import convolutional, encoder, perceptron, samples_for
from tersor.train.during import Epoch, Forward, Part, Run
from tersor.train.loop import trainable
from tersor.train.projection import unexplained
from tersor.train.surroundings import Surroundings, surrounded
from tersor.train.taps import parted, tapped
from tersor.train.teacher import Answer

EACH = {
    "soft_targets": SoftTargets(),
    "features": Features(),
    "attention": Attention(),
    "layers": Layers(),
    "teachers": Teachers(),
    "itself": Itself(),
    "itself-best": Itself(teacher="best"),
}
OF_THE_TEACHER = [name for name in EACH if "itself" not in name]
each = pytest.mark.parametrize("name", EACH)


def run_of(network, **given):
    return Run(network, **{"steps": 10, "epochs": 1, "samples": 8, "seed": 0, **given})


def at_work(during, network, inputs=None):
    """A part, and a batch of inputs as it sees it."""
    given = samples_for(network, 8, seed=3).inputs if inputs is None else inputs
    x = [torch.from_numpy(a) for a in given.values()]
    count = len(x[0])
    part = during.start(run := run_of(network, rows=count))
    needs = part.needs()
    teacher = tapped(run.teacher, needs.teacher_values) if network.origin else network
    with torch.no_grad():
        answer = Answer(*parted(teacher.module(*x), needs.teacher_values))
    outputs, values = parted(tapped(network, needs.values).module(*x), needs.values)
    return part, Forward(np.arange(count), tuple(x), None, outputs, values, answer)


def student_of(teacher, factor=0.5):
    return narrowed(teacher, factor, seed=1)


# What each adds to the loss.


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


def test_several_teachers_are_imitated_on_average(tmp_path):
    """One that came from ONNX, one from torch.export, one from a .tsr file."""
    paths, networks = _files(tmp_path)
    network = student_of(perceptron())
    during = Teachers(models=tuple(map(str, paths)), temperature=2.0)
    part, forward = at_work(during, network)
    said = [teacher.module(*forward.inputs)[0] for teacher in (*networks, perceptron())]
    p = torch.stack([(each / 2).softmax(1) for each in said]).mean(0)
    wanted = 4 * (p * (p.log() - (forward.outputs[0] / 2).log_softmax(1))).sum(1).mean()
    assert part.loss(forward).item() == pytest.approx(wanted.item(), rel=1e-4)
    told = "mean of one.onnx, two.pt2, three.tsr, the original at temperature 2"
    assert part.notes()[0].text == told


class Perceptron(torch.nn.Module):
    """`perceptron` as a module of torch."""

    def __init__(self, network):
        super().__init__()
        self.tensors = torch.nn.ParameterDict(
            {n.replace(".", "_"): t for n, t in network.module.named_parameters()}
        )

    def forward(self, x):
        for name in ("first", "second", "third"):
            weight, bias = self.tensors[f"{name}_weight"], self.tensors[f"{name}_bias"]
            x = torch.nn.functional.linear(x, weight, bias)
            x = x if name == "third" else x.relu()
        return x


def _files(folder):
    """Three perceptrons in files of three kinds."""
    teachers = [perceptron(seed) for seed in (1, 2, 3)]
    paths = [folder / name for name in ("one.onnx", "two.pt2", "three.tsr")]
    paths[0].write_bytes(to_onnx(teachers[0]))
    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(
        Perceptron(teachers[1]), (torch.randn(4, 12),), dynamic_shapes=(batch,)
    )
    torch.export.save(program, paths[1])
    save_model(paths[2], to_onnx(teachers[2]), {})
    return paths, teachers


def test_further_teachers_compute_each_sample_once(tmp_path, monkeypatch):
    path = tmp_path / "one.onnx"
    path.write_bytes(to_onnx(perceptron(1)))
    calls = []
    given = teachers.Teacher.outputs
    computed = teachers.Teacher._computed

    def counted(self, *arguments):
        calls.append("computed")
        return computed(self, *arguments)

    def asked(self, *arguments):
        calls.append("asked")
        return given(self, *arguments)

    monkeypatch.setattr(teachers.Teacher, "_computed", counted)
    monkeypatch.setattr(teachers.Teacher, "outputs", asked)
    during = Teachers(models=(str(path),), original=False)
    step = FineTune(epochs=3, batch=8, during=(during,))
    labels = np.arange(16) % 3
    step.apply(perceptron(), Samples(samples_for(perceptron()).inputs, labels))
    assert (calls.count("asked"), calls.count("computed")) == (6, 2)


def test_inputs_of_teachers_are_told_apart_by_name(tmp_path):
    """Two inputs in another order."""
    both = _difference("a", "b")
    path = tmp_path / "turned.onnx"
    path.write_bytes(to_onnx(_difference("b", "a", sign=-1)))
    part, forward = at_work(Teachers(models=(str(path),), original=False), both)
    assert part.loss(forward).item() == pytest.approx(0, abs=1e-6)


def _difference(first, second, sign=1):
    """sign * (first - second), through a layer that gives back its input."""
    graph, root = torch.fx.Graph(), torch.nn.Module()
    root.register_parameter("weight", torch.nn.Parameter(sign * torch.eye(3)))
    one, other = graph.placeholder(first), graph.placeholder(second)
    less = graph.call_function(torch.ops.aten.sub.Tensor, (one, other))
    weight = graph.get_attr("weight")
    graph.output((graph.call_function(torch.ops.aten.linear.default, (less, weight)),))
    ports = [Port(name, ("batch", 3), "float32") for name in (first, second, "y")]
    return Network(torch.fx.GraphModule(root, graph), tuple(ports[:2]), (ports[2],))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (convolutional, r"inputs of .*other.onnx must be like x float32 \('batch', 12\)"),
        (lambda: _difference("a", "b"), "inputs of .* must be like x float32"),
        (
            lambda: _renamed(perceptron(), ("batch", 4)),
            r"outputs of .* must be like y float32",
        ),
        (lambda: _renamed(perceptron(), (5, 3)), r"outputs of .* must be like y float32"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(other, message, monkeypatch):
    monkeypatch.setattr(teachers, "_read", lambda _: other())
    with pytest.raises(InputError, match=message):
        Teachers(models=("other.onnx",)).start(run_of(perceptron()))


def _renamed(network, shape):
    return replace(network, outputs=(Port("y", shape, "float32"),))


def test_the_teacher_of_oneself_is_the_mean_of_all_weights():
    run = run_of(student_of(perceptron()))
    part = Itself(decay=0.5, temperature=2.0).start(run)
    x = torch.from_numpy(samples_for(run.network).inputs["x"])
    means = {n: p.detach().clone() for n, p in trainable(run.network).items()}
    for step in range(1, 5):
        outputs = run.network.module(x)
        said = _with(run.network, means).module(x)[0].detach()
        q, p = (outputs[0] / 2).log_softmax(1), (said / 2).softmax(1)
        forward = Forward(np.arange(16), (x,), None, outputs, {}, Answer())
        wanted = 4 * (p * (p.log() - q)).sum(1).mean().item()
        assert part.loss(forward).item() == pytest.approx(wanted, rel=1e-4, abs=1e-7)
        assert (wanted > 1e-5) == (step > 1)
        _move(run.network, seed=step)
        run.step = step
        part.after_step()
        decay = min(0.5, step / (9 + step))
        for name, parameter in trainable(run.network).items():
            means[name] = decay * means[name] + (1 - decay) * parameter.detach()


def _with(network, tensors):
    """A copy of a network with other tensors."""
    result = network.copy()
    for name, tensor in tensors.items():
        result.set_tensor(name, tensor)
    return result


def _move(network, seed):
    """Change all weights, as a step of training does."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in trainable(network).values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)


def test_the_best_of_oneself_is_that_of_the_least_error():
    run = run_of(student_of(perceptron()))
    part = Itself(teacher="best", temperature=2.0).start(run)
    x = torch.from_numpy(samples_for(run.network).inputs["x"])

    def distance():
        outputs = run.network.module(x)
        return part.loss(Forward(np.arange(16), (x,), None, outputs, {}, Answer())).item()

    assert distance() == pytest.approx(0, abs=1e-6)  # that of the start
    found = []
    for number, error in enumerate((0.5, 0.7, 0.4), 1):
        _move(run.network, seed=number)
        part.after_step()
        part.after_epoch(Epoch(number, 1.0, error))
        found.append(distance() < 1e-6)
    assert found == [True, False, True]
    fresh = Itself(teacher="best").start(run)
    fresh.load(part.state())
    fresh.after_epoch(Epoch(4, 1.0, 0.45))  # no better than what the state knows
    assert fresh.state()["least error"] == pytest.approx(0.4)


def test_the_teacher_of_oneself_behaves_as_in_training():
    """By the batch's own statistics, and none are collected."""
    run = run_of(convolutional().copy())
    part = Itself(temperature=1.0).start(run)
    trainee = set_training(run.network, training=True)
    x = torch.from_numpy(samples_for(run.network).inputs["x"])
    outputs = trainee.module(x)
    forward = Forward(np.arange(16), (x,), None, outputs, {}, Answer())
    before = {n: b.clone() for n, b in run.network.module.named_buffers()}
    assert part.loss(forward).item() == pytest.approx(0, abs=1e-6)
    assert before
    for name, buffer in run.network.module.named_buffers():
        assert torch.equal(buffer, before[name])
    settled = replace(forward, outputs=run.network.module(x))
    assert part.loss(settled).item() > 1e-3


# What comes of it.


@each
def test_gradients_reach_the_student_and_maps_and_not_the_teacher(name):
    network = replace(thin(), origin=wide())
    part, forward = at_work(EACH[name], network)
    if name.startswith("itself"):
        part.loss(forward)
        _move(network, seed=1)
        forward = replace(forward, outputs=network.module(*forward.inputs))
    loss = part.loss(forward)
    loss.backward()
    grown = [p.grad for p in trainable(network).values()]
    assert any(g is not None and bool(g.any()) for g in grown)
    assert all(bool(p.grad.any()) for p in part.parameters())
    assert all(p.grad is None for p in wide().module.parameters())


@cache
def alone():
    """A thin student that saw its teacher's outputs only."""
    return taught(thin())


@pytest.mark.parametrize("name", ["soft_targets", "features", "layers", "teachers"])
def test_a_thin_student_imitates_better_with_it_than_without(name):
    plain, helped = (unlike(each, wide()) for each in (alone(), taught(thin(), EACH[name])))
    assert helped < 0.95 * plain < 0.6 * unlike(thin(), wide())


def test_a_thin_student_is_active_where_its_teacher_is():
    def distance(network):
        part, forward = at_work(Attention(), network, images(200, 2).inputs)
        return part.loss(forward).item()

    helped = taught(thin(), EACH["attention"])
    assert distance(helped) < 0.8 * distance(alone())
    assert unlike(helped, wide()) < 0.6 * unlike(thin(), wide())


@pytest.mark.parametrize("name", ["features", "layers"])
def test_a_student_that_was_never_trained_is_taught_through_maps(name):
    """What its values miss of the teacher's on other inputs, where the best map is taken."""

    def missed(network):
        inputs = samples_for(network, 500, seed=1).inputs
        part, forward = at_work(Features(), network, inputs)
        return part.loss(forward).item()

    network = student_of(perceptron())
    plain, helped = (quickly(network, *during, epochs=40) for during in ((), (EACH[name],)))
    assert missed(helped) < 0.9 * missed(plain)
    assert helped.module.state_dict().keys() == network.module.state_dict().keys()


def quickly(network, *during, epochs=3):
    """A perceptron that learns from its teacher on 64 samples."""
    step = FineTune(epochs=epochs, batch=16, loss="original", during=during, optimizer=FAST)
    return step.apply(network, samples_for(network, 64))


def coded(kind):
    """A thin network whose weights are held by codes."""
    network = student_of(perceptron()).copy()
    for name in ("first.weight", "second.weight"):
        network.set_code(name, kind(network.tensor(name).detach()))
    return network


@each
@pytest.mark.parametrize(
    "kind",
    [
        lambda w: Masked.encode(w, w.abs() > w.abs().median()),
        lambda w: Affine.encode(w, bits=4, axis=0),
        lambda w: Codebook.encode(w, torch.linspace(-0.5, 0.5, 16)),
    ],
    ids=["masked", "affine", "codebook"],
)
def test_it_works_under_every_code(name, kind):
    network = coded(kind)
    result = quickly(network, EACH[name], epochs=25)
    losses = [loss for loss, _ in result.notes[-1].curve]
    assert losses[-1] < 0.97 * losses[0]
    code, before = (each.code("second.weight") for each in (result, network))
    assert type(code) is type(before)
    assert not torch.equal(code.decode(), before.decode())
    if isinstance(code, Masked):
        assert torch.equal(code.mask, before.mask)


class InterruptError(Exception):
    pass


@dataclass(frozen=True)
class Stop:
    """Ends the whole program in a step."""

    at: list

    def start(self, run):
        class Stopping(Part):
            def __init__(self, at):
                self._at = at

            def before_step(self):
                if run.step in self._at:
                    raise InterruptError

        return Stopping(self.at)

    def __repr__(self):
        return "Stop"


@each
def test_an_interrupted_training_goes_on_to_the_same_weights(name, tmp_path):
    at, network = [10], student_of(perceptron())
    during = (EACH[name], Stop(at))
    with surrounded(Surroundings(checkpoints=tmp_path)), pytest.raises(InterruptError):
        quickly(network, *during, epochs=4)
    at.clear()
    assert len(list(tmp_path.glob("*.pt"))) == 1
    with surrounded(Surroundings(checkpoints=tmp_path)):
        resumed = quickly(network, *during, epochs=4)
    whole = quickly(network, *during, epochs=4)
    assert same(resumed, whole)
    assert resumed.notes[-1] == whole.notes[-1]
    assert not same(whole, quickly(network, epochs=4))


def test_images_that_are_kept_are_the_same_bits_as_computed_ones(tmp_path):
    """Channels are last in memory, and attention adds them up."""
    at = [6]
    during = (Attention(), Stop(at))
    with surrounded(Surroundings(checkpoints=tmp_path)), pytest.raises(InterruptError):
        taught(thin(), *during, epochs=2)
    at.clear()
    with surrounded(Surroundings(checkpoints=tmp_path)):
        resumed = taught(thin(), *during, epochs=2)
    assert same(resumed, taught(thin(), *during, epochs=2))


@each
def test_images_that_are_moved_are_shown_to_the_teacher_as_they_are(name):
    result = taught(thin(), EACH[name], Augment(shift=1), epochs=2)
    losses = [loss for loss, _ in result.notes[-1].curve]
    assert losses[1] < 0.9 * losses[0]


def test_labels_and_a_teacher_go_together():
    samples = images(64, 50)
    step = FineTune(epochs=2, batch=16, during=(SoftTargets(), Features()), loss="labels")
    result = step.apply(thin(), samples)
    assert "loss labels" in result.notes[-1].text
    assert result.notes[-1].curve[0][0] > 2


def test_notes_tell_what_was_compared():
    notes = taught(thin(), Features(), Layers(), epochs=1).notes
    texts = {note.method: note.text for note in notes}
    relus = [n.name for n in thin().graph.nodes if n.name.startswith("relu")]
    ends = [relus[0], relus[2], relus[4], relus[6]]
    sizes = (8, 8, 16, 16)
    blocks = ", ".join(f"{n} ({c} for {c} channels)" for n, c in zip(ends, sizes, strict=True))
    stages = ", ".join(f"{n} ({c} for {c} channels)" for n, c in ((ends[1], 8), (ends[3], 16)))
    assert texts["distil.features"] == f"values learnt from the teacher: {stages}"
    assert texts["distil.layers"] == f"blocks that learnt from the teacher's: {blocks}"


@pytest.mark.parametrize("name", OF_THE_TEACHER)
def test_without_a_teacher_it_says_so(name):
    with pytest.raises(ModelError, match="has no teacher"):
        EACH[name].start(run_of(perceptron()))


@each
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
