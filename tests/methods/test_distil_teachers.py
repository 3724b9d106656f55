"""Teachers that are not the original: several, and oneself."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from tests.methods.distilling import at_work, move, run_of, student_of

from tersor.data.samples import Samples
from tersor.errors import InputError
from tersor.export.onnx import to_onnx
from tersor.methods.distil import teachers
from tersor.methods.distil.itself import Itself
from tersor.methods.distil.teachers import Teachers
from tersor.methods.train.fine_tune import FineTune
from tersor.network.modes import set_training
from tersor.network.network import Network, Port
from tersor.store.model import save_model
from tersor.testing.networks import convolutional, perceptron, samples_for
from tersor.train.during import Epoch, Forward
from tersor.train.loop import trainable
from tersor.train.surroundings import Surroundings, surrounded
from tersor.train.teacher import Answer


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


class InterruptError(Exception):
    pass


def _write(path, network, *, beside):
    """An ONNX file, perhaps with its weights in another one."""
    path.write_bytes(to_onnx(network))
    if beside:
        model = onnx.load(path)
        sizes = {"size_threshold": 0, "location": "weights"}
        onnx.save_model(model, path, save_as_external_data=True, **sizes)


@pytest.mark.parametrize("beside", [False, True], ids=["one file", "weights beside it"])
def test_an_interrupted_training_goes_on_with_the_same_teachers_only(tmp_path, beside):
    """Other weights in the files: it starts anew, as if nothing had been."""
    path, folder = tmp_path / "teacher.onnx", tmp_path / "checkpoints"
    step = FineTune(epochs=3, batch=8, during=(Teachers(models=(str(path),)),))
    samples = Samples(samples_for(perceptron(), 40).inputs, np.arange(40) % 3)
    told = []

    def stop(progress):
        if progress > 0.7:
            raise InterruptError

    def trained(tell, checkpoints=folder):
        told.clear()
        with surrounded(Surroundings(checkpoints=checkpoints, tell=tell)):
            return step.apply(perceptron(), samples)

    for seed in (1, 2):
        (tmp_path / "weights").unlink(missing_ok=True)
        _write(path, perceptron(seed), beside=beside)
        with pytest.raises(InterruptError):
            trained(stop)
        assert len(list(folder.glob("*.pt"))) == seed
    found = trained(told.append)
    assert min(told) > 0.6  # it went on
    whole = trained(told.append, None)
    assert min(told) < 0.2
    for name, tensor in whole.module.state_dict().items():
        assert torch.equal(found.module.state_dict()[name], tensor)


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
        move(run.network, seed=step)
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
        move(run.network, seed=number)
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
