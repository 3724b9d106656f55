"""Variants of the winner in words."""

from rich.console import Console
from tests.report import report_factory

from tersor.report.document import normal
from tersor.report.page import to_html
from tersor.report.terminal import print_report
from tersor.report.trial_words import rows, seed_words


def test_rows_compare_with_the_winner():
    winner, larger, smaller, failed = rows(normal(report_factory.document()))
    assert (winner.name, winner.chosen, winner.size) == ("partly int8 (the file)", True, "-")
    assert (larger.file, larger.metric, larger.loss) == ("271.4 kB", "91.49 %", "0.13 pp")
    assert (larger.size, smaller.size) == ("same size", "same size")
    assert (failed.file, failed.loss, failed.why) == ("-", "-", "The loss was nan.")


def test_a_smaller_file_is_called_smaller():
    report = report_factory.document()
    report["trials"][1]["file_bytes"] = 270_912 // 2
    assert rows(normal(report))[1].size == "2.0x smaller"


def test_seeds_have_a_median_and_a_spread_of_those_that_were_made():
    assert seed_words(normal(report_factory.document())) == (
        "Over 3 seeds, median (least to most): file 270,912 (270,300 to 271,412) bytes; "
        "top-1 accuracy 91.55 % (91.49 % to 91.61 %). The file is that of the "
        "recipe's own seeds: none was chosen among them."
    )


def test_one_seed_has_no_spread():
    report = report_factory.document()
    del report["trials"][1:]
    assert seed_words(normal(report)) == ""
    del report["trials"]
    assert seed_words(normal(report)) == ""
    assert rows(normal(report)) == []


def test_losses_of_other_metrics_are_in_their_own_unit():
    report = report_factory.document()
    report["drop"], report["drop_pp"] = {"value": 0.0, "low": None, "high": None}, None
    for one in report["trials"]:
        one["drop_pp"] = None
    assert [row.loss for row in rows(normal(report))] == ["0.0007", "0.0013", "0.0001", "-"]


def test_the_page_and_the_terminal_show_them():
    report = report_factory.document()
    page = to_html(report)
    assert 'href="#variants"' in page
    assert "Over 3 seeds" in page
    console = Console(width=130, record=True, file=None, force_terminal=False)
    with console.capture() as shown:
        print_report(report, console)
    assert "seeds moved on by 2" in shown.get()
    assert "The loss was nan." in shown.get()
    del report["trials"]
    assert 'href="#variants"' not in to_html(report)
