"""Intel Neural Compressor for ONNX (onnx-neural-compressor), per-channel weights.

qoperator    integer operators, its default format
qdq          QuantizeLinear and DequantizeLinear
smooth       "qdq" after SmoothQuant, which it recommends for transformers
dynamic      ranges of activations found while running
"""

from collections.abc import Iterator
from typing import Any

from benchmarks.peers.job import Array, Job

SETTINGS = {
    "image": ("qoperator", "qdq"),
    "text": ("dynamic", "qoperator", "qdq", "smooth"),
    "audio": ("dynamic", "qoperator", "qdq"),
}


def load() -> None:
    """See `benchmarks.peers`."""
    from onnx_neural_compressor import quantization  # noqa: F401


def quantize(job: Job) -> None:
    """See `benchmarks.peers`."""
    import onnx
    from onnx_neural_compressor.quantization import QuantFormat, config, quantize

    smooth: dict[str, Any] = {"SmoothQuant": True} if job.setting == "smooth" else {}
    qoperator = job.setting == "qoperator"
    if job.setting == "dynamic":
        settings = config.DynamicQuantConfig(per_channel=True)
    else:
        settings = config.StaticQuantConfig(
            calibration_data_reader=_reader(job),
            quant_format=QuantFormat.QOperator if qoperator else QuantFormat.QDQ,
            per_channel=True,
            calibration_sampling_size=sum(1 for _ in job.feeds()),
            extra_options=smooth,
        )
    target = job.into("model.onnx")
    quantize(str(job.model), str(target), settings)
    model = onnx.load(target)  # it leaves large tensors in a file beside
    onnx.save(model, target)
    job.into("model.onnx_data").unlink(missing_ok=True)


def _reader(job: Job) -> Any:
    """Samples one by one, again and again, in the class that the tool insists on."""
    from onnx_neural_compressor.data_reader import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rewind()

        def get_next(self) -> dict[str, Array] | None:
            return next(self.feeds, None)

        def rewind(self) -> None:
            self.feeds: Iterator[dict[str, Array]] = job.feeds()

    return Reader()
