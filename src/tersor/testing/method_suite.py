"""What every method must keep, whatever it does. Use it on your own methods too."""

import sys
import types
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from tersor.data.samples import Samples
from tersor.methods import find
from tersor.methods.method import Method
from tersor.methods.train.fine_tune import FineTune
from tersor.network.layers import layers
from tersor.network.network import Network
from tersor.testing import networks
from tersor.testing.networks import samples_for
from tersor.train.during import During

MOST_SETTINGS = 6
_USUAL = "convolutional"


def content(network: Network) -> dict[str, bytes]:
    """The bits of all tensors, by name."""
    state = network.module.state_dict()
    return {name: tensor.cpu().numpy().tobytes() for name, tensor in state.items()}


def outputs(network: Network) -> dict[str, Any]:
    """What the network computes on fixed samples."""
    return network.run(dict(samples_for(network).inputs))


def tried_on(method: Method) -> Network:
    """What a method is tried on: the NETWORK of its module, by name, or `convolutional`."""
    module = sys.modules[type(method).__module__]
    make: Callable[[], Network] = getattr(networks, vars(module).get("NETWORK", _USUAL))
    return make()


def applied(method: Method) -> Network:
    network = tried_on(method)
    return method.apply(network, samples_for(network))


def changes_something(method: Method) -> None:
    assert content(applied(method)) != content(tried_on(method))


def still_runs(method: Method) -> None:
    result, before = applied(method), tried_on(method)
    assert result.inputs == before.inputs
    assert result.outputs == before.outputs
    for port, value in zip(result.outputs, outputs(result).values(), strict=True):
        assert value.shape == port.concrete(16)
        assert np.isfinite(value).all()


def leaves_its_input_alone(method: Method) -> None:
    network = tried_on(method)
    before, code = content(network), str(network.graph)
    method.apply(network, samples_for(network))
    assert content(network) == before
    assert str(network.graph) == code


def gives_the_same_twice(method: Method) -> None:
    one, other = applied(method), applied(method)
    assert content(one) == content(other)
    assert str(one.graph) == str(other.graph)
    assert one.notes == other.notes


def says_what_it_did(method: Method) -> None:
    notes = applied(method).notes
    assert notes
    assert all(note.layer and note.method and note.text for note in notes)


def stays_trainable(method: Method) -> None:
    result = applied(method)
    inputs = dict(samples_for(result).inputs)
    results = result.module(*(torch.from_numpy(np.asarray(a)) for a in inputs.values()))
    sum(r.square().sum() for r in results).backward()
    gradients = [p.grad for p in result.module.parameters()]
    assert any(g is not None and bool(g.abs().sum() > 0) for g in gradients)


def is_a_frozen_value(method: Method) -> None:
    assert is_dataclass(method)
    assert not isinstance(method, type)
    assert replace(method) == method
    assert len(fields(method)) <= MOST_SETTINGS
    for setting in fields(method):
        with pytest.raises(FrozenInstanceError):
            setattr(method, setting.name, None)


def identity_changes_nothing(module: types.ModuleType) -> None:
    """A law of the module: IDENTITY, where there is one, leaves every output as it is."""
    if module.IDENTITY is None:
        pytest.skip(f"{module.__name__} has no setting that changes nothing")
    for name, value in outputs(applied(module.IDENTITY)).items():
        assert np.array_equal(value, outputs(tried_on(module.IDENTITY))[name])


@dataclass(frozen=True)
class Trained:
    """A short training step, with something during it and perhaps a method before.

    Attributes:
        during: What happens during it.
        after: Name of the method before, or None.
    """

    during: tuple[During, ...] = ()
    after: str | None = None

    def apply(self, network: Network, samples: Samples | None = None) -> Network:
        """See `Method.apply`."""
        if self.after is not None:
            network = replace(find(self.after).EXAMPLE.apply(network, samples), notes=())
        step = FineTune(epochs=1, batch=4, loss="original", during=self.during)
        return step.apply(network, samples)


def training(module: types.ModuleType, *during: During) -> Method:
    """A training as a module of what happens during one wants it."""
    return Trained(during, vars(module).get("AFTER"))


def changes_a_training(module: types.ModuleType) -> None:
    """A law of the module: a training with its EXAMPLE gives other weights than without."""
    found = applied(training(module, module.EXAMPLE))
    assert _dense(found) != _dense(applied(training(module)))


def identity_leaves_training_as_it_is(module: types.ModuleType) -> None:
    """A law of the module: a training with its IDENTITY gives the same weights as without."""
    if module.IDENTITY is None:
        pytest.skip(f"{module.__name__} has no setting that changes nothing")
    found = applied(training(module, module.IDENTITY))
    assert _dense(found) == _dense(applied(training(module)))


def _dense(network: Network) -> dict[str, bytes]:
    """The bits of all weights and biases, by name, however they are held."""
    found = layers(network)
    names = {name for layer in found for name in (layer.weight, layer.bias) if name}
    return {name: network.tensor(name).detach().numpy().tobytes() for name in names}


LAWS: list[Callable[[Method], None]] = [
    changes_something,
    still_runs,
    leaves_its_input_alone,
    gives_the_same_twice,
    says_what_it_did,
    stays_trainable,
    is_a_frozen_value,
]
