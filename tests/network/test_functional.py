import pytest
import torch
from torch import fx

from tersor.network.functional import functionalize, works_in_place

aten = torch.ops.aten
NEG, RELU_ = aten.neg.default, aten.relu_.default


def traced(*steps):
    """A graph over x; each step names its operation and the values it reads, by number."""
    graph = fx.Graph()
    values = [graph.placeholder("x")]
    values[0].meta["val"] = torch.zeros(2, 3)
    for target, *args in steps:
        given = tuple(values[a] if isinstance(a, int) else a for a in args)
        values.append(graph.call_function(target, given))
        values[-1].meta["val"] = torch.zeros(2, 3)
    graph.output((values[-1],))
    return graph


def targets(graph):
    return [n.target for n in graph.nodes if n.op == "call_function"]


def test_later_readers_read_the_result():
    graph = traced((aten.neg.default, 0), (aten.relu_.default, 1), (aten.add.Tensor, 1, 0))
    assert functionalize(graph)
    assert targets(graph) == [aten.neg.default, aten.relu.default, aten.add.Tensor]
    add = list(graph.nodes)[-2]
    assert add.args[0].target is aten.relu.default
    assert not any(works_in_place(n) for n in graph.nodes)


def test_a_view_that_nobody_reads_again_does_no_harm():
    graph = traced(
        (aten.neg.default, 0), (aten.view.default, 1, [3, 2]), (aten.relu_.default, 2)
    )
    assert functionalize(graph)


@pytest.mark.parametrize(
    "steps",
    [
        [(NEG, 0), (aten.t.default, 1), (RELU_, 1), (aten.abs.default, 2)],
        [(NEG, 0), (aten.t.default, 1), (RELU_, 2), (aten.abs.default, 1)],
        [(aten.dropout.default, 0, 0.5, False), (RELU_, 1), (aten.abs.default, 0)],
    ],
    ids=["base of a view", "view of a base", "dropout passes on"],
)
def test_what_needs_more_is_left_to_torch(steps):
    assert not functionalize(traced(*steps))


def test_another_element_type_is_left_to_torch():
    """x.add_(double) stays float, x + double does not."""
    graph = traced((aten.neg.default, 0), (aten.exp.default, 0), (aten.add_.Tensor, 1, 2))
    list(graph.nodes)[2].meta["val"] = torch.zeros(2, 3, dtype=torch.float64)
    assert not functionalize(graph)
