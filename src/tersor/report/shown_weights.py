"""Parts of the report: what became of the weights, step by step and layer by layer."""

from typing import TypedDict


class Stage(TypedDict):
    """The network after one of the steps that won, as a file.

    Attributes:
        name: "original", "coded as it is", then methods, and what happened during them.
        file_bytes: Of the whole file: of the original as it came, of all others coded; the
            last is the file itself.
        weights_bytes: Of that, tensors; null for the original as it came.
        bound_bytes: Their order-0 entropy, see `tersor.store.sizes`; null there too.
    """

    name: str
    file_bytes: int
    weights_bytes: float | None
    bound_bytes: float | None


class WeightView(TypedDict):
    """The values of one layer's weight, before and after.

    Attributes:
        layer: Its name.
        shape: Of the weight.
        most: Bins of one width go from -most to most; the outermost hold what lies beyond.
        before, after: Elements in each bin, zeros left out.
        zeros_before, zeros_after: Fractions of the elements that are 0.
        values: How many different values there are after.
        pattern: Where it is not 0 after, a small PNG file, base64; null with few zeros.
    """

    layer: str
    shape: list[int]
    most: float
    before: list[int]
    after: list[int]
    zeros_before: float
    zeros_after: float
    values: int
    pattern: str | None
