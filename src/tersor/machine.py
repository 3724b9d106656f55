"""This machine, as far as it matters for speed: nothing that tells who or where it is."""

import ctypes
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path

import psutil

_REST_S = 0.005  # a pool rests if it takes no processor time in two such slices
_REST_MOST_S = 0.2  # but nobody waits longer than this
_CPUINFO = Path("/proc/cpuinfo")
_STATUS = Path("/proc/self/status")
_ISA = {  # our names for what a processor can do, and the kernel's names
    "sse4_2": "sse4_2",
    "avx": "avx",
    "fma": "fma",
    "avx2": "avx2",
    "avx_vnni": "avx_vnni",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16",
    "avx512_fp16": "avx512_fp16",
    "amx_int8": "amx_int8",
    "amx_bf16": "amx_bf16",
    "neon": "asimd",
    "dotprod": "asimddp",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "sve",
}
_X86 = {"sse4_2", "avx", "avx2", "avx512f"}
_DOT_PRODUCTS = {"avx_vnni", "avx512_vnni", "amx_int8"}
_PACKAGES = ("numpy", "onnx", "onnxruntime", "openvino", "torch")


@cache
def describe() -> dict[str, object]:
    """Processor, memory, system and packages; no host name, no user, no path.

    Returns:
        cpu, physical_cores, logical_cores, default_threads, isa (what of the instruction
        sets that matter is here), memory_bytes, system, python, packages (versions of
        those that are installed).
    """
    return {
        "cpu": cpu_model(),
        "physical_cores": psutil.cpu_count(logical=False) or 1,
        "logical_cores": psutil.cpu_count(logical=True) or 1,
        "default_threads": default_threads(),
        "isa": list(isa_flags()),
        "memory_bytes": psutil.virtual_memory().total,
        "system": _system(),
        "python": platform.python_version(),
        "packages": _versions(),
    }


def give_back_memory() -> None:
    """Return freed memory to the system, where the C library keeps it for later (glibc)."""
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    return found


def cpu_model() -> str:
    """The name that the processor gives itself; the architecture if it gives none."""
    for key in ("model name", "Model", "Processor"):
        found = _cpuinfo().get(key, "")
        if found:
            return " ".join(found.split())
    return platform.processor() or platform.machine() or "unknown"


def isa_flags() -> tuple[str, ...]:
    """Which of the instruction sets that matter for engines this processor has."""
    info = _cpuinfo()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return tuple(ours for ours, theirs in _ISA.items() if theirs in flags)


def pairs_saturate(flags: Collection[str]) -> bool:
    """Whether integer kernels on a processor of these instruction sets may clamp sums.

    Without integer dot products, x86 kernels add two products of uint8 and int8 in 16 bits,
    with saturation; see `arrays.saturation`.

    >>> pairs_saturate(["sse4_2", "avx2"]), pairs_saturate(["avx2", "avx_vnni"])
    (True, False)
    """
    is_x86 = not _X86.isdisjoint(flags)
    return is_x86 and _DOT_PRODUCTS.isdisjoint(flags)


def default_threads() -> int:
    """How many threads to use unless told: one per physical core that we may run on."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    physical = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    return max(1, min(physical, allowed or physical))


def peak_memory_bytes() -> int:
    """The most memory that this process ever held at once.

    Read from VmHWM where the kernel tells it: unlike the resource usage, that starts at
    zero when a process starts a program.
    """
    if _STATUS.exists():
        found = re.search(r"^VmHWM:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) * (1 if sys.platform == "darwin" else 1024)


def free_memory_bytes() -> int:
    """Memory that programs can be given now without others being pushed out."""
    return int(psutil.virtual_memory().available)


def _system() -> str:
    """The system, the plain number of its release, and the architecture."""
    release = re.match(r"[\d.]*\d", platform.release())
    return " ".join((platform.system(), release[0] if release else "", platform.machine()))


@cache
def _cpuinfo() -> dict[str, str]:
    """The first value of each key of the kernel's account of the processors."""
    info: dict[str, str] = {}
    if _CPUINFO.exists():
        for line in _CPUINFO.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            info.setdefault(key.strip(), value.strip())
    return info


def _versions() -> dict[str, str]:
    from importlib import metadata

    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def let_pools_rest() -> None:
    """Wait until no thread of this process works or spins any more.

    Threads of an engine spin for a while after a run: they would take the next one's cores.
    """
    deadline, rested = time.monotonic() + _REST_MOST_S, 0
    while rested < 2 and time.monotonic() < deadline:
        before = time.process_time()
        time.sleep(_REST_S)
        rested = rested + 1 if time.process_time() - before < _REST_S / 10 else 0


class Others:
    """The share of other processes: busy time of all cores, less that of our own family.

    Time that the host took from a virtual machine counts as taken by others.
    """

    window_s: float = 0.5  # shortest that tells: the system counts in ticks of 10 ms

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._cores = psutil.cpu_count() or 1
        self.start()

    def start(self) -> None:
        """Begin a window."""
        self._busy_s, self._own_s, self._at = _busy_s(), self._family_s(), time.monotonic()

    def share(self) -> float:
        """What others took of all cores' time since `start`, in [0, 1]."""
        others = (_busy_s() - self._busy_s) - (self._family_s() - self._own_s)
        whole = (time.monotonic() - self._at) * self._cores
        return min(1.0, max(0.0, others / whole)) if whole > 0 else 0.0

    def _family_s(self) -> float:
        """Processor time of this process and of all that it started."""
        total = sum(self._process.cpu_times()[:4])  # with children that have ended
        for child in self._process.children(recursive=True):
            try:
                total += sum(child.cpu_times()[:4])
            except psutil.Error:
                continue
        return float(total)


def _busy_s() -> float:
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    guest = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return float(sum(times) - idle - guest)  # a guest's time is in `user` already
