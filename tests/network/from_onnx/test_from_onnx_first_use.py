"""A bad file is refused before anything large is imported: also by the first call of all."""

import json
import os
import subprocess
import sys
from pathlib import Path

import hostile_onnx as hostile
import numpy as np
import onnx
import pytest
from onnx_models import floats

import tersor
from tersor.network.from_onnx.file import OPSETS, parse
from tersor.store.container import encode

SOURCE = str(Path(tersor.__file__).parents[1])
LARGE = ("torch", "onnx", "onnxruntime", "openvino", "scipy", "PIL")
MOST_MB = 50  # beyond the interpreter itself
MOST_SECONDS = 1.0  # of processor time: torch alone takes more than twice as much

# What a process of its own tells of refusals: the errors, what is imported, what they took.
TELL = f"""
import json, re, resource, sys
def used():
    high = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime, int(high[1]) / 1024
before, said = used(), []
from tersor.errors import TersorError
for path in sys.argv[1:]:
    try:
        {{}}
    except TersorError as error:
        said.append(str(error))
after = used()
loaded = [name for name in {LARGE} if name in sys.modules]
json.dump([said, loaded, after[0] - before[0], after[1] - before[1]], sys.stdout)
"""
COMMAND = "from tersor.cli.app import tersor; tersor({}, standalone_mode=False)"
CALLS = {
    "tersor.load": "import tersor; tersor.load(path)",
    "tersor.compress": "import tersor; tersor.compress(path, 'nowhere.npz')",
    "inspect": COMMAND.format("['inspect', path]"),
    "export": COMMAND.format("['export', path, '-o', 'o.onnx']"),
    "compress": COMMAND.format("['compress', path, '--data', 'nowhere.npz']"),
}


def outside():
    """Data in another folder than the model's."""
    proto = hostile.simple()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")
    return proto.SerializeToString()


def swollen():
    """No elements at all, for a shape of 2^40."""
    proto = hostile.simple()
    proto.graph.initializer[0].ClearField("raw_data")
    proto.graph.initializer[0].dims[0] = 1 << 40
    return proto.SerializeToString()


def one_node(op_type, sizes=(), domain=""):
    """A node that reads an input, or sizes that the file gives."""
    ends = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in "xy"]
    given = onnx.numpy_helper.from_array(np.array(sizes, np.int64), "sizes")
    reads = {
        "ConstantOfShape": ["sizes"],
        "Expand": ["x", "sizes"],
        "Tile": ["x", "sizes"],
        "Resize": ["x", "", "", "sizes"],
    }.get(op_type, ["x"])
    node = onnx.helper.make_node(op_type, reads, ["y"], domain=domain)
    graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:], [given])
    sets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("my.own", 1)]
    return onnx.helper.make_model(graph, opset_imports=sets).SerializeToString()


FILES = {
    "operator.onnx": (lambda: one_node("Fold"), "Node 'y': Fold (opset 17) cannot be read"),
    "domain.onnx": (
        lambda: one_node("Relu", domain="my.own"),
        "Node 'y': Relu (opset 17) of the domain 'my.own' cannot be read",
    ),
    "microsoft.onnx": (
        lambda: one_node("Relu", domain="com.microsoft"),
        "Relu (opset 17) of the domain 'com.microsoft' cannot be read",
    ),
    "greedy.onnx": (
        lambda: one_node("ConstantOfShape", [1 << 20, 1 << 20]),
        "makes a tensor of [1048576, 1048576] elements",
    ),
    "wide.onnx": (
        lambda: one_node("Expand", [1 << 40, 1]),
        "makes a tensor of [1099511627776, 1] elements",
    ),
    "tile.onnx": (
        lambda: one_node("Tile", [3, 1 << 40]),
        "makes a tensor [3, 1099511627776] times as large",
    ),
    "resize.onnx": (
        lambda: one_node("Resize", [1, 1 << 40]),
        "makes a tensor of [1, 1099511627776] elements",
    ),
    "computed.onnx": (hostile.on_what_is_computed, "condition that depends on data"),
    "cycle.onnx": (hostile.cycle, "before any node makes it"),
    "dangling.onnx": (hostile.WRONG["dangling_edge"], "before any node makes it"),
    "lying.onnx": (hostile.lying_shape, "where 4398046511104 belong"),
    "swollen.onnx": (swollen, "bytes for 1099511627776 elements"),
    "large.onnx": (hostile.WRONG["large_input"], "larger than any memory"),
    "outside.onnx": (outside, "outside the folder of the model"),
    "bomb.onnx": (hostile.BOMBS["empty_nodes"], "One of the nodes is empty"),
    "packed.onnx": (hostile.BOMBS["packed_elements"], "has more of them"),
    "cut.onnx": (lambda: hostile.cycle()[:-3], "is no ONNX model, or it is cut short"),
    "opset.onnx": (hostile.WRONG["unknown_opset"], "Tersor reads 7 to 28"),
    "no.pt2": (lambda: b"no archive", "no whole zip archive"),
    "no.tsr": (lambda: b"\x89TSR\1\0" + bytes(99), "at byte"),
    "other.tsr": (lambda: encode({"w": floats(3)}, {}), "holds"),
}


