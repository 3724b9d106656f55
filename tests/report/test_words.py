"""What is said about the figures is true of them."""

import pytest
import report_factory

from tersor.report import words


def report(value=0.07, low=-0.08, high=0.22, allowed=0.5):
    result = report_factory.document()
    result["drop_pp"] = {"value": value, "low": low, "high": high}
    result["budget"]["allowed_drop_pp"] = allowed
    return result


@pytest.mark.parametrize(
    ("drop", "said"),
    [
        ((0.07, -0.08, 0.22, 0.5), "chance (95 %). The whole interval keeps"),
        ((0.07, -0.08, 0.22, 0.1), "but a loss of 0.22 pp is not excluded"),
        ((0.07, -0.08, 0.22, 0.05), "It is more than the 0.05 pp allowed"),
        ((0.2, 0.1, 0.3, None), "The loss is real"),
        ((-0.2, -0.3, -0.1, None), "The gain is real"),
        ((0.0, 0.0, 0.0, None), "both models score the same"),
        ((0.1, None, None, None), "uncertainty of the difference is not known"),
    ],
    ids=["equal", "not_excluded", "over", "loss", "gain", "same", "unknown"],
)  # fmt: skip
def test_the_verdict_follows_the_interval_and_the_limit(drop, said):
    assert said in words.accuracy_verdict(report(*drop))


@pytest.mark.parametrize(
    ("drop", "said"),
    [(0.07, "0.07 pp worse"), (-0.07, "0.07 pp better"), (0.004, "unchanged")],
)
def test_a_drop_has_a_direction(drop, said):
    assert words.drop_words(report(drop)) == said


@pytest.mark.parametrize(
    ("ratio", "said"),
    [(2.0, "2.0x faster"), (0.5, "2.0x slower"), (1.004, "same"), (None, "-"), (0, "-")],
)
def test_a_factor_is_never_below_one(ratio, said):
    assert words.factor(ratio, "faster", "slower", "same") == said


def test_the_largest_layers_keep_their_order():
    layers = report_factory.document()["layers"]
    shown, hidden = words.largest(layers, 5)
    wanted = ["0.conv2", "1.conv1", "1.conv2", "2.conv1", "2.conv2"]
    assert [x["name"] for x in shown] == [f"layer3.{name}" for name in wanted]
    assert len(shown) + len(hidden) == len(layers)


def test_without_test_samples_the_report_says_whose_figures_these_are():
    result = report()
    assert words.untested_words(result) == ""
    assert "10000 test samples" in words.accuracy_verdict(result)
    assert words.worst_words(result).startswith("test sample 4719")
    result["data"]["test"] = 0
    assert "samples that chose" in words.untested_words(result)
    assert "10000 validation samples" in words.accuracy_verdict(result)
    assert words.worst_words(result).startswith("validation sample 4719")


def test_the_report_says_what_its_validation_samples_can_tell():
    found = report_factory.document()
    said = words.resolution_words(found)
    assert said.startswith("2048 validation samples, which tell losses of 0.46 pp or more")
    assert words.coarse_words(found) == ""
    found["resolution"] = None
    assert words.resolution_words(found) == words.coarse_words(found) == ""
    del found["resolution"]
    assert words.resolution_words(found) == words.coarse_words(found) == ""


@pytest.mark.parametrize(
    ("needed", "said"),
    [(147_571, "About 150,000 would"), (1476, "About 1,500 would"), (42, "About 42 would")],
)
def test_a_limit_finer_than_the_samples_is_warned_of(needed, said):
    found = report_factory.missed()
    found["resolution"]["samples_needed"] = needed
    warned = words.coarse_words(found)
    assert "limit of 0.10 pp is finer than what 100 validation samples" in warned
    assert said in warned


def test_losses_of_a_metric_in_its_own_unit_are_told_in_it():
    found = report_factory.missed()
    found.update(drop_pp=None, drop={"value": 0.2, "low": 0.1, "high": 0.3})
    found["budget"]["allowed_drop_pp"] = 1.0
    found["resolution"].update(loss=0.125, loss_pp=None, limit=0.03, samples_needed=None)
    assert "losses of 0.125 or more" in words.resolution_words(found)
    warned = words.coarse_words(found)
    assert "limit of 1 % is finer" in warned
    assert "would tell" not in warned
