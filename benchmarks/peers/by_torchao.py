"""torchao: PyTorch 2 export quantization for its compiler on x86 (X86InductorQuantizer).

    static     activations and weights of convolutions and linear layers in int8
    dynamic    ranges of activations found while running, for linear layers; text only

The network comes as torch.export has written it, and the quantized one goes the same way.
"""

from pathlib import Path
from typing import Any

from benchmarks.peers.job import Job

SETTINGS = {"image": ("static",), "text": ("static", "dynamic"), "audio": ("static",)}
_AT_ONCE = 20  # samples: its observers take about as long for one as for some


def load() -> None:
    """See `benchmarks.peers`."""
    import torch  # noqa: F401
    from torchao.quantization.pt2e import quantize_pt2e  # noqa: F401
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer  # noqa: F401


def quantize(job: Job) -> None:
    """See `benchmarks.peers`."""
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    module = torch.export.load(Path(job.source) / "model.pt2").module()
    quantizer = x86.X86InductorQuantizer()
    quantizer.set_global(
        x86.get_default_x86_inductor_quantization_config(is_dynamic=job.setting == "dynamic")
    )
    with torch.no_grad():
        prepared = prepare_pt2e(module, quantizer)
        batches = [
            {name: torch.from_numpy(a) for name, a in feed.items()}
            for feed in job.feeds(_AT_ONCE)
        ]
        for batch in batches:
            prepared(**batch)
        converted = convert_pt2e(prepared)
    _forget_floats(converted)
    axis = {0: torch.export.Dim("batch")}
    example = {name: tensor[:2] for name, tensor in batches[0].items()}  # is saved too
    program = torch.export.export(
        converted, (), kwargs=example, dynamic_shapes=dict.fromkeys(example, axis)
    )
    torch.export.save(program, job.into("model.pt2"))


def _forget_floats(converted: Any) -> None:
    """Remove the float weights that nothing reads any more: they would be saved too."""
    read = {node.target for node in converted.graph.nodes if node.op == "get_attr"}
    for name in [name for name, _ in converted.named_parameters() if name not in read]:
        owner, _, leaf = name.rpartition(".")
        delattr(converted.get_submodule(owner), leaf)