def told(folder, names, call):
    """What a process tells that makes `call` on these files, first of all."""
    for name in names:
        (folder / name).write_bytes(FILES[name][0]())
    return json.loads(output(TELL.format(CALLS[call]), *names, cwd=folder))


def output(code, *words, **more):
    """What a process of its own prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": SOURCE}
    call = [sys.executable, "-c", code, *words]
    done = subprocess.run(call, capture_output=True, check=True, env=environment, **more)
    return done.stdout


# What a process may import besides Python's own, to refuse a file by `tersor inspect`. Of the
# package onnx these are the classes of its messages only.
FEW = {
    "cycle.onnx": {"tersor", "click", "google", "onnx"},
    "bomb.onnx": {"tersor", "click", "google"},
    "no.tsr": {"tersor", "click"},
    "no.pt2": {"tersor", "click"},
}


@pytest.mark.parametrize("name", FEW)
def test_a_refusal_on_the_command_line_imports_few_packages(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name][0]())
    before = set(output("import sys; print(*sys.modules)").decode().split())
    code = (
        "import sys; from tersor.cli import main; code = main(['inspect', sys.argv[1]]); "
        "print(code, *sys.modules)"
    )
    code, *after = output(code, name, cwd=tmp_path).decode().split()
    assert code == "1"
    assert "onnx" not in after
    own = set(sys.stdlib_module_names) | {"__main__", "sitecustomize"}
    found = {module.partition(".")[0] for module in set(after) - before}
    assert {one for one in found if one not in own and not one.startswith("_")} <= FEW[name]


def test_the_newest_operator_set_is_that_of_the_onnx_package():
    assert onnx.defs.onnx_opset_version() == OPSETS.stop - 1


@pytest.mark.parametrize("call", CALLS)
def test_the_first_refusal_imports_nothing_large(tmp_path, call):
    """All refusals of the process together keep the limits."""
    names = list(FILES) if call == "tersor.load" else ["cycle.onnx", "no.pt2", "no.tsr"]
    said, loaded, seconds, megabytes = told(tmp_path, names, call)
    assert len(said) == len(names)
    for name, words in zip(names, said, strict=True):
        assert FILES[name][1] in words
    assert loaded == []
    assert seconds < MOST_SECONDS
    assert megabytes < MOST_MB


def test_the_same_classes_serve_the_onnx_package():
    """Whoever imports it later works with messages that were parsed before."""
    code = "from tersor.network.from_onnx.messages import messages; own = messages()\n"
    code += "import onnx, onnx.helper; print(own.ModelProto is onnx.ModelProto)"
    assert output(code).strip() == b"True"


def test_what_was_parsed_is_what_the_onnx_package_parses():
    proto = hostile.simple()
    found = parse(proto.SerializeToString())
    assert found.model == proto
    assert (list(found.initializers), [i.name for i in found.inputs]) == (["w"], ["x"])
    assert (found.names, found.readers) == (["sum"], {"x": 1, "w": 1, "y": 1})
