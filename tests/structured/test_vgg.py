"""VGG-16: its form, and that it is trained once."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from benchmarks import records, vgg
from benchmarks.error_rate import error

from tersor.data.samples import Samples
from tersor.data.split import Split
from tersor.network.cost import cost


def images(count, seed):
    rng = np.random.default_rng(seed)
    found = rng.standard_normal((count, 3, 32, 32)).astype(np.float32)
    return Samples({"image": found}, rng.integers(0, 10, count))


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """Few images, thin layers and one epoch."""
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(vgg, "WORK", tmp_path / "build")
    monkeypatch.setattr(vgg, "_STAGES", ((4, 4), (8,), (8,), (8,), (8,)))
    monkeypatch.setattr(vgg, "STEPS", [replace(s, epochs=1, batch=32) for s in vgg.STEPS])
    found = Split(images(8, 0), images(16, 1), images(24, 2), "made up", images(160, 3))
    monkeypatch.setattr(vgg, "cifar10", lambda: found)
    return found


def test_it_has_the_parameters_that_papers_give():
    """14,728,266 with biases in front of each normalization (kuangliu/pytorch-cifar)."""
    network = vgg.VGG16()
    biases = sum(m.out_channels for m in network.modules() if isinstance(m, torch.nn.Conv2d))
    assert sum(p.numel() for p in network.parameters()) + biases == 14_728_266
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_no_step_trains_on_what_another_holds_out():
    assert len({step.seed for step in vgg.STEPS}) == 1


def test_it_is_trained_once(parts, monkeypatch):
    first = vgg.trained()
    steps = len(vgg.STEPS)
    monkeypatch.setattr(vgg, "STEPS", [None] * steps)
    again = vgg.trained()
    feeds = parts.test.inputs
    assert np.array_equal(*(next(iter(n.run(feeds).values())) for n in (first, again)))
    (row,) = records.read("vgg")
    assert row["error"] == error(again, parts.test)
    assert row["error_validation"] == error(again, parts.validation)
    assert row["parameters"] == cost(again).parameters
    assert row["notes"][-1].startswith("1 epoch of 128 samples")


def test_each_step_goes_on_from_the_one_before(parts, monkeypatch):
    seen = []

    class Step:
        def apply(self, network, samples):
            seen.append((network.tensor("classifier.bias").clone(), samples))
            result = network.copy()
            with torch.no_grad():
                result.tensor("classifier.bias").fill_(len(seen))
            return result

    monkeypatch.setattr(vgg, "STEPS", (Step(), Step()))
    assert (vgg.trained().tensor("classifier.bias") == 2).all()
    assert (seen[1][0] == 1).all()
    assert [samples for _, samples in seen] == [parts.training] * 2
    (vgg.WORK / "vgg16-1.npz").unlink()
    assert (vgg.trained().tensor("classifier.bias") == 3).all()
    assert (seen[2][0] == 1).all()


def test_what_is_told_is_the_line(parts, capsys, monkeypatch):
    monkeypatch.setattr(vgg.torch, "set_num_threads", lambda _: None)
    vgg.main()
    (row,) = records.read("vgg")
    wanted = f"VGG-16, {row['parameters']:,} parameters: {row['error']:.2f} % of test images"
    assert wanted in capsys.readouterr().out
    assert len(parts.training) == 160
