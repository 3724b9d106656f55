"""Embeddings held by integers: rows are gathered as they are stored."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tersor.codes.affine import Affine
from tersor.engines import find
from tersor.export.onnx import to_onnx
from tersor.network.capture import capture


class Tied(nn.Module):
    """A table that is read by row and, turned, as a head."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(50, 6)

    def forward(self, ids):
        rows = self.table(ids) + self.table.weight[3]
        return rows, rows @ self.table.weight.T


def coded(*, axis=0, bits=8):
    network = capture(Tied(), torch.arange(8).reshape(2, 4), output_names=["rows", "scores"])
    table = network.tensor("table.weight")
    network.set_code("table.weight", Affine.encode(table, axis=axis, bits=bits))
    return network


IDS = {"ids": np.array([[49, 0, 7, 7], [1, 2, 3, 4], [5, 5, 5, 48]])}


@pytest.mark.parametrize("engine", ["reference", "onnxruntime", "openvino"])
@pytest.mark.parametrize("axis", [0, None], ids=["per_row", "per_tensor"])
def test_engines_read_the_same_rows(axis, engine):
    """Exactly, but that an engine may round product and sum in one."""
    network = coded(axis=axis)
    found = find(engine).prepare(to_onnx(network), threads=1).run(IDS)
    wanted = network.run(IDS)["rows"]
    one_rounding = np.abs(wanted).max() * np.finfo(np.float32).eps
    np.testing.assert_allclose(found["rows"], wanted, rtol=0, atol=one_rounding)


@pytest.mark.parametrize("axis", [0, None], ids=["per_row", "per_tensor"])
def test_every_gather_reads_integers_which_are_stored_once(axis):
    graph = onnx.load_from_string(to_onnx(coded(axis=axis))).graph
    stored = {t.name: t.data_type for t in graph.initializer}
    tables = [
        n.input[0] for n in graph.node if n.op_type == "Gather" and "codes" in n.input[0]
    ]
    assert len(tables) == 2
    assert {stored[name] for name in tables} == {onnx.TensorProto.INT8}
    assert sum(len(t.raw_data) == 300 for t in graph.initializer) == 1


@pytest.mark.parametrize(
    "code", [{"axis": 1}, {"axis": 0, "bits": 16}], ids=["columns", "wide"]
)
def test_other_tables_are_dequantized_whole(code):
    network = coded(**code)
    model = to_onnx(network)
    gathered = [n for n in onnx.load_from_string(model).graph.node if n.op_type == "Gather"]
    assert all(not n.input[0].endswith(".codes") for n in gathered)
    found = find("onnxruntime").prepare(model, threads=1).run(IDS)
    np.testing.assert_array_equal(found["rows"], network.run(IDS)["rows"])
