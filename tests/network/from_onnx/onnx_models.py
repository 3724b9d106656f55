"""Small ONNX models for tests, and the comparison with the reference evaluator."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tersor.errors import UnsupportedError
from tersor.network.from_onnx.reader import read

FLOAT = TensorProto.FLOAT


def floats(*shape, seed=0):
    """Normal numbers with some zeros and ties among them."""
    x = np.random.default_rng(seed).standard_normal(shape)
    return (np.round(x * 64) / 64).astype(np.float32)


def node(op, inputs, outputs, **attributes):
    """A node; inputs and outputs are names separated by blanks, "-" for one left out."""
    names = ["" if name == "-" else name for name in inputs.split()]
    results = ["" if name == "-" else name for name in outputs.split()]
    return helper.make_node(op, names, results, **attributes)


def model(nodes, inputs, outputs, weights=(), opset=17):
    """A ModelProto.

    Args:
        nodes: NodeProtos in order.
        inputs: Shape, or (shape, element type), by name.
        outputs: Names of the outputs; their shapes are left open.
        weights: Arrays by name.
        opset: Version of the operator set.
    """
    infos = [
        helper.make_tensor_value_info(name, *_typed(declared))
        for name, declared in dict(inputs).items()
    ]
    results = [helper.make_empty_tensor_value_info(name) for name in outputs]
    tensors = [
        numpy_helper.from_array(np.asarray(w), name) for name, w in dict(weights).items()
    ]
    graph = helper.make_graph(list(nodes), "graph", infos, results, tensors)
    versions = {"": opset} | {n.domain: 1 for n in nodes if n.domain}
    imports = [helper.make_opsetid(domain, version) for domain, version in versions.items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def _typed(declared):
    if isinstance(declared, tuple):
        return declared[1], declared[0]
    return FLOAT, declared


def by_reference(proto, feeds):
    """What the evaluator of the onnx package computes."""
    return ReferenceEvaluator(proto).run(None, feeds)


def fused(op, inputs, outputs, **attributes):
    """A node of ONNX Runtime's own domain."""
    return node(op, inputs, outputs, domain="com.microsoft", **attributes)


def by_runtime(proto, feeds):
    """What ONNX Runtime computes: for old opsets, which the evaluator gets wrong or lacks."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(proto.SerializeToString(), options).run(None, feeds)


def agree(proto, feeds, terms=64, oracle=by_reference):
    """Compare with an oracle: shapes, dtypes, and values.

    Sums of `terms` products of magnitude at most m differ by terms * eps * m.
    """
    network = read(proto.SerializeToString())
    got = network.run(feeds)
    for port, wanted in zip(network.outputs, oracle(proto, feeds), strict=True):
        found = got[port.name]
        assert found.shape == np.shape(wanted)
        assert found.dtype == np.asarray(wanted).dtype
        largest = (
            np.abs(wanted, dtype=np.float64).max(initial=1.0) if found.dtype != bool else 1
        )
        np.testing.assert_allclose(found, wanted, rtol=0, atol=terms * 1.2e-7 * largest)
    return network


def targets(network):
    """Names of the ATen overloads in the graph, in order."""
    return [str(n.target) for n in network.graph.nodes if n.op == "call_function"]


def refused_node(proto, words):
    """Reading is refused, and the message says which node and why."""
    with pytest.raises(UnsupportedError, match=words) as caught:
        read(proto.SerializeToString())
    assert caught.value.node
