"""How small and how fast is each codec on the integers of real networks?

`python -m benchmarks.codecs` takes published weights, quantizes them with Tersor's affine code
(`int8`: 8 bits per output channel; `pruned`: the smallest four fifths zero, then 5 bits per
tensor) and codes them: with each of Tersor's codecs, in the blocks that a `.tsr` has, and each
weight by itself with zstd at level 19 and with NNCodec's coder in a process of its own
(`python -m benchmarks.environments nncodec` makes its environment). All take turns in
interleaved rounds; everything is decoded and compared. SqueezeNet as Han et al. published it
is recoded, too, with codebooks and biases, as a `.tsr` of level best.

One line per set and coder goes to results/codecs.jsonl: bytes, the order-0 entropy, megabytes
of weights a second, and quartiles, round by round, of the speed over that of zstd -19 and of
NNCodec. Sets that are there are not run again; `--sets` names those that are to be.
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import zstandard
from numpy.typing import NDArray

from benchmarks import deep_compressed, environments, records
from benchmarks.datasets import SHARED
from benchmarks.models import cifar_resnet, mobilenet_v2, squeezenet
from benchmarks.records import ROOT, Row
from tersor import codecs, machine
from tersor.codecs.codec import Part
from tersor.codes.affine import Affine
from tersor.store import layout
from tersor.store.container import Reader, encode
from tersor.store.directory import Entry, in_layout_order
from tersor.store.elements import CODES

NAME = "codecs"
COMMAND = "python -m benchmarks.codecs"
NETWORKS: dict[str, Callable[[], torch.nn.Module]] = {
    "resnet44": lambda: cifar_resnet.pretrained(44),
    "squeezenet": squeezenet.pretrained,
    "mobilenet_v2": mobilenet_v2.pretrained,
}
HAN = SHARED / "imagenet_models" / "squeezenet1_0_deep_compressed.bin"
DEEP = "squeezenet deep compressed"
SETS = (*(f"{name} {form}" for name in NETWORKS for form in ("int8", "pruned")), DEEP)
_KEPT = 0.2
Array = NDArray[Any]  # int8 or uint8


class Once(NamedTuple):
    """One round of one coder."""

    size: int
    encode_s: float
    decode_s: float


Coder = Callable[[Sequence[Array]], Once]


def main() -> None:
    """Run what is asked for, or what is not in the results yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sets", nargs="+", choices=SETS, metavar="SET")
    given = parser.parse_args()
    done = {row["set"] for row in records.read(NAME)}
    for name in given.sets or [name for name in SETS if name not in done]:
        rows = measure(name, given.rounds)
        records.replace(NAME, rows, by=("set", "coder"))
        for row in rows:
            print(f"{name:28} {row['coder']:12} {row['bytes']:9} {row['speed']}", flush=True)


def tensors(name: str) -> list[Array]:
    """The integers of a set, one array per weight."""
    if name == DEEP:
        found = deep_compressed.tensors(HAN)
        return [a for key, a in found.items() if key.endswith(".w")]
    network, form = name.split()
    weights = [p.detach() for p in NETWORKS[network]().parameters() if p.ndim > 1]
    return pruned(weights) if form == "pruned" else [integers(w, 8, 0) for w in weights]


def integers(weight: torch.Tensor, bits: int, axis: int | None) -> Array:
    """The codes of a weight."""
    codes = Affine.encode(weight, bits=bits, axis=axis).codes()
    return np.ascontiguousarray(codes.numpy().astype(np.int8))


def pruned(weights: Sequence[torch.Tensor]) -> list[Array]:
    """Five bits of what is left where one magnitude, in standard deviations, divides all."""
    sizes = [(weight / weight.std()).abs() for weight in weights]
    every = torch.cat([size.reshape(-1) for size in sizes]).numpy()
    least = float(np.quantile(every, 1 - _KEPT))
    kept = [w * (size >= least) for w, size in zip(weights, sizes, strict=True)]
    return [integers(weight, 5, None) for weight in kept]


def centred(array: Array) -> NDArray[np.int32]:
    """Signed numbers; of unsigned ones, less the most frequent."""
    if array.dtype == np.int8:
        return array.astype(np.int32)
    return array.astype(np.int32) - np.int32(np.bincount(array.reshape(-1)).argmax())


def entropy_bytes(arrays: Sequence[Array]) -> float:
    """The order-0 entropy, each array by itself."""
    total = 0.0
    for array in arrays:
        counts = np.unique(array, return_counts=True)[1]
        total -= float((counts * np.log2(counts / array.size)).sum()) / 8
    return total


