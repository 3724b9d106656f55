"""The node tests that the onnx package ships are the judge of the importer."""

import numpy as np
import onnxruntime
import pytest
from node_cases import collect, is_known, outcome, summary
from onnx.reference.ops.op_pool_common import pool
from quick_pool import quick_pool

from tersor.errors import UnsupportedError
from tersor.export import by_torch
from tersor.export.onnx import to_onnx

# What the reader refuses on purpose, by the words of its message.
REFUSED = (
    "cannot be read",
    "cannot be computed",
    "is in training mode",
    "has no shape",
    "opset",
    "that is not constant",
    "would make shapes depend on data",
    "reducing over zero-size dimension",
    "is of type bfloat16",
    "is no tensor of a known type",
)


@pytest.mark.parametrize("kind", ["AVG", "MAX", "LPPOOL"])
@pytest.mark.parametrize("count_include_pad", [0, 1])
@pytest.mark.parametrize(
    ("sizes", "settings"),  # settings: kernel, strides, sizes that come out, needed, there
    [
        ((7,), ([3], [2], [3], None, None)),
        ((5, 6), ([2, 3], None, [4, 4], None, None)),
        ((5, 6), ([3, 2], [2, 2], [3, 3], [1, 0, 1, 1], [1, 0, 1, 0])),  # rounded up
    ],
)
def test_the_quick_pools_are_those_of_the_package(kind, count_include_pad, sizes, settings):
    kernel, strides, out, needed, there = settings
    n = len(sizes)
    x = np.random.default_rng(0).normal(size=(1, 2, *sizes))
    edge = there or [0] * 2 * n
    widths = [(0, 0), (0, 0), *zip(edge[:n], edge[n:], strict=True)]
    beyond = 0.0 if count_include_pad and kind != "MAX" else np.nan
    given = (np.pad(x, widths, constant_values=beyond), x.shape, kernel, strides, out, kind)
    for dilations in (None, [1] * n, [2] + [1] * (n - 1)):
        spans = 1 + (np.array(kernel) - 1) * (dilations or 1)
        ends = np.array(sizes) + np.array(needed or [0] * 2 * n).reshape(2, n).sum(0)
        given[4][:] = (ends - spans) // np.array(strides or [1] * n) + 1
        rest = (needed, there, dilations, count_include_pad, 3)
        np.testing.assert_allclose(quick_pool(*given, *rest), pool(*given, *rest), rtol=1e-12)


@pytest.fixture(scope="module")
def outcomes():
    return [outcome(case) for case in collect()]


def test_no_node_test_fails(outcomes, tell):
    tell(summary(outcomes))
    failed = {o.case.name: o.failed for o in outcomes if o.failed}
    assert failed == {}
    assert len(outcomes) > 1600


def test_what_is_refused_is_refused_by_a_known_reason(outcomes):
    refused = {o.case.name: o.refused for o in outcomes if o.refused}
    surprises = {n: w for n, w in refused.items() if not any(known in w for known in REFUSED)}
    assert surprises == {}


def test_nearly_all_node_tests_of_known_operators_pass(outcomes):
    known = [o for o in outcomes if is_known(o.case)]
    passed = [o for o in known if not o.refused and not o.failed]
    assert len(passed) >= 0.85 * len(known)
    assert len(passed) >= 1350


def by_runtime(data, feeds):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(data, options)
    return session.run(None, {i.name: feeds[i.name] for i in session.get_inputs()})


def one_per_kind(outcomes):
    """The first case that passed for each set of operators and each type of input."""
    chosen = {}
    for found in outcomes:
        if found.network is not None and not found.failed:
            kinds = [n.op_type for n in found.case.model.graph.node]
            types = [p.dtype for p in found.network.inputs]
            chosen.setdefault((tuple(kinds), tuple(types)), found)
    return list(chosen.values())


# At the opset that is written, ONNX lacks these, or ONNX Runtime does.
NOT_WRITTEN = {"BitCast", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor"}
NOT_WRITTEN |= {"Col2Im", "CumProd"}


def test_what_was_read_is_exported_to_the_same_results(outcomes, monkeypatch, tell):
    def refuse(_, lacking):
        raise lacking

    monkeypatch.setattr(by_torch, "to_onnx", refuse)
    compared, not_written = 0, set()
    for found in one_per_kind(outcomes):
        arrays = found.case.data_sets[0][0]
        names = [i.name for i in found.case.model.graph.input]
        feeds = {n: np.asarray(a) for n, a in zip(names, arrays, strict=True)}
        try:
            by_runtime(found.case.model.SerializeToString(), feeds)
        except Exception:  # noqa: BLE001, S112 - ONNX Runtime cannot run the original
            continue
        try:
            data = to_onnx(found.network)
        except UnsupportedError:
            not_written |= {n.op_type for n in found.case.model.graph.node}
            continue
        compared += 1
        for got, wanted in zip(
            by_runtime(data, feeds), found.case.data_sets[0][1], strict=True
        ):
            assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape), found.case.name
            rtol = max(found.case.rtol, 2.0**-9 if wanted.dtype == np.float16 else 0)
            np.testing.assert_allclose(
                got, wanted, rtol=rtol, atol=1e-5, err_msg=found.case.name
            )
    tell(f"ONNX node tests, one of each kind: {compared} exported to the same results")
    assert not_written <= NOT_WRITTEN  # an older ONNX Runtime runs fewer of the originals
    assert compared >= 280
