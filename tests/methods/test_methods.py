"""Every module in `tersor.methods`, new ones too, must pass every law of the suite."""

import itertools
import types
from dataclasses import dataclass, replace

import pytest
import torch

from tersor import methods
from tersor.errors import InputError
from tersor.network.network import Note
from tersor.testing import method_suite
from tersor.train.during import Part


def test_there_are_methods():
    assert {"quantize.static", "quantize.weights"} <= set(methods.names())


STEPS = [name for name in methods.names() if not methods.is_during(name)]
DURING = [name for name in methods.names() if methods.is_during(name)]


def example(name):
    """The example as a step: what happens during training within a short one."""
    module = methods.find(name)
    during = methods.is_during(name)
    return method_suite.training(module, module.EXAMPLE) if during else module.EXAMPLE


@pytest.mark.parametrize("law", method_suite.LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", methods.names())
def test_example_keeps_the_law(name, law):
    law(example(name))


@pytest.mark.parametrize("law", [method_suite.is_a_frozen_value], ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", DURING)
def test_what_happens_during_training_keeps_the_law(name, law):
    law(methods.find(name).EXAMPLE)


@pytest.mark.parametrize("name", STEPS)
def test_identity_changes_nothing(name):
    method_suite.identity_changes_nothing(methods.find(name))


@pytest.mark.parametrize("name", DURING)
def test_identity_does_not_change_a_training(name):
    method_suite.identity_leaves_training_as_it_is(methods.find(name))


@pytest.mark.parametrize("name", DURING)
def test_example_changes_a_training(name):
    method_suite.changes_a_training(methods.find(name))


@pytest.mark.parametrize("name", STEPS)
def test_notes_carry_the_name_of_the_method(name):
    notes = method_suite.applied(methods.find(name).EXAMPLE).notes
    assert {note.method for note in notes} == {name}


def test_unknown_method_lists_the_known():
    with pytest.raises(InputError, match=r"one of .*quantize\.static.*\. Got 'static'"):
        methods.find("static")


# One offender for each law, so that each law has been seen to fail.


def scaled(network, factor):
    result = network.copy()
    result.set_tensor("head.weight", network.tensor("head.weight").detach() * factor)
    return result.with_notes(Note("head", "offender", done=True, text="scaled"))


@dataclass(frozen=True)
class Idle:
    def apply(self, network, samples=None):
        return network


@dataclass(frozen=True)
class Breaker:
    def apply(self, network, samples=None):
        return scaled(network, float("nan"))


@dataclass(frozen=True)
class Scribbler:
    def apply(self, network, samples=None):
        with torch.no_grad():
            network.module.get_parameter("head.bias").zero_()
        return scaled(network, 0.5)


@dataclass(frozen=True)
class Moody:
    def apply(self, network, samples=None, mood=itertools.count(2)):  # noqa: B008
        return scaled(network, float(next(mood)))


@dataclass(frozen=True)
class Silent:
    def apply(self, network, samples=None):
        return replace(scaled(network, 0.5), notes=())


@dataclass(frozen=True)
class Frozen:
    def apply(self, network, samples=None):
        result = scaled(network, 0.5)
        for parameter in list(result.module.parameters()):
            parameter.requires_grad_(False)
        return result


class Loose:
    def apply(self, network, samples=None):
        return network


OFFENDERS = {
    method_suite.changes_something: Idle(),
    method_suite.still_runs: Breaker(),
    method_suite.leaves_its_input_alone: Scribbler(),
    method_suite.gives_the_same_twice: Moody(),
    method_suite.says_what_it_did: Silent(),
    method_suite.stays_trainable: Frozen(),
    method_suite.is_a_frozen_value: Loose(),
}


@pytest.mark.parametrize("law", method_suite.LAWS, ids=lambda law: law.__name__)
def test_law_catches_its_offender(law):
    with pytest.raises((AssertionError, RuntimeError)):
        law(OFFENDERS[law])


class Inert:
    """Happens during training, and does nothing."""

    def start(self, run):
        return Part()


class Pruner:
    def start(self, run):
        with torch.no_grad():
            run.network.module.get_parameter("head.weight").zero_()
        return Part()


def test_laws_of_what_happens_during_training_catch_their_offenders():
    module = types.ModuleType("offender")
    module.IDENTITY, module.EXAMPLE = Pruner(), Inert()
    with pytest.raises(AssertionError):
        method_suite.identity_leaves_training_as_it_is(module)
    with pytest.raises(AssertionError):
        method_suite.changes_a_training(module)


def test_identity_law_catches_its_offender():
    class Module:
        __name__ = "offender"
        IDENTITY = Breaker()

    with pytest.raises(AssertionError):
        method_suite.identity_changes_nothing(Module())
