"""A model much larger than what packing it may hold in memory."""

import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest

ONE = 10**8  # bytes of a tensor
COUNT = 20
MOST_ABOVE = 600e6  # bytes above the largest tensor
PEAK = """
import sys
from pathlib import Path
from tersor.store import pack
getattr(pack, sys.argv[1])(Path(sys.argv[2]), Path(sys.argv[3]))
(line,) = [l for l in open("/proc/self/status") if l.startswith("VmHWM")]
print(int(line.split()[1]) * 1024)
"""  # not ru_maxrss, which counts what the process that started this one holds


def peak(verb, source, target):
    command = [sys.executable, "-c", PEAK, verb, str(source), str(target)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    answer = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
    return int(answer.stdout)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(sys.platform != "linux", reason="/proc is of Linux")
@pytest.mark.usefixtures("only_when_asked")
def test_two_gigabytes_are_packed_and_unpacked_in_little_memory(tmp_path):
    packed, back = tmp_path / "m.tsr", tmp_path / "back.safetensors"
    whole = tmp_path / "m.safetensors"
    base = np.random.default_rng(0).standard_normal(ONE // 4, dtype=np.float32)
    header = {
        f"w{i}": {
            "dtype": "F32",
            "shape": [1000, ONE // 4000],
            "data_offsets": [i * ONE, (i + 1) * ONE],
        }
        for i in range(COUNT)
    }
    with whole.open("wb") as file:
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        file.write(struct.pack("<Q", len(text)) + text)
        for i in range(COUNT):
            file.write(np.roll(base, i * 12_345).data)
    assert ONE < peak("pack", whole, packed) < ONE + MOST_ABOVE
    assert packed.stat().st_size < 0.84 * COUNT * ONE
    assert peak("unpack", packed, back) < ONE + MOST_ABOVE
    with whole.open("rb") as first, back.open("rb") as second:
        while piece := first.read(2**24):
            assert second.read(2**24) == piece
        assert second.read(1) == b""
