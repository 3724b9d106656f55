"""The whole trip on small models: what comes out is true, complete and the same again."""

import base64
import io
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from PIL import Image

from tersor.choosing import making
from tersor.data.samples import Samples
from tersor.data.split import split
from tersor.errors import DataError, FileError, InputError, ModelError, VerifyError
from tersor.export.onnx import to_onnx
from tersor.machine import isa_flags, pairs_saturate
from tersor.metrics import resolve
from tersor.network.network import Port
from tersor.pipeline import Options, compress
from tersor.plan.budget import Budget
from tersor.plan.changing import with_settings
from tersor.plan.recipe import Candidate, Recipe, Step
from tersor.plan.recipe_file import load_recipe, parse_recipe
from tersor.reading import Loaded
from tersor.report.document import validate
from tersor.runtime import open as open_model
from tersor.testing import networks

pytestmark = pytest.mark.usefixtures("made_up_memory")

FILES = {"model.tsr", "model.onnx", "report.json", "report.html", "recipe.toml"}
QUICK = Options(seconds=0.5, threads=1, engines=("onnxruntime",))
NET = networks.convolutional()


def labelled(network, count=200, sure=True):
    """The half of what is drawn that the network is most, or least, sure of; its labels."""
    samples = networks.samples_for(network, 2 * count)
    (scores,) = network.run(dict(samples.inputs)).values()
    best = np.sort(scores, axis=1)
    lead = best[:, -1] - best[:, -2]
    chosen = np.sort(np.argsort(-lead if sure else lead)[:count])
    inputs = {name: array[chosen] for name, array in samples.inputs.items()}
    return Samples(inputs, scores.argmax(axis=1)[chosen])


SAMPLES = labelled(NET)
PARTS = split(SAMPLES.take(0, 140), test=SAMPLES.take(140, 200))


@pytest.fixture(scope="module")
def result():
    """The convolutional network in int8, with test samples."""
    return compress(NET, PARTS, recipe="w8a8", options=QUICK)


def test_the_report_is_valid_and_its_figures_hang_together(result):
    report = validate(json.loads(json.dumps(result.report)))
    old, new = report["original"], report["compressed"]
    assert old["file_bytes"] == len(to_onnx(NET))
    assert (new["file_bytes"], new["onnx_bytes"]) == (len(result.tsr), len(result.onnx))
    assert report["compression"] == old["file_bytes"] / new["file_bytes"]
    times = [side["latency"]["median_ms"] for side in (old, new)]
    assert report["speedup"] == pytest.approx(times[0] / times[1])
    assert report["speedup_over_best_original"] >= 1
    assert (old["metric"]["name"], old["metric"]["value"]) == ("top1", 1.0)
    assert old["metric"]["samples"] == report["data"]["test"] == 60
    assert [report["data"][k] for k in ("calibration", "validation")] == [35, 105]
    assert sum(one["chosen"] for one in report["candidates"]) == 1
    assert {phase["name"] for phase in report["phases"]} == {
        *("read", "compress", "judge and race", "verify the file"),
    }
    assert sum(phase["seconds"] for phase in report["phases"]) <= report["seconds"]


def test_the_figures_are_those_of_the_file(result, tmp_path):
    paths = result.save(tmp_path / "out")
    model = open_model(paths["model.tsr"], threads=1)
    test = SAMPLES.take(140, 200)
    scores = model.run({"x": np.asarray(test.inputs["x"])})["scores"]
    top1 = float((scores.argmax(axis=1) == test.labels).mean())
    assert result.report["compressed"]["metric"]["value"] == top1
    exact = NET.run(dict(test.inputs))["scores"]
    sqnr = 10 * np.log10((exact**2).sum() / ((scores - exact) ** 2).sum())
    assert result.report["sqnr_db"]["scores"] == pytest.approx(sqnr, rel=1e-3)
    assert result.report["agreement"] == top1


def test_every_byte_of_the_file_is_told_by_stream(result):
    stored = result.report["stored"]
    total = sum(stream["stored_bytes"] for stream in stored["streams"])
    assert total == pytest.approx(len(result.tsr), abs=0.01)
    assert {"graph", "headers"} < {stream["stream"] for stream in stored["streams"]}
    assert sum(t["stored_bytes"] for t in stored["tensors"]) < total


