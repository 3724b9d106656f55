"""Documents as `tersor compress` writes them, for the tests of the report.

The figures are made up, but hang together: ratios are quotients, sums add up.
"""

import base64
import copy
import math

import numpy as np

from tersor.report.picture import pattern, thumbnail

BYTES_PER_WEIGHT = 4


def document():
    """ResNet-20 on CIFAR-10: 21 layers, 12 candidates that ran, everything met."""
    layers = _layers()
    original = _latency("openvino", "f32", 1.118, 1.094, 1.152)
    best = _latency("openvino", "int8", 0.431, 0.424, 0.447)
    return {
        "version": "0.1.0",
        "model": "resnet20.onnx",
        "original": {
            "file_bytes": 1_157_041,
            "metric": _metric(0.9162, 0.9106, 0.9215),
            "latency": original,
            "peak_memory_bytes": 84_213_760,
        },
        "compressed": {
            "file_bytes": 270_912,
            "onnx_bytes": 318_204,
            "metric": _metric(0.9155, 0.9099, 0.9208),
            "latency": best,
            "peak_memory_bytes": 61_206_528,
        },
        "drop_pp": {"value": 0.07, "low": -0.08, "high": 0.22},
        "compression": 1_157_041 / 270_912,
        "speedup": 1.118 / 0.431,
        "speedup_over_best_original": 0.702 / 0.431,
        "agreement": 0.9911,
        "budget": {
            "asked": {"size": "4x", "latency": "2x", "drop": "0.5pp"},
            "met": True,
            "missed": [],
            "allowed_drop_pp": 0.5,
        },
        "layers": layers,
        "skipped": [
            {
                "layer": "fc",
                "method": "quantize.static",
                "reason": "it alone makes 41 % of the noise of all 21 layers: stays float",
            }
        ],
        "remarks": [
            _remark("int8", "quantize.static", "no sweep was asked for"),
            _remark("partly int8", "prune.channels", "60.3 % of the macs are left, not 50 %"),
        ],
        "sqnr_db": {"logits": 31.42},
        "worst": {"index": 4719, "output": "logits", "sqnr_db": 11.84},
        "worst_samples": _worst_samples(),
        "operations": {
            "engine": "openvino",
            "precision": "f32",
            "original": {
                "Convolution": {"f32": 21},
                "Eltwise": {"f32": 9},
                "Reorder": {"other": 2},
            },
            "compressed": {
                "Convolution": {"int8": 20, "f32": 1},
                "Eltwise": {"int8": 9},
                "Reorder": {"other": 14},
            },
        },
        "path": {"samples": 32, "points": _path()},
        "stored": _stored(),
        "data": {
            "calibration": 512,
            "validation": 2048,
            "test": 10_000,
            "labels": True,
            "how": "calibration: the first 512 of train.npz; validation: the next 2048; "
            "test: all of test.npz",
        },
        "candidates": _candidates(),
        "resolution": {
            "samples": 2048,
            "loss": 0.0046,
            "loss_pp": 0.46,
            "limit": 0.005,
            "enough": True,
            "samples_needed": None,
        },
        "searches": [_search()],
        "portability": "Others may saturate.",
        "quiet": True,
        "engines": {
            "onnxruntime": "1.22.0",
            "openvino": "2025.2.0",
            "torch": "2.13.0",
            "torch_compiled": "2.13.0",
            "reference": "1.18.0",
        },
        "verify": {
            "workshop_to_engine": {
                "engine": "openvino",
                "samples": 256,
                "largest_difference": 0.0312,
                "allowed": 0.125,
                "output": "logits",
            }
        },
        "machine": {
            "cpu": "Intel(R) Xeon(R) Processor @ 2.50GHz",
            "cores": 2,
            "isa": ["avx2", "avx512f", "avx512_vnni", "amx_int8", "amx_bf16"],
            "memory_bytes": 8_242_000_000,
            "system": "Linux 6.1 x86_64",
            "python": "3.11.2",
        },
        "recipe": {
            "name": "w8a8",
            "seed": 0,
            "step": [
                {
                    "method": "quantize.static",
                    "ranges": "mse",
                    "percent": 99.99,
                    "samples": 512,
                    "min_sqnr_db": 20.0,
                    "keep": [],
                }
            ],
        },
        "kind": {
            "name": "convolutional",
            "why": "Convolutions do 98% of the multiplications.",
        },
        "ratings": [
            {
                "candidate": "smallest",
                "tries": [
                    {
                        "rate": 0.01,
                        "file_bytes": 90_000,
                        "drop_pp": 0.1,
                        "objection": None,
                    }
                ],
                "rate": 0.01,
            }
        ],
        "trainings": [
            {
                "text": "3 epochs of 900 samples, loss labels: held-out error 0.5 before, "
                "0.25 after (epoch 2 was best)",
                "losses": [1.5, 1.0, 0.75],
                "errors": [0.4, 0.25, 0.3],
            }
        ],
        "stages": _stages(),
        "weights": _weights(),
        "trials": _trials(),
        "channels": _channels(),
        "command": "tersor compress resnet20.onnx --data train.npz --test test.npz "
        '--recipe recipe.toml --budget "size=4x,latency=2x,drop=0.5pp"',
        "seconds": 48.2,
        "phases": [
            {"name": "read", "seconds": 0.8},
            {"name": "calibrate and quantize", "seconds": 5.9},
            {"name": "verify", "seconds": 12.4},
            {"name": "measure", "seconds": 27.6},
            {"name": "write", "seconds": 1.5},
        ],
    }


