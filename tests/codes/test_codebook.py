import numpy as np
import pytest
import torch

from tersor.codes.codebook import Codebook
from tersor.codes.masked import Masked
from tersor.errors import InputError

CENTROIDS = torch.tensor([-1.0, 0.0, 0.5, 2.0])
INDICES = torch.tensor([[0, 1, 3], [3, 1, 2]])
DENSE = [[-1.0, 0.0, 2.0], [2.0, 0.0, 0.5]]


def test_each_element_is_its_centroid():
    assert Codebook(CENTROIDS, INDICES)().tolist() == DENSE
    assert Codebook(CENTROIDS, INDICES).describe() == "4 shared values"


def test_the_gradient_of_a_centroid_is_the_sum_over_its_members():
    held = Codebook(CENTROIDS, INDICES)
    (held() * torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])).sum().backward()
    assert held.centroids.grad.tolist() == [1.0, 2.0 + 16.0, 32.0, 4.0 + 8.0]


def test_members_of_the_zero_stay_zero_whatever_stands_in_its_place():
    held = Codebook(torch.tensor([-1.0, 7.0, 0.5, 2.0]), INDICES, zero=1)
    assert held().tolist() == DENSE
    assert held.pinned().tolist() == [[False, True, False], [False, True, False]]
    assert held.describe() == "4 shared values, 33.3 % zeros"
    held().sum().backward()
    assert held.centroids.grad.tolist() == [1.0, 0.0, 1.0, 2.0]


def test_encoding_takes_the_nearest_and_the_lower_one_in_ties():
    weight = torch.tensor([-9.0, -0.51, -0.5, -0.49, 0.25, 0.26, 1.25, 9.0])
    found = Codebook.encode(weight, CENTROIDS.flip(0))
    assert found().tolist() == [-1.0, -1.0, -1.0, 0.0, 0.0, 0.5, 0.5, 2.0]
    assert found.zero is None
    assert Codebook.encode(weight, CENTROIDS, zero=True).zero == 1


def test_masked_elements_are_held_by_the_zero():
    weight = torch.tensor([3.0, -0.9, 0.6, 0.1])
    mask = torch.tensor([False, True, True, True])
    found = Codebook.encode(Masked.encode(weight, mask), CENTROIDS, zero=True)
    assert found().tolist() == [0.0, -1.0, 0.5, 0.0]


def test_stored_integers_are_ranks_counted_from_the_zero():
    held = Codebook(torch.tensor([2.0, -1.0, 0.0, 0.5]), torch.tensor([1, 2, 0, 0, 2, 3]))
    symbols = held.symbols()
    assert symbols["codes"].tolist() == [-1, 0, 2, 2, 0, 1]
    assert symbols["codes"].dtype == np.int8
    assert symbols["centroids"].tolist() == [0.0, 0.5, 2.0, -1.0]
    assert symbols["centroids"][symbols["codes"]].tolist() == held().tolist()


def test_without_a_zero_they_are_counted_from_the_smallest_magnitude():
    held = Codebook(torch.tensor([-3.0, 0.2, -0.1]), torch.tensor([0, 1, 2]))
    assert held.symbols()["codes"].tolist() == [-1, 1, 0]


def test_the_zero_is_the_one_that_stays_even_where_another_became_zero():
    held = Codebook(torch.tensor([-0.0, 5.0, 1.0]), torch.tensor([0, 1, 2]), zero=1)
    assert held.symbols()["codes"].tolist() == [-1, 0, 1]


def test_centroids_without_members_are_not_stored():
    held = Codebook(CENTROIDS, torch.tensor([0, 3, 3]), zero=1)
    assert held.symbols()["centroids"].tolist() == [-1.0, 2.0]
    assert held.symbols()["codes"].tolist() == [0, 1, 1]


@pytest.mark.parametrize("count", [130, 256])
@pytest.mark.parametrize("low", [-255.0, -200.0, 0.0])
def test_many_centroids_of_one_sign_fit_eight_bits(low, count):
    held = Codebook(torch.arange(float(count)) + low, torch.arange(count))
    symbols = held.symbols()
    codes = sorted(symbols["codes"].tolist())
    assert codes == list(range(codes[0], codes[0] + count))
    assert symbols["centroids"][symbols["codes"]].tolist() == held().tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"centroids": torch.zeros(0)}, r"a vector of 1 to 256 numbers. Got \(0,\)"),
        ({"centroids": torch.zeros(257)}, r"a vector of 1 to 256 numbers. Got \(257,\)"),
        ({"centroids": torch.zeros(4, 1)}, r"a vector of 1 to 256 numbers. Got \(4, 1\)"),
        ({"centroids": torch.tensor([0.0, 1.0, torch.nan, 2.0])}, "must be finite"),
        ({"indices": INDICES.float()}, r"one or more integers. Got 'torch.float32'"),
        ({"indices": INDICES[:0]}, r"one or more integers. Got 'torch.int64'"),
        ({"indices": INDICES + 1}, r"indices must be in \[0, 3\]. Got \(1, 4\)"),
        ({"indices": INDICES - 1}, r"indices must be in \[0, 3\]. Got \(-1, 2\)"),
        ({"zero": 4}, r"zero must be None or in \[0, 3\]. Got 4"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    given = {"centroids": CENTROIDS, "indices": INDICES, "zero": None, **change}
    with pytest.raises(InputError, match=message):
        Codebook(given["centroids"], given["indices"], zero=given["zero"])


def test_encoding_refuses_a_zero_that_is_not_there_or_must_be():
    with pytest.raises(InputError, match="with a 0 among them"):
        Codebook.encode(torch.ones(3), torch.tensor([1.0, 2.0]), zero=True)
    held = Masked.encode(torch.ones(3), torch.tensor([True, False, True]))
    with pytest.raises(InputError, match="True for a weight with a mask"):
        Codebook.encode(held, torch.tensor([0.0, 1.0]))
