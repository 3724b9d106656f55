"""What users must tell Torch-Pruning about the networks of `tests/architectures`.

Arguments: layers that are not cut besides the last one, results that are split in halves,
modules of a kind of their own. Some modules compute with attributes that are wrong after a
cut, or with numbers in their forward functions; the documentation asks users to write these
anew ("Modify static attributes or forward functions"). That is done here, too.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Facts = dict[str, Any]


@dataclass(frozen=True)
class Preset:
    """What a user does for one network.

    Attributes:
        ignored: Layers that are not cut, besides the last one.
        halves: Layers whose results are split in two that must lose the same channels.
        settings: Gives more arguments.
        after: Writes attributes anew, given the network that was cut.
        forward: Writes forward functions anew, before anything is cut.
        reads: By module that looks at all channels at once: the parameter that tells which
            ones are left.
    """

    ignored: tuple[str, ...] = ()
    halves: tuple[str, ...] = ()
    settings: Callable[[], Facts] = dict
    after: Callable[[Any], None] | None = None
    forward: Callable[[], None] | None = None
    reads: Mapping[str, str] = field(default_factory=dict)


def having(module: Any, name: str) -> list[Any]:
    """The parts of a module that have an attribute of that name."""
    return [part for part in module.modules() if hasattr(part, name)]


def _ghosts(module: Any) -> None:
    for ghost in having(module, "cout"):
        ghost.cout = ghost.primary[0].out_channels + ghost.cheap[0].out_channels


def _splits(module: Any) -> None:
    for layer in module.layers:
        layer.split = (module.enter.out_channels, module.out1.in_channels)


def _merging() -> Facts:
    """A module of a kind of its own, as the example for Swin has it."""
    import torch_pruning
    from torch import nn

    from architectures.windows import PatchMerging

    class Pruner(torch_pruning.BasePruningFunc):  # type: ignore[misc]
        def prune_out_channels(self, layer: Any, idxs: list[int]) -> Any:
            torch_pruning.prune_linear_out_channels(layer.reduction, idxs)
            return layer

        def prune_in_channels(self, layer: Any, idxs: list[int]) -> Any:
            dim = self.get_in_channels(layer)
            four = [i + part * dim for part in range(4) for i in idxs]
            torch_pruning.prune_linear_in_channels(layer.reduction, four)
            torch_pruning.prune_layernorm_out_channels(layer.norm, four)
            return layer

        def get_out_channels(self, layer: Any) -> int:
            return int(layer.reduction.out_features)

        def get_in_channels(self, layer: Any) -> int:
            return int(layer.norm.normalized_shape[0]) // 4

    return {
        "customized_pruners": {PatchMerging: Pruner()},
        "root_module_types": [nn.Conv2d, nn.Linear, nn.LayerNorm, PatchMerging],
    }


def _flatten() -> None:
    """LeNet: `view(-1, 400)` tells a size."""
    import torch

    from architectures.plain import LeNet5

    def forward(self: Any, x: Any) -> Any:
        x = self.pool(torch.tanh(self.conv1(x)))
        x = self.pool(torch.tanh(self.conv2(x))).flatten(1)
        return self.fc3(torch.tanh(self.fc2(torch.tanh(self.fc1(x)))))

    LeNet5.forward = forward


def _chunks() -> None:
    """Yolo: `split` by sizes that are attributes."""
    import torch

    from architectures.mixed import CrossStage

    def forward(self: Any, x: Any) -> Any:
        y = list(self.enter(x).chunk(2, 1))
        for block in self.blocks:
            y.append(y[-1] + block(y[-1]))
        return self.leave(torch.cat(y, 1))

    CrossStage.forward = forward


def _apart() -> None:
    """GPT: heads as wide as the stream's width tells."""
    import torch.nn.functional as F  # noqa: N812

    from architectures.language import CausalAttention

    def forward(self: Any, x: Any) -> Any:
        b, t, _ = x.size()
        parts = self.c_attn(x).chunk(3, dim=2)
        q, k, v = (part.view(b, t, self.heads, -1).transpose(1, 2) for part in parts)
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        att = att.masked_fill(self.bias[:, :, :t, :t] == 0, float("-inf"))
        y = (F.softmax(att, dim=-1) @ v).transpose(1, 2).contiguous().view(b, t, -1)
        return self.c_proj(y)

    CausalAttention.forward = forward


def _windows() -> None:
    """Swin: the same."""
    from architectures.windows import WindowAttention

    def forward(self: Any, x: Any, mask: Any = None) -> Any:
        b, n, _ = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        attn = (q * self.scale) @ k.transpose(-2, -1)
        bias = self.relative_position_bias_table[self.relative_position_index.view(-1)]
        attn = attn + bias.view(n, n, -1).permute(2, 0, 1).contiguous().unsqueeze(0)
        if mask is not None:
            windows = mask.shape[0]
            attn = attn.view(b // windows, windows, self.heads, n, n)
            attn = (attn + mask.unsqueeze(1).unsqueeze(0)).view(-1, self.heads, n, n)
        x = (attn.softmax(dim=-1) @ v).transpose(1, 2).reshape(b, n, -1)
        return self.proj(x)

    WindowAttention.forward = forward


PRESETS = {
    "lenet5": Preset(forward=_flatten),
    "resnet_cifar_a": Preset(
        ignored=("conv1", *(f"layer{i}.{j}.conv2" for i in (1, 2, 3) for j in (0, 1)))
    ),
    "shufflenet_v1": Preset(ignored=("0.0", *(f"{i}.expand.0" for i in (1, 2, 3, 4)))),
    "ghostnet": Preset(after=_ghosts),
    "cbam": Preset(reads={"spatial": "convs.1.0.weight"}),
    "image_and_vector": Preset(ignored=("kind",), halves=("film",)),
    "fpn_detector": Preset(ignored=("head.cls.3",)),
    "yolo": Preset(ignored=("stage1.enter.0",), forward=_chunks),
    "wavenet": Preset(
        ignored=(
            *("enter", "layers.0.residual", "layers.1.residual"),
            *("layers.2.residual", "layers.2.filter", "layers.2.gate"),
        )
    ),
    "wavenet_fused": Preset(
        ignored=("enter", "layers.0.out", "layers.1.out", "layers.2.out"),
        halves=("layers.0.conv", "layers.1.conv", "layers.2.conv"),
        after=_splits,
    ),
    "swin": Preset(
        ignored=("stage1.0.attn.qkv", "stage1.1.attn.qkv", "stage2.attn.qkv"),
        settings=_merging,
        forward=_windows,
    ),
    "mlp_mixer": Preset(ignored=("blocks.0.token_mix.fc2", "blocks.1.token_mix.fc2")),
    "gpt_tied": Preset(forward=_apart),
    "conformer": Preset(
        ignored=("1.pointwise1", "2.pointwise1", "1.depthwise", "2.depthwise")
    ),
}
