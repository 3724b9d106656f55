"""Static int8 by another tool: `python int8.py TOOL IN.onnx SAMPLES.npz OUT.onnx`.

It runs in the environment of the peers, where Tersor is not installed, and uses each tool's
defaults as its documentation recommends for convolutional networks:

    nncf           nncf.quantize with the mixed preset
    onnxruntime    quantize_static with QDQ, per channel, min-max ranges, after its own
                   quant_pre_process (which folds batch normalization)
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np


def nncf(source: str, name: str, x: np.ndarray, target: str) -> None:
    """Post-training quantization by NNCF, ONNX backend."""
    import nncf
    import onnx

    model = onnx.load(source)
    data = nncf.Dataset(range(len(x)), lambda i: {name: x[i : i + 1]})
    preset = nncf.QuantizationPreset.MIXED
    quantized = nncf.quantize(model, data, preset=preset, subset_size=len(x))
    onnx.save(quantized, target)


def onnxruntime(source: str, name: str, x: np.ndarray, target: str) -> None:
    """Static quantization by ONNX Runtime."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rows: Iterator[dict[str, np.ndarray]] = (
                {name: x[i : i + 1]} for i in range(len(x))
            )

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.rows, None)

    with tempfile.TemporaryDirectory() as folder:
        prepared = str(Path(folder) / "prepared.onnx")
        quant_pre_process(source, prepared)
        quantize_static(
            prepared, target, Reader(), quant_format=QuantFormat.QDQ, per_channel=True
        )


if __name__ == "__main__":
    tool, source_path, samples, target_path = sys.argv[1:]
    with np.load(samples, allow_pickle=False) as arrays:
        (input_name,) = arrays.files
        {"nncf": nncf, "onnxruntime": onnxruntime}[tool](
            source_path, input_name, arrays[input_name], target_path
        )
