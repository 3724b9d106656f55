"""The whole way on the command line: compress, then the commands that it suggests."""

import shlex

import numpy as np
import pytest

from tersor.cli.compressing import FILES
from tersor.export.onnx import to_onnx
from tersor.testing.networks import convolutional, samples_for


@pytest.mark.usefixtures("made_up_memory")
def test_a_model_is_compressed_run_and_made_again_from_its_recipe(tersor, folder):
    network = convolutional()
    samples = samples_for(network, 40)
    labels = network.run(samples.inputs)["scores"].argmax(axis=1)
    (folder / "conv.onnx").write_bytes(to_onnx(network))
    np.savez("conv.npz", **samples.inputs, labels=labels)
    quick = ("--seconds", "0.3", "--threads", "1", "--engine", "onnxruntime")
    words = ("compress", "conv.onnx", "--data", "conv.npz", *quick)

    first = tersor(*words, "--recipe", "w8", "--budget", "size=1000x", "--output", "a")
    assert first.code == 3
    assert "Budget MISSED" in first.out
    assert {path.name for path in (folder / "a").iterdir()} == set(FILES)

    suggested = shlex.split(first.out.splitlines()[-2])
    assert tersor(*suggested[1:]).code == 0
    with np.load("out.npz") as outputs:
        agreement = (outputs["scores"].argmax(axis=1) == labels).mean()
    score = tersor("evaluate", "a/model.tsr", "--data", "conv.npz", "--json").document
    assert score["value"] == agreement

    again = tersor(*words, "--recipe", "a/recipe.toml", "--output", "b", "--json")
    assert again.code == 0
    assert again.document["budget"]["met"]
    for name in ("model.tsr", "model.onnx"):
        assert (folder / "a" / name).read_bytes() == (folder / "b" / name).read_bytes()
