"""What a report says of searches and trainings: how the winner came to its settings."""

from typing import TypedDict


class Try(TypedDict):
    """One mix of integer and float layers that was judged on the validation samples.

    Attributes:
        float_layers: How many layers were in float, those that make the most noise.
        drop_pp: In percentage points; null if the metric is no fraction.
        objection: Why it does not keep the limit; null if it does.
    """

    float_layers: int
    drop_pp: float | None
    objection: str | None


class Search(TypedDict):
    """The search for the fewest layers that have to stay float.

    Attributes:
        candidate: Its name.
        layers: How many layers the method put into integers at first.
        tries: In the order in which they were judged.
        float_layers: Names of those that went back to float, the noisiest first; null if no
            mix keeps the limit.
    """

    candidate: str
    layers: int
    tries: list[Try]
    float_layers: list[str] | None


class RateTry(TypedDict):
    """One rate that was tried on the validation samples.

    Attributes:
        rate: What a bit may cost, see `quantize.rate_distortion`.
        file_bytes: What the file would take.
        drop_pp: In percentage points; null if the metric is no fraction.
        objection: Why it does not keep the limit; null if it does.
    """

    rate: float
    file_bytes: int
    drop_pp: float | None
    objection: str | None


class Rating(TypedDict):
    """The search for the rate that makes the file small enough.

    Attributes:
        candidate: Its name.
        tries: In the order in which they were judged.
        rate: The one that was taken; null if none keeps the limit.
    """

    candidate: str
    tries: list[RateTry]
    rate: float | None


class Training(TypedDict):
    """One training of the compressed network.

    Attributes:
        text: How long it was, on how many samples, and what came of it.
        losses: Mean loss of each epoch.
        errors: Error of the held-out samples after each epoch; null where none are held out.
    """

    text: str
    losses: list[float]
    errors: list[float | None]
