"""The mixing codec: its payloads are frozen, and it uses what it is told of forms."""

import numpy as np

from tersor.codecs.codec import Part
from tersor.codecs.mixing import Mixing

CODEC = Mixing()
GOLDEN = "05ee1f0912110d3cbab34e94dca5a4ca742a4806"


def weights(shape, spread=2.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, spread, shape).round().clip(-127, 127).astype(np.int8)


def parts_of(*arrays):
    return [Part(a.size, 8, a.shape) for a in arrays]


def test_golden_payload():
    array = weights((3, 2, 2, 2))
    payload = CODEC.encode(array.tobytes(), parts_of(array))
    assert payload.hex() == GOLDEN
    assert CODEC.decode(bytes.fromhex(GOLDEN), 24) == array.tobytes()


def test_several_tensors_teach_each_other():
    arrays = [weights((16, 16), seed=seed) for seed in range(4)]
    data = b"".join(a.tobytes() for a in arrays)
    together = CODEC.encode(data, parts_of(*arrays))
    assert CODEC.decode(together, len(data)) == data
    alone = sum(len(CODEC.encode(a.tobytes(), parts_of(a))) for a in arrays)
    assert len(together) < alone - 30


def test_a_form_that_is_known_saves_bytes():
    """Channels of which some are hardly used."""
    scale = np.tile([4.0, 0.3, 0.3, 0.3], 8)[:, None, None]
    array = (weights((64, 32, 3, 3), 1.0) * scale).round().astype(np.int8)
    known = CODEC.encode(array.tobytes(), parts_of(array))
    assert len(known) < 0.97 * len(CODEC.encode(array.tobytes()))
