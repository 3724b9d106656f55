"""Dividing samples, checking them against a model, and calling users' code."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.data import callables
from tersor.data.check import fit
from tersor.data.samples import Samples
from tersor.data.split import CALIBRATION_LIMIT, drawn, split
from tersor.errors import DataError, InputError

PORTS = [("x", ("batch", 3), "float32")]


def counted(n):
    return Samples({"x": np.arange(3 * n, dtype=np.float32).reshape(n, 3)}, np.arange(n))


@given(st.integers(32, 5000))
def test_the_parts_are_all_samples_each_once(n):
    parts = split(Samples({"x": np.zeros(n)}, np.arange(n)))
    assert len(parts.calibration) == min(CALIBRATION_LIMIT, n // 4)
    both = np.concatenate([parts.calibration.labels, parts.validation.labels])
    assert sorted(both.tolist()) == list(range(n))
    assert parts.test is None


@given(st.integers(1, 3000), st.data())
def test_one_number_is_drawn_from_each_stretch(n, data):
    count = data.draw(st.integers(1, n))
    found = drawn(n, count)
    assert len(found) == count
    for i, number in enumerate(found.tolist()):
        assert i * n // count <= number < (i + 1) * n // count
    assert np.array_equal(found, drawn(n, count))


@pytest.mark.parametrize("period", [2, 4, 5, 8, 10])
def test_classes_that_take_turns_are_all_seen(period):
    """Every 4th of 2,000 samples would see 1 class of 4, or half of 2, 8 and 10."""
    turns = np.arange(2000) % period
    parts = split(Samples({"x": turns.astype(np.float32)}))
    shares = np.bincount(parts.calibration.inputs["x"].astype(int), minlength=period) / 500
    spread = np.sqrt(1 / period * (1 - 1 / period) / 500)
    assert np.abs(shares - 1 / period).max() < 4 * spread
    assert "500, drawn evenly over their order (seed 0), calibrate" in parts.how


@pytest.mark.parametrize("order", ["sorted", "turns", "mixed"])
def test_labels_are_drawn_by_their_shares(order):
    """Of a class with m of n samples, m c / n calibrate, give or take 1."""
    labels = np.repeat(np.arange(4), [1000, 600, 300, 148])
    if order != "sorted":
        labels = np.random.default_rng(0).permutation(labels)
    if order == "turns":
        labels = np.arange(2048) % 4
    parts = split(Samples({"x": np.zeros(2048)}, labels))
    found, all_of = np.bincount(parts.calibration.labels), np.bincount(labels)
    assert np.abs(found - all_of / 4).max() <= 1
    assert "512, drawn evenly over the labels (seed 0), calibrate" in parts.how


def test_labels_of_several_numbers_leave_the_order_as_it_is():
    samples = Samples({"x": np.zeros(64)}, np.zeros((64, 2)))
    assert "over their order" in split(samples).how


def test_few_samples_serve_both_and_the_split_says_so():
    parts = split(counted(31))
    assert parts.calibration is parts.validation
    assert "too few to be divided" in parts.how


def test_given_validation_and_test_samples_stay_whole():
    parts = split(counted(600), validation=counted(7), test=counted(5))
    assert (len(parts.calibration), len(parts.validation), len(parts.test)) == (512, 7, 5)
    assert parts.how == (
        "512 samples of 600, drawn evenly over the labels (seed 0), calibrate, "
        "7 separate ones validate, 5 test samples only report"
    )
    few = counted(40)
    assert split(few, validation=counted(7)).calibration is few


@given(st.integers(32, 40_000))
def test_where_something_is_trained_all_others_train(n):
    parts = split(Samples({"x": np.zeros(n)}, np.arange(n)), train=True)
    assert len(parts.validation) == min(5000, n // 5)
    both = np.concatenate([parts.training.labels, parts.validation.labels])
    assert sorted(both.tolist()) == list(range(n))
    assert len(parts.calibration) == min(CALIBRATION_LIMIT, len(parts.training))
    assert set(parts.calibration.labels) <= set(parts.training.labels)


def test_where_others_validate_all_samples_train():
    parts = split(counted(100), validation=counted(50), test=counted(20), train=True)
    assert (len(parts.training), len(parts.validation), len(parts.test)) == (100, 50, 20)
    assert parts.how.startswith(
        "100 samples train and 50 separate ones validate, 100 of those"
    )


def test_few_samples_train_and_validate():
    parts = split(counted(31), train=True)
    assert len(parts.training) == len(parts.validation) == 31
    assert "the same 31 samples train and validate" in parts.how


def test_what_fits_stays_as_it_is():
    samples = counted(4)
    assert fit(samples, PORTS).inputs["x"] is samples.inputs["x"]


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"y": np.ones((2, 3), np.float32)}, "arrays named y, but the model's inputs are x"),
        ({"x": np.ones((2, 4), np.float32)}, r"shape \(2, 4\), but the model takes \(n, 3\)"),
        ({"x": np.ones(2, np.float32)}, "has shape"),
        ({"x": np.ones((2, 3), np.uint8)}, r'Convert it with \.astype\("float32"\)'),
        ({"x": np.full((2, 3), 1e300)}, "which float32 cannot hold"),
    ],
)
def test_what_does_not_fit_is_refused(inputs, said):
    with pytest.raises(DataError, match=said):
        fit(Samples(inputs), PORTS)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_found(value):
    x = np.zeros((700, 3), np.float32)
    x[599, 2] = value
    with pytest.raises(DataError, match=rf"holds {value} in sample 599 at \(2,\)"):
        fit(Samples({"x": x}), PORTS)


def test_labels_are_checked_too():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(DataError, match="labels holds nan in sample 1"):
        fit(Samples({"x": x}, np.array([0.0, np.nan])), PORTS)
    with pytest.raises(DataError, match="labels hold <U1"):
        fit(Samples({"x": x}, np.array(["a", "b"])), PORTS)


def test_numbers_are_converted_only_if_they_fit():
    wide = Samples({"x": np.ones((2, 3))})
    assert fit(wide, PORTS).inputs["x"].dtype == np.float32
    small = [("x", ("batch", 3), "int32")]
    assert fit(Samples({"x": np.full((2, 3), 7)}), small).inputs["x"].dtype == np.int32
    with pytest.raises(DataError, match="which int32 cannot hold"):
        fit(Samples({"x": np.full((2, 3), 2**40)}), small)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("nothing", "of the form"),
        ("no_such_module:f", "importable from"),
        ("math:no", "a name in math, which has acos"),
        ("math:pi", "a callable"),
    ],
)
def test_what_cannot_be_called_is_refused(spec, said):
    with pytest.raises(InputError, match=said):
        callables.find(spec)


def write_module(folder, monkeypatch, text):
    (folder / "users_module.py").write_text(text)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(__import__("sys").modules, "users_module", raising=False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import no_such_thing", "cannot be imported: ModuleNotFoundError"),
        ("1 / 0", "cannot be imported: ZeroDivisionError"),
        ("def f():\n    return 1 / 0", r"raised: ZeroDivisionError.*line 2, in f"),
    ],
)
def test_users_code_that_fails_is_told_with_its_place(tmp_path, monkeypatch, text, said):
    write_module(tmp_path, monkeypatch, text)
    with pytest.raises(callables.CallableError, match=said):
        callables.call("users_module:f")


def test_what_is_no_callable_is_given_as_it_is(tmp_path, monkeypatch):
    write_module(tmp_path, monkeypatch, "values = {'x': [1]}")
    assert callables.call("users_module:values") == {"x": [1]}


def test_errors_of_ours_pass_through_users_code(tmp_path, monkeypatch):
    body = "from tersor.errors import DataError\ndef f():\n    raise DataError('a', 'b', 'c')"
    write_module(tmp_path, monkeypatch, body)
    with pytest.raises(DataError, match=r"a b\. c"):
        callables.call("users_module:f")
