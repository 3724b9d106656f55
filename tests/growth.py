"""How much memory a block takes, as the kernel tells it."""

import ctypes
import gc
import re
from pathlib import Path

STATUS = Path("/proc/self/status")


def resident(what: str) -> int:
    """Bytes in memory now (VmRSS), or at most since the mark was reset (VmHWM); or 0."""
    if not STATUS.exists():
        return 0
    found = re.search(rf"^{what}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def reset() -> None:
    """Measure the most memory from now on."""
    if STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")


class Growth:
    """`with Growth() as memory`: then `memory.bytes` more were held at most than before."""

    def __enter__(self) -> "Growth":
        gc.collect()
        if STATUS.exists():
            ctypes.CDLL(None).malloc_trim(0)
        reset()
        self.before = resident("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        self.bytes = resident("VmHWM") - self.before
