"""Parts of the report: channels that can be cut, what was cut, and what that does to time."""

from typing import TypedDict


class ChannelGroup(TypedDict):
    """Channels that can be cut, each by itself, out of all these tensors at once.

    Attributes:
        makers, readers: Names of the tensors that make them and that add them up.
        others: How many more tensors have a number for each.
    """

    name: str
    size: int
    makers: list[str]
    readers: list[str]
    others: int


class CutGroup(ChannelGroup):
    """The same after the cut; `left` is how many there are then, null if it cannot be told."""

    left: int | None


class FrozenChannels(TypedDict):
    """Output channels of a layer that cannot be cut, and why, with the node that froze it."""

    layer: str
    channels: int
    reason: str


class Removed(TypedDict):
    """What a method took out whole: heads of an attention, a branch, a block."""

    name: str
    method: str
    text: str


class PacedLayer(TypedDict):
    """The work and the time of one layer, for a whole batch.

    Attributes:
        macs, macs_left: Multiply-accumulates before and after; none are left where it is gone.
        bytes, bytes_left: Read and written, as 32 bit floats.
        ms, ms_left: As the latency model has them; null where it was not asked.
        lag_ms: By how much that is more than if time had fallen as its multiply-accumulates
            did; null where times are not known.
        why: Of the layers that lag the most, and of those that do as much as before: what
            keeps the time up; null for others, and where nothing explains it.
    """

    name: str
    macs: int
    macs_left: int
    bytes: int
    bytes_left: int
    ms: float | None
    ms_left: float | None
    lag_ms: float | None
    why: str | None


class Pace(TypedDict):
    """Work and time of the original and of the result, both in floats, on one engine.

    Attributes:
        batch: Samples in a run.
        ms, ms_left: Of a run, as the latency model predicts them: layers, what lies between
            them, and the call. Null where they are not known.
        between_ms, between_ms_left: Of that, what is no layer.
        lagging: Names of the layers that lag the most, the worst first.
        why_not: Why times are not known; null if they are.
    """

    engine: str
    precision: str
    threads: int
    batch: int
    ms: float | None
    ms_left: float | None
    between_ms: float | None
    between_ms_left: float | None
    layers: list[PacedLayer]
    lagging: list[str]
    why_not: str | None


class Slimmed(TypedDict):
    """What became of the channels of the original.

    Attributes:
        macs, macs_left: Multiply-accumulates of one sample, of all layers.
        groups: Of the original, in the order of its graph.
        frozen: Of the original.
        removed: In the order in which it was.
        pace: Layer by layer; null if the work of layers cannot be told.
    """

    macs: int
    macs_left: int
    groups: list[CutGroup]
    frozen: list[FrozenChannels]
    removed: list[Removed]
    pace: Pace | None
