"""Network: a trained model as a PyTorch graph of ATen operations, with named ends.

The graph is a plain `torch.fx.GraphModule`:

* placeholders take the inputs, in order, by position; there is no pytree;
* every computation is a `call_function` of an ATen overload (functional: none works
  in place) or of `operator.*` on symbolic sizes;
* a weight is a `get_attr` of a parameter or buffer under its dotted name, or, once
  compressed, a `call_module` without arguments of the `Code` that stands under
  the very same dotted name;
* a rounding of activations is a `call_module` of an `ActivationQuantizer`;
* the output node returns a flat tuple, also where there is one output.

A Network is a value: whoever changes one makes a copy first, and copies share all
tensors that were not changed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn

from tersor.codes.code import Code
from tersor.errors import InputError, ModelError

Array = NDArray[np.generic]

_CONVOLUTIONS = {"aten.conv2d.default", "aten.convolution.default"}
_ORDERED = {  # these want memory in the order of the dimensions
    "aten._unsafe_view.default",
    "aten.as_strided.default",
    "aten.view.default",
    "aten.view_as.default",
}
Dimension = int | str

WHOLE = "all layers"  # instead of a layer's name, which has no blanks


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a network.

    Attributes:
        name: What the user calls it; ONNX files keep it.
        shape: Sizes; a string names a dimension that may vary, as in ("batch", 3, 32, 32).
        dtype: The numpy name of the element type, as in "float32".
    """

    name: str
    shape: tuple[Dimension, ...]
    dtype: str

    def concrete(self, size: int) -> tuple[int, ...]:
        """The shape with every varying dimension set to `size`."""
        return tuple(d if isinstance(d, int) else size for d in self.shape)


@dataclass(frozen=True, slots=True)
class Note:
    """What a method did to a layer, or why it did nothing.

    Attributes:
        layer: Name of the layer, as `tersor inspect` shows it; `WHOLE` if it is about all
            of the network.
        method: Name of the method, as in "quantize.static".
        done: True if the layer was changed, False if it was skipped.
        text: How it was changed ("int8 weights, per channel"), or the reason for skipping.
        noise: Error power over signal power of the worst output if this layer alone is
            changed, as the method measured it on samples; None where it did not.
        curve: Of a training: mean loss and held-out error (None where nothing is held out)
            of each epoch.
    """

    layer: str
    method: str
    done: bool
    text: str
    noise: float | None = None
    curve: tuple[tuple[float, float | None], ...] = ()


