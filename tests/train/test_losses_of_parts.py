"""Parts that add a loss of the batch: what they see, and what it costs."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from tests.train.trainings import same, state, task, trained
from torch import nn

from tersor.codes.affine import Affine
from tersor.data.samples import Samples
from tersor.errors import DataError, ModelError
from tersor.network.network import Network
from tersor.testing.networks import convolutional, perceptron, samples_for
from tersor.train.during import Forward, Needs, Part
from tersor.train.optimizer import Optimizer
from tersor.train.surroundings import Surroundings, surrounded

ALL = Needs(("relu_default", "linear_default_1"), True, ("relu_default_1",))


@dataclass(frozen=True)
class Losing:
    """A part whose loss is made by a function of the batch."""

    make: object = field(default=lambda _forward, _own: None, repr=False)
    wanted: Needs = field(default_factory=Needs)
    own: tuple[nn.Parameter, ...] = field(default=(), repr=False)

    def start(self, run):
        settings = self

        class At(Part):
            def needs(self):
                return settings.wanted

            def parameters(self):
                return settings.own

            def loss(self, forward):
                return settings.make(forward, settings.own)

        return At()


def seen(needs=ALL, **settings):
    """The batches that a part sees in a training."""
    found = []
    result = trained(during=(Losing(lambda f, _: found.append(f), needs),), **settings)
    return found, result


def test_a_part_sees_batch_outputs_values_and_teacher():
    samples = task(64)
    found, _ = seen(samples=samples, epochs=1)
    assert len(found) == 2
    teacher = perceptron()
    first: Forward = found[0]
    x = torch.from_numpy(samples.inputs["x"][first.rows])
    assert torch.equal(first.inputs[0], x)
    assert first.labels.tolist() == samples.labels[first.rows].tolist()
    assert torch.allclose(first.outputs[0], teacher.module(x)[0], atol=1e-6)
    assert set(first.values) == {"relu_default", "linear_default_1"}
    hidden = (x @ teacher.tensor("first.weight").T + teacher.tensor("first.bias")).relu()
    assert torch.allclose(first.values["relu_default"], hidden, atol=1e-5)
    assert first.values["relu_default"].requires_grad
    for forward in found:  # the teacher stays what it was
        x = torch.from_numpy(samples.inputs["x"][forward.rows])
        assert torch.allclose(forward.teacher.outputs[0], teacher.module(x)[0], atol=1e-5)
        assert set(forward.teacher.values) == {"relu_default_1"}
        assert not forward.teacher.values["relu_default_1"].requires_grad
    assert not torch.allclose(found[1].outputs[0], found[1].teacher.outputs[0], atol=1e-3)


def test_without_needs_a_part_sees_no_values_and_no_teacher():
    found, result = seen(Needs(), samples=task(64))
    assert found[0].values == {}
    assert found[0].teacher.outputs == ()
    assert same(result, trained(samples=task(64)))


def test_looking_changes_nothing():
    _, result = seen(samples=task(200))
    assert same(result, trained(samples=task(200)))


def test_values_are_float32_where_products_are_in_bf16():
    with surrounded(Surroundings(precision="bf16")):
        found, _ = seen(samples=task(64), epochs=1)
    assert {value.dtype for value in found[0].values.values()} == {torch.float32}


def test_the_loss_is_added_and_gradients_come_from_outputs_and_values():
    def shrink(forward, _):
        return 10 * forward.values["relu_default"].square().mean()

    needs = Needs(("relu_default",))
    given = {"samples": task(90), "epochs": 30}
    small = trained(during=(Losing(shrink, needs),), **given)
    plain = trained(**given)
    x = task(90).inputs["x"]

    def size(network):
        weight, bias = (state(network)[f"first.{leaf}"] for leaf in ("weight", "bias"))
        return np.square(np.maximum(x @ weight.T + bias, 0)).mean()

    assert size(small) < size(plain) / 3
    assert small.notes[-1].curve[0][0] > plain.notes[-1].curve[0][0] + 1


def test_own_parameters_are_trained_with_the_network_and_are_no_part_of_it():
    own = nn.Parameter(torch.tensor(3.0))
    part = Losing(lambda _, own: (own[0] - 1).square(), own=(own,))
    optimizer = Optimizer(learning_rate=0.1)
    result = trained(samples=task(90), epochs=40, during=(part,), optimizer=optimizer)
    assert own.item() == pytest.approx(1.0, abs=0.15)
    assert state(result).keys() == state(perceptron()).keys()
    without = trained(samples=task(90), epochs=40, optimizer=optimizer)
    assert same(result, without)


def test_clipping_takes_own_parameters_for_a_part_of_the_gradient():
    own = nn.Parameter(torch.zeros(2))
    part = Losing(lambda _, own: 1000 * own[0].sum(), own=(own,))
    clipped = Optimizer(
        kind="sgd", learning_rate=1.0, momentum=0.0, clip=0.01, schedule="constant"
    )
    trained(samples=task(64), batch=64, epochs=1, during=(part,), optimizer=clipped)
    assert own.norm().item() == pytest.approx(0.01, rel=1e-2)


def passes(monkeypatch, network_of_run):
    """Batches that each graph computes from now on, by whether it is the teacher's."""
    calls = {"teacher": 0, "trained": 0}
    call = torch.fx.GraphModule.__call__

    def counted(self, *tensors):
        grown = network_of_run()
        whose = "trained" if grown is not None and _shares(self, grown) else "teacher"
        calls[whose] += 1
        return call(self, *tensors)

    monkeypatch.setattr(torch.fx.GraphModule, "__call__", counted)
    return calls


