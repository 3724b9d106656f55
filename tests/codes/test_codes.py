"""Every module in `tersor.codes`, new ones too, must pass every law of the suite."""

import numpy as np
import pytest
import torch

from tersor import codes
from tersor.codes.affine import Affine
from tersor.codes.code import Code, OnnxForm
from tersor.codes.masked import Masked
from tersor.errors import InputError
from tersor.testing import code_suite

CASES = [(name, case) for name in codes.names() for case in codes.find(name).EXAMPLES]


def test_there_are_codes():
    assert CASES


@pytest.mark.parametrize("law", code_suite.LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize(("name", "case"), CASES, ids=lambda part: str(part))
def test_example_keeps_the_law(name, case, law):
    law(codes.find(name).EXAMPLES[case])


def test_unknown_code_lists_the_known():
    with pytest.raises(InputError, match=r"one of affine.*Got 'afine'"):
        codes.find("afine")


# One offender for each law, so that each law has been seen to fail.


class Dense(Code):
    """A code as plain as can be; the offenders spoil one thing each."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.arange(1.0, 7.0))

    def decode(self):
        return self.w * 1.0

    def pinned(self):
        return None

    def symbols(self):
        return {"w": np.arange(1, 7)}

    def to_onnx(self, name):
        return OnnxForm({name: self.w.detach().numpy()}, (), name)

    def describe(self):
        return "dense"


class Doubled(Dense):
    def decode(self):
        return self.w.double()


class Moody(Dense):
    calls = 0

    def decode(self):
        Moody.calls += 1
        return self.w + Moody.calls


class Forgetful(Dense):
    def __init__(self):
        super().__init__()
        self.w = None
        self.kept = torch.nn.Parameter(torch.ones(6))
        self.extra = [0.0]

    def decode(self):
        if float(self.kept.detach().sum()) == 0.0:
            self.extra[0] = 1.0
        return self.kept + self.extra[0]

    def load_state_dict(self, state):
        self.decode()
        return super().load_state_dict(state)


class Rigid(Dense):
    def decode(self):
        return self.w.detach() + 0 * self.w


class Drifting(Dense):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def decode(self):
        self.calls += 1
        return self.w * 1.0


class Leaking(Dense):
    def pinned(self):
        return torch.tensor([True, *[False] * 5])


class Tied(Dense):
    def __deepcopy__(self, memo):
        return self


class Bloated(Dense):
    def symbols(self):
        return {"w": np.zeros(100, np.float32)}


class Liar(Dense):
    def to_onnx(self, name):
        return OnnxForm({name: self.w.detach().numpy() + 1}, (), name)


class Stranger(Dense):
    def to_onnx(self, name):
        return OnnxForm({"other": self.w.detach().numpy()}, (), "other")


class Mute(Dense):
    def describe(self):
        return " "


OFFENDERS = {
    code_suite.decodes_to_finite_floats: Doubled,
    code_suite.decodes_the_same_twice: Moody,
    code_suite.survives_its_state: Forgetful,
    code_suite.can_be_trained: Rigid,
    code_suite.trains_only_its_parameters: Drifting,
    code_suite.keeps_its_zeros: Leaking,
    code_suite.is_copied_whole: Tied,
    code_suite.stores_small_arrays: Bloated,
    code_suite.engines_see_the_same_weight: Liar,
    code_suite.names_begin_with_the_weight: Stranger,
    code_suite.describes_itself: Mute,
}


@pytest.mark.parametrize("law", code_suite.LAWS, ids=lambda law: law.__name__)
def test_law_catches_its_offender(law):
    with pytest.raises(AssertionError):
        law(OFFENDERS[law])


def masked_integers():
    weight = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    return Affine.encode(Masked.encode(weight, weight.abs() > 0.7), bits=4, axis=0)


@pytest.mark.parametrize("law", code_suite.LAWS, ids=lambda law: law.__name__)
def test_integers_over_a_mask_keep_the_law(law):
    law(masked_integers)


def test_the_most_negative_integer_stays_what_it_is():
    given = torch.tensor([[-128, 0, 127]])
    held = Affine.from_codes(given, torch.tensor(0.5))
    assert held.codes().tolist() == given.tolist()
    assert held.decode().tolist() == [[-64.0, 0.0, 63.5]]