@dataclass(frozen=True)
class Network:
    """A model that can be run, trained, compressed and exported.

    Attributes:
        module: The graph; called with one tensor per input, returns a tuple of tensors.
        inputs: One port per placeholder, in the order of the placeholders.
        outputs: One port per returned tensor.
        notes: What methods did so far, in order.
        sizes: What dimensions that vary were in the example, by name, where that is known:
            the length of token sequences, say. Costs and shapes are told for these.
        origin: What this network was before its first change, the teacher of trainings; None
            if nothing was changed.
    """

    module: fx.GraphModule
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    notes: tuple[Note, ...] = field(default=())
    sizes: Mapping[str, int] = field(default_factory=dict)
    origin: "Network | None" = field(default=None, repr=False)

    @property
    def graph(self) -> fx.Graph:
        """The graph of `module`."""
        return self.module.graph

    @property
    def fixed_batch(self) -> int | None:
        """The batch size that the network is made for; None if any will do."""
        sizes = [port.shape[0] for port in self.inputs if port.shape]
        return next((size for size in sizes if isinstance(size, int)), None)

    @property
    def stamp(self) -> tuple[tuple[int, int], ...]:
        """Another one after a tensor was replaced or written into: what was known is old."""
        tensors = chain(self.module.parameters(), self.module.buffers())
        return tuple((id(tensor), tensor._version) for tensor in tensors)

    def copy(self) -> "Network":
        """A network whose graph can be edited; tensors and codes are shared."""
        graph = fx.Graph()
        result = graph.graph_copy(self.graph, {})
        graph.output(result)
        module = fx.GraphModule(self.module, graph)
        return replace(self, module=module, origin=self.origin or self)

    def with_notes(self, *notes: Note) -> "Network":
        """The same network with `notes` added."""
        return replace(self, notes=self.notes + notes)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Compute the outputs, without gradients, on the device where the weights are.

        Args:
            feeds: One array per input, by name.

        Raises:
            InputError: Names do not match.
        """
        if set(feeds) != {port.name for port in self.inputs}:
            wanted = ", ".join(port.name for port in self.inputs)
            raise InputError("feeds", got=sorted(feeds), allowed=f"arrays named {wanted}")
        with torch.no_grad():
            results = self.module(*self.tensors(feeds))
        pairs = zip(self.outputs, results, strict=True)
        return {port.name: result.detach().cpu().numpy() for port, result in pairs}

    def tensors(self, feeds: Mapping[str, Array]) -> list[torch.Tensor]:
        """One tensor per input, where the weights are, to call `module` with.

        Images have their channels last in memory where no operation minds: convolutions
        take half the time then.
        """
        device, form = self.device, torch.contiguous_format
        if self._takes_channels_last:
            form = torch.channels_last
        found = []
        for port in self.inputs:
            tensor = torch.from_numpy(np.asarray(feeds[port.name], order="C")).to(device)
            found.append(tensor.to(memory_format=form) if tensor.ndim == 4 else tensor)
        return found

    @property
    def _takes_channels_last(self) -> bool:
        names = {str(node.target) for node in self.graph.nodes}
        return not names.isdisjoint(_CONVOLUTIONS) and names.isdisjoint(_ORDERED)

    @property
    def device(self) -> torch.device:
        """Where the weights are; the CPU if there are none."""
        for tensor in chain(self.module.parameters(), self.module.buffers()):
            return tensor.device
        return torch.device("cpu")

    def tensor(self, path: str) -> torch.Tensor:
        """The parameter, buffer or decoded weight of that dotted name.

        Raises:
            ModelError: There is none.
        """
        owner, _, leaf = path.rpartition(".")
        try:
            found = getattr(self.module.get_submodule(owner), leaf)
        except AttributeError:
            raise ModelError(path, "is not in the network", "See `tersor inspect`.") from None
        if isinstance(found, Code):
            with torch.no_grad():
                return found.decode()
        return torch.as_tensor(found)

    def code(self, path: str) -> Code | None:
        """The code that holds the weight of that name; None if it is a plain tensor."""
        owner, _, leaf = path.rpartition(".")
        found = getattr(self.module.get_submodule(owner), leaf, None)
        return found if isinstance(found, Code) else None

    def is_coded(self, path: str) -> bool:
        """Whether the weight of that name is held by a code already."""
        return self.code(path) is not None

    def set_tensor(self, path: str, value: torch.Tensor) -> None:
        """Put a parameter or buffer of that name in place; only on a network of your own.

        A floating point `value` becomes a parameter where one stood before (or nothing
        stood), else a buffer. Containers on the way are made as needed.
        """
        owner, leaf = self._owner(path)
        was = getattr(owner, leaf, None)
        for table in (owner._parameters, owner._buffers, owner._modules):
            table.pop(leaf, None)
        if value.is_floating_point() and (was is None or isinstance(was, nn.Parameter)):
            owner.register_parameter(leaf, nn.Parameter(value.detach()))
        else:
            owner.register_buffer(leaf, value.detach())

    def set_code(self, path: str, code: Code) -> None:
        """Hold one tensor by a code; see `set_codes`."""
        self.set_codes({path: code})

    def set_codes(self, codes: Mapping[str, Code]) -> None:
        """Hold tensors of these names by codes from now on; only on a network of your own.

        Every `get_attr` of such a tensor becomes a call of the code.
        """
        for path, code in codes.items():
            owner, leaf = self._owner(path)
            for table in (owner._parameters, owner._buffers, owner._modules):
                table.pop(leaf, None)
            owner.add_module(leaf, code)
        for node in list(self.graph.nodes):
            if node.op == "get_attr" and node.target in codes:
                with self.graph.inserting_after(node):
                    call = self.graph.call_module(str(node.target))
                call.meta = dict(node.meta)
                node.replace_all_uses_with(call)
                self.graph.erase_node(node)
        self.module.recompile()

    def release(self, path: str, value: torch.Tensor) -> None:
        """Hold the weight that a code stands for by a plain tensor again, of the same shape.

        The inverse of `set_code`; only on a network of your own.
        """
        owner, leaf = self._owner(path)
        owner._modules.pop(leaf, None)
        self.set_tensor(path, value)
        for node in list(self.graph.nodes):
            if node.op == "call_module" and node.target == path:
                with self.graph.inserting_after(node):
                    plain = self.graph.get_attr(path)
                plain.meta = dict(node.meta)
                node.replace_all_uses_with(plain)
                self.graph.erase_node(node)
        self.module.recompile()

    def _owner(self, path: str) -> tuple[nn.Module, str]:
        owner_path, _, leaf = path.rpartition(".")
        owner: nn.Module = self.module
        for part in owner_path.split(".") if owner_path else []:
            child = owner._modules.get(part)
            if child is None:
                child = nn.Module()
                owner.add_module(part, child)
            owner = child
        return owner, leaf
