"""Charts of weights: where pieces lie, and what their numbers say."""

import re

import pytest
from rich.console import Console
from tests.report import report_factory

from tersor.report.document import normal
from tersor.report.page import to_html
from tersor.report.terminal import print_report
from tersor.report.weight_charts import histograms, stage_words, stages


def test_each_stage_is_as_high_as_its_file():
    chart = stages(normal(report_factory.document()))
    sizes = [1_157_041, 1_060_112, 540_000, 270_912]
    assert not chart.log
    heights = [100 - step.top for step in chart.steps]
    assert [h / heights[0] for h in heights] == pytest.approx(
        [size / sizes[0] for size in sizes], abs=2e-4
    )
    ends = [(step.left, step.left + step.width) for step in chart.steps]
    assert ends[-1][1] == pytest.approx(100)
    assert [end for _, end in ends[:-1]] == pytest.approx([left for left, _ in ends[1:]])
    assert chart.ticks[0] == (100.0, "0 B")


def test_sizes_far_apart_are_drawn_on_a_logarithmic_scale():
    report = report_factory.document()
    report["stages"][-1]["file_bytes"] = 1_157
    chart = stages(normal(report))
    assert chart.log
    tops = [step.top for step in chart.steps]
    assert tops == sorted(tops)
    assert {"1 MB", "100 kB", "10 kB"} <= {text for _, text in chart.ticks}


def test_a_row_says_what_the_file_consists_of():
    last = stages(normal(report_factory.document())).steps[-1]
    assert last.cells == ("270.9 kB", "4.3x smaller", "268.5 kB", "2.4 kB", "270.1 kB")
    assert last.title == "quantize.static: 270.9 kB, 4.3x smaller"
    first = stages(normal(report_factory.document())).steps[0]
    assert first.cells == ("1.16 MB", "-", "-", "-", "-")


def test_few_stages_need_no_chart():
    report = report_factory.document()
    del report["stages"][2:]
    assert stages(normal(report)) is None
    assert stage_words(normal(report)) == ""


def test_bars_are_as_high_as_their_counts():
    zeros, dense = histograms(normal(report_factory.document()))
    assert zeros.said == "85.7 % zeros (0.0 % before), 3 different values"
    assert zeros.ends == ("-0.25", "0.25")
    assert (zeros.pattern is None, dense.pattern) == (False, None)
    up = [float(v) for v in re.findall(r"V([\d.]+)H", zeros.before)]
    assert up == [50 - 50 * max(0, 20 - abs(i - 20)) / 20 for i in range(41)]
    down = [float(v) for v in re.findall(r"V([\d.]+)H", zeros.after)]
    assert down == [100.0 if i in {5, 35} else 50.0 for i in range(41)]
    assert (zeros.before[:5], zeros.before[-4:]) == ("M0 50", "V50Z")


def test_counts_below_nothing_or_none_at_all_draw_a_line():
    report = report_factory.document()
    report["weights"][0].update(before=[], after=[-3, 0])
    found, _ = histograms(normal(report))
    assert (found.before, found.after) == ("M0 50V50Z", "M0 50V50.0H1V50.0H2V50Z")
    assert found.width == 1


def test_the_page_and_the_terminal_show_them():
    report = report_factory.document()
    page = to_html(report)
    assert "Stage by stage" in page
    assert page.count('class="histogram"') == 2
    assert page.count('alt="Where layer3.0.conv2 is not zero"') == 1
    console = Console(width=130)
    with console.capture() as shown:
        print_report(report, console)
    assert "Stages: original: 1.16 MB; coded as it is: 1.06 MB;" in shown.get()
    bare = to_html(report_factory.unchanged())
    assert "Stage by stage" not in bare
    assert "Weights before and after" not in bare
