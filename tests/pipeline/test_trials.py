"""What is tried beside the winner: judged as it was, shown, never chosen."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from tests.train.trainings import task

from tersor import codecs
from tersor.choosing.making import Maker
from tersor.data.samples import Samples
from tersor.data.split import split
from tersor.errors import InputError, ModelError
from tersor.export.onnx import to_onnx
from tersor.pipeline import Options, compress
from tersor.pipeline.trials import Trials
from tersor.plan.recipe import Step
from tersor.plan.recipe_file import parse_recipe
from tersor.plan.variants import seeded
from tersor.store.model import load_meta, packed_bytes
from tersor.testing import networks

QUICK = Options(seconds=0.5, threads=1, engines=("onnxruntime",))
PARTS = split(task(600).take(0, 500), test=task(600).take(500, 600), train=True)
RECIPE = """
name = "sparse"
max_drop_pp = 100
[[step]]
method = "train.fine_tune"
epochs = 2
batch = 32
[step.optimizer]
learning_rate = 1e-2
[[step.during]]
method = "prune.gradual"
sparsity = 0.5
[[step]]
method = "share.kmeans"
bits = 4
"""


def tried(text=RECIPE, **options):
    network = networks.perceptron()
    asked = replace(QUICK, **options)
    return compress(network, PARTS, recipe=parse_recipe(text), options=asked)


def steps_of(result):
    (candidate,) = result.recipe.candidates
    return candidate.steps


@pytest.fixture(scope="module")
def three():
    """Three seeds, ablations, and a control."""
    return tried(seeds=3, ablate=True, control="scratch")


def test_each_seed_is_run_and_the_file_is_that_of_the_first(three):
    first, *others = three.report["trials"][:3]
    assert (first["kind"], first["name"]) == ("winner", "sparse")
    assert first["file_bytes"] == len(three.tsr)
    assert first["metric_value"] == three.report["compressed"]["metric"]["value"]
    assert [one["name"] for one in others] == ["seeds moved on by 1", "seeds moved on by 2"]
    assert all(one["why_not"] is None and one["seconds"] > 0 for one in others)
    jobs = len(three.report["trials"]) - 1
    assert f"try {jobs} variants" in [phase["name"] for phase in three.report["phases"]]


def test_each_part_is_left_out_in_turn(three):
    found = {
        one["name"]: one
        for one in three.report["trials"][3:]
        if one["kind"] not in {"coder", "control"}
    }
    assert list(found) == [
        "without train.fine_tune",
        "without share.kmeans",
        "without prune.gradual",
    ]
    winner = three.report["trials"][0]
    assert all(one["file_bytes"] > winner["file_bytes"] for one in found.values())


def test_the_winner_is_stored_by_every_other_coder_and_computes_the_same(three):
    winner, *others = three.report["trials"]
    by = {one["name"]: one for one in others if one["kind"] == "coder"}
    assert set(by) == {f"coder {n}" for n in (*codecs.names(), "fast", "best")}
    meta = load_meta(three.tsr)
    assert by["coder raw"]["file_bytes"] == packed_bytes(three.onnx, meta, codec="raw")
    assert by["coder raw"]["file_bytes"] > winner["file_bytes"]
    assert {one["metric_value"] for one in by.values()} == {winner["metric_value"]}


def test_a_seed_has_the_figures_of_its_own_compression(three):
    (steps,) = (variant.steps for variant in seeded(steps_of(three), 2))
    alone = Maker(networks.perceptron(), PARTS.calibration, PARTS.training).after(steps)
    meta = load_meta(three.tsr)
    first, row = three.report["trials"][:2]
    assert row["file_bytes"] == packed_bytes(to_onnx(alone), meta)
    scores = next(iter(alone.run(dict(PARTS.test.inputs)).values()))
    assert row["metric_value"] == (scores.argmax(axis=1) == PARTS.test.labels).mean()
    assert row["file_bytes"] != first["file_bytes"]


def test_the_report_with_variants_is_written(three, tmp_path):
    paths = three.save(tmp_path)
    assert json.loads(paths["report.json"].read_text()) == three.report
    assert "seeds moved on by 2" in paths["report.html"].read_text()


def test_the_control_is_a_dense_network_no_larger_than_the_winner(three):
    winner, *_, row = three.report["trials"]
    assert (row["kind"], row["name"]) == ("control", "control scratch")
    assert row["file_bytes"] <= winner["file_bytes"]
    assert 0 < row["metric_value"] < 1
    assert "trained anew" in row["why_not"]


def test_where_the_original_is_kept_nothing_is_tried_and_that_is_said(three):
    kept = Trials(SimpleNamespace(steps=(), recipe=three.recipe))
    assert kept.jobs(Options(seeds=3, ablate=True, control="scratch")) == []
    (row,) = kept.run([], three.report, print)
    assert row["why_not"].startswith("the original was kept")
    assert len(Trials(SimpleNamespace(steps=steps_of(three))).jobs(Options(seeds=3))) == 2


def test_a_winner_that_draws_nothing_has_one_seed_and_that_is_said(three):
    steps = (Step("prune.magnitude"),)
    same = Trials(SimpleNamespace(steps=steps, recipe=three.recipe))
    assert same.jobs(Options(seeds=3)) == []
    (row,) = same.run([], three.report, print)
    assert row["why_not"] == "draws nothing at random: every seed gives this file"


def test_a_variant_that_cannot_be_made_says_why(three):
    class Failing:
        def after(self, steps, told):
            told(0.5)
            raise ModelError("x", "is odd", "Even it.")

    seen = []
    trials = Trials(SimpleNamespace(recipe=three.recipe, maker=Failing()))
    jobs = seeded(steps_of(three), 3)
    _, row, _ = trials.run(jobs, three.report, seen.append)
    assert (row["why_not"], row["file_bytes"]) == ("x is odd. Even it.", None)
    assert seen == [0.25, 0.75]


def test_seeds_of_a_recipe_that_draws_nothing_are_refused_before_any_work():
    recipe = "[[step]]\nmethod = 'quantize.weights'\n"
    told = []
    with pytest.raises(InputError, match="seeds must be 1: the recipe recipe draws nothing"):
        tried(recipe, seeds=2, on_progress=lambda *seen: told.append(seen))
    assert told == []


def test_a_control_of_a_recipe_that_trains_nothing_is_refused_before_any_work():
    recipe = "[[step]]\nmethod = 'share.kmeans'\n"
    told = []
    with pytest.raises(InputError, match="control must be left out: the recipe recipe trains"):
        tried(recipe, control="scratch", on_progress=lambda *seen: told.append(seen))
    assert told == []


def test_a_control_of_a_network_that_cannot_be_narrowed_is_refused_before_it_is_compressed():
    network, told = networks.encoder(), []
    x = np.zeros((64, 6, 16), np.float32)
    asked = replace(QUICK, control="scratch", on_progress=lambda name, _: told.append(name))
    with pytest.raises(ModelError, match="fixes sizes: "):
        compress(network, Samples({"x": x}), recipe=parse_recipe(RECIPE), options=asked)
    assert set(told) == {"read"}


def test_controls_are_called_scratch():
    with pytest.raises(InputError, match='control must be "scratch" or None'):
        Options(control="teacher")


@pytest.mark.parametrize("seeds", [0, 101])
def test_seeds_are_from_1_to_100(seeds):
    with pytest.raises(InputError, match=r"seeds must be in \[1, 100\]"):
        Options(seeds=seeds)
