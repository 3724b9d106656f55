"""The control: as large as the result, dense, trained anew."""

from functools import partial

import pytest
from tests.train.trainings import task

from tersor.choosing.making import Maker
from tersor.errors import ModelError
from tersor.export.onnx import to_onnx
from tersor.pipeline.control import Anew, Scratch
from tersor.plan.recipe import Step
from tersor.plan.variants import after_cuts, dense
from tersor.store.model import packed_bytes
from tersor.testing import networks

NET = networks.perceptron()
TRAIN = Step("train.fine_tune", {"epochs": 2, "batch": 32})
STEPS = dense((TRAIN,))


def size(network):
    return packed_bytes(to_onnx(network))


def scratch(most, steps=STEPS):
    return Scratch(NET, Maker(NET, task(200)), steps, most, size)


@pytest.mark.parametrize("most", [900, 1300])
def test_the_control_is_as_large_as_allowed_and_no_larger(most):
    seen = []
    network, said = scratch(most).find(seen.append)
    assert 0.8 * most < size(network) <= most
    weights = network.tensor("first.weight")
    assert weights.shape[1] == 12
    assert weights.shape[0] < 32
    assert (weights == 0).float().mean() < 0.2
    assert said.startswith("dense, ")
    assert "eight bits each, trained anew" in said
    assert seen == sorted(seen)
    assert 0 < seen[-1] <= 1


def test_it_was_trained_as_the_winner_was_and_its_teacher_is_the_original():
    network, _ = scratch(1300).find(lambda _: None)
    assert network.origin is NET
    (note,) = (note for note in network.notes if note.curve)
    assert len(note.curve) == 2


def test_where_all_fits_nothing_is_narrowed():
    network, said = scratch(100_000).find(lambda _: None)
    assert "100 % of the channels" in said
    assert "widths tried: 1" in said
    assert network.tensor("first.weight").shape == (32, 12)


def test_a_result_smaller_than_any_network_is_told():
    with pytest.raises(
        ModelError, match=r"A dense network takes .* more than the 100 allowed"
    ):
        scratch(100).find(lambda _: None)


def test_without_a_training_there_is_nothing_to_compare():
    steps = dense((Step("quantize.weights"),))
    with pytest.raises(ModelError, match="What won trains nothing"):
        scratch(1000, steps).find(partial(pytest.fail, "nothing is to be trained"))


CUT = Step("prune.channels", {"target": {"macs": 0.5}, "repair": False})


def test_the_control_of_a_cut_network_has_its_shapes_and_none_of_its_weights():
    maker = Maker(NET, task(200))
    steps = (CUT, TRAIN)
    network, said = Anew(NET, maker, steps).find(lambda _: None)
    winner = maker.after(steps)
    weights = [each.tensor("second.weight").detach() for each in (network, winner)]
    assert weights[0].shape == weights[1].shape != NET.tensor("second.weight").shape
    assert float((weights[0] - weights[1]).abs().min()) > 0
    assert network.origin is NET
    assert len(next(note for note in network.notes if note.curve).curve) == 2
    assert "drawn anew" in said


def test_a_cut_without_a_training_after_it_has_no_control():
    with pytest.raises(ModelError, match="trains nothing after the cut"):
        Anew(NET, Maker(NET, task(200)), (TRAIN, CUT)).find(lambda _: None)


def test_the_last_cut_counts():
    assert after_cuts((CUT, TRAIN, CUT, TRAIN)) == 3
    assert after_cuts((TRAIN,)) == 0