def missed():
    """The same, but too slow, too coarse, on a noisy machine, without labels."""
    result = document()
    result["quiet"] = False
    result["data"]["labels"] = False
    result["budget"]["asked"] = {"size": "10x", "latency": "2x", "drop": "0.1pp"}
    result["budget"]["met"] = False
    result["budget"]["allowed_drop_pp"] = 0.1
    result["data"].update(validation=100)
    result["resolution"].update(
        samples=100,
        loss=0.0384,
        loss_pp=3.84,
        limit=0.001,
        enough=False,
        samples_needed=147_571,
    )
    result["budget"]["missed"] = [
        {"what": "size", "asked": "10x", "got": "4.27x", "why": "int8 gives at most 4x"},
    ]
    for side in ("original", "compressed"):
        result[side]["metric"].update(name="agreement")
    result["original"]["metric"].update(value=1.0, low=1.0, high=1.0)
    result["compressed"]["metric"].update(value=0.9911, low=0.9891, high=0.9928)
    result["drop_pp"] = {"value": 0.89, "low": 0.72, "high": 1.09}
    result["candidates"][8]["quiet"] = False
    return result


def unchanged():
    """Nothing beat the untouched model: it was kept."""
    result = document()
    result["compressed"] = copy.deepcopy(result["original"])
    result["compressed"].update(file_bytes=1_060_112, onnx_bytes=1_157_041)
    result["drop_pp"] = {"value": 0.0, "low": 0.0, "high": 0.0}
    result.update(speedup=1.0, speedup_over_best_original=1.0, agreement=1.0)
    result.update(compression=1_157_041 / 1_060_112)
    result["sqnr_db"] = {"logits": None}
    result["worst"] = None
    result["worst_samples"] = []
    result["path"] = {"samples": 0, "points": []}
    result["operations"]["compressed"] = result["operations"]["original"]
    result["budget"] = {"asked": {}, "met": True, "missed": [], "allowed_drop_pp": None}
    result["skipped"] = []
    result["remarks"] = []
    result.update(stages=[], weights=[], trials=[], channels=None)
    for layer in result["layers"]:
        layer.update(what="float32", bytes_after=layer["bytes_before"], sqnr_db=None)
        layer["alone_sqnr_db"] = None
    for one in result["candidates"]:
        one["chosen"] = one["name"] == "original" and one["median_ms"] == 1.118
        one["why_not"] = None if one["chosen"] else one["why_not"] or "slower"
    return result


def _remark(candidate, method, text):
    return {"candidate": candidate, "method": method, "done": False, "text": text}


