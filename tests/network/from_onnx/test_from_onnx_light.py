"""The networks that the onnx package ships, there and back, on ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx_models import by_runtime

from tersor.export.onnx import to_onnx
from tersor.network.from_onnx.reader import read

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
NAMES = sorted(path.stem for path in FOLDER.glob("*.onnx"))
QUICK = {"light_squeezenet", "light_shufflenet", "light_inception_v1"}
PARAMETERS = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NAMES
]


def filled(proto):
    """The network with random weights where the file says only their shapes."""
    rng = np.random.default_rng(0)
    shapes = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    kept = []
    for node in proto.graph.node:
        if node.op_type != "ConstantOfShape":
            kept.append(node)
            continue
        shape = tuple(shapes[node.input[0]])
        fan_in = max(int(np.prod(shape[1:])), 1)
        values = rng.standard_normal(shape, dtype=np.float32) * np.sqrt(2 / fan_in)
        values = np.abs(values) + 0.5 if len(shape) == 1 else values  # variances, too
        tensor = numpy_helper.from_array(values.astype(np.float32), node.output[0])
        proto.graph.initializer.append(tensor)
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    return proto


def test_there_are_networks():
    assert len(NAMES) == 9


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_network_is_read_and_written_to_the_same_results(name, request):
    if name not in QUICK:
        request.getfixturevalue("only_when_asked")
    proto = filled(onnx.load(FOLDER / f"{name}.onnx"))
    network = read(proto.SerializeToString())
    assert len(list(network.module.parameters())) > 10
    rng = np.random.default_rng(1)
    feeds = {
        port.name: rng.standard_normal(port.concrete(1)).astype(np.float32)
        for port in network.inputs
    }
    (wanted,) = by_runtime(proto, feeds)
    again = onnx.load_from_string(to_onnx(network))
    (back,) = by_runtime(again, feeds)
    (here,) = network.run(feeds).values()
    largest = float(np.abs(wanted).max())
    assert largest > 0
    for found in (back, here):
        assert found.shape == wanted.shape
        # sums of some thousands of products, through some ten layers
        assert np.abs(found - wanted).max() <= 1e-4 * largest
