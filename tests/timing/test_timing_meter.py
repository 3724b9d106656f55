"""Milliseconds that a cut would leave, from a table with made-up times."""

import pytest

from tersor.engines import find
from tersor.methods.prune.channels import PruneChannels
from tersor.network.channels import channels
from tersor.network.slimming import Target
from tersor.network.surgery import cut
from tersor.testing.networks import convolutional, perceptron, samples_for
from tersor.timing import meter
from tersor.timing.meter import Milliseconds
from tersor.timing.prediction import predicted
from tersor.timing.table import Table


def table(folder):
    """Every layer takes a microsecond for each multiplication, a call takes 3 ms."""

    def measure(work):
        return 3.0 if work.op == "call" else work.macs * 1e-3

    engine = find("onnxruntime")
    return Table(engine, threads=1, folder=folder, measure=measure)


@pytest.mark.parametrize("make", [convolutional, perceptron])
def test_the_meter_tells_what_the_cut_network_is_predicted_to_take(make, tmp_path):
    network = make()
    known = channels(network)
    group = known.groups[0]
    half = group.size // 2
    found = Milliseconds(network, known, table(tmp_path))({group.dim.root: half})
    keep = {group.name: [True] * half + [False] * (group.size - half)}
    wanted = predicted(cut(network, keep, known), table(tmp_path)).ms
    assert found == pytest.approx(wanted, rel=1e-6)
    assert found > 3.0


def test_groups_get_the_multiple_of_the_layer_that_makes_them(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(
        meter, "liked_multiple", lambda _, work: seen.append(work) or 2 + len(seen)
    )
    network = perceptron()
    known = channels(network)
    found = Milliseconds(network, known, table(tmp_path)).liked()
    assert found == {"first": 3, "second": 4}
    assert len(seen) == 2


def test_pruning_by_latency_tells_what_was_measured_and_predicted():
    network = convolutional()
    method = PruneChannels(target=Target(latency=0.7), multiple=1, repair=False)
    result = method.apply(network, samples_for(network))
    text = result.notes[-1].text
    assert "% off" in text
    assert "predicted" in text
    assert ("; onnxruntime, " in text) or ("; openvino, " in text)


def test_a_time_that_cannot_be_reached_is_told_with_what_was():
    """The report shows what was not done, unless another note says that something was."""
    network = convolutional()
    method = PruneChannels(target=Target(latency=1e-6), multiple=1, repair=False)
    result = method.apply(network, samples_for(network))
    (note,) = [note for note in result.notes if note.layer == "network"]
    assert not note.done
    assert "of the latency are left, not 0.0001 %: " in note.text
    assert "predicted" in note.text
