import json
import math

import numpy as np
import pytest

from tersor.arrays.intervals import paired_mean, paired_proportions, smallest_difference
from tersor.data.samples import Samples
from tersor.errors import DataError, InputError, ModelError, VerifyError
from tersor.verify import Reference, compare, compare_engine, rounding_tolerance

N = 50
X = np.random.default_rng(0).standard_normal((N, 6)).astype(np.float32)
W = np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32)
SAMPLES = Samples({"x": X}, (X @ W).argmax(axis=1))


def original(feeds):
    return {"y": feeds["x"] @ W}


def noisy(feeds):
    return {"y": feeds["x"] @ W.round()}


def definition(wanted, found):
    """Drop of top-1, agreement, SQNR in dB and worst sample, in one go."""
    a, b, y = wanted.argmax(1), found.argmax(1), SAMPLES.labels
    error = (found.astype(float) - wanted) ** 2
    power = wanted.astype(float) ** 2
    return (
        (a == y).mean() - (b == y).mean(),
        (a == b).mean(),
        10 * math.log10(power.sum() / error.sum()),
        int((error.sum(1) / power.sum(1)).argmax()),
    )


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_verdict_equals_its_definition_whatever_the_batches(batch_size):
    verdict = compare(original, noisy, SAMPLES, batch_size=batch_size)
    drop, agreement, sqnr, worst = definition(X @ W, X @ W.round())
    assert verdict.drop.value == pytest.approx(drop)
    assert verdict.agreement == agreement
    assert verdict.sqnr_db["y"] == pytest.approx(sqnr, rel=1e-6)
    assert (verdict.worst.index, verdict.worst.output) == (worst, "y")
    assert verdict.max_abs_error == pytest.approx(np.abs(X @ W.round() - X @ W).max())
    assert (verdict.samples, verdict.metric) == (N, "top1")
    assert verdict.original.value == 1.0


def test_the_cases_are_the_worst_samples_with_labels_and_answers():
    wanted, found = X @ W, X @ W.round()
    cases = compare(original, noisy, SAMPLES, batch_size=7).cases
    ratio = ((found.astype(float) - wanted) ** 2).sum(1) / (wanted.astype(float) ** 2).sum(1)
    changed = wanted.argmax(1) != found.argmax(1)
    order = sorted(range(N), key=lambda i: (not changed[i], -ratio[i]))
    assert [c.index for c in cases] == order[: len(cases)]
    assert len(cases) == 12
    first = cases[0]
    assert first.ratio == pytest.approx(ratio[order[0]])
    assert first.label == first.before.label == SAMPLES.labels[order[0]]
    assert first.after.label == found[order[0]].argmax()
    lead = np.sort(wanted[order[0]])
    assert first.before.margin == pytest.approx(lead[-1] - lead[-2])
    assert "cases" not in compare(original, noisy, SAMPLES).to_dict()


def test_drop_has_the_interval_of_paired_proportions():
    verdict = compare(original, noisy, SAMPLES)
    lost = int(((X @ W.round()).argmax(1) != SAMPLES.labels).sum())
    assert (verdict.drop.low, verdict.drop.high) == paired_proportions(lost, 0, N)
    assert verdict.drop_pp.value == pytest.approx(100 * lost / N)


def test_resolution_is_the_smallest_loss_that_these_samples_tell():
    verdict = compare(original, noisy, SAMPLES)
    lost = int(((X @ W.round()).argmax(1) != SAMPLES.labels).sum())
    assert verdict.resolution == smallest_difference(lost, N)
    assert compare(original, original, SAMPLES).resolution == smallest_difference(0, N)
    of_mean = compare(original, noisy, Samples({"x": X}), metric="mse")
    half = (of_mean.drop.high - of_mean.drop.low) / 2
    assert of_mean.resolution == pytest.approx(half)
    alone = compare(original, noisy, Samples({"x": X[:1]}), metric="mse:y")
    assert alone.resolution is None


def test_identical_models_lose_exactly_nothing():
    verdict = compare(original, original, SAMPLES)
    assert verdict.cases == ()
    assert verdict.drop.value == 0.0
    assert verdict.agreement == 1.0
    assert verdict.sqnr_db == {"y": math.inf}
    assert verdict.worst is None
    assert verdict.max_abs_error == 0.0
    assert json.loads(json.dumps(verdict.to_dict(), allow_nan=False))["sqnr_db"] == {"y": None}


