"""Parts of the report: what was observed inside the models and on single samples."""

from typing import TypedDict


class Answer(TypedDict):
    """The class that a model gives a sample; `margin` is its lead over the second one."""

    label: int
    margin: float


class WorstSample(TypedDict):
    """A validation sample on which the models differ much; changed answers come first.

    Attributes:
        index: Among the validation samples.
        output: The output that moved most; `sqnr_db` is its signal-to-noise ratio.
        changed: Whether the answer is another.
        label: The sample's class; null if it is not known.
        original, compressed: Their answers; null if the model gives no classes.
        picture: A small PNG file of the input, base64; null if the input is no picture.
    """

    index: int
    output: str
    sqnr_db: float | None
    changed: bool
    label: int | None
    original: Answer | None
    compressed: Answer | None
    picture: str | None


class Operations(TypedDict):
    """What runs on the chosen engine: nodes by the engine's kind, then by precision.

    Precisions are "int8", "bf16", "f32" and "other" (data movement, bookkeeping).

    Attributes:
        original, compressed: As in {"Convolution": {"int8": 20, "f32": 1}}; null where the
            engine cannot tell.
    """

    engine: str
    precision: str
    original: dict[str, dict[str, int]] | None
    compressed: dict[str, dict[str, int]] | None


class PathPoint(TypedDict):
    """One value in the network, compared with the original's.

    Attributes:
        name: Of the layer, or of the node whose value is rounded.
        kind: "layer" for what a layer computes, "rounded" for a rounded value.
        op: The operation that gave it.
        sqnr_db: Signal-to-noise ratio; null if exact.
        added: Error power over signal power beyond that of what it is computed from.
        sources: Names of the values in this list that it is computed from.
    """

    name: str
    kind: str
    op: str
    sqnr_db: float | None
    added: float
    sources: list[str]


class Path(TypedDict):
    """The error's path from the inputs to the outputs, on so many validation samples."""

    samples: int
    points: list[PathPoint]


class StreamRow(TypedDict):
    """All tensors of one purpose, or the graph, the notes, the headers.

    Attributes:
        stream: "weights", "scales", "graph" and so on.
        bytes: Decoded.
        stored_bytes: In the file; parts of what is coded together share by size.
        bound_bytes: Order-0 entropy, without tables; see `tersor.store.sizes`.
    """

    stream: str
    bytes: int
    stored_bytes: float
    bound_bytes: float


class TensorRow(StreamRow):
    """One tensor; `codec` names the codecs of its blocks."""

    name: str
    dtype: str
    shape: list[int]
    codec: str


class Stored(TypedDict):
    """Where the bytes of a .tsr file are: all of them, the largest stream first."""

    streams: list[StreamRow]
    tensors: list[TensorRow]
