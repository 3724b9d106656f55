"""Operations that leave their input as it is when a network only infers."""

from tersor.errors import ModelError
from tersor.export.call import Call, Value
from tersor.export.writer import Writer


def same(_w: Writer, call: Call) -> Value:
    """The first argument itself."""
    return call.x


def dropout(_w: Writer, call: Call) -> Value:
    """Nothing, in evaluation."""
    if call.flag("train"):
        raise ModelError(call.node.name, "drops at random", "Switch to evaluation mode.")
    return call.x


def silent(_w: Writer, _call: Call) -> None:
    """An assertion on types or sizes: it computes nothing."""


OPERATORS = {
    "aten.alias.default": same,
    "aten.clone.default": same,
    "aten.contiguous.default": same,
    "aten.detach.default": same,
    "aten.lift_fresh_copy.default": same,
    "aten.positive.default": same,
    "aten.dropout.default": dropout,
    "aten.feature_dropout.default": dropout,
    "aten.alpha_dropout.default": dropout,
    "aten.native_dropout.default": lambda w, call: [dropout(w, call).name, ""],
    "aten._assert_tensor_metadata.default": silent,
    "aten._assert_scalar.default": silent,
    "aten._assert_async.msg": silent,
    "aten.sym_constrain_range.default": silent,
    "aten.sym_constrain_range_for_size.default": silent,
}
