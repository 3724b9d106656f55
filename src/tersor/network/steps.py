"""Recurrent layers traced for any number of steps.

While a module is traced, torch finds the shapes of LSTM, GRU and RNN layers by running their
loop over the steps, and so fixes their number. Their shapes are known without it:

    output   (batch, steps, directions * width), or steps first; width is that of the state
    states   like those that go in
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch._C import DispatchKey

aten = torch.ops.aten
_KEYS = (DispatchKey.CompositeImplicitAutograd, DispatchKey.Autograd)


@contextmanager
def any_steps() -> Iterator[None]:
    """While it lasts, torch computes shapes of recurrent layers in one piece.

    The layers compute nothing then, in any thread: only for tracing, whose tensors hold no
    numbers.
    """
    before = {op: dict(op.py_kernels) for op in _SHAPES}
    try:
        for op, shapes in _SHAPES.items():
            _set(op, {**before[op], **dict.fromkeys(_KEYS, shapes)})
        yield
    finally:
        for op, kernels in before.items():
            _set(op, kernels)


def _set(op: Any, kernels: dict[Any, Callable[..., Any]]) -> None:
    op.py_kernels.clear()
    op.py_kernels.update(kernels)
    op._dispatch_cache.clear()


def _lstm(x: torch.Tensor, states: Any, *rest: Any) -> tuple[torch.Tensor, ...]:
    hidden, cell = states
    return _output(x, hidden, *rest), torch.empty_like(hidden), torch.empty_like(cell)


def _one_state(x: torch.Tensor, state: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, ...]:
    return _output(x, state, *rest), torch.empty_like(state)


def _output(x: torch.Tensor, state: torch.Tensor, *rest: Any) -> torch.Tensor:
    directions = 2 if rest[_BIDIRECTIONAL] else 1
    return x.new_empty((*x.shape[:2], directions * state.shape[-1]))


# params, has_biases, num_layers, dropout, train, bidirectional, batch_first
_BIDIRECTIONAL = 5
_SHAPES: dict[Any, Callable[..., Any]] = {
    aten.lstm.input: _lstm,
    aten.gru.input: _one_state,
    aten.rnn_tanh.input: _one_state,
    aten.rnn_relu.input: _one_state,
}