def _shares(module, other):
    return module.get_parameter("first.weight") is other.get_parameter("first.weight")


def test_one_pass_of_the_network_and_one_of_the_teacher_serve_all(monkeypatch):
    module = []

    @dataclass(frozen=True)
    class Begins:
        def start(self, run):
            module.append(run.network.module)
            return Part()

    parts = (Begins(), *[Losing(wanted=ALL)] * 3)
    calls = passes(monkeypatch, lambda: module[-1] if module else None)
    samples = Samples({"x": task(64).inputs["x"]})  # none held out
    given = {"samples": samples, "batch": 16, "loss": "original"}
    trained(during=parts, epochs=1, **given)
    assert calls == {"teacher": 4, "trained": 4}
    calls.update(teacher=0, trained=0)
    trained(during=parts, epochs=3, **given)
    assert calls == {"teacher": 4, "trained": 12}  # what is known is not computed again


def test_held_out_samples_are_judged_without_parts():
    found, _ = seen(samples=task(200), epochs=1, batch=10)
    assert len(found) == 18  # of 180 samples


def test_a_part_that_needs_a_teacher_says_so_where_there_is_none():
    network = perceptron()
    held = Network(network.module, network.inputs, network.outputs)
    held.set_code("first.weight", Affine.encode(held.tensor("first.weight"), bits=2))
    with pytest.raises(ModelError, match="has no teacher: what it was before it was changed"):
        trained(network=held, during=(Losing(wanted=Needs(teacher=True)),))
    with pytest.raises(DataError, match="needs a teacher"):
        trained(network=held, loss="original")
    assert trained(network=held, during=(Losing(),)).notes


def test_a_node_that_is_not_there_is_refused():
    for needs in (Needs(("nowhere",)), Needs(teacher_values=("nowhere",))):
        with pytest.raises(ModelError, match="nowhere is no node of the network"):
            trained(during=(Losing(wanted=needs),))


def test_the_run_tells_how_many_samples_there_are_and_whether_they_change():
    runs = []

    @dataclass(frozen=True)
    class Turns:
        turning: bool

        def start(self, run):
            runs.append(run)

            class Turning(Part):
                def inputs(self, tensors):
                    return [each.flip(0) for each in tensors]

            return Turning() if self.turning else Part()

    for turning in (False, True):
        trained(samples=task(200), epochs=1, during=(Turns(turning),))
    assert [run.rows for run in runs] == [200, 200]
    assert [run.samples for run in runs] == [160, 160]
    assert [run.steady for run in runs] == [True, False]


def test_values_of_images_and_of_a_teacher_that_differs():
    teacher = convolutional(seed=1)
    network = replace(convolutional(), origin=teacher)
    found = []
    needs = Needs(("relu_default_2",), teacher_values=("relu_default_2",))
    part = Losing(lambda f, _: found.append(f), needs)
    samples = samples_for(network)
    trained(network=network, samples=samples, loss="original", during=(part,), batch=8)
    x = torch.from_numpy(samples.inputs["x"][found[0].rows])
    assert found[0].values["relu_default_2"].shape == (8, 8, 8, 8)
    assert torch.allclose(found[0].teacher.outputs[0], teacher.module(x)[0], atol=1e-5)


def test_needs_of_several_are_joined():
    one = Needs(("a", "b"), teacher_values=("t",))
    joined = Needs.of_all([one, Needs(("b", "c")), Needs(teacher_values=("t", "u"))])
    assert joined == Needs(("a", "b", "c"), True, ("t", "u"))
    assert Needs.of_all([]) == Needs()
