"""What the fine-tuning loop keeps, whatever happens during training."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.train.trainings import FAST, Watch, same, state, task, trained

from tersor.codes.affine import Affine
from tersor.codes.masked import Masked
from tersor.data.samples import Samples
from tersor.errors import DataError, FileError, InputError, ModelError
from tersor.network.network import Network
from tersor.testing.networks import convolutional, perceptron, samples_for
from tersor.train import surroundings
from tersor.train.loop import trainable
from tersor.train.optimizer import Optimizer
from tersor.train.surroundings import Surroundings, surrounded


def error(network, samples):
    scores = network.run({"x": samples.inputs["x"]})["y"]
    return float((scores.argmax(1) != samples.labels).mean())


def test_training_lowers_the_error_on_samples_it_never_saw():
    unseen = task(seed=1)
    assert error(trained(), unseen) < 0.25 < 0.5 < error(perceptron(), unseen)


def test_the_same_seed_gives_the_same_bits_and_another_others():
    assert same(trained(seed=3), trained(seed=3))
    assert not same(trained(seed=3), trained(seed=4))


def test_the_random_numbers_of_the_caller_are_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trained()
    assert torch.equal(torch.rand(3), expected)


def test_the_weights_are_those_of_the_best_epoch():
    """An epoch that spoils everything comes last and does not count."""

    def spoil(run):
        with torch.no_grad():
            run.network.module.get_parameter("third.weight").neg_()

    network = trained(during=(Watch([], {"after_epoch 2": lambda _: None}),), epochs=2)
    spoilt = trained(
        during=(Watch([], {"after_step": lambda r: spoil(r) if r.progress > 0.99 else None}),),
        epochs=3,
        optimizer=Optimizer(learning_rate=1e-2, schedule="constant"),
    )
    assert "epoch 3 was best" not in spoilt.notes[-1].text
    assert error(spoilt, task(seed=1)) < 0.3
    assert network.notes[-1].done


def test_weights_from_before_the_first_step_count_too():
    good = trained(epochs=5)
    worse = trained(network=good, optimizer=Optimizer(learning_rate=10.0))
    assert "the start was best" in worse.notes[-1].text
    assert not worse.notes[-1].done
    assert same(worse, good)


def test_an_epoch_counts_only_once_all_parts_are_settled():
    seen = []
    watch = Watch(seen, {"settled": lambda run: run.progress >= 1})
    network = trained(
        network=trained(), during=(watch,), optimizer=Optimizer(learning_rate=1.0)
    )
    assert "epoch 3 was best" in network.notes[-1].text


def test_a_loss_that_is_not_finite_ends_it_with_the_best_weights():
    start = perceptron()

    def poison(run):
        return torch.tensor(math.nan) if run.step == 14 else None

    network = trained(during=(Watch([], {"penalty": poison}),))
    assert "the loss was nan in step 15, epoch 2" in network.notes[-1].text
    assert np.isfinite(state(network)["first.weight"]).all()
    at_once = trained(during=(Watch([], {"penalty": lambda _: torch.tensor(math.inf)}),))
    assert same(at_once, start)


def test_hooks_are_called_in_their_order():
    seen = []
    trained(samples=task(64), batch=32, epochs=2, during=(Watch(seen, {}),))
    step = ["inputs", "penalty", "before_step", "after_step"]
    epochs = itertools.chain(*([*step, *step, f"after_epoch {i}"] for i in (1, 2)))
    assert seen == ["start", *epochs, "finish"]


def test_a_part_may_end_the_training():
    def end(run):
        run.ended = "somebody said so"

    network = trained(during=(Watch([], {"after_epoch 1": end}),))
    assert network.notes[-1].text.startswith("1 epoch of")
    assert network.notes[-1].text.endswith("ended because somebody said so")
    assert len(network.notes[-1].curve) == 1


def test_with_a_constant_rate_it_ends_when_nothing_gets_better():
    poor = Optimizer(learning_rate=10.0, schedule="constant")
    network = trained(network=trained(epochs=5), optimizer=poor, epochs=40)
    assert network.notes[-1].text.endswith("ended because 10 epochs were no better")
    assert "the start was best" in network.notes[-1].text
    assert len(network.notes[-1].curve) == 10
    falling = trained(
        network=trained(epochs=5), optimizer=Optimizer(learning_rate=10.0), epochs=12
    )
    assert len(falling.notes[-1].curve) == 12


def test_penalties_are_part_of_what_is_minimized():
    def shrink(run):
        return 10 * run.network.module.get_parameter("first.weight").square().sum()

    penalized = trained(samples=task(90), epochs=60, during=(Watch([], {"penalty": shrink}),))
    plain = trained(samples=task(90), epochs=60)
    size = [np.abs(state(n)["first.weight"]).mean() for n in (penalized, plain)]
    assert size[0] < size[1] / 3


def test_zeros_stay_zeros_and_the_rest_is_trained():
    network = perceptron().copy()
    mask = torch.rand(32, 12, generator=torch.Generator().manual_seed(0)) < 0.3
    network.set_code("first.weight", Masked.encode(network.tensor("first.weight"), mask))
    result = trained(network=network)
    found = result.tensor("first.weight")
    assert (found[~mask] == 0).all()
    assert (found[mask] != network.tensor("first.weight")[mask]).all()


def test_a_network_without_labels_imitates_what_it_was():
    original = replace(trained(epochs=5), origin=None)
    broken = original.copy()
    weight = broken.tensor("second.weight")
    broken.set_code("second.weight", Masked.encode(weight, weight.abs() > 0.15))
    samples = Samples({"x": task(1000).inputs["x"]})
    repaired = trained(network=broken, samples=samples)
    wanted = error(original, task(seed=1))

    def unlike(network):
        x = {"x": task(seed=1).inputs["x"]}
        return float((network.run(x)["y"].argmax(1) != original.run(x)["y"].argmax(1)).mean())

    assert unlike(repaired) < unlike(broken) / 1.5
    assert error(repaired, task(seed=1)) < wanted + 0.05


def test_a_teacher_must_be_known_where_there_are_no_labels():
    network = perceptron()
    held = Network(network.module, network.inputs, network.outputs)
    held.set_code("first.weight", Affine.encode(held.tensor("first.weight"), bits=2))
    with pytest.raises(DataError, match="needs a teacher, and there is none"):
        trained(network=held, samples=Samples({"x": task().inputs["x"]}))


def test_normalizations_keep_their_statistics_with_the_weights():
    samples = samples_for(convolutional())
    labels = np.arange(len(samples)) % 5
    result = trained(
        network=convolutional(), samples=Samples(samples.inputs, labels), batch=8, epochs=1
    )
    before, after = state(convolutional()), state(result)
    moved = [
        name for name in before if "running" in name and (before[name] != after[name]).any()
    ]
    assert moved
    assert str(result.graph) == str(convolutional().copy().graph)


def test_only_layers_are_trained():
    network = perceptron().copy()
    network.set_tensor("mean", torch.zeros(12))
    found = trainable(network)
    assert "mean" not in found
    assert {"first.weight", "first.bias", "third.weight"} <= found.keys()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": -1}, "epochs must be 0 or more"),
        ({"batch": 0}, "batch must be 1 or more"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"loss": "hinge"}, "loss must be one of auto"),
    ],
)
def test_settings_out_of_range_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        trained(**given)


def test_no_epochs_train_nothing():
    network = perceptron()
    result = trained(network=network, epochs=0, during=(Watch(seen := [], {}),))
    assert same(result, network)
    assert seen == []
    note = result.notes[-1]
    assert (note.done, note.text) == (False, "0 epochs: nothing is trained")
    assert result.notes[:-1] == network.notes


def test_without_samples_it_says_so():
    from tersor.methods.train.fine_tune import FineTune

    with pytest.raises(InputError, match="samples must be given: they are trained on"):
        FineTune().apply(perceptron())


def test_a_network_of_a_fixed_batch_needs_as_many_samples():
    network = perceptron()
    (port,) = network.inputs
    fixed = Network(network.module, (type(port)("x", (64, 12), "float32"),), network.outputs)
    with pytest.raises(DataError, match="are 50, fewer than the 64 of a batch"):
        trained(network=fixed, samples=task(50))
    assert "64 samples" in trained(network=fixed, samples=task(99)).notes[-1].text


def test_nothing_to_train_is_refused():
    network = perceptron()
    for parameter in network.module.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ModelError, match="has nothing to train"):
        trained(network=network)


def test_progress_is_told_up_to_the_end():
    told = []
    with surrounded(Surroundings(tell=told.append)):
        trained(samples=task(64), epochs=2)
    assert told == [0.25, 0.5, 0.75, 1.0]
    assert surroundings.current() == Surroundings()


def test_products_in_bf16_train_as_well():
    with surrounded(Surroundings(precision="bf16")):
        network = trained(epochs=5)
    assert error(network, task(seed=1)) < 0.25
    assert not same(network, trained(epochs=5))


class InterruptError(Exception):
    pass


def interrupted(folder, **settings):
    """A training that is stopped in its third epoch."""

    def stop(run):
        if run.step == 25:
            raise InterruptError

    whole = {"epochs": 4, "during": (Watch([], {"penalty": stop}),), **settings}
    with surrounded(Surroundings(checkpoints=folder)), pytest.raises(InterruptError):
        trained(**whole)


class Equal(list):
    """A list that looks the same whatever it holds, so that its owner's digest stays."""

    def __repr__(self):
        return "Equal"


