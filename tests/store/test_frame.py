import os
import subprocess
import sys

import numpy as np
import pytest

from tersor.errors import FileError, FormatError
from tersor.store.container import encode
from tersor.store.frame import check_frame

WHOLE = encode({"w": np.arange(6, dtype=np.int8)}, {"note": b"hello"})
READ = """
import sys
from tersor.errors import FormatError
from tersor.reading import opened
try:
    opened(sys.argv[1])
except FormatError as error:
    print(error.problem, "numpy" in sys.modules)
"""


@pytest.fixture
def file(tmp_path):
    return tmp_path / "model.tsr"


def test_a_whole_file_passes(file):
    file.write_bytes(WHOLE)
    assert check_frame(file) is None


def test_every_cut_is_found(file):
    for size in range(len(WHOLE)):
        file.write_bytes(WHOLE[:size])
        with pytest.raises(FormatError):
            check_frame(file)


@pytest.mark.parametrize(
    ("at", "problem"),
    [
        (0, "this is not a .tsr file"),
        (4, "format version 0"),
        (5, "the directory is damaged"),
        (-13, "the directory is damaged"),
        (-9, "too long"),
        (-5, "its end is damaged"),
        (-1, "the directory is damaged"),
    ],
)
def test_damage_outside_of_the_blocks_is_found(file, at, problem):
    damaged = bytearray(WHOLE)
    damaged[at] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(FormatError, match=problem):
        check_frame(file)


def test_a_file_that_is_not_there_is_refused(file):
    with pytest.raises(FileError, match="No such file"):
        check_frame(file)


def test_what_is_no_whole_file_is_refused_before_numpy_is_loaded(file):
    file.write_bytes(WHOLE[:-1])
    command = [sys.executable, "-c", READ, str(file)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout
    assert said == "the file is cut, or its end is damaged False\n"
