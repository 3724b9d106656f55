"""What the machine tells about itself, and what it keeps to itself."""

import ctypes
import getpass
import json
import platform
import socket
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from tersor import machine

ARM = """processor\t: 0
BogoMIPS\t: 50.00
Features\t: fp asimd asimddp i8mm sve
"""
INTEL = """processor\t: 0
model name\t: Intel(R)  Xeon(R) Platinum
flags\t\t: fpu avx2 avx512f amx_int8 amx_bf16

processor\t: 1
model name\t: another
"""


@pytest.fixture
def cpuinfo(tmp_path, monkeypatch):
    """A function that puts a text in the place of the kernel's account."""

    def put(text):
        path = tmp_path / "cpuinfo"
        path.write_text(text)
        monkeypatch.setattr(machine, "_CPUINFO", path)
        machine._cpuinfo.cache_clear()

    yield put
    machine._cpuinfo.cache_clear()


def test_description_says_what_matters_for_speed():
    found = machine.describe()
    assert found["logical_cores"] == psutil.cpu_count()
    assert found["memory_bytes"] == psutil.virtual_memory().total
    assert found["python"] == platform.python_version()
    assert "numpy" in found["packages"]
    assert found["default_threads"] == machine.default_threads() >= 1
    assert json.loads(json.dumps(found)) == found


def test_description_tells_neither_who_nor_where():
    text = json.dumps(machine.describe())
    for secret in {socket.gethostname(), str(Path.home()), str(Path.cwd())}:
        assert len(secret) < 4 or secret not in text
    assert not any(word == getpass.getuser() for word in text.split('"'))


def test_intel_flags_are_read(cpuinfo):
    cpuinfo(INTEL)
    assert machine.cpu_model() == "Intel(R) Xeon(R) Platinum"
    assert machine.isa_flags() == ("avx2", "avx512f", "amx_int8", "amx_bf16")


def test_arm_flags_have_our_names(cpuinfo):
    cpuinfo(ARM)
    assert machine.isa_flags() == ("neon", "dotprod", "i8mm", "sve")


def test_unknown_processor_has_some_name(cpuinfo):
    cpuinfo("")
    assert machine.cpu_model()
    assert machine.isa_flags() == ()


def test_threads_are_at_most_the_cores_that_we_may_use(monkeypatch):
    monkeypatch.setattr(psutil, "cpu_count", lambda **_: 8)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert machine.default_threads() == 3


def test_absent_packages_are_left_out(monkeypatch):
    monkeypatch.setattr(machine, "_PACKAGES", ("numpy", "no-such-package"))
    assert list(machine._versions()) == ["numpy"]


def test_peak_memory_is_the_kernels_high_water_mark(tmp_path, monkeypatch):
    status = tmp_path / "status"
    status.write_text("VmPeak:\t 900 kB\nVmHWM:\t   123 kB\nVmRSS:\t 100 kB\n")
    monkeypatch.setattr(machine, "_STATUS", status)
    assert machine.peak_memory_bytes() == 123 * 1024


def test_peak_memory_without_the_kernels_word(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_STATUS", tmp_path / "absent")
    assert machine.peak_memory_bytes() > 2**20


class FakeProcess:
    def __init__(self, seconds, children=()):
        self.seconds, self.family = seconds, children

    def cpu_times(self):
        return (self.seconds, 0.0, 0.0, 0.0, 0.0)

    def children(self, *, recursive):
        assert recursive
        return self.family


def test_free_memory_is_some_but_not_more_than_there_is():
    assert 0 < machine.free_memory_bytes() <= machine.describe()["memory_bytes"]


def test_share_of_others_is_busy_time_less_our_own(monkeypatch):
    """2 cores, 10 s: 9 s busy, of which we 3 s, our child 2 s; 4 s of 20 s remain."""
    fields = {"user": 0.0, "system": 0.0, "idle": 50.0, "iowait": 5.0, "guest": 1.0}
    child, gone = FakeProcess(1.0), FakeProcess(0.0)
    gone.cpu_times = lambda: (_ for _ in ()).throw(machine.psutil.NoSuchProcess(1))
    own = FakeProcess(7.0, [child, gone])

    class Times(SimpleNamespace):
        def __iter__(self):
            return iter(vars(self).values())

    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(machine, "time", clock)
    monkeypatch.setattr(machine.psutil, "Process", lambda: own)
    monkeypatch.setattr(machine.psutil, "cpu_count", lambda: 2)
    monkeypatch.setattr(machine.psutil, "cpu_times", lambda: Times(**fields))
    others = machine.Others()
    fields |= {"user": 8.0, "system": 1.0, "idle": 58.0, "iowait": 8.0, "guest": 3.0}
    own.seconds, child.seconds, clock.now = 10.0, 3.0, 10.0
    assert others.share() == pytest.approx(4.0 / 20.0)
    others.start()
    clock.now = 20.0
    assert others.share() == 0.0


def test_share_of_others_is_a_fraction_on_this_machine():
    assert 0.0 <= machine.Others().share() <= 1.0


def test_freed_memory_goes_back_to_the_system():
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("the C library keeps nothing, or does not say how to get it back")
    process = psutil.Process()
    blocks = [b"\1" * 60_000 for _ in range(1000)]
    last = blocks[-1]  # lies behind all others, so that the heap cannot just be cut
    before = process.memory_info().rss
    blocks.clear()
    machine.give_back_memory()
    assert before - process.memory_info().rss > 40e6
    assert len(last) == 60_000
