"""What results/ptq.jsonl says, for people.

For every tool, Tersor too, each figure is that of the setting in which it is best, whichever
that is. Time and memory of Tersor are those of what the other tools do too: quantize and save.
"""

from collections.abc import Callable, Sequence

from benchmarks import records, subjects
from benchmarks.records import Row

TOOLS = {
    "tersor": "Tersor",
    "nncf": "NNCF",
    "onnxruntime": "ONNX Runtime",
    "inc": "Neural Compressor",
    "torchao": "torchao",
}
_ENGINES = {"openvino": "OV", "onnxruntime": "ORT", "torch": "torch"}
_HEADS = (
    *("network", "by", "drop, points (95 %)", "smaller", "batch 1", "batch 16"),
    *("tool", "memory"),
)
_VERSUS = (
    *("network", "drop, points", "smaller", "batch 1", "over best peer"),
    *("batch 16", "over best peer", "fastest peers within a point"),
)
_TOOL = ("quantize",)  # Tersor's setting, see above
_MOST_PP = 1.0  # a peer's output that loses more is no rival at equal accuracy


def rows_of(rows: Sequence[Row], network: str, tool: str) -> list[Row]:
    """The settings of a tool that gave an output for a network."""
    own = [r for r in rows if r["network"] == network and r["tool"] == tool]
    return [r for r in own if r["why_not"] is None]


def best_speed(rows: Sequence[Row], batch: int) -> tuple[Row, str] | None:
    """The fastest timing of some outputs at a batch size, and its engine."""
    times = [
        (speed, key.removesuffix(f" {batch}"))
        for row in rows
        for key, speed in row["speed"].items()
        if key.endswith(f" {batch}")
    ]
    return min(times, key=lambda found: float(found[0]["median_ms"]), default=None)


def versus() -> str:
    """One line per network: Tersor, and the peer that is best in each figure."""
    rows = records.read("ptq")
    lines = [
        _against(rows, name) for name in subjects.names() if rows_of(rows, name, "tersor")
    ]
    return records.table(_VERSUS, lines, texts=1) if lines else "Not measured yet."


def _against(rows: Sequence[Row], network: str) -> list[str]:
    own = rows_of(rows, network, "tersor")
    peers = [(t, rows_of(rows, network, t)) for t in TOOLS if t != "tersor"]
    theirs = [(row, TOOLS[tool]) for tool, found in peers for row in found]
    lost, least = (
        min(((r["drop"]["value"], t) for r, t in some), default=None)
        for some in ([(r, "") for r in own], theirs)
    )
    small, smallest = (
        max(((r["smaller"], t) for r, t in some), default=None)
        for some in ([(r, "") for r in own], theirs)
    )
    cells = [network, _beside(lost, least, "+.2f"), _beside(small, smallest, ".2f", "x")]
    for batch in (1, 16):
        ours = best_speed(own, batch)
        fast = [(found[0], t) for t, some in peers if (found := best_speed(some, batch))]
        best = min(fast, key=lambda f: float(f[0]["median_ms"]), default=None)
        cells.append(
            _beside(
                (ours[0]["over_float"]["median"], "") if ours else None,
                (best[0]["over_float"]["median"], TOOLS[best[1]]) if best else None,
                ".2f",
                "x",
            )
        )
        over = ours[0]["over_peers"] if ours else None
        cells.append(
            f"{over['median']:.2f} ({over['q1']:.2f} to {over['q3']:.2f})" if over else "-"
        )
    return [*cells, ", ".join(_fastest_within(peers, batch) for batch in (1, 16))]


def _fastest_within(peers: Sequence[tuple[str, list[Row]]], batch: int) -> str:
    """The fastest of the peers' outputs that lose no more than a point, and its speed."""
    found = [
        (best[0], tool)
        for tool, rows in peers
        if (best := best_speed([r for r in rows if _is_near(r)], batch))
    ]
    if not found:
        return "none"
    speed, tool = min(found, key=lambda f: float(f[0]["median_ms"]))
    return f"{TOOLS[tool]} {speed['over_float']['median']:.2f}x"


def _is_near(row: Row) -> bool:
    return float(row["drop"]["value"]) <= _MOST_PP


def _beside(
    own: tuple[float, str] | None, peer: tuple[float, str] | None, form: str, unit: str = ""
) -> str:
    """Our figure, then the best peer's and whose it is."""
    first = "-" if own is None else f"{own[0]:{form}}{unit}"
    return first if peer is None else f"{first}, {peer[1]} {peer[0]:{form}}{unit}"


def ptq() -> str:
    """One line per network and tool."""
    rows = records.read("ptq")
    lines = [
        _cells(rows, network, tool)
        for network in subjects.names()
        for tool in TOOLS
        if any(r["network"] == network and r["tool"] == tool for r in rows)
    ]
    return records.table(_HEADS, lines, texts=2) if lines else "Not measured yet."


