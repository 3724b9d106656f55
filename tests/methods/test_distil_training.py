"""What comes of learning from a teacher."""

from dataclasses import dataclass, replace
from functools import cache

import pytest
import torch
from tests.methods.distilling import (
    EACH,
    at_work,
    images,
    move,
    quickly,
    student_of,
    taught,
    thin,
    unlike,
    wide,
)
from tests.train.trainings import same

from tersor.codes.affine import Affine
from tersor.codes.codebook import Codebook
from tersor.codes.masked import Masked
from tersor.methods.distil.attention import Attention
from tersor.methods.distil.features import Features
from tersor.methods.distil.layers import Layers
from tersor.methods.distil.soft_targets import SoftTargets
from tersor.methods.train.augment import Augment
from tersor.methods.train.fine_tune import FineTune
from tersor.testing.networks import perceptron, samples_for
from tersor.train.during import Part
from tersor.train.loop import trainable
from tersor.train.surroundings import Surroundings, surrounded

each = pytest.mark.parametrize("name", EACH)


@each
def test_gradients_reach_the_student_and_maps_and_not_the_teacher(name):
    network = replace(thin(), origin=wide())
    part, forward = at_work(EACH[name], network)
    if name.startswith("itself"):
        part.loss(forward)
        move(network, seed=1)
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
