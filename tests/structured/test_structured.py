"""Networks made thinner: what a line holds, what is run again, and how errors are counted."""

import sys
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from benchmarks import records, structured, subjects, training, vgg
from benchmarks.structured import CASES, RECIPES, Case

import tersor
from tersor.data.samples import Samples
from tersor.data.split import Split
from tersor.network.slimming import Target
from tersor.plan.changing import with_settings
from tersor.plan.recipe_file import load_recipe, parse_recipe
from tersor.testing.networks import convolutional, samples_for
from tersor.train.checkpoint import Checkpoint
from tersor.train.surroundings import current

TINY = Case("net", "none", {}, "nobody")
CUT = '[[step]]\nmethod = "prune.channels"\n'
TRAIN = '[[step]]\nmethod = "train.fine_tune"\nepochs = 3\nloss = "labels"\nbatch = 16\n'


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Results and networks go elsewhere, and the only case is a small one."""
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(structured, "WORK", tmp_path / "build")
    monkeypatch.setattr(structured, "CASES", {"tiny": TINY, "other": TINY})


def recipe(text):
    return parse_recipe("max_drop_pp = 100\n" + text)


def labelled(count, seed=0):
    """Images with drawn labels."""
    labels = np.random.default_rng(seed).integers(0, 5, count)
    return Samples(samples_for(convolutional(), count, seed).inputs, labels)


@pytest.fixture
def published(monkeypatch):
    """The network of the case, and samples of which each part has a length of its own."""
    parts = Split(labelled(8), labelled(24), labelled(40, 1), "made up", labelled(64, 2))
    network = convolutional()
    monkeypatch.setattr(structured, "published", lambda name: {"net": (network, parts)}[name])
    return network, parts


def macs(k):
    """By hand, with k channels: 8 * 8 pixels, 4 * 4 of them behind the pool, five scores."""
    return 64 * 27 * k + 64 * 9 * k * k + 16 * 9 * k + 5 * 2 * k


def parameters(k):
    """By hand: three convolutions, one of them with biases, two norms, the last layer."""
    return 27 * k + (9 * k * k + k) + 9 * k + 2 * 2 * k + (5 * 2 * k + 5)


@pytest.mark.usefixtures("published")
def test_a_line_holds_what_is_left_by_a_count_by_hand(tmp_path):
    structured.measure("tiny", 7, recipe(CUT))
    (row,) = records.read("structured")
    written = onnx.load(tmp_path / "build" / "tiny-7" / "model.onnx")
    shapes = {tensor.name: tuple(tensor.dims) for tensor in written.graph.initializer}
    left = shapes["stem.weight"][0]
    assert shapes["branch.weight"] == (left, left, 3, 3)
    assert 0 < left < 8
    assert row["macs"] == macs(left) / macs(8) <= 0.5
    assert row["parameters"] == parameters(left) / parameters(8)
    assert (row["case"], row["network"], row["seed"]) == ("tiny", "net", 7)
    assert row["command"] == "python -m benchmarks.structured --case tiny"
    assert row["machine"]["cpu"]
    assert row["seconds"] >= 0
    assert parse_recipe(row["recipe"]) == recipe(CUT)
    assert row["notes"] == [  # and none of what stays
        f"stem: {left} of 8 channels left",
        f"all layers: {100 * row['macs']:.1f} % of the macs are left",
    ]


def test_errors_are_those_of_the_thinner_network_and_of_the_one_before(published, monkeypatch):
    network, parts = published
    seen = []

    def error(judged, samples):
        seen.append((judged, samples))
        return float(len(samples)) + (0.5 if judged is network else 0)

    monkeypatch.setattr(structured, "error", error)
    structured.measure("tiny", 0, recipe(CUT))
    (row,) = records.read("structured")
    assert row["error"] == len(parts.test) == 40
    assert row["error_float"] == 40.5
    assert row["error_validation"] == len(parts.validation) == 24
    assert len({id(judged) for judged, _ in seen}) == 2


def test_the_file_that_is_kept_is_the_network_that_was_judged(published, tmp_path, capsys):
    _, parts = published
    structured.measure("tiny", 0, recipe(CUT))
    (row,) = records.read("structured")
    read = tersor.open(tmp_path / "build" / "tiny-0" / "model.onnx")
    (scores,) = read.run(parts.test.inputs).values()
    wrong = 100 * float(np.mean(scores.argmax(1) != parts.test.labels))
    assert row["error"] == pytest.approx(wrong)
    assert f"tiny 0: {100 * row['macs']:.1f} % of the MACs, {wrong:.2f} % wrong" in (
        capsys.readouterr().out
    )


@pytest.mark.usefixtures("published")
def test_a_run_is_done_with_this_case_seed_and_recipe_only():
    assert not structured.is_done("tiny", 0, recipe(CUT))
    structured.measure("tiny", 0, recipe(CUT))
    assert structured.is_done("tiny", 0, recipe(CUT))
    assert not structured.is_done("tiny", 1, recipe(CUT))
    assert not structured.is_done("other", 0, recipe(CUT))
    assert not structured.is_done("tiny", 0, recipe(CUT + 'score = "l2"\n'))
    structured.measure("tiny", 0, recipe(CUT + 'score = "l2"\n'))
    assert [row["seed"] for row in records.read("structured")] == [0]  # in place of the other


@pytest.fixture
def asked(monkeypatch):
    """What the program would run: case, seed and recipe."""
    found = []
    monkeypatch.setattr(structured, "measure", lambda *given: found.append(given))
    monkeypatch.setattr(structured.torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(structured, "CASES", CASES)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["structured", *words])
        structured.main()
        return [(name, seed) for name, seed, _ in found], [each for *_, each in found]

    return run


def test_every_case_runs_with_every_seed_and_its_own_settings(asked):
    order, recipes = asked("--seeds", "2")
    assert order == [(name, seed) for seed in (0, 1) for name in CASES]
    for (name, seed), made in zip(order, recipes, strict=True):
        (candidate,) = made.candidates
        first, last = (step.build() for step in candidate.steps)
        settings = CASES[name].settings
        plain = (
            load_recipe(RECIPES / f"{CASES[name].recipe}.toml").candidates[0].steps[1].build()
        )
        (of,) = settings.keys() & set(Target.names())
        target = getattr(first, "target", first)  # prune.layers has it among its settings
        assert getattr(target, of) == float(settings[of].rstrip("%")) / 100
        assert last.seed == seed
        assert last.epochs == int(settings.get("epochs", plain.epochs))
        rate = settings.get("learning_rate", plain.optimizer.learning_rate)
        assert last.optimizer.learning_rate == float(rate)


def test_what_is_there_is_not_run_again(asked):
    name, case = next(iter(CASES.items()))
    made = load_recipe(RECIPES / f"{case.recipe}.toml")
    done = with_settings(made, {**case.settings, "seed": "1"}).to_toml()
    row = {"case": name, "seed": 1, "recipe": done}
    old = {"case": name, "seed": 2, "recipe": made.to_toml()}  # with other settings
    records.replace("structured", [row, old], by=("case", "seed"))
    assert asked("--case", name)[0] == [(name, 0), (name, 2)]


def test_cases_are_named_after_what_is_left_of_the_network():
    for name, case in CASES.items():
        network, left = name.split("-")
        assert network == case.network
        assert network in {*subjects.names(), vgg.SUBJECT}
        if "macs" in case.settings:
            assert case.settings["macs"] == f"{left}%"
        else:
            times = float(left.rstrip("x"))
            assert float(case.settings["parameters"].rstrip("%")) <= 100 / times


def test_what_is_not_published_is_trained_here(monkeypatch):
    monkeypatch.setattr(vgg, "trained", lambda: "trained")
    monkeypatch.setattr(structured, "cifar10", lambda: "images")
    monkeypatch.setattr(structured, "published", lambda name: (name, "samples"))
    assert structured.original("vgg16") == ("trained", "images")
    assert structured.original("resnet20") == ("resnet20", "samples")


def test_steps_follow_each_other_in_bf16_with_a_folder_for_their_state(tmp_path):
    seen = []

    def step(name):
        def apply(network, samples):
            around = current()
            seen.append((name, network, samples, around.checkpoints, around.in_bf16()))
            return f"{network} {name}"

        return SimpleNamespace(build=lambda: SimpleNamespace(apply=apply))

    made = SimpleNamespace(candidates=[SimpleNamespace(steps=[step("a"), step("b")])])
    assert structured.thinned("net", "samples", made, tmp_path) == "net a b"
    assert seen == [
        ("a", "net", "samples", tmp_path, True),
        ("b", "net a", "samples", tmp_path, True),
    ]
    assert current().checkpoints is None


def test_how_far_a_training_is_is_drawn(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        training, "progress", lambda: nullcontext(lambda *args: seen.append(args))
    )
    with training.kept_in(tmp_path / "net-1"):
        current().tell(0.25)
    assert seen == [("net-1", 0.25)]


def test_a_training_that_was_interrupted_goes_on(tmp_path, monkeypatch):
    """After the first of three epochs: two more give the same network."""
    given = convolutional(), labelled(64), recipe(CUT + TRAIN)
    whole = structured.thinned(*given, tmp_path / "whole")
    real, saved = Checkpoint.save, []

    def save(checkpoint, state):
        real(checkpoint, state)
        saved.append(checkpoint.path.parent)
        if len(saved) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", save)
    folder = tmp_path / "work"
    with pytest.raises(KeyboardInterrupt):
        structured.thinned(*given, folder)
    assert len(list(folder.iterdir())) == 1
    found = structured.thinned(*given, folder)
    assert saved == [folder] * 3
    assert not folder.exists()
    state = whole.module.state_dict()
    assert all(torch.equal(t, state[name]) for name, t in found.module.state_dict().items())
