"""A folder of images becomes samples as its table says, or is refused with the reason."""

import numpy as np
import pytest
from PIL import Image

from tersor.data.check import fit
from tersor.data.images import read_images
from tersor.data.lazy import Lazy
from tersor.data.read import read_samples
from tersor.data.split import split
from tersor.errors import DataError, FileError, InputError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)
TABLE = 'input = "image"\nsize = [4, 5]\nmean = [0.5, 0.4, 0.3]\nstd = [0.2, 0.3, 0.4]\n'


def exact():
    scaled = PIXELS.astype(np.float32) / 255
    normal = (scaled - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]
    return normal.transpose(0, 3, 1, 2)


@pytest.fixture
def folder(tmp_path):
    """Six images in one folder, with a table."""
    for i, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    (tmp_path / "preprocess.toml").write_text(TABLE)
    return tmp_path


@pytest.fixture
def classes(folder):
    """The same in two folders of classes."""
    for i in range(6):
        home = folder / ("cat" if i < 2 else "dog")
        home.mkdir(exist_ok=True)
        (folder / f"{i}.png").rename(home / f"{i}.png")
    return folder


def test_images_become_the_arrays_that_the_table_says(folder):
    samples = read_samples(folder)
    assert samples.inputs["image"].shape == (6, 3, 4, 5)
    assert np.allclose(np.asarray(samples.inputs["image"]), exact(), atol=1e-5)
    assert samples.labels is None


def test_folders_are_classes_in_the_order_of_names(classes):
    assert read_samples(classes).labels.tolist() == [0, 0, 1, 1, 1, 1]


def test_a_list_of_labels_goes_before(folder):
    (folder / "labels.tsv").write_text("3.png\t7\n\n1.png\t2\n")
    samples = read_samples(folder)
    assert samples.labels.tolist() == [7, 2]
    assert np.allclose(np.asarray(samples.inputs["image"])[1], exact()[1], atol=1e-5)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1.png\tcat", "line 1, holds no label"),
        ("1.png", "line 1, holds no label"),
        ("9.png\t0", "'9.png', which is not there"),
        ("../secret.png\t0", "which is not there"),
        ("a\0b.png\t0", "which is not there"),
        ("ring\t0", "which is not there"),
        ("1.png\t" + "9" * 10, "line 1, holds no label"),
        ("1.png\t" + "9" * 5000, "line 1, holds no label"),
    ],
)
def test_labels_that_do_not_fit_are_refused_with_their_line(folder, line, said):
    (folder.parent / "secret.png").write_bytes((folder / "1.png").read_bytes())
    (folder / "ring").symlink_to(folder / "ring")
    (folder / "labels.tsv").write_text(line + "\n")
    with pytest.raises(DataError, match=said):
        read_samples(folder)


def test_grey_images_last_channel_and_centre(folder):
    table = 'input = "x"\nsize = [2, 2]\nresize = 4\ncolour = "L"\nlayout = "NHWC"\nscale = 1'
    (folder / "preprocess.toml").write_text(table)
    found = np.asarray(read_samples(folder).inputs["x"])
    assert found.shape == (6, 2, 2, 1)
    grey = np.asarray(Image.fromarray(PIXELS[0]).convert("L"), np.float32)
    assert found[0, :, :, 0].tolist() == grey[1:3, 1:3].tolist()


def test_images_are_read_only_when_asked_for(folder, monkeypatch):
    read = []
    real = Image.open
    monkeypatch.setattr(Image, "open", lambda path: read.append(path.name) or real(path))
    samples = read_samples(folder)
    assert read == []
    next(samples.batches(2))
    assert sorted(read) == ["0.png", "1.png"]


def test_they_can_be_checked_and_split_like_arrays(classes):
    ports = [("image", ("batch", 3, 4, 5), "float32")]
    parts = split(fit(read_samples(classes), ports))
    assert len(parts.validation) == 6
    images = read_samples(classes).inputs["image"]
    assert isinstance(images[np.array([1, 3])], Lazy)
    assert np.array_equal(np.asarray(images[np.array([3])])[0], np.asarray(images)[3])
    assert np.asarray(images, dtype=np.float64).dtype == np.float64


def test_a_copy_cannot_be_avoided(folder):
    with pytest.raises(ValueError, match="without a copy"):
        np.array(read_samples(folder).inputs["image"], copy=False)


def test_a_damaged_image_is_named(folder):
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:50])
    with pytest.raises(DataError, match=r"2\.png cannot be read"):
        list(read_samples(folder).batches(6))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("input = ", "is not TOML"),
        ('input = "x"', "with the key size"),
        ("size = [4, 5]", "with the key input"),
        (TABLE + "crop = 3", "one of input, size, resize"),
        (TABLE + "resize = 4", "resize must be at least 5"),
        (TABLE + "resize = -1", "resize must be"),
        (TABLE + "resize = true", "resize must be"),
        (TABLE + 'colour = "CMYK"', "colour must be"),
        (TABLE + 'filter = "box"', "filter must be one of bilinear"),
        (TABLE + 'layout = "HWC"', "layout must be"),
        (TABLE + 'scale = "1/255"', "scale must be"),
        (TABLE.replace("[4, 5]", "[4]"), "size must be"),
        (TABLE.replace("[4, 5]", "[0, 5]"), "size must be"),
        (TABLE.replace("0.5, 0.4, 0.3", "0.5, 0.4"), "mean must be"),
        (TABLE.replace("0.2, 0.3, 0.4", "0.2, 0.3, 0.0"), "not 0"),
        (TABLE.replace('"image"', "7"), "input must be"),
        (TABLE.replace("[0.2, 0.3, 0.4]", "true"), "std must be"),
        (TABLE + "colour = {}", "colour must be"),
        (TABLE + "filter = {}", "filter must be"),
        (TABLE + "layout = {}", "layout must be"),
    ],
)
def test_a_wrong_table_is_refused(folder, table, said):
    (folder / "preprocess.toml").write_text(table)
    with pytest.raises((InputError, FileError), match=said):
        read_samples(folder)


def test_no_table_and_no_images_are_told(tmp_path):
    with pytest.raises(FileError, match=r"preprocess\.toml is not there"):
        read_images(tmp_path)
    (tmp_path / "preprocess.toml").write_text(TABLE)
    with pytest.raises(FileError, match="holds no images"):
        read_samples(tmp_path)


def test_images_are_resized_by_the_filter_of_the_table(folder):
    (folder / "preprocess.toml").write_text(
        'input = "x"\nsize = [2, 2]\nfilter = "nearest"\nscale = 1'
    )
    found = np.asarray(read_samples(folder).inputs["x"])[0]
    # the middle of each half of 4 rows lies in rows 1 and 3; of 5 columns in 1 and 3
    assert found.tolist() == PIXELS[0][1::2, 1::2].transpose(2, 0, 1).tolist()


def test_labels_that_are_no_text_are_told(folder):
    (folder / "labels.tsv").write_bytes(b"\xff\xfe")
    with pytest.raises(FileError, match=r"labels\.tsv is no text in UTF-8"):
        read_samples(folder)


def test_a_huge_table_is_refused(folder, monkeypatch):
    monkeypatch.setattr("tersor.data.folder._LARGEST", 10)
    with pytest.raises(FileError, match="is too large for a table"):
        read_samples(folder)
