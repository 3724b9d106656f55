"""ONNX Runtime: quant_pre_process, then quantize_static with QDQ and per-channel weights.

s8s8             its defaults, "the first choice" of its documentation
u8s8             activations unsigned, "faster on x86"
u8s8 reduced     and weights in seven bits, for processors without VNNI
u8s8 percentile  ranges that leave out 0.001 % of the values
u8s8 entropy     ranges of the least relative entropy
"""

from collections.abc import Iterator

from benchmarks.peers.job import KINDS, Array, Job

SETTINGS = dict.fromkeys(
    KINDS, ("s8s8", "u8s8", "u8s8 reduced", "u8s8 percentile", "u8s8 entropy")
)


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
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    CalibrationDataReader.register(Reader)
    kind, _, extra = job.setting.partition(" ")
    methods = {
        "percentile": CalibrationMethod.Percentile,
        "entropy": CalibrationMethod.Entropy,
    }
    prepared = job.into("prepared.onnx")
    quant_pre_process(str(job.model), str(prepared))
    quantize_static(
        str(prepared),
        str(job.into("model.onnx")),
        Reader(job.feeds()),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=extra == "reduced",
        activation_type=QuantType.QUInt8 if kind == "u8s8" else QuantType.QInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=methods.get(extra, CalibrationMethod.MinMax),
    )
    prepared.unlink()
