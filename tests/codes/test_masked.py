import numpy as np
import pytest
import torch

from tersor.codes.affine import Affine
from tersor.codes.masked import Masked
from tersor.errors import InputError

WEIGHT = torch.tensor([[1.0, -2.0, 3.0], [4.0, 5.0, -6.0]])
MASK = torch.tensor([[True, False, True], [False, False, True]])
MASKED = [[1.0, 0.0, 3.0], [0.0, 0.0, -6.0]]


def test_masked_elements_are_zero_and_others_exact():
    held = Masked.encode(WEIGHT, MASK)
    assert held().tolist() == MASKED
    assert held.pinned().tolist() == (~MASK).tolist()
    assert held.sparsity == 0.5
    assert held.describe() == "50 % zeros"


def test_gradients_are_those_of_the_weight_and_zero_under_the_mask():
    held = Masked.encode(WEIGHT, MASK)
    (held() * torch.arange(6.0).reshape(2, 3)).sum().backward()
    assert held.weight.grad.tolist() == [[0.0, 0.0, 2.0], [0.0, 0.0, 5.0]]


def test_an_element_that_comes_back_has_its_latent_value():
    held = Masked.encode(WEIGHT, MASK)
    held.set_mask(~MASK)
    assert held().tolist() == [[0.0, -2.0, 0.0], [4.0, 5.0, 0.0]]
    assert held.weight.tolist() == WEIGHT.tolist()


def test_what_lies_under_the_zeros_does_no_harm():
    spoilt = torch.where(MASK, WEIGHT, torch.inf)
    assert Masked.encode(spoilt, MASK)().tolist() == MASKED


def test_it_keeps_neither_the_weight_nor_the_mask_that_it_was_given():
    weight, mask = WEIGHT.clone(), MASK.clone()
    held = Masked.encode(weight, mask)
    weight.zero_()
    mask.fill_(False)
    assert held().tolist() == MASKED


def test_symbols_are_the_mask_and_what_it_leaves():
    symbols = Masked.encode(WEIGHT, MASK).symbols()
    assert symbols["mask"].tolist() == [0b10100100]
    assert symbols["values"].tolist() == [1.0, 3.0, -6.0]


def test_integers_over_a_mask_have_its_zeros_and_train_what_it_leaves():
    held = Affine.encode(Masked.encode(WEIGHT, MASK), axis=0)
    assert held.scale.tolist() == [np.float32(3 / 127), np.float32(6 / 127)]
    assert (held.codes() != 0).tolist() == MASK.tolist()
    assert held.pinned().tolist() == (~MASK).tolist()
    assert held.describe() == "int8 per channel, 50 % zeros"
    held().sum().backward()
    assert held.weight.weight.grad.tolist() == MASK.float().tolist()


def test_integers_have_a_mask_of_their_own():
    inner = Masked.encode(WEIGHT, MASK)
    held = Affine.encode(inner)
    inner.set_mask(~MASK)
    assert (held.codes() != 0).tolist() == MASK.tolist()


def test_a_mask_of_another_type_or_shape_is_refused():
    with pytest.raises(InputError, match=r"of torch\.bool\. Got 'torch\.float32'"):
        Masked.encode(WEIGHT, MASK.float())
    with pytest.raises(InputError, match=r"of shape \(2, 3\)\. Got \(3, 2\)"):
        Masked.encode(WEIGHT, MASK.T)
