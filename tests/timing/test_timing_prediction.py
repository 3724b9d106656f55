"""The sum of a network's parts, with made-up times."""

import pytest
import torch
from torch import nn

from tersor import engines
from tersor.network.capture import capture
from tersor.timing.prediction import Prediction, Row, of_tasks, predicted
from tersor.timing.reading import Task, works
from tersor.timing.table import Table
from tersor.timing.work import Work

TIMES = {"call": 0.5, "conv": 3.0, "matmul": 2.0, "move": 0.25}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 12, 3), nn.Linear(12, 5)

    def forward(self, x):
        return self.c(self.b(torch.relu(self.a(x))).mean((2, 3)))


@pytest.fixture(scope="module")
def network():
    return capture(Net().eval(), (torch.randn(2, 3, 9, 9),))


@pytest.fixture
def table(tmp_path):
    def make(of=lambda work: TIMES[work.op]):
        engine = engines.find("reference")
        return Table(engine, threads=1, folder=tmp_path, measure=of)

    return make


def test_parts_are_added_up(network, table):
    """A layer that is fed was measured with the call, which counts once."""
    found = predicted(network, table())
    assert [(row.node, row.ms) for row in found.rows] == [
        ("conv2d", 2.5),
        ("conv2d_1", 3.0),
        ("mean", 0.25),
        ("linear", 2.0),
    ]
    assert found.call_ms == 0.5
    assert found.ms == 0.5 + 2.5 + 3.0 + 0.25 + 2.0


def test_a_fed_layer_takes_no_less_than_nothing(network, table):
    found = predicted(network, table(lambda work: 2.0 if work.op == "call" else 1.0))
    assert found.rows[0].ms == 0


def test_batch_reaches_the_layers(network, table):
    def rows(work):
        return work.shapes[0][0] if work.op == "matmul" else 1e-9

    assert predicted(network, table(rows), batch=6).ms == pytest.approx(6)


def test_errors_have_a_sign():
    row = Row("conv", Work("call", ()), 3.0)
    found = Prediction(rows=(row,), call_ms=1.0)
    assert found.error_percent is None
    assert found.measured(5.0).error_percent == pytest.approx(-20.0)
    assert found.measured(2.0).error_percent == pytest.approx(100.0)


def test_calibration_makes_the_first_network_exact(network, table):
    found = predicted(network, table()).calibrated(16.5)
    assert found.scale == 2.0
    assert found.error_percent == 0
    assert found.calibrated(33.0).scale == 4.0
    assert found.calibrated(33.0).ms == 33.0


def test_every_shape_is_measured_so_many_times_in_turns(network, table):
    asked = []

    def measure(work):
        asked.append(work)
        return 10.0 - len(asked) / 10

    found = predicted(network, table(measure), times=3)
    points = len(set(asked))
    assert asked == asked[:points] * 3
    assert found.call_ms == pytest.approx(10.0 - (2 * points + 1) / 10)


def test_shapes_between_the_points_are_interpolated(table):
    """Of 12 channels that is the mean of 8 and 16."""

    def staircase(work):
        return 1.0 if work.op == "call" or work.widths[0] <= 8 else 2.0

    tasks = [Task("a", Work("matmul", ((1, 12), (12, 8))))]
    assert of_tasks(tasks, table(staircase)).ms == 1.0 + 2.0
    assert of_tasks(tasks, table(staircase), between=True).ms == 1.0 + 1.5


def test_a_network_is_its_tasks(network, table):
    assert predicted(network, table(), batch=3) == of_tasks(works(network, 3), table())
