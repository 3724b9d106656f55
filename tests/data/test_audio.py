"""Sounds become arrays as audio.toml says; log-mel energies are what their definition says."""

import numpy as np
import pytest
from scipy.io import wavfile

from tersor.arrays.mel import log_mel, mel_filters
from tersor.data.audio import Hearing
from tersor.data.read import read_samples
from tersor.errors import DataError, FileError, InputError

TABLE = 'input = "audio"\nrate = 8000\nseconds = 0.01\n'
SOUND = np.random.default_rng(0).integers(-(2**15), 2**15, 100).astype(np.int16)


@pytest.fixture
def folder(tmp_path):
    for name in ("no", "yes"):
        (tmp_path / name).mkdir()
    wavfile.write(tmp_path / "no" / "a.wav", 8000, SOUND)
    wavfile.write(tmp_path / "yes" / "b.wav", 8000, SOUND[:50])
    (tmp_path / "audio.toml").write_text(TABLE)
    return tmp_path


def test_sounds_are_cut_padded_and_in_folders_of_classes(folder):
    samples = read_samples(folder)
    found = np.asarray(samples.inputs["audio"])
    exact = (SOUND / 2.0**15).astype(np.float32)
    assert found.shape == (2, 80)
    assert np.array_equal(found[0], exact[:80])
    assert np.array_equal(found[1], np.concatenate([exact[:50], np.zeros(30, np.float32)]))
    assert samples.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (np.array([0, 64, 255], np.uint8), [-1, -0.5, 127 / 128]),
        (np.array([-(2**31), 2**30], np.int32), [-1, 0.5]),
        (np.array([0.25, -1], np.float32), [0.25, -1]),
        (np.array([[2**14, 0], [0, 0]], np.int16), [0.25, 0]),
    ],
    ids=["8 bits", "32 bits", "float", "stereo"],
)
def test_every_kind_of_value_ends_between_minus_one_and_one(folder, values, wanted):
    wavfile.write(folder / "no" / "a.wav", 8000, values)
    found = np.asarray(read_samples(folder).inputs["audio"])[0]
    assert found[: len(wanted)].tolist() == np.float32(wanted).tolist()
    assert not found[len(wanted) :].any()


def test_other_rates_are_resampled(folder):
    at = np.arange(1600) / 16000
    tone = np.sin(2 * np.pi * 440 * at).astype(np.float32)
    wavfile.write(folder / "no" / "a.wav", 16000, tone)
    (folder / "audio.toml").write_text(TABLE.replace("0.01", "0.1"))
    found = np.asarray(read_samples(folder).inputs["audio"])[0]
    inner = slice(40, -40)  # the filter reaches 20 values of the lower rate beyond the ends
    assert np.abs(found - tone[::2])[inner].max() < 2e-3  # ripple of the filter (Kaiser, 5.0)


def test_mean_std_and_layout(folder):
    (folder / "audio.toml").write_text(TABLE + 'mean = 0.5\nstd = 2\nlayout = "NTC"')
    found = np.asarray(read_samples(folder).inputs["audio"])
    exact = ((SOUND[:80] / 2.0**15 - 0.5) / 2).astype(np.float32)
    assert np.array_equal(found[0, :, 0], exact)


