"""Operations of our own, against ONNX Runtime and their definitions."""

import numpy as np
import pytest
import torch

from tersor.network.operations import (
    gru,
    guess,
    non_max_suppression,
    roi_align,
    unique,
)

BOXES = torch.tensor([[[0, 0, 2, 2], [0, 0, 2, 1.9], [2, 2, 0, 0], [5, 5, 6, 6.0]]])
SCORES = torch.tensor([[[0.5, 0.9, 0.5, 0.1]]])


def kept(**changes):
    settings = {"most": 9, "overlap": 0.5, "least": None, "centres": False} | changes
    return non_max_suppression(BOXES, SCORES, **settings)[:, 2].tolist()


def test_a_box_goes_where_a_better_one_covers_it():
    assert kept() == [1, 3]
    assert kept(overlap=0.96) == [1, 0, 3]  # box 2 has the corners of box 0 exchanged
    assert kept(overlap=1.0) == [1, 0, 2, 3]
    assert kept(least=0.1) == [1]
    assert kept(most=1) == [1]
    assert kept(most=0) == []


def test_boxes_may_be_given_by_centres():
    centred = torch.tensor([[[1, 1, 2, 2], [1, 1, 2, 2], [9, 9, 1, 1.0]]])
    scores = torch.tensor([[[0.5, 0.6, 0.7]], [[0.0, 0.0, 0.0]]])
    found = non_max_suppression(centred.repeat(2, 1, 1), scores, 5, 0.5, 0.2, centres=True)
    assert found.tolist() == [[0, 0, 2], [0, 0, 1]]


def test_empty_boxes_do_not_overlap():
    boxes = torch.zeros(1, 2, 4)
    assert (
        len(non_max_suppression(boxes, torch.ones(1, 1, 2), 5, 0.0, None, centres=False)) == 2
    )


def test_unique_elements_stand_as_they_first_appear():
    values, first, inverse, counts = unique(torch.tensor([3.0, 1, 3, 2]), None, sorted=False)
    assert values.tolist() == [3, 1, 2]
    assert first.tolist() == [0, 1, 3]
    assert inverse.tolist() == [0, 1, 0, 2]
    assert counts.tolist() == [2, 1, 1]


def test_roi_align_of_a_slope_is_the_slope():
    """Bilinear sampling of a linear function is exact, and so are means of samples."""
    x = torch.arange(8.0).repeat(1, 1, 8, 1)
    rois = torch.tensor([[1.0, 1.0, 5.0, 5.0]])
    zero = torch.zeros(1, dtype=torch.int64)
    for samples in (0, 1, 3):
        found = roi_align(x, rois, zero, 2, 2, samples, 1.0, half_pixel=False, largest=False)
        assert found.tolist() == [[[[2.0, 4.0], [2.0, 4.0]]]]
    found = roi_align(x, rois, zero, 2, 2, 2, 1.0, half_pixel=True, largest=False)
    assert found[0, 0, 0].tolist() == [1.5, 3.5]


def test_gru_keeps_its_state_where_z_is_one():
    h = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    bias = torch.tensor([0.0] * 3 + [99.0] * 3 + [0.0] * 3)
    zeros = (torch.zeros(9, 4), torch.zeros(9, 3))
    states, last = gru(torch.ones(5, 2, 4), h, *zeros, bias, torch.zeros(9))
    assert torch.equal(last, h)
    assert torch.equal(states, h.expand(5, 2, 3))
    assert gru(torch.ones(0, 2, 4), h, *zeros, bias, bias)[0].shape == (0, 2, 3)


def test_gru_has_gradients():
    w = torch.ones(3, 1, requires_grad=True)
    states, _ = torch.ops.tersor.gru(
        torch.ones(2, 1, 1), torch.zeros(1, 1), w, w, torch.zeros(3), torch.zeros(3)
    )
    states.sum().backward()
    assert float(w.grad.abs().sum()) > 0


@pytest.mark.parametrize("axis", [None, 1])
def test_made_up_sizes_differ_from_run_to_run(axis):
    x = torch.empty(3, 4, device="meta")
    target = torch.ops.tersor.unique.default
    first, second = (guess(target, (x, axis, True), run) for run in (0, 1))
    real = unique(torch.zeros(3, 4), axis, sorted=True)
    assert [t.ndim for t in first] == [t.ndim for t in real]
    assert first[2].shape == second[2].shape == real[2].shape
    assert first[0].shape != second[0].shape
    assert guess(torch.ops.aten.relu.default, (x,), 0) is None
    assert guess(torch.ops.aten.nonzero.default, (x,), 0).shape[1] == 2


def test_meta_says_what_roi_align_gives():
    found = torch.ops.tersor.roi_align(
        torch.empty(1, 3, 8, 8, device="meta"), torch.empty(5, 4, device="meta"),
        torch.empty(5, device="meta"), 2, 4, 0, 1.0, True, False,
    )  # fmt: skip
    assert found.shape == (5, 3, 2, 4)
    assert np.prod(found.shape) == 120