def test_the_evidence_is_that_of_the_winner(result):
    report = result.report
    (winner,) = [one for one in report["candidates"] if one["chosen"]]
    found = report["operations"]
    assert (found["engine"], found["precision"]) == (winner["engine"], winner["precision"])
    sums = {"original": 0, "compressed": 0}
    for side in sums:
        sums[side] = sum(n for row in found[side].values() for n in row.values())
    assert set(found["original"]["Conv" if "Conv" in found["original"] else "FusedConv"])
    if not winner["same_work"]:
        assert sums["compressed"] == sum(winner["kernels"].values())
    assert report["path"]["samples"] == 32
    names = {layer["name"] for layer in report["layers"]}
    points = report["path"]["points"]
    assert {p["name"] for p in points if p["kind"] == "layer"} <= names
    assert len(points) >= 4
    assert {one["layer"] for one in report["skipped"]} <= names
    measured = [x for x in report["layers"] if x["alone_sqnr_db"] is not None]
    assert {x["name"] for x in measured} == {"stem", "branch", "depthwise", "head"}


def test_the_worst_samples_are_pictures_of_validation_samples(result):
    found = result.report["worst_samples"]
    assert 0 < len(found) <= 12
    images = np.asarray(PARTS.validation.inputs["x"])
    first = found[0]
    with Image.open(io.BytesIO(base64.b64decode(first["picture"]))) as picture:
        pixels = np.asarray(picture, float)
    wanted = images[first["index"]].transpose(1, 2, 0)
    wanted = (wanted - wanted.min()) / (wanted.max() - wanted.min()) * 255
    assert np.abs(pixels - wanted).max() <= 0.5 + 1e-3
    assert first["label"] == PARTS.validation.labels[first["index"]]
    exact = NET.run({"x": images[first["index"]][None]})["scores"][0]
    assert first["original"]["label"] == exact.argmax()
    lead = np.sort(exact)
    assert first["original"]["margin"] == pytest.approx(lead[-1] - lead[-2], rel=1e-3)


def test_inputs_that_are_no_pictures_are_only_listed():
    network = networks.perceptron()
    samples = networks.samples_for(network, 100)
    report = compress(network, samples, recipe="w8a8", options=QUICK).report
    assert report["worst_samples"]
    assert {one["picture"] for one in report["worst_samples"]} == {None}


def test_all_files_are_written_and_no_other(result, tmp_path):
    paths = result.save(tmp_path / "new")
    assert set(paths) == {p.name for p in (tmp_path / "new").iterdir()} == FILES
    assert json.loads(paths["report.json"].read_text()) == result.report
    onnx.checker.check_model(onnx.load(paths["model.onnx"]), full_check=True)
    assert load_recipe(paths["recipe.toml"]) == result.recipe