def by_definition(sound, *, rate, window, hop, mels, band_hz, floor):
    """The docstring of `tersor.arrays.mel`, word by word."""

    def mel(f):
        return 2595 * np.log10(1 + f / 700)

    points = [mel(band_hz[0]) + i * (mel(band_hz[1]) - mel(band_hz[0])) / (mels + 1)
              for i in range(mels + 2)]  # fmt: skip
    corners = [700 * (10 ** (p / 2595) - 1) for p in points]
    rows = []
    for start in range(0, len(sound) - window + 1, hop):
        x = [sound[start + i] * (0.5 - 0.5 * np.cos(2 * np.pi * i / window))
             for i in range(window)]  # fmt: skip
        power = [
            abs(sum(v * np.exp(-2j * np.pi * k * i / window) for i, v in enumerate(x))) ** 2
            for k in range(window // 2 + 1)
        ]
        row = []
        for m in range(mels):
            left, top, right = corners[m : m + 3]
            total = 0.0
            for k, p in enumerate(power):
                f = k * rate / window
                if left < f <= top:
                    total += p * (f - left) / (top - left)
                elif top < f < right:
                    total += p * (right - f) / (right - top)
            row.append(np.log(max(total, floor)))
        rows.append(row)
    return np.array(rows).T


def test_log_mel_equals_its_definition():
    rng = np.random.default_rng(1)
    sound = rng.standard_normal(75)
    settings = {"rate": 1000, "band_hz": (20.0, 480.0), "mels": 5}
    exact = by_definition(sound, window=24, hop=10, floor=1e-3, **settings)
    filters = mel_filters(5, 24, 1000, (20.0, 480.0))
    found = log_mel(sound, filters, 24, 10, 1e-3)
    assert found.shape == exact.shape == (5, 6)
    assert np.abs(found - exact).max() < 1e-9


@pytest.mark.parametrize(
    ("layout", "shape"),
    [("NMT", (2, 4, 8)), ("NTM", (2, 8, 4)), ("NCMT", (2, 1, 4, 8)), ("NTMC", (2, 8, 4, 1))],
)
def test_log_mel_features_of_a_folder(folder, layout, shape):
    table = f'features = "log_mel"\nwindow_ms = 2\nhop_ms = 1\nmels = 4\nlayout = "{layout}"\n'
    (folder / "audio.toml").write_text(TABLE.replace("0.01", "0.009") + table)
    found = np.asarray(read_samples(folder).inputs["audio"])
    assert found.shape == shape
    sound = SOUND[:72] / 2.0**15
    settings = {"rate": 8000, "band_hz": (0.0, 4000.0), "mels": 4}
    exact = by_definition(sound, window=16, hop=8, floor=1e-6, **settings)
    axes = {axis: found.ndim and layout.index(axis) - 1 for axis in "MT"}
    plain = found[0].squeeze()
    plain = plain if axes["M"] < axes["T"] else plain.T
    assert np.abs(plain - exact).max() < 1e-5


def test_a_damaged_sound_is_named(folder):
    path = folder / "no" / "a.wav"
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(DataError, match=r"a\.wav cannot be read"):
        list(read_samples(folder).batches(2))


def test_a_huge_sound_is_refused(folder, monkeypatch):
    samples = read_samples(folder)
    monkeypatch.setattr("tersor.data.audio._LARGEST", 100)
    with pytest.raises(DataError, match="more than 100 bytes"):
        list(samples.batches(2))


def test_values_of_an_unknown_type_are_refused(folder, monkeypatch):
    monkeypatch.setattr(wavfile, "read", lambda _: (8000, np.zeros(9, np.complex64)))
    with pytest.raises(DataError, match="values of type complex64"):
        list(read_samples(folder).batches(2))


@pytest.mark.parametrize("rate", [0, (1 << 20) + 1, 1 << 29])
def test_rates_that_no_sound_has_are_refused(folder, rate):
    """A filter between rates without a common factor would be as long as the rate."""
    wavfile.write(folder / "no" / "a.wav", rate, SOUND)
    with pytest.raises(DataError, match=f"{rate} values per second"):
        list(read_samples(folder).batches(2))


def test_odd_rates_are_resampled_by_a_short_filter(folder, monkeypatch):
    """999,983 is a prime: 8,000 of it is a 124.997875th."""
    wavfile.write(folder / "no" / "a.wav", 999983, np.tile(SOUND, 200))
    (folder / "yes" / "b.wav").unlink()
    seen = []
    monkeypatch.setattr(
        "scipy.signal.resample_poly", lambda x, up, down: seen.append((up, down)) or x
    )
    list(read_samples(folder).batches(1))
    assert seen
    assert all(down <= 1 << 13 and abs(down / up - 124.997875) < 0.01 for up, down in seen)


def test_a_file_without_blocks_is_refused(folder):
    (folder / "no" / "a.wav").write_bytes(b"RIFF\4\0\0\0WAVE")
    with pytest.raises(DataError, match="cannot be read"):
        list(read_samples(folder).batches(2))


def test_no_sounds_are_told(tmp_path):
    (tmp_path / "audio.toml").write_text(TABLE)
    with pytest.raises(FileError, match="holds no sounds"):
        read_samples(tmp_path)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"input": ""}, "input must be a name"),
        ({"rate": 0}, "rate must be"),
        ({"rate": 8000.0}, "rate must be"),
        ({"seconds": 0}, "seconds must be from"),
        ({"rate": 1 << 20, "seconds": 3600}, "so short that it has at most"),
        ({"features": "mfcc"}, "features must be one of waveform, log_mel"),
        ({"window_ms": 0}, "window_ms must be"),
        ({"features": "log_mel", "window_ms": 50}, "window_ms must be from 2 values"),
        ({"hop_ms": 0}, "hop_ms must be"),
        ({"mels": 0}, "mels must be"),
        ({"floor": 0}, "floor must be"),
        ({"mean": "0"}, "mean must be"),
        ({"std": 0}, "std must be"),
        ({"layout": "NTM"}, "layout must be one of NT, NCT, NTC"),
        ({"band_hz": (0, 4001)}, r"band_hz must be \[low, high\] from 0 to 4000"),
        ({"band_hz": 3}, "band_hz must be"),
    ],
)
def test_a_wrong_table_is_refused(changed, said):
    good = {"input": "x", "rate": 8000, "seconds": 0.01}
    with pytest.raises(InputError, match=said):
        Hearing(**{**good, **changed})
