"""What training makes small, from outputs, labels and a teacher."""

import math

import pytest
import torch
from tests.train.trainings import task, trained

from tersor.data.samples import Samples
from tersor.errors import DataError, InputError
from tersor.testing.networks import convolutional, perceptron
from tersor.train.objective import resolve

CALLS = []


def square(outputs, labels):
    """A user's own loss."""
    CALLS.append((sorted(outputs), None if labels is None else labels.dtype))
    return outputs["y"].square().mean()


def broken(_outputs, _labels):
    """Gives no tensor."""
    return 3.0


def objective(name, network=None, **given):
    return resolve(name, network or perceptron().copy(), **{"has_labels": True, **given})


def scores(*rows):
    return (torch.tensor(rows, dtype=torch.float32),)


def test_labels_mean_cross_entropy_and_the_share_of_wrong_classes():
    found = objective("labels")
    outputs, labels = scores([2.0, 0.0], [0.0, 0.0], [0.0, 5.0]), torch.tensor([0, 1, 0])
    losses = [math.log(1 + math.exp(-2)), math.log(2), math.log(1 + math.exp(5))]
    assert float(found.loss(outputs, labels, None)) == pytest.approx(sum(losses) / 3)
    assert float(found.error(outputs, labels, None)) == pytest.approx(2 / 3, abs=1e-5)


def test_of_equally_many_errors_the_smaller_loss_is_better():
    found = objective("labels")
    labels = torch.tensor([0, 0])
    sure, unsure = scores([9.0, 0.0], [0.0, 1.0]), scores([1.0, 0.0], [0.0, 9.0])
    assert found.error(sure, labels, None) < found.error(unsure, labels, None)


def test_labels_that_are_fractions_mean_square_error():
    found = objective("labels")
    labels = torch.tensor([[1.0, 0.0]])
    assert float(found.loss(scores([3.0, 0.0]), labels, None)) == 2.0


@pytest.mark.parametrize(
    ("shape", "labels"),
    [((4, 3), (4,)), ((4, 3), (4, 1)), ((4, 5, 3), (4, 5)), ((4, 3, 5, 5), (4, 5, 5))],
)
def test_labels_may_be_one_or_many_to_a_sample(shape, labels):
    outputs = torch.zeros(shape)
    found = objective("labels").loss((outputs,), torch.zeros(labels, dtype=torch.int64), None)
    assert float(found) == pytest.approx(math.log(3))


@pytest.mark.parametrize("shape", [(5,), (4, 2), (3, 4)])
def test_labels_that_do_not_fit_are_refused(shape):
    with pytest.raises(DataError, match=r"have shape .* but the output has"):
        objective("labels").loss((torch.zeros(4, 3),), torch.zeros(shape).long(), None)


def test_class_numbers_out_of_range_are_refused():
    with pytest.raises(DataError, match="hold 7, but the model has classes 0 to 2"):
        objective("labels").loss((torch.zeros(2, 3),), torch.tensor([0, 7]), None)


def test_the_original_is_imitated_by_its_chances():
    found = objective("original", has_labels=False)
    teacher = scores([1.0, -1.0], [0.0, 2.0])
    same = float(found.loss(teacher, None, teacher))
    chances = teacher[0].softmax(1)
    assert same == pytest.approx(float(-(chances * chances.log()).sum(1).mean()))
    assert same < float(found.loss(scores([1.0, -0.5], [0.0, 2.0]), None, teacher))
    assert float(found.error(scores([-1.0, 1.0], [0.0, 9.0]), None, teacher)) == pytest.approx(
        0.5, abs=1e-5
    )


def test_embeddings_are_imitated_by_their_angle():
    found = objective("original", has_labels=False)
    teacher = scores([0.6, -0.8], [1.0, 0.0])
    turned = scores([-0.8, -0.6], [2.0, 0.0])  # by a right angle, and not at all
    assert float(found.loss(turned, None, teacher)) == pytest.approx(0.5)
    assert float(found.error(turned, None, teacher)) == pytest.approx(0.5)


def test_other_outputs_are_imitated_up_to_their_variance():
    found = objective("original", has_labels=False)
    teacher = (torch.tensor([0.0, 2.0]),)
    assert float(found.loss((torch.tensor([1.0, 1.0]),), None, teacher)) == pytest.approx(1.0)


def test_both_is_the_mean_of_both():
    labels, teacher, own = torch.tensor([1]), scores([3.0, 1.0]), scores([0.5, 1.0])
    parts = [
        float(objective(name).loss(own, labels, teacher)) for name in ("labels", "original")
    ]
    assert float(objective("both").loss(own, labels, teacher)) == pytest.approx(sum(parts) / 2)


def test_auto_takes_labels_where_there_are_any():
    assert objective("auto").name == "labels"
    assert objective("auto", has_labels=False).name == "original"


def test_outputs_of_a_softmax_are_chances_already():
    network = perceptron().copy()
    (output,) = (node for node in network.graph.nodes if node.op == "output")
    with network.graph.inserting_before(output):
        last = network.graph.call_function(torch.ops.aten.softmax.int, (output.args[0][0], -1))
    output.args = ((last,),)
    network.module.recompile()
    found = objective("labels", network)
    chances = scores([0.25, 0.75])
    assert float(found.loss(chances, torch.tensor([1]), None)) == pytest.approx(
        -math.log(0.75)
    )


def test_labels_are_needed_where_they_are_asked_for():
    with pytest.raises(DataError, match="Loss 'labels' needs labels"):
        objective("labels", has_labels=False)


def test_a_user_gives_a_loss_by_name():
    CALLS.clear()
    trained(loss="test_objective:square", epochs=1)
    assert CALLS[0] == (["y"], torch.int64)
    trained(loss="test_objective:square", epochs=1, samples=Samples({"x": task().inputs["x"]}))
    assert CALLS[-1] == (["y"], None)


def test_a_users_loss_must_be_a_scalar():
    with pytest.raises(InputError, match="test_objective:broken must be a scalar tensor"):
        trained(loss="test_objective:broken", epochs=1)


def test_convolutional_networks_imitate_themselves_to_no_avail():
    found = objective("original", convolutional().copy(), has_labels=False)
    assert found.asks_teacher