def test_the_file_runs_without_pytorch(result, tmp_path):
    path = result.save(tmp_path)["model.tsr"]
    code = (
        "import sys, numpy as np; from tersor.runtime import open as o;"
        f"y = o({str(path)!r}, threads=1).run({{'x': np.ones((2, 3, 8, 8), np.float32)}});"
        "print(y['scores'].shape, 'torch' in sys.modules, 'pickle' in sys.argv)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "(2, 5) False False", done.stderr


@pytest.mark.usefixtures("clock_tells_nothing")
def test_the_resolved_recipe_gives_the_same_bytes(result):
    again = compress(NET, PARTS, recipe=result.recipe, options=QUICK)
    assert (again.tsr, again.onnx) == (result.tsr, result.onnx)
    assert again.recipe == result.recipe


def test_layers_add_up_and_say_what_was_done(result):
    rows = {row["name"]: row for row in result.report["layers"]}
    assert rows["branch"]["what"] == "int8 weights per channel, uint8 activations"
    assert 30 < rows["branch"]["sqnr_db"] < 60
    assert rows["branch"]["bytes_after"] < rows["branch"]["bytes_before"] / 2
    assert (rows["stem_bn"]["what"], rows["stem_bn"]["bytes_after"]) == ("folded away", 0)
    assert sum(row["bytes_after"] for row in rows.values()) < len(result.tsr)
    assert sum(row["share_macs"] for row in rows.values()) == pytest.approx(1.0)


def test_the_workshop_agrees_with_the_engine_and_the_report_says_how_far(result):
    verify = result.report["verify"]
    assert verify["workshop"]["samples"] == verify["engine"]["samples"] == 60
    between = verify["workshop_to_engine"]
    assert 0 <= between["rms"]["scores"] <= between["allowed_rms"]["scores"]
    assert verify["original_to_engine"]["rms"]["scores"] < 1e-4


@pytest.mark.parametrize("make", [networks.convolutional, networks.perceptron])
@pytest.mark.parametrize("recipe", ["deep-compression", "fast", "w8", "w8a8"])
def test_every_recipe_works_on_every_small_model(make, recipe):
    network, chosen = make(), load_recipe(recipe)
    if chosen.trains:
        chosen = with_settings(chosen, {"epochs": "1"})
    found = compress(network, networks.samples_for(network, 64), recipe=chosen, options=QUICK)
    assert found.report["speedup_over_best_original"] >= 1
    assert found.report["original"]["metric"]["name"] == "agreement"
    assert found.report["data"]["labels"] is False
    assert found.report["drop_pp"]["value"] <= 2.0
    assert len(found.recipe.candidates) == 1


def test_what_is_tried_depends_on_the_kind_of_network(result):
    network = networks.encoder()
    x = np.random.default_rng(0).standard_normal((64, 6, 16)).astype(np.float32)
    report = compress(network, Samples({"x": x}), recipe="fast", options=QUICK).report
    tried = {one["name"].removesuffix(" as float") for one in report["candidates"]}
    assert tried - {"original"} == {"int8 smoothed", "int8 weights"}
    assert report["kind"]["name"] == "transformer"
    assert "attention in one place" in report["kind"]["why"]
    assert result.report["kind"] is None  # its recipe does not ask


def test_the_original_onnx_file_is_what_counts_and_stays_where_nothing_is_allowed():
    model = onnx.load_model_from_string(to_onnx(NET))
    model.producer_name = "another"
    given = model.SerializeToString()
    found = compress(
        Loaded(NET, given, "net.onnx"), PARTS, budget=Budget(drop=0), recipe=coarse(),
        options=QUICK,
    )  # fmt: skip
    report = found.report
    assert report["model"] == "net.onnx"
    assert report["original"]["file_bytes"] == len(given)
    assert found.onnx == given
    assert (report["speedup"], report["drop_pp"]["value"]) == (1.0, 0.0)
    assert found.network.notes == ()
    assert all(row["what"] == "float32" for row in report["layers"])
    refused = [one for one in report["candidates"] if not one["allowed"]]
    assert refused
    assert all("exceeds 0.00 pp" in one["why_not"] for one in refused)


def coarse():
    """Two bits per weight: small, and wrong."""
    return Recipe("w2", "", 1.0, (Candidate("w2", (Step("quantize.weights", {"bits": 2}),)),))


def test_a_missed_budget_is_said_and_the_best_is_returned():
    budget = Budget(size="100x", drop="0.5pp")
    found = compress(NET, PARTS, recipe="w8", budget=budget, options=QUICK)
    assert not found.budget_met
    (missed,) = found.report["budget"]["missed"]
    assert (missed["what"], missed["asked"]) == ("size", "100x")
    assert found.report["budget"]["allowed_drop_pp"] == 0.5
    assert len(found.tsr) < len(to_onnx(NET))


def test_a_met_budget_is_said(result):
    assert result.budget_met
    found = compress(NET, PARTS, recipe="w8", budget=Budget(size="1x"), options=QUICK)
    assert found.budget_met
    assert found.report["budget"]["asked"] == {"size": "1x"}


def test_a_candidate_that_cannot_be_made_is_listed(monkeypatch):
    apply = making.apply

    def fail(step, network, samples):
        if step.method == "quantize.static":
            raise ModelError("stem.weight", "is odd", "Even it.")
        return apply(step, network, samples)

    monkeypatch.setattr(making, "apply", fail)
    found = compress(NET, PARTS, recipe="fast", options=QUICK)
    (row,) = [one for one in found.report["candidates"] if one["name"] == "int8"]
    assert (row["why_not"], row["median_ms"]) == ("stem.weight is odd. Even it.", None)
    alone = Recipe("only", "", 1.0, (Candidate("int8", (Step("quantize.static"),)),))
    with pytest.raises(ModelError, match="is odd"):
        compress(NET, PARTS, recipe=alone, options=QUICK)


TRAINING = """
max_drop_pp = 100
[[step]]
method = "prune.magnitude"
sparsity = 0.5
[[step]]
method = "train.fine_tune"
epochs = 2
batch = 32
"""


def test_a_recipe_that_trains_gets_the_samples_for_it_and_tells_its_progress(tmp_path):
    told = []
    options = replace(
        QUICK,
        checkpoints=tmp_path / "checkpoints",
        on_progress=lambda phase, done: told.append((phase, done)),
    )
    recipe = parse_recipe(TRAINING)
    result = compress(NET, labelled(NET, 400), recipe=recipe, options=options)
    assert "320 train" in result.report["data"]["how"]
    assert len({done for phase, done in told if phase == "compress"}) > 10
    assert not (tmp_path / "checkpoints").exists()
    (note,) = [n for n in result.network.notes if n.method == "train.fine_tune"]
    assert note.text.startswith("2 epochs of 288 samples, loss labels")
    (training,) = result.report["trainings"]
    assert training["text"] == note.text
    assert len(training["losses"]) == len(training["errors"]) == 2
    assert "all layers" not in {one["layer"] for one in result.report["skipped"]}


def test_the_codec_of_the_file_is_the_users_choice(result):
    raw = compress(NET, PARTS, recipe="w8a8", options=replace(QUICK, codec="raw"))
    assert len(raw.tsr) > len(result.tsr)
    assert raw.onnx == result.onnx


def test_samples_divided_without_a_part_to_train_on_are_refused():
    parts = split(labelled(NET, 100))
    with pytest.raises(DataError, match="were divided without a part to train on"):
        compress(NET, parts, recipe=parse_recipe(TRAINING))


def test_a_users_metric_judges():
    def f(outputs, labels):
        return (outputs["scores"].argmax(axis=1) == labels).astype(float) * 0.5

    found = compress(NET, PARTS, recipe="w8", metric=f, options=QUICK)
    assert found.report["original"]["metric"]["name"] == "f"
    assert found.report["original"]["metric"]["value"] == 0.5
    assert found.report["drop_pp"] is None
    assert resolve(f, {"scores": np.zeros((1, 2), np.float32)}, None).higher_is_better


def test_a_model_of_a_fixed_batch_is_run_in_whole_batches():
    (port,) = NET.inputs
    (out,) = NET.outputs
    fixed = replace(
        NET,
        inputs=(Port("x", (8, *port.shape[1:]), "float32"),),
        outputs=(Port("scores", (8, *out.shape[1:]), "float32"),),
    )
    found = compress(fixed, SAMPLES.take(0, 100), recipe="w8", options=QUICK)
    assert found.report["compressed"]["latency"]["batch"] == 8
    data = found.report["data"]
    assert (data["calibration"], data["validation"]) == (24, 72)
    assert "whole batches of 8" in data["how"]
    with pytest.raises(DataError, match="takes 8 at once"):
        compress(fixed, SAMPLES.take(0, 5), recipe="w8", options=QUICK)


def test_progress_begins_and_ends_every_phase():
    told = []
    options = replace(QUICK, on_progress=lambda name, done: told.append((name, done)))
    compress(NET, PARTS, recipe="w8", options=options)
    names = list(dict.fromkeys(name for name, _ in told))
    assert names == ["read", "compress", "judge and race", "verify the file"]
    for name in names:
        done = [d for n, d in told if n == name]
        assert (done[0], done[-1]) == (0.0, 1.0)
        assert done == sorted(done)


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"batch": 0}, "batch"), ({"threads": 0}, "threads"), ({"seconds": 0.0}, "seconds")],
)
def test_options_out_of_range_are_refused(settings, named):
    with pytest.raises(InputError, match=named):
        Options(**settings)


