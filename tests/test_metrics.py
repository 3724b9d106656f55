import numpy as np
import pytest

from tersor.errors import DataError, InputError
from tersor.metrics import resolve

SCORES = np.array([[0.1, 0.9, 0.0], [0.5, 0.5, 0.2], [0.0, 0.1, 0.2]], np.float32)


def score(metric, outputs, labels, original=None):
    return resolve(metric, outputs, labels).score(outputs, labels, original or outputs)


def test_top1_is_the_argmax_and_ties_go_to_the_first():
    found = score("top1", {"y": SCORES}, np.array([1, 1, 2]))
    assert found.tolist() == [1.0, 0.0, 1.0]


def test_top5_counts_labels_among_the_five_highest():
    row = np.arange(8.0)[None].repeat(8, 0)
    found = score("top5", {"y": row}, np.arange(8))
    assert found.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]


def test_places_of_one_sample_are_averaged():
    """Two samples of two places: language models have classes last, images second."""
    labels = np.array([[0, 1], [1, 1]])
    last = np.zeros((2, 2, 3), np.float32)
    last[:, :, 1] = 1
    assert score("top1", {"y": last}, labels).tolist() == [0.5, 1.0]
    assert score("top1", {"y": np.moveaxis(last, -1, 1)}, labels).tolist() == [0.5, 1.0]


def test_without_labels_the_original_teaches():
    other = {"y": SCORES[:, ::-1]}
    metric = resolve(None, other, None)
    assert metric.name == "agreement"
    assert metric.score(other, None, {"y": SCORES}).tolist() == [1.0, 0.0, 0.0]


def test_regression_without_labels_is_the_square_of_the_difference():
    outputs = {"y": np.array([[1.0], [3.0]], np.float32)}
    metric = resolve(None, outputs, None)
    assert (metric.name, metric.higher_is_better) == ("mse", False)
    original = {"y": np.array([[1.0], [1.0]], np.float32)}
    assert metric.score(outputs, None, original).tolist() == [0.0, 4.0]


def test_embeddings_without_labels_are_compared_by_their_angle():
    original = {"y": np.array([[0.6, 0.8], [0.0, -1.0], [1.0, 0.0]], np.float32)}
    metric = resolve(None, original, None)
    assert (metric.name, metric.higher_is_better) == ("cosine", True)
    found = {"y": np.array([[0.8, 0.6], [0.0, -3.0], [0.0, 1.0]], np.float32)}
    # 0.6 * 0.8 + 0.8 * 0.6; the length does not count; a right angle
    assert metric.score(found, None, original) == pytest.approx([0.96, 1.0, 0.0], abs=1e-7)


def test_scores_that_could_be_of_classes_are_no_embeddings():
    for scores in (np.eye(3), np.array([[0.6, -0.8], [0.6, -0.9]]), np.zeros((0, 3))):
        assert resolve(None, {"y": scores.astype(np.float32)}, None).name == "agreement"


def test_the_angle_to_labels_counts_where_there_are_any():
    outputs = {"y": np.array([[[3.0], [4.0]], [[1.0], [0.0]]], np.float32)}
    labels = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert score("cosine", outputs, labels) == pytest.approx([0.6, 1.0])


def test_rounding_of_floats_turns_no_vector():
    rng = np.random.default_rng(0)
    outputs = {"y": rng.standard_normal((20, 384)).astype(np.float32)}
    close = outputs["y"] * (1 + 1e-6 * rng.standard_normal((20, 384)))
    assert score("cosine", outputs, close).tolist() == [1.0] * 20
    far = outputs["y"] * (1 + 1e-3 * rng.standard_normal((20, 384)))
    assert score("cosine", outputs, far).max() < 1


def test_zeros_are_like_zeros_alone():
    outputs = {"y": np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])}
    labels = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    assert score("cosine", outputs, labels).tolist() == [1.0, 0.0, 0.0]


def test_float_labels_mean_mse():
    outputs = {"y": np.array([[1.0], [3.0]], np.float32)}
    assert resolve(None, outputs, np.array([1.0, 1.0])).name == "mse"
    assert score("mse", outputs, np.array([0.0, 1.0])).tolist() == [1.0, 4.0]


def test_the_output_can_be_chosen():
    outputs = {"features": np.zeros((3, 4), np.float32), "logits": SCORES}
    assert score("top1:logits", outputs, np.array([1, 0, 2])).tolist() == [1, 1, 1]


def test_a_function_is_a_metric():
    def error(outputs, labels):
        return np.abs(outputs["y"][:, 0] - labels)

    error.higher_is_better = False
    outputs = {"y": SCORES}
    metric = resolve(error, outputs, np.zeros(3))
    assert (metric.name, metric.higher_is_better) == ("error", False)
    assert metric.score(outputs, np.zeros(3), outputs) == pytest.approx([0.1, 0.5, 0.0])


@pytest.mark.parametrize(
    ("metric", "error", "text"),
    [
        ("top7", InputError, "one of top1, top5, agreement, mse, cosine"),
        ("top1:z", InputError, "metric output must be one of y"),
        ("top5", InputError, "the model has 3 classes"),
        (lambda *_: np.zeros(2), InputError, "3 finite numbers"),
    ],
)
def test_wrong_metrics_are_refused(metric, error, text):
    with pytest.raises(error, match=text):
        score(metric, {"y": SCORES}, np.array([0, 1, 2]))


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (np.array([0, 3, 1]), "hold 3, but the model has classes 0 to 2"),
        (np.array([0, -1, 1]), "hold -1"),
        (np.array([0.5, 1, 1]), "float64 fractions"),
        (np.zeros((3, 2), int), r"shape \(3, 2\), but output 'y' has \(3, 3\)"),
    ],
)
def test_wrong_labels_are_refused(labels, text):
    with pytest.raises(DataError, match=text):
        score("top1", {"y": SCORES}, labels)


def test_labels_unlike_the_output_are_refused():
    with pytest.raises(DataError, match="Give labels like the output"):
        score("mse", {"y": SCORES}, np.zeros(3))
    with pytest.raises(DataError, match="Give labels like the output"):
        score("cosine", {"y": SCORES}, np.zeros(3))


def test_an_output_without_classes_has_no_top():
    with pytest.raises(InputError, match="there are no classes"):
        score("agreement", {"y": np.zeros(3, np.float32)}, None)