def hostile(text):
    """Every name and every free text of the document is `text`."""
    result = document()
    for layer in result["layers"]:
        layer.update(name=text, op=text, what=text)
    for one in result["candidates"]:
        one.update(name=text, engine=text, precision=text, why_not=text, kernels={text: 1})
    for side in ("original", "compressed"):
        result[side]["metric"]["name"] = text
        result[side]["latency"].update(engine=text, precision=text)
    result.update(model=text, version=text, command=text)
    result["skipped"] = [{"layer": text, "method": text, "reason": text}]
    result["remarks"] = [{"candidate": text, "method": text, "done": False, "text": text}]
    result["budget"]["missed"] = [{"what": text, "asked": text, "got": text, "why": text}]
    result["budget"]["asked"] = {text: text}
    result["worst"]["output"] = text
    result["operations"].update(engine=text, precision=text)
    for side in ("original", "compressed"):
        result["operations"][side] = {text: {text: 1}}
    for point in result["path"]["points"]:
        point.update(name=text, op=text, sources=[text])
    for sample in result["worst_samples"]:
        sample.update(output=text, picture=text)
    for row in (*result["stored"]["streams"], *result["stored"]["tensors"]):
        row["stream"] = text
    result["stored"]["tensors"][0].update(name=text, dtype=text, codec=text)
    shown = {
        "stages": ["name"],
        "weights": ["layer", "pattern"],
        "trials": ["name", "why_not"],
    }
    for one, keys in [(one, keys) for table, keys in shown.items() for one in result[table]]:
        one.update(dict.fromkeys(keys, text))
    _name_channels(result["channels"], text)
    result["data"]["how"] = text
    result["phases"] = [{"name": text, "seconds": 1.0}]
    for table in ("engines", "verify", "machine", "recipe"):
        result[table] = {text: text}
    result["sqnr_db"] = {text: 30.0}
    result["drop"], result["drop_pp"] = {"value": 0.1, "low": 0.0, "high": 0.2}, None
    return result


def _name_channels(channels, text):
    for group in channels["groups"]:
        group.update(name=text, makers=[text], readers=[text])
    for one in channels["frozen"]:
        one.update(layer=text, reason=text)
    for one in channels["removed"]:
        one.update(name=text, method=text, text=text)
    channels["pace"].update(engine=text, precision=text, lagging=[text])
    for layer in channels["pace"]["layers"]:
        layer.update(name=text, why=text)


def _latency(engine, precision, median, low, high):
    return {
        "engine": engine,
        "precision": precision,
        "batch": 1,
        "threads": 2,
        "median_ms": median,
        "q1_ms": low,
        "q3_ms": high,
    }


def _metric(value, low, high):
    return {"name": "top1", "value": value, "low": low, "high": high, "samples": 10_000}


def _shapes():
    """Names, output sides and weight shapes of ResNet-20's 21 layers."""
    yield "conv1", 32, (16, 3, 3, 3)
    width = 16
    for stage, (out, side) in enumerate([(16, 32), (32, 16), (64, 8)], start=1):
        for block in range(3):
            yield f"layer{stage}.{block}.conv1", side, (out, width, 3, 3)
            yield f"layer{stage}.{block}.conv2", side, (out, out, 3, 3)
            width = out
    yield "layer3.0.shortcut", 8, (64, 32, 1, 1)
    yield "fc", 1, (10, 64)


def _layers():
    result = []
    for i, (name, side, shape) in enumerate(_shapes()):
        weights = 1
        for size in shape:
            weights *= size
        parameters = weights + shape[0]
        is_float = name == "fc"
        stored = parameters * BYTES_PER_WEIGHT if is_float else weights + 8 * shape[0]
        result.append(
            {
                "name": name,
                "op": "linear" if is_float else "conv2d",
                "shape": list(shape),
                "parameters": parameters,
                "macs": weights * side * side,
                "bytes_before": parameters * BYTES_PER_WEIGHT,
                "bytes_after": round(stored * 0.93),
                "what": "float32" if is_float else "int8 per channel, uint8 activations",
                "sqnr_db": None if is_float else 44.0 - 0.7 * ((7 * i) % 13),
                "alone_sqnr_db": None if is_float else 52.0 - 0.9 * ((5 * i) % 11),
            }
        )
    return result


def _stored():
    codes = {"bytes": 268_000, "stored_bytes": 201_234.5, "bound_bytes": 200_111.25}
    graph = {"bytes": 12_000, "stored_bytes": 1402.0, "bound_bytes": 7777.5}
    tensor = {"name": "conv1.weight.codes", "dtype": "int8", "shape": [16, 3, 3, 3]}
    return {
        "streams": [{"stream": "codes", **codes}, {"stream": "graph", **graph}],
        "tensors": [{"stream": "codes", **codes, **tensor, "codec": "rans"}],
    }