def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path):
    stops = {"now": True}

    def stop(run):
        if stops["now"] and run.step == 25:
            raise InterruptError

    class Does(dict):
        def __repr__(self):
            return "Does"

    steps = Equal()
    does = Does(penalty=lambda run: (steps.append(run.step), stop(run))[1])
    given = {"epochs": 4, "during": (Watch(Equal(), does),), "samples": task(400)}
    with surrounded(Surroundings(checkpoints=tmp_path)), pytest.raises(InterruptError):
        trained(**given)
    assert len(list(tmp_path.glob("*.pt"))) == 1
    stops["now"] = False
    whole = trained(**given)
    steps.clear()
    with surrounded(Surroundings(checkpoints=tmp_path)):
        resumed = trained(**given)
    assert steps[0] == 22  # two epochs of eleven steps were behind
    assert same(resumed, whole)
    assert resumed.notes == whole.notes
    assert not tmp_path.exists()


def test_a_checkpoint_is_of_one_training_only(tmp_path):
    interrupted(tmp_path, seed=1)
    interrupted(tmp_path, seed=2)
    one, other = sorted(tmp_path.glob("*.pt"))
    assert one.read_bytes() != other.read_bytes()


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_checkpoint_that_is_not_one_is_refused(tmp_path, damage):
    given = {"samples": task(64), "epochs": 1}
    path = _checkpoint_of(tmp_path, given)
    tmp_path.mkdir()
    if damage == "cut":
        path.write_bytes(b"PK\3\4 nothing")
        message = "is no checkpoint"
    else:
        torch.save({"training": "of somebody else"}, path)
        message = "is the checkpoint of another training. Delete it"
    with (
        surrounded(Surroundings(checkpoints=tmp_path)),
        pytest.raises(FileError, match=message),
    ):
        trained(**given)


