"""`tersor pack`, `unpack`, `export`."""

import numpy as np
import onnx
import pytest

from tersor.store.container import write
from tersor.testing import onnx_models


def test_a_packed_file_comes_back_byte_for_byte(tersor, folder):
    packed = tersor("pack", "net.onnx", "-o", "p.tsr", "--json")
    size = (folder / "net.onnx").stat().st_size
    assert packed.code == 0
    assert packed.document["original_bytes"] == size
    assert packed.document["stored_bytes"] == (folder / "p.tsr").stat().st_size
    shown = tersor("unpack", "p.tsr", "-o", "back.onnx")
    assert shown.out.startswith("Wrote back.onnx: ")
    assert (folder / "back.onnx").read_bytes() == (folder / "net.onnx").read_bytes()


def test_a_tsr_file_exports_the_onnx_file_that_it_holds(tersor, folder):
    done = tersor("export", "net.tsr", "-o", "back.onnx", "--json")
    assert done.document["onnx_bytes"] == (folder / "net.onnx").stat().st_size
    assert (folder / "back.onnx").read_bytes() == (folder / "net.onnx").read_bytes()


@pytest.mark.usefixtures("folder")
def test_another_model_is_exported_as_onnx(tersor):
    assert tersor("export", "net.onnx", "-o", "new.onnx").out.startswith("Wrote new.onnx: ")
    onnx.checker.check_model(onnx.load("new.onnx"))
    assert tersor("run", "new.onnx", "--input", "in.npz", "--output", "a.npz").code == 0
    assert tersor("run", "net.onnx", "--input", "in.npz", "--output", "b.npz").code == 0
    a, b = np.load("a.npz")["y"], np.load("b.npz")["y"]
    n = onnx_models.FEATURES + onnx_models.HIDDEN
    assert np.abs(a - b).max() <= n * 2.0**-23 * np.abs(b).max()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["pack", "net.onnx", "-o", "p.zip"], 2, "a file name that ends with .tsr"),
        (["pack", "missing.onnx", "-o", "p.tsr"], 1, "cannot be read"),
        (["pack", "in.txt", "-o", "p.tsr"], 1, "Give one of these: .onnx, .safetensors"),
        (["pack", "net.onnx", "-o", "no/p.tsr"], 1, "no is not a folder"),
        (["pack", "net.onnx", "-o", "sub.tsr"], 1, "sub.tsr is a folder"),
        (["unpack", "net.tsr", "-o", "x"], 1, "Models are written by `tersor export`"),
        (["unpack", "cut.tsr", "-o", "x"], 1, "cut.tsr: the file is cut"),
        (["unpack", "net.tsr", "-o", "net.tsr"], 1, "it would be overwritten"),
        (["export", "net.onnx", "-o", "net.onnx"], 1, "it would be overwritten"),
        (["export", "net.onnx", "-o", "net.tsr"], 2, "a file name that ends with .onnx"),
        (["export", "cut.tsr", "-o", "x.onnx"], 1, "cut.tsr: the file is cut"),
        (["export", "cut.onnx", "-o", "x.onnx"], 1, "cut.onnx: "),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_refused_in_one_line(refused, folder, words, code, message):
    for kind in ("tsr", "onnx"):
        whole = (folder / f"net.{kind}").read_bytes()
        (folder / f"cut.{kind}").write_bytes(whole[: len(whole) // 2])
    (folder / "sub.tsr").mkdir()
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert message in refused(*words, code=code)
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before


@pytest.mark.usefixtures("folder")
def test_a_folder_that_cannot_be_written_is_found_before_the_work(refused, monkeypatch):
    monkeypatch.setattr("pathlib.Path.touch", _denied)
    assert "cannot be written to (Permission denied)" in refused(
        "export", "missing.onnx", "-o", "x.onnx", code=1
    )


def _denied(*_args, **_settings):
    raise PermissionError(13, "Permission denied")


def test_higher_levels_give_no_more_bytes(tersor, folder):
    sizes = []
    for level in ("fast", "default", "best"):
        name = f"{level}.tsr"
        packed = tersor("pack", "net.onnx", "-o", name, "--level", level, "--json")
        sizes.append(packed.document["stored_bytes"])
        assert tersor("unpack", name, "-o", "back.onnx").code == 0
        assert (folder / "back.onnx").read_bytes() == (folder / "net.onnx").read_bytes()
    assert sizes == sorted(sizes, reverse=True)


def test_a_listing_shows_every_byte_of_the_file(tersor, folder):
    assert tersor("pack", "net.onnx", "-o", "p.tsr").code == 0
    for name in ("net.tsr", "p.tsr"):
        document = tersor("pack", "--list", name, "--json").document
        size = (folder / name).stat().st_size
        assert document["file_bytes"] == size
        assert sum(s["stored_bytes"] for s in document["streams"]) == pytest.approx(
            size, abs=0.01
        )
        shown = tersor("pack", "--list", name).out
        for row in document["tensors"]:
            assert row["name"] in shown
            assert 0 <= row["bound_bytes"] <= row["bytes"]
        assert "graph" in shown
        assert f"in {len(document['tensors'])} tensors." in shown


def test_a_listing_shows_nothing_that_acts_on_a_terminal(tersor, tmp_path):
    write(tmp_path / "t.tsr", {"a\x1b[2Jb[red]": np.zeros(3)}, {})
    shown = tersor("pack", "--list", tmp_path / "t.tsr").out
    assert "a?[2Jb[red]" in shown
    assert "\x1b" not in shown


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["pack", "net.onnx"], 2, "Give either --output or --list"),
        (["pack", "net.tsr", "--list", "-o", "x.tsr"], 2, "Give either --output or --list"),
        (["pack", "--list", "net.onnx"], 1, "net.onnx: this is not a .tsr file"),
        (["pack", "--list", "none.tsr"], 1, "none.tsr cannot be read"),
    ],
    ids=["neither", "both", "another_file", "no_file"],
)
def test_a_listing_that_cannot_be_is_refused(refused, words, code, message):
    assert message in refused(*words, code=code)


def samples():
    return np.random.default_rng(0).standard_normal((20, 30)).astype(np.float32)


@pytest.mark.usefixtures("folder")
def test_what_comes_back_equal_is_said(tersor):
    np.savez("a.npz", w=samples())
    np.savez_compressed("b.npz", w=samples())
    for name, identical in (("a.npz", "bytes"), ("b.npz", "tensors")):
        packed = tersor("pack", name, "-o", "p.tsr", "--json")
        assert packed.document["identical"] == identical
        assert packed.document["files"] == [name]
        said = tersor("unpack", "p.tsr", "-o", "back.npz").out
        assert ("their contents come back, bit for bit" in said) == (identical == "tensors")
        assert np.array_equal(np.load("back.npz")["w"], samples())


def test_external_data_goes_with_its_model(tersor, folder):
    model = onnx.load("net.onnx")
    onnx.save(
        model, "large.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    assert "With 1 file of external data." in tersor("pack", "large.onnx", "-o", "p.tsr").out
    (folder / "back").mkdir()
    assert tersor("unpack", "p.tsr", "-o", "back/large.onnx").code == 0
    for name in ("large.onnx", "w.bin"):
        assert (folder / "back" / name).read_bytes() == (folder / name).read_bytes()
