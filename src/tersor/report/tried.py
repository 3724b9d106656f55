"""What a report says of variants that were tried beside the winner: shown, not chosen."""

from typing import TypedDict


class Trial(TypedDict):
    """One variant, stored and judged as the winner was, on the samples of the report.

    Attributes:
        kind: "winner" for the result itself, which comes first; "seed"; "without", "with" or
            "only" for parts of its recipe; "coder"; "control".
        name: As in "seeds moved on by 1".
        file_bytes: Of the `.tsr` file; null if it could not be made.
        metric_value: In the metric's own unit; null if it was not judged.
        drop: How much worse than the original's, in the same unit.
        drop_pp: The same in percentage points; null if the metric is no fraction.
        seconds: What it took; null for the winner.
        why_not: Why it could not be made, or what else is to be known; null if nothing.
    """

    kind: str
    name: str
    file_bytes: int | None
    metric_value: float | None
    drop: float | None
    drop_pp: float | None
    seconds: float | None
    why_not: str | None