def test_nan_in_a_sample_is_told_with_its_index():
    x = np.array(SAMPLES.inputs["x"])
    x[17, 0, 0, 0] = np.nan
    with pytest.raises(DataError, match="nan in sample 17"):
        compress(NET, Samples({"x": x}), recipe="w8", options=QUICK)


def test_nan_in_a_weight_is_told_with_its_name():
    network = NET.copy()
    weight = network.tensor("stem.weight").detach().clone()
    weight[0] = float("nan")
    network.set_tensor("stem.weight", weight)
    network.module.recompile()
    with pytest.raises(ModelError, match=r"stem\.weight"):
        compress(network, PARTS, recipe="w8", options=QUICK)


def test_labels_out_of_range_are_refused():
    wrong = Samples(SAMPLES.inputs, SAMPLES.labels + 5)
    with pytest.raises(DataError, match="labels"):
        compress(NET, wrong, recipe="w8", options=QUICK)


def test_a_file_that_does_not_compute_what_the_network_does_is_an_error():
    other = to_onnx(networks.convolutional(seed=1))
    with pytest.raises(VerifyError, match="on the engine"):
        compress(Loaded(NET, other, "other.onnx"), PARTS, recipe="w8", options=QUICK)


def test_a_folder_that_cannot_be_made_is_told(result, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot be made a folder"):
        result.save(tmp_path / "file" / "out")


def test_who_must_be_sure_gets_what_the_samples_can_tell():
    sure = replace(QUICK, sure=True)
    few = split(SAMPLES.take(0, 60))
    report = compress(NET, few, recipe="w8", options=sure).report
    refused = [one for one in report["candidates"] if one["name"] != "original"]
    assert all("at 95 % up to" in one["why_not"] for one in refused)
    many = compress(NET, few, budget=Budget(drop="50pp"), recipe="w8", options=sure).report
    told = [str(one["why_not"]) for one in many["candidates"]]
    assert not any("at 95 % up to" in why_not for why_not in told)


def test_a_candidate_that_equals_another_is_listed_as_such():
    steps = (Step("quantize.weights"),)
    twice = Recipe("both", "", 1.0, (Candidate("one", steps), Candidate("two", steps)))
    report = compress(NET, PARTS, recipe=twice, options=QUICK).report
    (row,) = [one for one in report["candidates"] if one["name"] == "two"]
    assert row["why_not"] == "gives the same model as one"


@pytest.mark.usefixtures("clock_tells_nothing")
def test_a_searched_mix_is_reported_and_its_recipe_gives_the_same_bytes():
    steps = (Step("quantize.static", {"min_sqnr_db": -1000.0}),)
    given = Recipe("mix", "", 1.0, (Candidate("mix", steps, "sensitivity"),))
    parts = split(labelled(NET, 400, sure=False))
    found = compress(NET, parts, recipe=given, options=QUICK)
    (search,) = found.report["searches"]
    assert (search["candidate"], search["layers"]) == ("mix", 4)
    first, last = search["tries"][0], search["tries"][-1]
    assert (first["float_layers"], last["objection"]) == (0, None)
    assert first["drop_pp"] > 1.0 >= last["drop_pp"]
    assert 0 < last["float_layers"] == len(search["float_layers"]) < 4
    row = next(r for r in found.report["candidates"] if r["name"].startswith("mix"))
    assert row["name"] in {"mix", "mix as float"}
    (candidate,) = found.recipe.candidates
    assert found.recipe.run is not None
    assert candidate.search is None
    assert set(candidate.steps[0].settings["keep"]) == set(search["float_layers"])
    again = compress(NET, parts, recipe=found.recipe, options=QUICK)
    assert (again.onnx, again.tsr) == (found.onnx, found.tsr)
    assert again.report["searches"] == []


def test_a_search_that_finds_no_mix_is_told():
    given = Recipe(
        "mix", "", 0.0, (Candidate("mix", (Step("quantize.static"),), "sensitivity"),)
    )
    parts = split(labelled(NET, sure=False))
    found = compress(NET, parts, recipe=given, options=QUICK)
    (search,) = found.report["searches"]
    assert search["float_layers"] is None
    (row,) = [one for one in found.report["candidates"] if one["name"] == "mix"]
    assert row["why_not"] == "no mix of integer and float layers keeps the limit"
    assert found.recipe == given


def test_a_file_that_is_for_other_processors_too_says_what_may_happen_there():
    steps = (Step("quantize.static", {"weight_bits": 8}),)
    given = Recipe("int8", "", 100.0, (Candidate("int8", steps),))
    report = compress(NET, PARTS, recipe=given, options=QUICK).report
    (row,) = [one for one in report["candidates"] if one["chosen"]]
    told = report["portability"]
    assert (told is not None) == (row["name"] == "int8" and not pairs_saturate(isa_flags()))
