"""`tersor inspect`, `methods`, `info`."""

import pytest

from tersor import engines, methods
from tersor.export.onnx import to_onnx
from tersor.kernels import choose
from tersor.machine import describe
from tersor.methods.quantize.static import QuantizeStatic
from tersor.network import cost
from tersor.plan.recipe_file import describe as recipes
from tersor.testing import networks
from tersor.testing.networks import convolutional


@pytest.fixture
def conv(folder):
    network = convolutional()
    (folder / "conv.onnx").write_bytes(to_onnx(network))
    return network


def test_inspect_tells_what_the_network_costs(tersor, conv):
    document = tersor("inspect", "conv.onnx", "--json").document
    assert document["model"] == "conv.onnx"
    assert document["totals"] == cost.describe(conv)["totals"]
    assert [layer["op"] for layer in document["layers"]].count("conv2d") == 3


@pytest.mark.usefixtures("conv")
@pytest.mark.parametrize("columns", [80, 120])
def test_inspect_fits_the_terminal(tersor, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = tersor("inspect", "conv.onnx").out.splitlines()
    assert max(map(len, lines)) <= columns
    assert lines[-1] == "4 of 6 layers (3.8 kB) can be compressed."


@pytest.mark.usefixtures("conv")
@pytest.mark.parametrize("columns", [80, 120])
def test_inspect_shows_channel_groups_where_asked(tersor, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = tersor("inspect", "conv.onnx", "--groups").out
    assert max(map(len, shown.splitlines())) <= columns
    assert "1 group of channels can be cut." in shown
    assert "it is an output of the network" in shown
    document = tersor("inspect", "conv.onnx", "--groups", "--json").document
    (group,) = document["groups"]
    assert group["size"] == 8
    assert sorted(group["makers"]) == ["branch.weight", "depthwise.weight", "stem.weight"]
    assert sorted(group["readers"]) == ["branch.weight", "head.weight"]
    assert document["frozen"] == [
        {"layer": "head", "channels": 5, "reason": "it is an output of the network"}
    ]
    assert "groups" not in tersor("inspect", "conv.onnx", "--json").document


@pytest.mark.parametrize(
    ("model", "code", "message"),
    [
        ("missing.onnx", 1, "missing.onnx is not a file"),
        ("net.pb", 2, "must be an .onnx, .pt2 or .tsr file"),
        ("cut.onnx", 1, "cut.onnx: "),
        ("cut.tsr", 1, "cut.tsr: the file is cut"),
        ("nowhere_at_all:model", 2, "Got 'nowhere_at_all'"),
    ],
)
def test_what_is_no_model_is_refused(refused, folder, model, code, message):
    for kind in ("tsr", "onnx"):
        whole = (folder / f"net.{kind}").read_bytes()
        (folder / f"cut.{kind}").write_bytes(whole[: len(whole) // 2])
    assert message in refused("inspect", model, code=code)


def test_methods_lists_every_method_with_all_settings_explained(tersor):
    found = tersor("methods", "--json").document["methods"]
    assert list(found) == methods.names()
    for method in found.values():
        assert method["summary"].endswith(".")
        assert [s["name"] for s in method["settings"] if not s["meaning"]] == []


def test_methods_shows_one_method_with_its_defaults(tersor):
    shown = tersor("methods", "quantize.static").out
    assert shown.startswith("quantize.static\n")
    assert "ranges       'mse'  How activation ranges are chosen" in shown
    assert "quantize.weights" not in shown


def test_an_unknown_method_is_refused(refused):
    assert "method must be one of" in refused("methods", "quantise", code=2)


def test_info_tells_machine_engines_and_recipes(tersor):
    document = tersor("info", "--json").document
    assert document["machine"] == describe()
    assert [engine["name"] for engine in document["engines"]] == engines.names()
    assert document["recipes"] == recipes()


def test_info_tells_which_kernels_are_used_and_why(tersor, monkeypatch):
    made = choose.Choice("reference", "the native kernels were not built", ("reference",))
    monkeypatch.setattr(choose, "choice", lambda: made)
    assert "kernels       reference: the native kernels were not built\n" in tersor("info").out
    assert tersor("info", "--json").document["kernels"] == {
        "name": "reference",
        "why": "the native kernels were not built",
        "available": ["reference"],
    }


def test_info_says_what_is_not_installed(tersor, monkeypatch):
    monkeypatch.setattr("tersor.engines.openvino.Openvino.version", lambda _: None)
    shown = tersor("info").out
    assert "openvino        not installed\n" in shown
    assert "(slow: for checks only)" in shown


@pytest.mark.parametrize(
    ("flags", "saturates"), [(("avx2",), True), (("avx512_vnni",), False)]
)
def test_info_and_inspect_say_where_sums_of_integers_saturate(
    tersor, monkeypatch, tmp_path, flags, saturates
):
    monkeypatch.setattr("tersor.machine.isa_flags", lambda: flags)
    network = networks.perceptron()
    method = QuantizeStatic(weight_bits=8)
    made = method.apply(network, networks.samples_for(network, 16))
    path = tmp_path / "int8.onnx"
    path.write_bytes(to_onnx(made))
    assert tersor("info", "--json").document["pairs_saturate"] == saturates
    assert ("weights are given seven bits here" in " ".join(tersor("info").out.split())) == (
        saturates
    )
    said = tersor("inspect", str(path), "--json").document["warning"]
    assert (said is not None) == saturates
    assert ("outputs may differ" in " ".join(tersor("inspect", str(path)).out.split())) == (
        saturates
    )
