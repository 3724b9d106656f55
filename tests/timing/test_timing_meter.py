"""Milliseconds that a cut would leave, from a table with made-up times."""

import re

import pytest

from tersor.engines import find
from tersor.methods.prune.channels import PruneChannels
from tersor.network.channels import channels
from tersor.network.network import WHOLE
from tersor.network.slimming import Target
from tersor.network.surgery import cut
from tersor.testing.networks import convolutional, perceptron, samples_for
from tersor.timing import meter
from tersor.timing.meter import Fastest, Milliseconds
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
    pattern = (
        r"[\d.]+ % of the latency are predicted to be left(, not 70 %: .*)?; "
        r"measured [\d.]+ %, "
        r"[\d.e-]+ of [\d.e-]+ ms on (onnxruntime|openvino), \d+ threads; "
        r"the prediction is [+-]\d+ % off"
    )
    assert re.fullmatch(pattern, text)


def test_a_time_that_cannot_be_reached_is_told_with_what_was():
    """The report shows what was not done, unless another note says that something was."""
    network = convolutional()
    method = PruneChannels(target=Target(latency=1e-6), multiple=1, repair=False)
    result = method.apply(network, samples_for(network))
    (note,) = [note for note in result.notes if note.layer == WHOLE]
    assert not note.done
    assert "of the latency are predicted to be left, not 0.0001 %: " in note.text
    assert "the prediction is " in note.text


@pytest.mark.parametrize(("asked", "reached"), [(0, True), (8, False)])
def test_what_the_engine_likes_gives_way_to_the_target_and_what_is_asked_for_does_not(
    monkeypatch, tmp_path, asked, reached
):
    """Time here goes as the multiply-accumulates, and half of them cannot go by eights."""
    monkeypatch.setattr(Fastest, "table", lambda _: free_table(tmp_path))
    monkeypatch.setattr(meter, "liked_multiple", lambda *_: 8)
    network = convolutional()
    method = PruneChannels(target=Target(latency=0.4), multiple=asked, repair=False)
    result = method.apply(network, samples_for(network))
    (note,) = [note for note in result.notes if note.layer == WHOLE]
    assert note.done is reached
    assert ("in multiples of 8" in note.text) is not reached


def free_table(folder):
    """Of an engine whose calls take no time."""

    def measure(work):
        return 0.0 if work.op in {"call", "move"} else work.macs * 1e-3

    return Table(find("onnxruntime"), threads=1, folder=folder, measure=measure)
