"""Files made to do harm are refused by name, quickly, in little memory, in few words."""

import re
import time
from itertools import pairwise
from pathlib import Path

import hostile_onnx as hostile
import numpy as np
import pytest
from onnx_models import floats, node
from tests.growth import Growth

from tersor.cli.app import run
from tersor.errors import FormatError, ModelError, TersorError, UnsupportedError
from tersor.network.from_onnx.reader import read
from tersor.network.from_onnx.wire import look_over

MOST_BYTES = 50_000_000
MOST_SECONDS = 0.5  # of processor time: 0.1 s on a machine of its own, and slack
LONGEST = 1100  # characters of a message


def refused(data, kind=TersorError):
    """The error of reading `data`, after its time and memory were compared with the limits."""
    with Growth() as memory, pytest.raises(kind):
        read(data)
    assert memory.bytes < MOST_BYTES
    start = time.process_time()  # a second time: the first may import parts of torch
    with pytest.raises(kind) as caught:
        read(data)
    assert time.process_time() - start < MOST_SECONDS
    assert len(str(caught.value)) < LONGEST
    return caught.value


WORDS = {
    "cycle": "'b' is read by node 'a' before any node makes it",
    "self_loop": "'y' is read by node 'y' before any node makes it",
    "dangling_edge": "'gone' is read by node 'y' before any node makes it",
    "dangling_output": "'gone' is an output, but no node makes it",
    "lying_shape": "w has 12 bytes where 4398046511104 belong",
    "made_twice": "'y' is made twice",
    "initialized_twice": "two values the same name",
    "given_twice": "two values the same name",
    "no_graph": "no graph with outputs",
    "empty_graph": "no graph with outputs",
    "no_node": "'y' is an output, but no node makes it",
    "unknown_opset": "uses opset 1099511627776",
    "negative_opset": "uses opset -1",
    "unknown_domain": "of the domain 'org.elsewhere' cannot be read",
    "subgraphs": r"If \(opset 17\) has a condition that depends on data",
    "function_of_itself": "of the domain 'own' cannot be read",
    "huge_input": "Input 'x' is larger than any memory",
    "large_input": "Input 'x' is larger than any memory",
}


@pytest.mark.parametrize("name", hostile.WRONG)
def test_a_wrong_graph_is_refused_by_name(name):
    caught = refused(hostile.WRONG[name]())
    assert re.search(WORDS[name], str(caught))


@pytest.mark.parametrize("name", hostile.GREEDY)
def test_what_asks_for_more_than_any_memory_is_refused(name):
    caught = refused(hostile.GREEDY[name](), (ModelError, UnsupportedError))
    assert re.search(r"makes (a tensor|too many)|resizes 4|has a depth", str(caught))


@pytest.mark.parametrize("name", hostile.BOMBS)
def test_a_bomb_is_refused_before_it_is_unpacked(name):
    caught = refused(hostile.BOMBS[name](), FormatError)
    words = "is empty|holds more than|holds too many|has more of them|no ONNX model"
    assert re.search(words, str(caught))


@pytest.mark.parametrize("name", hostile.GROWING)
def test_sizes_do_not_multiply_while_reading(name):
    """They are no sizes any more, but a tensor that the network computes."""
    network = read(hostile.GROWING[name]())
    assert any(n.op == "call_function" for n in network.graph.nodes)


@pytest.mark.parametrize("name", hostile.LONG)
def test_names_of_megabytes_make_no_long_message(name):
    refused(hostile.LONG[name](3_000_000))


FIELDS = {  # of a model around them, as numbers of fields and repeated content
    "opsets": (lambda n: hostile.valid(extra_model=hostile.field(8, b"\x10\1") * n), 255),
    "names": (lambda n: hostile.valid(hostile.a_node(hostile.field(1, b"x") * n)), 16383),
    "dims": (lambda n: hostile.wire(hostile.field(1, 1) * n + hostile.field(2, 1)), 64),
    "packed": (lambda n: hostile.wire(hostile.field(1, 9) + hostile.field(7, b"\1" * n)), 90),
}


@pytest.mark.parametrize("name", FIELDS)
def test_the_longest_list_passes_and_one_more_does_not(name):
    make, most = FIELDS[name]
    look_over(make(most))
    with pytest.raises(FormatError, match=r"holds more than|has more of them"):
        look_over(make(most + 1))


def test_all_integers_of_attributes_together_are_limited():
    packed = hostile.field(5, hostile.field(1, b"a") + hostile.field(8, b"\1" * (1 << 21)))
    look_over(hostile.valid(hostile.a_node(packed) * 2))
    with pytest.raises(FormatError, match="too many integers in an attribute"):
        look_over(hostile.valid(hostile.a_node(packed) * 2 + hostile.a_node(packed)))


def test_all_parts_together_are_limited(monkeypatch):
    """The graph of `valid` has six: itself, its node, its weight and its ends."""
    monkeypatch.setattr("tersor.network.from_onnx.wire._MESSAGES_MOST", 1000)
    nodes = hostile.a_node(hostile.field(5, hostile.field(1, b"a")) * 90)
    look_over(hostile.valid(nodes * 10))
    with pytest.raises(FormatError, match="holds more than 1000 parts"):
        look_over(hostile.valid(nodes * 11))


def test_a_large_but_honest_graph_is_looked_over_and_read():
    names = ["x", *(f"v{i}" for i in range(300)), "y"]
    nodes = [node("Add", f"{a} w", b) for a, b in pairwise(names)]
    weights = {"w": floats(1, 3)}
    assert len(read(hostile.simple(nodes, weights=weights).SerializeToString()).inputs) == 1


@pytest.mark.parametrize(
    ("command", "name", "words"),
    [
        ("inspect m.onnx", "cycle", "before any node makes it"),
        ("inspect m.onnx", "expand", "makes a tensor of"),
        ("inspect m.onnx", "empty_nodes", "m.onnx: One of the nodes is empty"),
        ("export m.onnx -o o.onnx", "cycle", "before any node makes it"),
        ("bench m.onnx", "empty_inputs", "m.onnx: One of the inputs is empty"),
        ("run m.onnx --input a.npz --output b.npz", "empty_nodes", "of the nodes is empty"),
    ],
)
def test_the_command_line_says_it_in_one_line(
    tmp_path, capsys, monkeypatch, command, name, words
):
    monkeypatch.chdir(tmp_path)
    Path("m.onnx").write_bytes((hostile.WRONG | hostile.GREEDY | hostile.BOMBS)[name]())
    np.savez("a.npz", x=np.zeros((1, 3), np.float32))
    assert run(command.split()) == 1
    said = capsys.readouterr().err
    (line,) = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert words in line
    assert "Traceback" not in said


def test_a_long_name_is_cut_on_the_command_line(tmp_path, capsys):
    path = tmp_path / "m.onnx"
    path.write_bytes(hostile.long_op(3_000_000))
    assert run(["inspect", str(path)]) == 1
    assert len(capsys.readouterr().err) < LONGEST + 200
