"""What of ONNX can be read, as the text of docs/onnx-operators.md.

`python -m tersor.network.from_onnx.listing > docs/onnx-operators.md` writes it again; for the
names alone see `known`.
"""

import sys
import textwrap

from onnx import defs

from tersor.network.from_onnx.functions import defined_by_others
from tersor.network.from_onnx.table import MICROSOFT, OPERATORS

REFUSED = {
    "control flow; `If` and `Loop` are read where their course is known while reading": (
        "Scan SequenceMap"
    ),
    "sequences and optional values": (
        "ConcatFromSequence Optional OptionalGetElement OptionalHasElement SequenceAt "
        "SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength "
        "SplitToSequence"
    ),
    "texts and files": (
        "ImageDecoder RegexFullMatch StringConcat StringNormalizer StringSplit TfIdfVectorizer"
    ),
    "random numbers: two runs would differ": (
        "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike"
    ),
    "defined by ONNX through Scan": "LinearAttention",
    "rare, and without a counterpart in torch": "MaxRoiPool",
}

FLOW = ("If", "Loop")
_HEAD = """# What of ONNX can be read

{count} operators of the default domain, opsets 7 to {newest}, and {fused} of ONNX Runtime's
domain `com.microsoft`. Everything else is refused with the name of the node and of the
operator. The node tests of the `onnx` package are the judge
(`tests/network/from_onnx/test_from_onnx_nodes.py`). This page is generated from the code.
"""
_KNOWN = """Conditions and numbers of rounds must be known while reading: given in the file, or
computed from that and from shapes that are fixed.
"""
_LIMITS = """## Limits

* Shapes must not depend on data, except through `Compress`, `NonMaxSuppression`, `NonZero`
  and `Unique`.
* Elements of 8-bit floats and of 2 bits are refused; bfloat16 is, as an input or output; four
  bits are read in stored weights.
* `QuantizeLinear` and `DequantizeLinear`: one scale, or one per index of an axis; scales per
  block only in `MatMulNBits`.
* `LSTM`, `GRU`, `RNN`: the usual activations, no peepholes, no clipping; with sequences that
  end early, not the cell of an LSTM.
* `Dropout` and `BatchNormalization` in training mode are refused.
* Unsigned integers of 64 bits are not divided or compared.
* Operators on integers are read as what they stand for, on real numbers: results may differ
  by one step of rounding.
* External data are read from the model's own folder only.
"""


def listing() -> str:
    """The page."""
    own, others = sorted(OPERATORS), sorted(_by_definition())
    count = len(own) + len(others) + len(FLOW)
    head = _HEAD.format(count=count, newest=defs.onnx_opset_version(), fused=len(MICROSOFT))
    parts = [
        head,
        f"## By functions of their own ({len(own)})\n\n{_lines(own)}\n",
        f"## By ONNX's definition through others ({len(others)})\n\n{_lines(others)}\n",
        f"## By the nodes within them ({len(FLOW)})\n\n{_lines(list(FLOW))}\n\n{_KNOWN}",
        f"## Of `com.microsoft` ({len(MICROSOFT)})\n\n{_lines(sorted(MICROSOFT))}\n",
        "## Refused\n\n"
        + "\n".join(_reason(why, names) for why, names in REFUSED.items())
        + "\n",
        _LIMITS,
    ]
    return "\n".join(parts)


def names() -> str:
    """The operators that are not refused at sight, one per line."""
    own = sorted({*OPERATORS, *defined_by_others(), *FLOW})
    return "\n".join([*own, *(f"com.microsoft.{name}" for name in sorted(MICROSOFT)), ""])


def _by_definition() -> set[str]:
    refused = {name for names in REFUSED.values() for name in names.split()}
    return set(defined_by_others()) - set(OPERATORS) - refused


def _reason(why: str, names: str) -> str:
    text = f"* {why}: {', '.join(names.split())}"
    return textwrap.fill(text, width=95, subsequent_indent="  ")


def _lines(names: list[str]) -> str:
    return textwrap.fill(", ".join(names), width=95)


if __name__ == "__main__":
    print(names() if "--names" in sys.argv else listing(), end="")  # noqa: T201 - its purpose
