"""Channels, then zeros, then shared values or int8, then coding: one recipe, one loop."""

import numpy as np
import pytest
from tests.train.trainings import task

import tersor
from tersor.data.split import Split
from tersor.pipeline import Options, compress
from tersor.plan.recipe_file import parse_recipe
from tersor.testing import networks

CUT = """
name = "all"
max_drop_pp = 100.0
[[step]]
method = "prune.channels"
[step.target]
macs = 0.5
[[step]]
method = "train.fine_tune"
epochs = 3
batch = 32
[[step.during]]
method = "prune.gradual"
sparsity = 0.6
[[step.during]]
method = "distil.soft_targets"
"""
SHARED = '[[step]]\nmethod = "share.kmeans"\nbits = 4\nminimum = 16\n'
INT8 = '[[step]]\nmethod = "quantize.static"\n'
TRAINED = """
[[step]]
method = "train.fine_tune"
epochs = 2
batch = 32
[[step.during]]
method = "distil.features"
"""


@pytest.fixture(scope="module")
def parts():
    return Split(task(60), task(60), task(60), "made up", task(300))


def result(parts, text):
    options = Options(seconds=0.2, threads=1, engines=("onnxruntime",))
    return compress(networks.perceptron(), parts, recipe=parse_recipe(text), options=options)


@pytest.mark.parametrize("after", [SHARED + TRAINED, INT8], ids=["shared", "int8"])
def test_one_recipe_cuts_prunes_and_holds_weights_in_fewer_bits(parts, after):
    found = result(parts, CUT + after)
    small = found.network
    weight = small.tensor("second.weight").detach().numpy()
    assert weight.shape[0] < 16
    assert weight.shape[1] < 32
    assert 0.55 < (weight == 0).mean() < 0.9
    levels = len(np.unique(weight))
    assert levels <= (17 if after != INT8 else 255)
    samples = parts.validation
    given = tersor.open(found.tsr).run(samples.inputs)
    wanted = small.run(samples.inputs)
    assert given.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_allclose(given[name], array, rtol=0, atol=0.02 * np.abs(array).max())
