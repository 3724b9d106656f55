"""NNCF: nncf.quantize, which its documentation recommends for OpenVINO.

    openvino             OpenVINO model, preset "performance" (symmetric activations)
    openvino mixed       preset "mixed" (asymmetric activations), for what is not ReLU
    openvino accurate    and the accurate bias correction instead of the fast one
    onnx mixed           the same as "openvino mixed" on the ONNX file

Text networks are told to be transformers, as the documentation asks for.
"""

from benchmarks.peers.job import KINDS, Job

SETTINGS = dict.fromkeys(
    KINDS, ("openvino", "openvino mixed", "openvino accurate", "onnx mixed")
)


def load() -> None:
    """See `benchmarks.peers`."""
    import nncf  # noqa: F401
    import onnx  # noqa: F401
    import openvino  # noqa: F401


def quantize(job: Job) -> None:
    """See `benchmarks.peers`."""
    import nncf
    import onnx
    import openvino

    core = openvino.Core()
    onnx_file = job.setting.startswith("onnx")
    model = onnx.load(job.model) if onnx_file else core.read_model(job.model)
    performance = job.setting == "openvino"
    preset = nncf.QuantizationPreset.PERFORMANCE if performance else None
    quantized = nncf.quantize(
        model,
        nncf.Dataset(list(job.feeds())),
        preset=preset or nncf.QuantizationPreset.MIXED,
        subset_size=len(next(iter(job.calibration().values()))),
        fast_bias_correction="accurate" not in job.setting,
        model_type=nncf.ModelType.TRANSFORMER if job.kind == "text" else None,
    )
    if onnx_file:
        onnx.save(quantized, job.into("model.onnx"))
    else:
        openvino.save_model(quantized, job.into("model.xml"), compress_to_fp16=False)