def test_an_error_metric_that_grows_is_a_positive_drop():
    unlabelled = Samples({"x": X})
    verdict = compare(original, noisy, unlabelled, metric="mse")
    error = ((X @ W.round() - X @ W).astype(float) ** 2).mean(1)
    assert verdict.original.value == 0.0
    assert verdict.drop.value == pytest.approx(error.mean(), rel=1e-6)
    assert (verdict.drop.low, verdict.drop.high) == pytest.approx(paired_mean(error), rel=1e-6)
    assert verdict.drop_pp is None


def test_one_sample_has_no_interval_for_means():
    verdict = compare(original, noisy, Samples({"x": X[:1]}), metric="mse:y")
    assert (verdict.drop.low, verdict.drop.high) == (None, None)


def test_outputs_that_are_no_classes_have_no_agreement():
    first = Samples({"x": X})
    verdict = compare(lambda f: {"y": f["x"][:, :1]}, lambda f: {"y": f["x"][:, :1]}, first)
    assert verdict.agreement is None
    assert verdict.metric == "mse"


def test_reference_runs_the_original_once():
    calls = []

    def counted(feeds):
        calls.append(1)
        return original(feeds)

    reference = Reference(counted, SAMPLES, batch_size=20)
    first = compare(reference, noisy, SAMPLES)
    assert compare(reference, noisy, SAMPLES) == first
    assert len(calls) == 3
    small = Reference(counted, SAMPLES, batch_size=20, limit=20 * 4 * 4)
    compare(small, noisy, SAMPLES)
    compare(small, noisy, SAMPLES)
    assert len(calls) == 3 + 3 + 2  # one batch of three fits


def test_reference_of_other_samples_is_refused():
    with pytest.raises(InputError, match="reference of these samples"):
        compare(Reference(original, SAMPLES), noisy, SAMPLES.take(0, 9))


def test_progress_ends_at_one():
    seen = []
    compare(original, noisy, SAMPLES, batch_size=20, on_progress=seen.append)
    assert seen == [0.4, 0.8, 1.0]


def spoiled(index, value):
    def run(feeds):
        y = feeds["x"] @ W
        y[(feeds["x"] == X[index]).all(axis=1), 2] = value
        return {"y": y}

    return run


def test_nan_of_the_original_names_the_sample():
    with pytest.raises(
        DataError, match=r"Sample 33 makes the original give nan in output 'y'"
    ):
        compare(spoiled(33, np.nan), original, SAMPLES, batch_size=8)


def test_infinity_of_the_compressed_model_names_the_sample():
    with pytest.raises(VerifyError, match=r"'y' of the compressed model for sample 33 is inf"):
        compare(original, spoiled(33, np.inf), SAMPLES, batch_size=8)


@pytest.mark.parametrize(
    ("run", "text"),
    [
        (lambda f: {"z": f["x"] @ W}, "are z, not y"),
        (lambda f: {"y": (f["x"] @ W)[:, :2]}, r"has shape \(50, 2\) instead of \(50, 4\)"),
    ],
    ids=["name", "shape"],
)
def test_other_outputs_are_refused(run, text):
    with pytest.raises(ModelError, match=text):
        compare(original, run, SAMPLES)


def reordered(feeds):
    return {"y": (feeds["x"][:, ::-1] @ W[::-1]).astype(np.float32)}


def test_engine_may_reorder_sums():
    agreement = compare_engine(original, reordered, SAMPLES, tolerance=rounding_tolerance(6))
    assert agreement.rms["y"] <= agreement.allowed["y"]
    assert agreement.allowed["y"] == pytest.approx(
        6 * 2.0**-24 * np.sqrt(np.square(X @ W).mean()), rel=1e-5
    )


def test_engine_that_computes_something_else_is_an_error():
    with pytest.raises(VerifyError, match=r"Output 'y' on the engine: .*worst in sample \d+"):
        compare_engine(original, noisy, SAMPLES)


def test_quantized_engine_may_differ_by_the_noise_of_quantization():
    noise = compare(original, noisy, SAMPLES).noise_rms

    def flipped(feeds):
        return {"y": feeds["x"] @ (W.round() + np.float32(0.01))}

    with pytest.raises(VerifyError):
        compare_engine(noisy, flipped, SAMPLES)
    assert compare_engine(noisy, flipped, SAMPLES, noise=noise).allowed["y"] == noise["y"]
    with pytest.raises(VerifyError):
        compare_engine(noisy, lambda f: {"y": -f["x"] @ W}, SAMPLES, noise=noise)
