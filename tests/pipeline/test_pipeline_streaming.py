"""Samples that are made when they are needed go through the whole trip batch by batch."""

import numpy as np
import pytest

from tersor.data.samples import Samples
from tersor.data.split import split
from tersor.data.stream import Stream
from tersor.errors import DataError
from tersor.pipeline import Options, compress
from tersor.testing import networks

pytestmark = pytest.mark.usefixtures("made_up_memory")
QUICK = Options(seconds=0.3, threads=1, engines=("onnxruntime",))
NET = networks.convolutional()
KNOWN = np.asarray(networks.samples_for(NET, 400).inputs["x"])


class Recorded(Stream):
    """A stream that keeps nothing and remembers how many rows were asked for at once."""

    def __init__(self, broken=None):
        self.asked, self.broken = [], broken
        super().__init__(self.made, 400, {"x": (KNOWN.shape[1:], KNOWN.dtype)}, keep_bytes=0)

    def made(self, number):
        if number == self.broken:
            raise DataError("Image 7", "cannot be read", "Remove it.")
        return {"x": KNOWN[number]}

    def _stacked(self, rows):
        self.asked.append(len(rows))
        return super()._stacked(rows)


def test_the_trip_never_asks_for_more_than_a_batch():
    stream = Recorded()
    samples = Samples({"x": stream.column("x")}, note="made for a test")
    result = compress(NET, samples, recipe="w8a8", options=QUICK)
    assert max(stream.asked) <= 64
    assert result.report["data"]["calibration"] == 100


@pytest.mark.parametrize("purpose", ["calibration", "validation"])
def test_a_sample_that_cannot_be_read_ends_the_trip_with_its_name(purpose):
    split_rows = split(Samples({"x": KNOWN}, np.arange(400)))
    broken = int(getattr(split_rows, purpose).labels[-1])  # late: the first few are read early
    samples = Samples({"x": Recorded(broken).column("x")})
    with pytest.raises(DataError, match="Image 7 cannot be read"):
        compress(NET, samples, recipe="fast", options=QUICK)
