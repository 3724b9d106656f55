"""Learnt maps from a student's channels to a teacher's."""

import numpy as np
import pytest
import torch

from tersor.train.during import Forward
from tersor.train.pairs import Pair
from tersor.train.projection import Projection, Transfer, unexplained
from tersor.train.teacher import Answer


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_it_begins_as_the_ridge_regression():
    s, t = normal(0, 50, 3) + 1, normal(1, 50, 4) * 2 - 1
    projection = Projection(3, 4)
    projection.fit(s, t)
    a, b = s.double().numpy(), t.double().numpy()
    mean, target = a.mean(0), b.mean(0)
    a, b = a - mean, b - target
    ridge = (1e-3 + 10 * 3 / 50) * np.square(a).sum(0).mean()
    # min |a p - b|^2 + e |p|^2 is least squares with sqrt(e) I below a and 0 below b
    rows = np.vstack([a, np.sqrt(ridge) * np.eye(3)])
    wanted = np.linalg.lstsq(rows, np.vstack([b, np.zeros((3, 4))]), rcond=None)[0]
    assert np.allclose(projection.weight.detach().numpy(), wanted.T, atol=1e-6)
    found = projection(s).detach().numpy()
    assert np.allclose(found, a @ wanted + target, atol=1e-5)


def test_it_begins_only_once():
    projection = Projection(2, 2)
    projection.fit(normal(0, 20, 2), normal(1, 20, 2))
    before = projection.weight.detach().clone()
    projection.fit(normal(2, 20, 2), normal(3, 20, 2))
    assert torch.equal(projection.weight, before)
    assert projection.weight.requires_grad


def test_many_rows_are_sampled_evenly():
    s = normal(0, 40_000, 2)
    few, all_ = Projection(2, 3), Projection(2, 3)
    t = s @ normal(1, 2, 3) + 0.1 * normal(2, 40_000, 3)
    few.fit(s, t)
    all_.fit(s[::3], t[::3])
    assert torch.equal(few.weight, all_.weight)


def test_values_that_are_all_zero_give_the_means():
    projection, wanted = Projection(2, 3), normal(0, 9, 3)
    projection.fit(torch.zeros(9, 2), wanted)
    assert not projection.weight.any()
    assert torch.allclose(projection.bias, wanted.mean(0))


def test_what_is_unexplained_is_a_share_of_the_variance():
    own, wanted = normal(0, 30, 4), normal(1, 30, 4) * torch.tensor([1.0, 2, 3, 4]) + 5
    a, b = own.double().numpy(), wanted.double().numpy()
    share = np.square(a - b).sum() / np.square(b - b.mean(0)).sum()
    assert float(unexplained(own, wanted)) == pytest.approx(share, rel=1e-5)
    mean = wanted.mean(0).expand(30, 4)
    assert float(unexplained(mean, wanted)) == pytest.approx(1, rel=1e-5)
    assert float(unexplained(wanted, wanted)) == 0


def forward_of(own, wanted):
    answer = Answer((), {"theirs": wanted})
    return Forward(np.arange(len(own)), (), None, (), {"ours": own}, answer)


def test_images_are_compared_position_by_position():
    own, wanted = normal(0, 2, 3, 4, 5), normal(1, 2, 6, 4, 5)
    pair = Pair("ours", "theirs", 1, (1, 3, 4, 5), (1, 6, 4, 5))
    transfer = Transfer([pair], torch.device("cpu"))
    (found,) = transfer.missed(forward_of(own, wanted))
    (projection,) = transfer.maps
    as_convolution = torch.nn.functional.conv2d(
        own, projection.weight[:, :, None, None], projection.bias
    )
    rows = [each.transpose(0, 1).flatten(1).T for each in (as_convolution, wanted)]
    assert found.item() == pytest.approx(unexplained(*rows).item(), rel=1e-5)
    assert found.item() < 1


def test_equal_channels_need_no_map():
    own, wanted = normal(0, 8, 3), normal(1, 8, 3)
    transfer = Transfer([Pair("ours", "theirs", 1, (1, 3), (1, 3))], torch.device("cpu"))
    (found,) = transfer.missed(forward_of(own, wanted))
    assert float(found) == float(unexplained(own, wanted))
    assert not list(transfer.parameters())
    needs = transfer.needs()
    assert (needs.values, needs.teacher_values) == (("ours",), ("theirs",))


def test_the_state_goes_on_where_it_was():
    pair = Pair("ours", "theirs", 1, (1, 2), (1, 3))
    one, other = (Transfer([pair], torch.device("cpu")) for _ in range(2))
    forward = forward_of(normal(0, 8, 2), normal(1, 8, 3))
    one.missed(forward)
    other.load_state_dict(one.state_dict())
    later = forward_of(normal(2, 8, 2), normal(3, 8, 3))
    assert torch.equal(other.missed(later)[0], one.missed(later)[0])
