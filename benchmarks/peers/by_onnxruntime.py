"""ONNX Runtime: quant_pre_process, then quantize_static with QDQ and per-channel weights.

What it recommends for transformers and recurrent networks is quantize_dynamic: "dynamic".

s8s8             its defaults, "the first choice" of its documentation
u8s8             activations unsigned, "faster on x86"
u8s8 reduced     and weights in seven bits, for processors without VNNI
u8s8 percentile  ranges that leave out 0.001 % of the values
u8s8 entropy     ranges of the least relative entropy
dynamic          ranges of activations found while running; not for images
"""

from collections.abc import Iterator

from benchmarks.peers.job import KINDS, Array, Job

_STATIC = ("s8s8", "u8s8", "u8s8 reduced", "u8s8 percentile", "u8s8 entropy")
SETTINGS = {kind: _STATIC if kind == "image" else ("dynamic", *_STATIC) for kind in KINDS}


def load() -> None:
    """See `benchmarks.peers`."""
    from onnxruntime import quantization  # noqa: F401
    from onnxruntime.quantization import shape_inference  # noqa: F401


class Reader:
    """Samples one by one, as the tool asks for them."""

    def __init__(self, feeds: Iterator[dict[str, Array]]) -> None:
        self.feeds = feeds

    def get_next(self) -> dict[str, Array] | None:
        """The next sample; None at the end."""
        return next(self.feeds, None)


def quantize(job: Job) -> None:
    """See `benchmarks.peers`."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_dynamic,
        quantize_static,
    )

    CalibrationDataReader.register(Reader)
    kind, _, extra = job.setting.partition(" ")
    methods = {
        "percentile": CalibrationMethod.Percentile,
        "entropy": CalibrationMethod.Entropy,
    }
    prepared, target = job.into("prepared.onnx"), str(job.into("model.onnx"))
    _prepare(job, str(prepared))
    if kind == "dynamic":
        quantize_dynamic(str(prepared), target, per_channel=True, weight_type=QuantType.QInt8)
        prepared.unlink()
        return
    quantize_static(
        str(prepared),
        target,
        Reader(job.feeds()),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=extra == "reduced",
        activation_type=QuantType.QUInt8 if kind == "u8s8" else QuantType.QInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=methods.get(extra, CalibrationMethod.MinMax),
    )
    prepared.unlink()


def _prepare(job: Job, target: str) -> None:
    """Without symbolic shapes, which it says to skip, where these fail."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    try:
        quant_pre_process(str(job.model), target)
    except Exception as error:  # noqa: BLE001 - whatever its shape inference runs into
        print(f"symbolic shapes skipped: {type(error).__name__}: {error}")
        quant_pre_process(str(job.model), target, skip_symbolic_shape=True)
