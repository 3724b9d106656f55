import numpy as np
import pytest
import torch

from tersor.codes.affine import Affine
from tersor.codes.codebook import Codebook
from tersor.codes.hashed import PRIME, Hashed, multiplier_and_first, places_of
from tersor.errors import InputError
from tersor.testing import code_suite


def places_by_hand(size, count, seed):
    a, first = multiplier_and_first(seed)
    return [(a * (i + first) % PRIME) ** 2 % PRIME % (2 * count) for i in range(size)]


def test_seeds_are_spread_by_splitmix64():
    # published outputs for the seeds 0 and 1234567
    a, first = multiplier_and_first(0)
    assert a == 1 + 0xE220A8397B1DCDAF % (PRIME - 1)
    assert first == 0x6E789E6AA1B965F4 % 2**26
    assert multiplier_and_first(1234567)[0] == 1 + 6457827717110365317 % (PRIME - 1)


def test_the_modulus_is_prime_and_products_are_exact_in_doubles():
    assert all(PRIME % d for d in range(2, 2**13))
    assert (PRIME - 1) * (2**26 + 2**26 - 1) < 2**53


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
def test_each_element_is_a_number_or_its_negative_by_the_hash(seed):
    numbers = torch.arange(1.0, 8.0)
    held = Hashed(numbers, (5, 2, 3), seed=seed)
    both = [*numbers.tolist(), *(-numbers).tolist()]
    want = [both[place] for place in places_by_hand(30, 7, seed)]
    assert held().flatten().tolist() == want
    assert held().shape == (5, 2, 3)
    assert held.describe() == "7 hashed values"


def test_the_gradient_of_a_number_is_the_sum_over_its_members_with_their_signs():
    held = Hashed(torch.ones(4), (25,), seed=3)
    upstream = torch.arange(25.0)
    (held() * upstream).sum().backward()
    want = [0.0] * 4
    for i, place in enumerate(places_by_hand(25, 4, 3)):
        want[place % 4] += upstream[i].item() * (1 if place < 4 else -1)
    assert held.buckets.grad.tolist() == want


def test_encoding_is_the_nearest_in_squares():
    weight = torch.randn(12, 10, generator=torch.Generator().manual_seed(0)).double()
    held = Hashed.encode(weight, 9, seed=5)
    spread = torch.zeros(120, 9, dtype=torch.float64)  # weight = spread @ numbers
    for i, place in enumerate(places_by_hand(120, 9, 5)):
        spread[i, place % 9] = 1 if place < 9 else -1
    want = torch.linalg.lstsq(spread, weight.reshape(-1, 1)).solution.flatten()
    torch.testing.assert_close(held.buckets.detach(), want.float(), rtol=1e-5, atol=1e-6)


def test_numbers_without_members_are_zero():
    assert Hashed.encode(torch.ones(1), 50).buckets.count_nonzero() == 1


def test_places_are_spread_evenly():
    size, count = 2**17, 2**10
    places = places_of(size, count, 1)
    members = np.bincount((places % count).numpy(), minlength=count)
    # a Poisson number of 128 has variance 128; that of 1024 such, 128 sqrt(2 / 1024)
    assert abs(members.var() - 128) < 5 * 128 * (2 / count) ** 0.5
    signs = 1.0 - 2.0 * (places >= count).double()
    for step in (1, 32, 1000):  # neighbours, rows: sums of products of signs
        assert abs(float((signs[step:] * signs[:-step]).sum())) < 5 * size**0.5


def test_symbols_are_numbers_shape_and_seed():
    symbols = Hashed(torch.arange(3.0), (4, 2), seed=9).symbols()
    assert symbols["buckets"].tolist() == [0.0, 1.0, 2.0]
    assert symbols["shape"].tolist() == [4, 2]
    assert symbols["seed"] == 9


def test_the_hash_is_no_part_of_the_state():
    assert list(Hashed(torch.arange(3.0), (4, 2)).state_dict()) == ["buckets"]


def numbers():
    return torch.randn(64, generator=torch.Generator().manual_seed(1))


NESTED = {
    "integers": lambda: Hashed(Affine.encode(numbers()), (16, 32), seed=2),
    "shared": lambda: Hashed(
        Codebook.encode(numbers(), torch.linspace(-2, 2, 9), zero=True), (16, 32), seed=2
    ),
}


@pytest.mark.parametrize("law", code_suite.LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("make", NESTED.values(), ids=NESTED)
def test_numbers_held_by_another_code_keep_the_law(make, law):
    law(make)


def test_members_of_a_pinned_number_are_pinned():
    held = NESTED["shared"]()
    assert torch.equal(held.pinned(), held() == 0)
    assert held.describe() == "64 hashed values, 9 shared values, 29.7 % zeros"
    assert sorted(held.symbols()) == ["buckets.centroids", "buckets.codes", "seed", "shape"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"buckets": torch.ones(0)}, r"a vector of 1 to 33554429 numbers. Got \(0,\)"),
        ({"buckets": torch.ones(2, 2)}, r"a vector of 1 to \d+ numbers. Got \(2, 2\)"),
        ({"shape": (3, 0)}, r"shape must be of 1 to 67108864 elements. Got \(3, 0\)"),
        ({"shape": (2**27,)}, r"shape must be of 1 to 67108864 elements"),
        ({"seed": -1}, r"seed must be 0 or more, below 2\^63"),
        ({"seed": 2**63}, r"seed must be 0 or more, below 2\^63"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    given = {"buckets": torch.ones(4), "shape": (3, 3), "seed": 0, **change}
    with pytest.raises(InputError, match=message):
        Hashed(given["buckets"], given["shape"], seed=given["seed"])
    with pytest.raises(InputError, match=r"count must be 1 to 33554429. Got 0"):
        Hashed.encode(torch.ones(3), 0)
