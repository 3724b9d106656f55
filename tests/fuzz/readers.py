"""Everything that reads files of others: good examples, and how a file is read.

A reader takes a path in a folder of its own; whatever it raises but TersorError is a finding.
"""

import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper

from tersor.data.read import read_samples
from tersor.network.archive import read_program
from tersor.network.from_onnx.reader import read as read_onnx
from tersor.plan.recipe_file import load_recipe
from tersor.store.container import Reader, encode
from tersor.store.model import load_model, save_model
from tersor.store.pack import pack, unpack

PREPROCESS = """input = "image"
size = [8, 6]
resize = 9
colour = "RGB"
scale = 0.0039
mean = [0.5, 0.4, 0.3]
std = [0.2, 0.2, 0.2]
layout = "NHWC"
"""
RECIPE = """name = "w8a8"
description = "Weights and activations in 8 bits."
max_drop_pp = 1.5

[[candidate]]
name = "int8"

[[candidate.step]]
method = "quantize.static"
ranges = "mse"

[run]
engine = "onnxruntime"
precision = "f32"
"""


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        name: The file is called so while it is read.
        examples: Good files.
        read: What reads it, from a path.
        text: Whether it is text.
    """

    name: str
    examples: tuple[bytes, ...]
    read: Callable[[Path], object]
    text: bool = False


def onnx_examples() -> tuple[bytes, ...]:
    """A convolution with shapes that are computed, and elements in every kind of field."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((4, 2, 3, 3)).astype(np.float32),
        "m": rng.standard_normal((8, 5)).astype(np.float32),
        "shape": np.array([0, -1]),
        "s": np.float32(0.1),
        "z": np.int8(3),
        "axes": np.array([2, 3]),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Conv", ["d", "w"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Resize", ["r", "", "up"], ["u"], mode="linear"),
        helper.make_node("MaxPool", ["u"], ["p"], kernel_shape=[2, 2]),
        helper.make_node("Reshape", ["p", "shape"], ["f"]),
        helper.make_node("Slice", ["f", "from", "to", "one"], ["g"]),
        helper.make_node("MatMul", ["g", "m"], ["y"]),
        helper.make_node("Shape", ["y"], ["n"]),
        helper.make_node("ConstantOfShape", ["n"], ["zeros"]),
        helper.make_node("Concat", ["y", "zeros"], ["both"], axis=1),
    ]
    weights |= {"up": np.array([1, 1, 2, 2], np.float32), "from": np.array([0])}
    weights |= {"to": np.array([8]), "one": np.array([1])}
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, 6, 6])
    y = helper.make_tensor_value_info("both", TensorProto.FLOAT, ["N", 10])
    tensors = [numpy_helper.from_array(np.asarray(w), name) for name, w in weights.items()]
    tensors.append(helper.make_tensor("list", TensorProto.INT64, [3], [1, 2, 3]))
    graph = helper.make_graph(nodes, "g", [x], [y], tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return (bytes(made.SerializeToString()),)


def tsr_examples() -> tuple[bytes, ...]:
    """Tensors of many types; a model."""
    rng = np.random.default_rng(0)
    tensors = {
        f"layer{i}.weight": rng.integers(-9, 9, (8, 9)).astype(np.int8) for i in range(9)
    }
    tensors |= {"mask": rng.random(70) > 0.5, "big": np.zeros((90, 90), np.float32)}
    with tempfile.TemporaryDirectory(prefix="tersor-fuzz-") as folder:
        path = Path(folder) / "model.tsr"
        save_model(path, onnx_examples()[0], {"run": {"expand": "all"}})
        model = path.read_bytes()
    return encode(tensors, {"note": b"hello"}), model


def npz_examples() -> tuple[bytes, ...]:
    """Inputs and labels, stored and deflated."""
    arrays = {"x": np.arange(24, dtype=np.float32).reshape(4, 6), "labels": np.arange(4)}
    made = []
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, **arrays)
        made.append(file.getvalue())
    return tuple(made)


def pt2_examples() -> tuple[bytes, ...]:
    """A small module with a batch of any size."""
    module = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(module, (torch.zeros(3, 6),), dynamic_shapes=(batch,))
    file = io.BytesIO()
    torch.export.save(program, file)
    return (file.getvalue(),)


def pt_examples() -> tuple[bytes, ...]:
    """A state_dict as torch.save writes it today, and as it was before release 1.6."""
    weight = torch.arange(12.0).reshape(3, 4)
    state = {"w": weight, "turned": weight.t(), "half": weight.bfloat16(), "epoch": 3}
    made = []
    for as_zip in (True, False):
        file = io.BytesIO()
        torch.save(state, file, _use_new_zipfile_serialization=as_zip)
        made.append(file.getvalue())
    return tuple(made)


def safetensors_examples() -> tuple[bytes, ...]:
    """Three tensors of different types."""
    head = (
        b'{"__metadata__":{"a":"b"},"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},'
        b'"q":{"dtype":"I8","shape":[5],"data_offsets":[24,29]}}'
    )
    return (len(head).to_bytes(8, "little") + head + bytes(range(29)),)


def _read_tsr(path: Path) -> None:
    with Reader(path) as reader:
        found = reader.tensors()
        assert all(np.array_equal(found[n], reader.tensor(n), equal_nan=True) for n in found)
        for name in reader.sections:
            reader.section(name)
        if reader.kind == "model":
            load_model(path)


