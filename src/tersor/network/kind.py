"""Which kind of network it is: what does most of its multiply-accumulates (MACs).

    transformer      has attention, and that and linear layers do at least half of the MACs
    convolutional    convolutions do at least half of the MACs
    recurrent        has LSTM, GRU or RNN layers
    embedding        tables of embeddings hold at least half of the parameters
    other            anything else, and what cannot be told

The first that holds is it. Attention is the operation of that name, or a softmax whose
result is multiplied with another activation.
"""

from dataclasses import dataclass

from torch import fx

from tersor.errors import UnsupportedError
from tersor.network.arguments import op_name
from tersor.network.cost import Cost, cost
from tersor.network.network import Network

KINDS = ("transformer", "convolutional", "recurrent", "embedding", "other")

_MOST = 0.5  # a share from which on a family of layers gives a network its kind


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of network.

    Attributes:
        name: One of KINDS.
        why: What speaks for it, in one sentence.
    """

    name: str
    why: str


def kind_of(network: Network) -> Kind:
    """The kind of `network`, by its operations and where its MACs and parameters are."""
    try:
        found = cost(network)
    except UnsupportedError as error:
        return Kind("other", f"Where its work is done cannot be told: {error}")
    attention = sum(map(_is_attention, network.graph.nodes))
    macs = _shares(found)
    dense = macs["linear"] + macs["attention"]
    if attention and dense >= _MOST:
        return Kind(
            "transformer",
            f"It has attention in {_times(attention)}; that and linear layers do "
            f"{dense:.0%} of the multiplications.",
        )
    if macs["convolution"] >= _MOST:
        share = f"{macs['convolution']:.0%} of the multiplications"
        return Kind("convolutional", f"Convolutions do {share}.")
    if any(_family(row.layer.op) == "recurrent" for row in found.layers):
        share = f"{macs['recurrent']:.0%} of the multiplications"
        return Kind("recurrent", f"LSTM, GRU or RNN layers do {share}.")
    tables = _embedded(found)
    if tables >= _MOST:
        return Kind("embedding", f"Tables of embeddings hold {tables:.0%} of the parameters.")
    why = "Neither attention, convolutions, recurrence nor embeddings are most of it."
    return Kind("other", why)


def _times(count: int) -> str:
    return "one place" if count == 1 else f"{count} places"


def _shares(found: Cost) -> dict[str, float]:
    """The share of all MACs by family of layers."""
    shares = dict.fromkeys(("convolution", "recurrent", "attention", "linear"), 0.0)
    for row in found.layers:
        shares[_family(row.layer.op)] += row.macs / max(1, found.macs)
    return shares


def _embedded(found: Cost) -> float:
    held = sum(r.parameters for r in found.layers if r.layer.op.startswith("embedding"))
    return held / max(1, found.parameters)


def _family(op: str) -> str:
    if op.startswith("conv"):
        return "convolution"
    if op in {"lstm", "gru", "rnn_tanh", "rnn_relu"}:
        return "recurrent"
    return "attention" if op == "attention" else "linear"


def _is_attention(node: fx.Node) -> bool:
    name = op_name(node)
    if name == "scaled_dot_product_attention":
        return True
    return name in {"softmax", "_softmax"} and _is_multiplied(node)


def _is_multiplied(node: fx.Node) -> bool:
    """Whether a result goes into a product of matrices, at most as another view of it."""
    for user in node.users:
        name = op_name(user)
        if name in _PRODUCTS or (name in _VIEWS and _is_multiplied(user)):
            return True
    return False


_PRODUCTS = {"matmul", "bmm", "einsum"}
_VIEWS = {
    *("view", "reshape", "expand", "clone", "contiguous", "to", "_to_copy", "type_as"),
    *("dropout", "permute", "transpose", "mul", "where", "masked_fill", "nan_to_num"),
}