def _path():
    """Two values for each layer: as computed, and rounded; the noise grows with depth."""
    points, noise = [], 0.0
    for i, (name, _, _) in enumerate(_shapes()):
        for kind in ("rounded", "layer"):
            added = 1e-5 * (1 + (7 * i) % 13) * (9 if name == "layer2.0.conv1" else 1)
            noise += added
            sqnr_db = None if not points else -10 * math.log10(noise)
            points.append(
                {
                    "name": name if kind == "layer" else f"relu_{i}",
                    "kind": kind,
                    "op": "conv2d" if kind == "layer" else "relu",
                    "sqnr_db": sqnr_db,
                    "added": added if points else 0.0,
                    "sources": [points[-1]["name"]] if points else [],
                }
            )
    return points


def _worst_samples():
    """Four pictures, three of them with another answer; the third one's label is not known."""
    result = []
    for i in range(4):
        pixels = np.fromfunction(
            lambda y, x, c, i=i: (i + 2) * x + 5 * y + 40 * c, (32, 32, 3)
        )
        picture = base64.b64encode(thumbnail(pixels)).decode()
        result.append(
            {
                "index": 100 + 17 * i,
                "output": "logits",
                "sqnr_db": 8.5 + i,
                "changed": i < 3,
                "label": None if i == 2 else 3,
                "original": {"label": 3, "margin": 0.12 + 0.01 * i},
                "compressed": {"label": 5 if i < 3 else 3, "margin": 0.08},
                "picture": picture,
            }
        )
    return result


def _search():
    tries = [(0, 0.61, "drop 0.61 pp exceeds 0.50 pp"), (4, 0.02, None), (2, 0.07, None)]
    keys = ("float_layers", "drop_pp", "objection")
    return {
        "candidate": "partly int8",
        "layers": 8,
        "tries": [dict(zip(keys, one, strict=True)) for one in tries],
        "float_layers": ["stem", "head"],
    }


def _stages():
    """From the original, by way of two steps, to the file."""
    keys = ("name", "file_bytes", "weights_bytes", "bound_bytes")
    rows = [
        ("original", 1_157_041, None, None),
        ("coded as it is", 1_060_112, 1_059_000.5, 1_058_000.25),
        ("train.fine_tune with prune.gradual", 540_000, 538_500.0, 541_000.0),
        ("quantize.static", 270_912, 268_510.0, 270_100.0),
    ]
    return [dict(zip(keys, row, strict=True)) for row in rows]


def _weights():
    """Two layers, one of them with zeros."""
    before = [max(0, 20 - abs(i - 20)) for i in range(41)]
    after = [10 * (i in {5, 35}) for i in range(41)]
    kept = np.arange(64 * 576).reshape(64, 576) % 7 == 0
    picture = base64.b64encode(pattern(kept)).decode()
    view = {"shape": [64, 64, 3, 3], "most": 0.25, "before": before, "after": after}
    view |= {"zeros_before": 0.0, "values": 3}
    return [
        {"layer": "layer3.0.conv2", **view, "zeros_after": 6 / 7, "pattern": picture},
        {"layer": "layer3.1.conv1", **view, "zeros_after": 0.0, "pattern": None},
    ]


def _channels():
    """Two groups cut, one of which nothing is known, one branch gone; three of four layers."""
    ends = ["conv1", "layer1.0.conv2", "layer1.1.conv2", "layer1.2.conv2", "layer2.0.conv1"]
    trunk = [f"{name}.weight" for name in ends]
    rows = [
        ("conv1", 16, trunk, [*trunk[1:], "fc.weight"], 9, 16),
        ("layer1.0.conv1", 16, ["layer1.0.conv1.weight"], ["layer1.0.conv2.weight"], 4, 4),
        ("layer1.1.conv1", 16, ["layer1.1.conv1.weight"], ["layer1.1.conv2.weight"], 4, 0),
        ("layer2.0.conv2[0:8]", 8, ["layer2.0.conv2.weight"], ["fc.weight"], 4, None),
    ]
    keys = ("name", "size", "makers", "readers", "others", "left")
    text = "removed for output 0.00071: 5.8% of MACs, 4,672 parameters"
    return {
        "macs": 40_813_184,
        "macs_left": 20_406_592,
        "groups": [dict(zip(keys, row, strict=True)) for row in rows],
        "frozen": [{"layer": "fc", "channels": 10, "reason": "it is an output"}],
        "removed": [{"name": "layer1.1", "method": "prune.layers", "text": text}],
        "pace": _pace(),
    }