def _checkpoint_of(folder, given):
    """Where a training keeps its state."""
    from tersor.train.checkpoint import Checkpoint

    paths = []
    save = Checkpoint.save

    def noted(self, state):
        paths.append(self.path)
        save(self, state)

    with pytest.MonkeyPatch.context() as patch, surrounded(Surroundings(checkpoints=folder)):
        patch.setattr(Checkpoint, "save", noted)
        trained(**given)
    return paths[0]


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with (
        surrounded(Surroundings(checkpoints=blocked)),
        pytest.raises(FileError, match="cannot be written"),
    ):
        trained(samples=task(64), epochs=1)


def test_clipping_bounds_each_step():
    clipped = Optimizer(
        kind="sgd", learning_rate=1.0, momentum=0.0, clip=0.01, schedule="constant"
    )
    result = trained(samples=task(64), batch=64, epochs=1, optimizer=clipped)
    before, after = state(perceptron()), state(result)
    moved = math.sqrt(sum(float(np.square(after[n] - before[n]).sum()) for n in before))
    assert moved == pytest.approx(0.01, rel=1e-3)
    assert FAST.clip == 0


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_torch_cannot_use_is_refused(device):
    with (
        surrounded(Surroundings(device=device)),
        pytest.raises(InputError, match="device must be auto, cpu, or another"),
    ):
        trained()