def _pack(path: Path) -> None:
    target, back = path.with_name("packed.tsr"), path.with_name("back")
    done = pack(path, target)
    unpack(target, back)
    assert done.identical == "tensors" or back.read_bytes() == path.read_bytes()


def _read_images(path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (16, 12)).save(path.with_name("a.png"))
    samples = read_samples(path.parent)
    if all(np.prod(a.shape) < 1e6 for a in samples.inputs.values()):
        for array in samples.inputs.values():
            np.asarray(array)


def _read_labels(path: Path) -> None:
    path.with_name("preprocess.toml").write_text(PREPROCESS)
    _read_images(path)


AUDIO = """input = "audio"
rate = 8000
seconds = 0.02
features = "log_mel"
window_ms = 5.0
mels = 4
"""
TEXT = """tokenizer = "vocab.txt"
length = 6
text = "sentence"
pair = "other"
label = "label"
classes = ["no", "yes"]
"""
_WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "##s")
_ROWS = (("good films", "bad", "yes"), ('"a, b"', "film", "no"))
_COLUMNS = ("sentence", "other", "label")


def wav_examples() -> tuple[bytes, ...]:
    """Sounds of 8, 16 and 32 bits and of floats; of one and two channels, at two rates."""
    from scipy.io import wavfile

    whole = np.arange(-200, 200).astype(np.int16).reshape(-1, 2) * 100
    unsigned = np.arange(200, dtype=np.uint8)
    kinds = ((8000, whole), (11025, whole[:, 0].astype(np.int32)), (8000, unsigned))
    made = []
    for rate, values in (*kinds, (8000, whole.astype(np.float32) / 2**15)):
        file = io.BytesIO()
        wavfile.write(file, rate, values)
        made.append(file.getvalue())
    return tuple(made)


def lines(separator: str) -> bytes:
    """A table of texts."""
    rows = [separator.join(row) for row in (_COLUMNS, *_ROWS)]
    return "\n".join([*rows, ""]).encode()


def json_lines() -> bytes:
    """The same as objects."""
    rows = [json.dumps(dict(zip(_COLUMNS, row, strict=True))) for row in _ROWS]
    return "\n".join([*rows, ""]).encode()


def _all_of(folder: Path) -> None:
    samples = read_samples(folder)
    for array in samples.inputs.values():
        if np.prod(array.shape) < 1e6:
            np.asarray(array)


def _read_sounds(path: Path) -> None:
    if path.suffix != ".wav":
        path.with_name("a.wav").write_bytes(wav_examples()[0])
    else:
        path.with_name("audio.toml").write_text(AUDIO)
    _all_of(path.parent)


def _read_lines(path: Path) -> None:
    path.with_name("vocab.txt").write_text("\n".join([*_WORDS, ""]))
    if path.name != "text.toml":
        path.with_name("text.toml").write_text(f'{TEXT}file = "{path.name}"\n')
    else:
        path.with_name("d.csv").write_bytes(lines(","))
    _all_of(path.parent)


def _read_words(path: Path) -> None:
    path.with_name("text.toml").write_text(TEXT + 'file = "d.csv"\n')
    path.with_name("d.csv").write_bytes(lines(","))
    _all_of(path.parent)


FORMATS: dict[str, Callable[[], Format]] = {
    "onnx": lambda: Format("m.onnx", onnx_examples(), read_onnx),
    "pack": lambda: Format("m.onnx", onnx_examples(), _pack),
    "tsr": lambda: Format("m.tsr", tsr_examples(), _read_tsr),
    "npz": lambda: Format("d.npz", npz_examples(), read_samples),
    "pt2": lambda: Format("m.pt2", pt2_examples(), read_program),
    "packed npz": lambda: Format("m.npz", npz_examples(), _pack),
    "packed pt": lambda: Format("m.pt", pt_examples(), _pack),
    "packed pt2": lambda: Format("m.pt2", pt2_examples(), _pack),
    "safetensors": lambda: Format("m.safetensors", safetensors_examples(), _pack),
    "recipe": lambda: Format("r.toml", (RECIPE.encode(),), load_recipe, text=True),
    "preprocess": lambda: Format(
        "preprocess.toml", (PREPROCESS.encode(),), _read_images, text=True
    ),
    "labels": lambda: Format("labels.tsv", (b"a.png\t3\n",), _read_labels, text=True),
    "wav": lambda: Format("a.wav", wav_examples(), _read_sounds),
    "audio": lambda: Format("audio.toml", (AUDIO.encode(),), _read_sounds, text=True),
    "tsv": lambda: Format("d.tsv", (lines("\t"),), _read_lines, text=True),
    "csv": lambda: Format("d.csv", (lines(","),), _read_lines, text=True),
    "jsonl": lambda: Format("d.jsonl", (json_lines(),), _read_lines, text=True),
    "text": lambda: Format("text.toml", (TEXT.encode(),), _read_lines, text=True),
    "words": lambda: Format(
        "vocab.txt", ("\n".join(_WORDS).encode(),), _read_words, text=True
    ),
}
"""All kinds of files, by name; making the examples takes a moment."""