def measure(name: str, rounds: int) -> list[Row]:
    """The rows of a set."""
    arrays = tensors(name)
    with NnCodec() as peer:
        coders = {
            **{n: _own(n, arrays) for n in codecs.names()},
            "zstd -19": _zstd,
            "nncodec": peer,
        }
        others = machine.Others()
        runs = race(coders, arrays, rounds)
        share = others.share()
    size = sum(array.size for array in arrays)
    facts: Row = {
        "set": name,
        "weights": size,
        "zeros": sum(int((centred(a) == 0).sum()) for a in arrays) / size,
        "entropy_bytes": entropy_bytes(arrays),
        "rounds": rounds,
        "others_share": share,
        "machine": machine.describe(),
        "command": COMMAND,
    }
    if name == DEEP:
        facts |= {"file_bytes": HAN.stat().st_size, "tsr_bytes": recoded()}
    return [
        {
            **facts,
            "coder": coder,
            "bytes": found[0].size,
            "speed": {
                way: {
                    "mb_s": size / 1e6 / float(np.median(_seconds(found, way))),
                    "over_zstd": _ratio(runs["zstd -19"], found, way),
                    "over_nncodec": _ratio(runs["nncodec"], found, way),
                }
                for way in ("encode", "decode")
            },
        }
        for coder, found in runs.items()
    ]


def recoded() -> int:
    """Bytes of Han's network as a .tsr that gives back each of its numbers."""
    given = deep_compressed.tensors(HAN)
    data = encode(given, {}, codec="best")
    back = Reader(data).tensors()
    for number, (codes, codebook, bias) in enumerate(deep_compressed.read(HAN)):
        weight = back[f"{number}.v"][back[f"{number}.w"]]
        assert np.array_equal(weight, codebook[codes])
        assert np.array_equal(back[f"{number}.b"], bias)
    return len(data)


def race(
    coders: dict[str, Coder], arrays: Sequence[Array], rounds: int
) -> dict[str, list[Once]]:
    """All coders in turn; every other round backwards."""
    runs: dict[str, list[Once]] = {name: [] for name in coders}
    for number in range(rounds):
        for name in list(coders)[:: 1 if number % 2 else -1]:
            runs[name].append(coders[name](arrays))
    return runs


def blocks(name: str, arrays: Sequence[Array]) -> list[list[Array]]:
    """The arrays that a `.tsr` would code together with that codec."""
    entries = [Entry(str(i), CODES[a.dtype.name], a.shape) for i, a in enumerate(arrays)]
    items = [layout.Item(e, a.tobytes()) for e, a in zip(entries, arrays, strict=True)]
    left = [arrays[i] for i in in_layout_order(entries)]
    found: list[list[Array]] = []
    for coded in layout.blocks(items, layout.candidates(name)):
        found.append([])
        while sum(array.size for array in found[-1]) < coded.block.size:
            found[-1].append(left.pop(0))
    return found


def _own(name: str, arrays: Sequence[Array]) -> Coder:
    codec = codecs.find(name).CODEC()
    given = [
        (b"".join(a.tobytes() for a in block), [Part(a.size, 8, a.shape) for a in block])
        for block in blocks(name, arrays)
    ]

    def code(_: Sequence[Array]) -> Once:
        start = time.perf_counter()
        payloads = [codec.encode(data, parts) for data, parts in given]
        middle = time.perf_counter()
        back = [codec.decode(p, len(d)) for p, (d, _) in zip(payloads, given, strict=True)]
        end = time.perf_counter()
        assert back == [data for data, _ in given]
        return Once(sum(map(len, payloads)), middle - start, end - middle)

    return code


def _zstd(arrays: Sequence[Array]) -> Once:
    encoder, decoder = zstandard.ZstdCompressor(level=19), zstandard.ZstdDecompressor()
    given = [array.tobytes() for array in arrays]
    start = time.perf_counter()
    payloads = [encoder.compress(data) for data in given]
    middle = time.perf_counter()
    back = [decoder.decompress(payload) for payload in payloads]
    end = time.perf_counter()
    assert back == given
    return Once(sum(map(len, payloads)), middle - start, end - middle)


class NnCodec:
    """NNCodec's coder in a process of its own, for as long as the context lasts."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tersor-")
        python = environments.python("nncodec")
        if not python.exists():
            raise SystemExit("Run `python -m benchmarks.environments nncodec` first.")
        self._process = subprocess.Popen(  # noqa: S603 - our own script
            [python, "-m", "benchmarks.nncodec_server"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "NnCodec":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._folder.cleanup()

    def __call__(self, arrays: Sequence[Array]) -> Once:
        """See `Coder`."""
        path = Path(self._folder.name) / "tensors.npz"
        np.savez(path, **{f"{i:04}": centred(array) for i, array in enumerate(arrays)})  # type: ignore[arg-type]
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(path, file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        return Once(answer["bytes"], answer["encode_s"], answer["decode_s"])


def _seconds(runs: Sequence[Once], way: str) -> list[float]:
    return [run.encode_s if way == "encode" else run.decode_s for run in runs]


def _ratio(slow: Sequence[Once], own: Sequence[Once], way: str) -> Row:
    """Quartiles of how many times faster `own` is, round by round."""
    ratios = np.array(_seconds(slow, way)) / np.array(_seconds(own, way))
    q1, median, q3 = np.quantile(ratios, [0.25, 0.5, 0.75]).tolist()
    return {"median": median, "q1": q1, "q3": q3}


if __name__ == "__main__":
    main()
