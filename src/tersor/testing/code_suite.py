"""What every code must keep, whatever it holds. Use it on your own codes too."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from tersor.codes.code import Code, OnnxForm
from tersor.errors import TersorError

Make = Callable[[], Code]


def decodes_to_finite_floats(make: Make) -> None:
    weight = make()()
    assert weight.dtype == torch.float32
    assert weight.numel() > 0
    assert bool(torch.isfinite(weight).all())


def decodes_the_same_twice(make: Make) -> None:
    code = make()
    assert torch.equal(code(), code())
    assert torch.equal(make()(), code())


def survives_its_state(make: Make) -> None:
    """The tensors of a code are all in its state."""
    code, other = make(), make()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    other.load_state_dict(copy.deepcopy(code.state_dict()))
    assert torch.equal(other(), code())


def can_be_trained(make: Make) -> None:
    code = make()
    code().square().sum().backward()
    gradients = [p.grad for p in code.parameters()]
    assert any(g is not None and bool(g.abs().sum() > 0) for g in gradients)


def trains_only_its_parameters(make: Make) -> None:
    """Masks, indices and scales stay as they are; the weight itself moves."""
    code = make()
    fixed, before = copy.deepcopy(dict(code.named_buffers())), code().detach()
    _train(code)
    for name, buffer in code.named_buffers():
        assert torch.equal(buffer, fixed[name])
    assert not torch.equal(code(), before)


def keeps_its_zeros(make: Make) -> None:
    """Where it says that it stays 0, it is 0, trained or not, and has no other gradient."""
    code = make()
    zeros = code.pinned()
    if zeros is None:
        return
    assert zeros.dtype == torch.bool
    assert zeros.shape == code().shape
    for _ in range(2):
        assert not bool(code()[zeros].any())
        _train(code)


def is_copied_whole(make: Make) -> None:
    """A deep copy is trained by itself."""
    code = make()
    before, other = code().detach(), copy.deepcopy(code)
    assert torch.equal(other(), before)
    _train(other)
    assert torch.equal(code(), before)


def stores_small_arrays(make: Make) -> None:
    """Symbols are numpy arrays; the large ones are integers."""
    code = make()
    symbols = code.symbols()
    assert symbols
    floats = sum(a.size for a in symbols.values() if a.dtype.kind == "f")
    assert floats < code().numel()


def engines_see_the_same_weight(make: Make) -> None:
    code = make()
    dense = run_form(code.to_onnx("w"))
    assert dense.dtype == np.float32
    assert np.array_equal(dense, code().detach().numpy())


def names_begin_with_the_weight(make: Make) -> None:
    form = make().to_onnx("layer.weight")
    assert all(name.startswith("layer.weight") for name in form.initializers)
    assert form.output.startswith("layer.weight")


def describes_itself(make: Make) -> None:
    assert make().describe().strip()


def _train(code: Code) -> None:
    """Three steps towards a weight of -1 everywhere, as hard on what is fixed as can be."""
    optimizer = torch.optim.SGD(code.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (code() + 1).square().sum().backward()
        optimizer.step()


def run_form(form: OnnxForm) -> np.ndarray:
    """The dense weight that an ONNX form makes, by the reference evaluator.

    Raises:
        TersorError: onnx is not installed.
    """
    try:
        import onnx
        from onnx import helper, numpy_helper
        from onnx.reference import ReferenceEvaluator
    except ImportError as error:
        raise TersorError("The onnx package is needed to try a code") from error
    nodes = []
    for n in form.nodes:
        attributes: dict[str, Any] = n.attributes
        nodes.append(helper.make_node(n.op, list(n.inputs), list(n.outputs), **attributes))
    arrays = [numpy_helper.from_array(np.asarray(a), k) for k, a in form.initializers.items()]
    wanted = helper.make_tensor_value_info(form.output, onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "code", [], [wanted], arrays)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    (dense,) = ReferenceEvaluator(model).run(None, {})
    return np.asarray(dense)


LAWS: list[Callable[[Make], None]] = [
    decodes_to_finite_floats,
    decodes_the_same_twice,
    survives_its_state,
    can_be_trained,
    trains_only_its_parameters,
    keeps_its_zeros,
    is_copied_whole,
    stores_small_arrays,
    engines_see_the_same_weight,
    names_begin_with_the_weight,
    describes_itself,
]
