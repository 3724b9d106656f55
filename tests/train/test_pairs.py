"""Values of a network and its teacher that are compared."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tersor.errors import InputError, ModelError
from tersor.network.capture import capture
from tersor.network.narrow import narrowed
from tersor.testing.networks import convolutional, encoder, perceptron
from tersor.train.during import Run
from tersor.train.pairs import Pair, at_stages, paired


def run_of(network):
    return Run(network, steps=1, epochs=1, samples=1, seed=0)


def taught(student, teacher):
    """A training of a network with another one as its teacher."""
    return run_of(replace(student, origin=teacher))


def test_a_thin_student_is_paired_with_its_teacher():
    run = run_of(narrowed(perceptron(), 0.5))
    assert at_stages(run).found == (
        Pair("relu_default", "relu_default", 1, (2, 16), (2, 32)),
        Pair("relu_default_1", "relu_default_1", 1, (2, 8), (2, 16)),
    )


def test_values_of_images_differ_in_channels_only():
    class Images(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.conv = nn.Conv2d(3, channels, 3, padding=1)
            self.head = nn.Conv2d(channels, 2, 3)

        def forward(self, x):
            return self.head(torch.relu(self.conv(x)))

    thin, wide = (capture(Images(n), torch.randn(2, 3, 6, 6)) for n in (4, 7))
    (pair,) = at_stages(taught(thin, wide)).found
    assert pair.channels == (4, 7)
    assert pair.positions == 36
    assert pair.described() == "relu (4 for 7 channels)"
    bigger = capture(Images(7), torch.randn(2, 3, 8, 8))
    message = r"relu: the network's value is \(2, 4, 6, 6\), the teacher's \(2, 7, 8, 8\)"
    with pytest.raises(ModelError, match=message):
        at_stages(taught(thin, bigger))


def test_tokens_have_their_channels_last():
    pairs = at_stages(run_of(encoder().copy()))
    assert [pair.axis for pair in pairs.found] == [2, 2]


def test_nodes_that_the_network_lost_are_told():
    network = convolutional().copy()
    (gone,) = (n for n in network.graph.nodes if n.name == "hardtanh_default")
    gone.replace_all_uses_with(gone.args[0])
    network.graph.erase_node(gone)
    network.module.recompile()
    names = [(n, n) for n in ("relu_default", "hardtanh_default")]
    pairs = paired(run_of(network), names)
    assert [pair.own for pair in pairs.found] == ["relu_default"]
    told, left = pairs.notes("distil.any", "values learnt")
    assert told.text == "values learnt: relu_default (8 for 8 channels)"
    assert told.done
    assert (left.layer, left.done) == ("hardtanh_default", False)
    assert left.text == "left out: the network has no such node"


def test_nodes_of_ones_own_choice():
    run = run_of(perceptron().copy())
    (pair,) = at_stages(run, ["relu_default_1"], ["linear_default_1"]).found
    assert (pair.own, pair.teacher) == ("relu_default_1", "linear_default_1")
    (same,) = at_stages(run, ["relu_default"]).found
    assert same.teacher == "relu_default"
    assert len(at_stages(run, count=1).found) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((["relu_default"], ["a", "b"]), "teacher_nodes must be one for each of the 1 nodes"),
        ((["relu"],), r"nodes must be nodes whose values are floats .* Got 'relu'"),
        ((["relu_default"], ["relu"]), "teacher_nodes must be nodes whose values"),
    ],
)
def test_what_is_not_there_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        at_stages(run_of(perceptron().copy()), *given)


def test_those_that_do_not_suit_are_left_out():
    pairs = at_stages(run_of(perceptron().copy()))
    fewer = pairs.only(lambda pair: pair.channels[0] > 20, "too small")
    assert [pair.own for pair in fewer.found] == ["relu_default"]
    assert fewer.left == (("relu_default_1", "too small"),)
    with pytest.raises(ModelError, match=r"shares no values .*relu_default: gone; "):
        pairs.only(lambda _: False, "gone")


def test_without_a_teacher_it_says_so():
    with pytest.raises(ModelError, match="has no teacher: what it was before"):
        at_stages(run_of(perceptron()))
