"""Which kernels are used, and why."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tersor import kernels
from tersor.errors import InputError
from tersor.kernels import choose

BINDINGS = Path(choose.__file__).parent / "native" / "bindings.cpp"


@pytest.fixture
def fresh(monkeypatch):
    """Choices are made anew, and forgotten afterwards."""
    monkeypatch.delenv(choose.VARIABLE, raising=False)
    choose.choice.cache_clear()
    choose._native.cache_clear()
    yield monkeypatch
    choose.choice.cache_clear()
    choose._native.cache_clear()


def test_what_is_missing_is_said(fresh):
    def fails(name):
        raise ImportError(name)

    fresh.setattr(choose, "import_module", fails)
    assert choose.choice().name == "reference"
    assert choose.choice().why == "the native kernels were not built"
    assert choose.choice().available == ("reference",)
    assert choose.module() is None


def test_another_interface_is_not_used(fresh):
    other = SimpleNamespace(INTERFACE=choose.INTERFACE + 1, levels=lambda: ["portable"])
    fresh.setattr(choose, "import_module", lambda _: other)
    assert choose.choice().name == "reference"
    assert "of another release" in choose.choice().why


def test_the_fastest_is_used(fresh):
    native = SimpleNamespace(INTERFACE=choose.INTERFACE, levels=lambda: ["portable", "avx2"])
    fresh.setattr(choose, "import_module", lambda _: native)
    found = choose.choice()
    assert (found.name, choose.level()) == ("avx2", 1)
    assert found.available == ("reference", "portable", "avx2")
    assert choose.module() is native


def test_the_environment_asks(fresh):
    fresh.setenv(choose.VARIABLE, "reference")
    assert choose.choice().name == "reference"
    assert choose.choice().why == "TERSOR_KERNELS asks for it"
    assert choose.module() is None


def test_what_is_not_there_cannot_be_asked_for(fresh):
    fresh.setenv(choose.VARIABLE, "sse")
    with pytest.raises(InputError, match=r"TERSOR_KERNELS must be one of reference.*'sse'"):
        choose.choice()


def test_both_sides_name_one_interface():
    (number,) = re.findall(r"constexpr int interface = (\d+);", BINDINGS.read_text())
    assert int(number) == choose.INTERFACE


def test_the_choice_holds_for_a_process():
    root = str(Path(kernels.__file__).parents[2])
    code = "from tersor.kernels import choose as c; print(c.choice().name, c.module())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": root, choose.VARIABLE: "reference"},
    )
    assert done.stdout == "reference None\n"