def _pace():
    rows = [
        ("conv1", 442_368, 442_368, 0.0102, 0.0102, "nothing of it was cut"),
        ("layer1.0.conv1", 2_359_296, 589_824, 0.0235, 0.024, "4 take as long as 16 would"),
        ("layer1.0.conv2", 2_359_296, 589_824, 0.0235, 0.0098, None),
        ("layer1.1.conv1", 2_359_296, 0, 0.0235, 0.0, None),
    ]
    keys = ("name", "macs", "macs_left", "ms", "ms_left", "why")
    layers = [{**dict(zip(keys, row, strict=True)), "bytes": 140_288} for row in rows]
    for one in layers:
        one["bytes_left"] = 90_112 if one["macs_left"] else 0
        one["lag_ms"] = one["ms_left"] - one["ms"] * one["macs_left"] / one["macs"]
    return {
        "engine": "openvino",
        "precision": "f32",
        "threads": 2,
        "batch": 1,
        "ms": 0.1,
        "ms_left": 0.0633,
        "between_ms": 0.0193,
        "between_ms_left": 0.0193,
        "layers": layers,
        "lagging": ["layer1.0.conv1", "layer1.0.conv2"],
        "why_not": None,
    }


def _trials():
    """The winner, and two more seeds."""
    keys = ("kind", "name", "file_bytes", "metric_value", "drop", "drop_pp", "seconds")
    rows = [
        ("winner", "partly int8", 270_912, 0.9155, 0.0007, 0.07, None),
        ("seed", "seeds moved on by 1", 271_412, 0.9149, 0.0013, 0.13, 61.0),
        ("seed", "seeds moved on by 2", 270_300, 0.9161, 0.0001, 0.01, 60.5),
        ("seed", "seeds moved on by 3", None, None, None, None, 1.0),
    ]
    trials = [{**dict(zip(keys, row, strict=True)), "why_not": None} for row in rows]
    trials[-1]["why_not"] = "The loss was nan."
    return trials


def _candidates():
    slower = "slower than the winner"
    costly = "drop 1.34 pp exceeds the allowed 0.50 pp"
    rows = [
        ("original", "onnxruntime", "f32", 1.902, 0.0, slower),
        ("original", "openvino", "f32", 1.118, 0.0, slower),
        ("original", "openvino", "bf16", 0.702, 0.02, slower),
        ("original", "torch", "f32", 6.41, 0.0, slower),
        ("original", "torch_compiled", "f32", None, None, "not tried: compiles for long"),
        ("int8", "onnxruntime", "f32", 1.271, 1.31, costly),
        ("int8", "openvino", "f32", 0.412, 1.34, costly),
        ("int8", "openvino", "bf16", 0.409, 1.34, costly),
        ("partly int8", "openvino", "f32", 0.431, 0.07, None),
        ("partly int8", "openvino", "bf16", 0.436, 0.09, slower),
        ("partly int8", "onnxruntime", "f32", 1.304, 0.07, slower),
        ("w8", "openvino", "f32", 1.126, 0.01, slower),
    ]
    shared = [
        (f"{name} as float", engine, precision, median, 0.0, "slower")
        for name in ("int8", "partly int8")
        for engine, precision, median in [
            ("onnxruntime", "f32", 1.902),
            ("openvino", "f32", 1.118),
            ("openvino", "bf16", 0.702),
        ]
    ]
    found = [_candidate(*row) for row in [*rows, *shared]]
    for one in found[len(rows) :]:
        one.update(same_work=True, metric_value=None, drop_pp=None, kernels={})
    return found


def _candidate(name, engine, precision, median, drop, why_not):
    ran = median is not None
    int8 = 0 if not ran or name in {"original", "w8"} else 20 if name.startswith("p") else 21
    kernels = {"int8": int8, precision: 21 - int8, "other": 14}
    return {
        "name": name,
        "engine": engine,
        "precision": precision,
        "batch": 1,
        "median_ms": median,
        "q1_ms": round(median * 0.983, 4) if ran else None,
        "q3_ms": round(median * 1.037, 4) if ran else None,
        "ratio_to_original": 1.118 / median if ran else None,
        "metric_value": 0.9160 - drop / 100 if ran else None,
        "drop_pp": drop,
        "allowed": drop is None or drop <= 0.5,
        "chosen": why_not is None,
        "why_not": why_not,
        "kernels": {k: n for k, n in kernels.items() if n}
        if ran and engine != "torch"
        else {},
        "quiet": True,
    }