def _cells(rows: Sequence[Row], network: str, tool: str) -> list[str]:
    name = [network, TOOLS[tool]]
    outputs = rows_of(rows, network, tool)
    if not outputs:
        why = {r["why_not"] for r in rows if (r["network"], r["tool"]) == (network, tool)}
        return [*name, _plain(sorted(map(str, why))[0]), *["-"] * (len(_HEADS) - 3)]
    drop = min((r["drop"] for r in outputs), key=lambda d: float(d["value"]))
    made = [
        r for r in rows_of(rows, network, tool) if tool != "tersor" or r["setting"] in _TOOL
    ]
    return [
        *name,
        f"{drop['value']:+.2f} ({drop['low']:+.2f} to {drop['high']:+.2f})",
        f"{max(r['smaller'] for r in outputs):.2f}x",
        *(_speed(best_speed(outputs, batch)) for batch in (1, 16)),
        f"{min(r['seconds'] for r in made):.1f} s" if made else "-",
        f"{min(r['peak_bytes'] for r in made) / 1e6:.0f} MB" if made else "-",
    ]


def _plain(reason: str) -> str:
    """A reason that fits into a cell."""
    return reason.replace("|", "/")[:80]


def _speed(found: tuple[Row, str] | None) -> str:
    if found is None:
        return "-"
    speed, engine = found
    by = f" {_ENGINES[engine]}" if engine in _ENGINES else ""
    return f"{speed['over_float']['median']:.2f}x{by}"


def losses() -> str:
    """Where a peer beats Tersor beyond the spread of the measurement, in one paragraph."""
    rows = records.read("ptq")
    found = [text for network in subjects.names() for text in _losses(rows, network)]
    if not any(r["tool"] == "tersor" for r in rows):
        return "Not measured yet."
    if not found:
        return "No tool beats Tersor in any of these figures."
    return f"Where Tersor loses: {'; '.join(found)}."


def _losses(rows: Sequence[Row], network: str) -> list[str]:
    own = rows_of(rows, network, "tersor")
    peers = {tool: rows_of(rows, network, tool) for tool in TOOLS if tool != "tersor"}
    peers = {tool: found for tool, found in peers.items() if found}
    if not own or not peers:
        return []
    texts = []
    drop = min((r["drop"] for r in own), key=lambda d: float(d["value"]))
    other, tool = min(
        (min(float(r["drop"]["value"]) for r in found), tool) for tool, found in peers.items()
    )
    if other < drop["low"]:
        texts.append(f"{network}: {TOOLS[tool]} drops {other:+.2f}, not {drop['value']:+.2f}")
    for batch in (1, 16):
        ours = best_speed(own, batch)
        if ours and ours[0]["over_peers"] and ours[0]["over_peers"]["q3"] < 1:
            ratio = ours[0]["over_peers"]["median"]
            texts.append(f"{network}, batch {batch}: {ratio:.2f}x the fastest peer's speed")
    return texts + _costs(rows, network, list(peers))


def _costs(rows: Sequence[Row], network: str, peers: Sequence[str]) -> list[str]:
    """Time and memory of the tool itself."""
    own = [r for r in rows_of(rows, network, "tersor") if r["setting"] in _TOOL]
    texts = []
    for key, unit, scale in (("seconds", "s", 1.0), ("peak_bytes", "MB", 1e6)):
        theirs = [(r[key], tool) for tool in peers for r in rows_of(rows, network, tool)]
        if own and theirs and min(theirs)[0] < own[0][key]:
            value, tool = min(theirs)
            told = f"{value / scale:.3g} {unit}, not {own[0][key] / scale:.3g}"
            texts.append(f"{network}: {TOOLS[tool]} needs {told}")
    return texts


def machine() -> str:
    """The machines of these measurements, and how quiet they were."""
    rows = records.read("ptq")
    if not rows:
        return "Not measured yet."
    machines = " and ".join(dict.fromkeys(_machine(row["machine"]) for row in rows))
    versions: dict[str, str] = {}
    for row in rows:
        versions |= row["machine"]["packages"] | row.get("versions", {})
    text = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    speeds = [s for r in rows for key, s in r["speed"].items() if key != "refused"]
    loud = sum(not s["quiet"] for s in speeds) + sum(not r.get("quiet", True) for r in rows)
    noise = f" {loud} of the measurements never got quiet." if loud else ""
    return f"{machines}; {text}.{noise}"


def _machine(found: Row) -> str:
    isa = ", ".join(flag for flag in found["isa"] if flag.startswith(("avx512", "amx")))
    return f"{found['cpu']} ({isa}), {found['default_threads']} threads"


def summary(rows: Sequence[Row]) -> str:
    """What was just measured, one line per setting, for the terminal."""
    return "\n".join(map(_summary, rows))


def _summary(row: Row) -> str:
    name = f"{row['network']:16} {row['tool']:12} {row['setting']:16}"
    if row["why_not"] is not None:
        return f"{name} {row['why_not']}"
    speeds = " ".join(_speed(best_speed([row], batch)) for batch in (1, 16))
    drop, smaller = row.get("drop", {}).get("value"), row.get("smaller")
    return f"{name} drop {drop} smaller {smaller} speed {speeds}"


TABLES: dict[str, Callable[[], str]] = {"table versus": versus, "machine": machine}
DETAILS: dict[str, Callable[[], str]] = {
    "table ptq": ptq,
    "losses": losses,
    "machine": machine,
}
