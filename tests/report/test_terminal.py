"""The report on the terminal: figures at every width, nothing acted on, nothing cut."""

import io

import pytest
import report_factory
from rich.console import Console

from tersor.errors import InputError
from tersor.report.terminal import ROWS, print_report, render


def printed(document, width=80, *, full=False, encoding="utf-8"):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    print_report(document, Console(file=stream, width=width, color_system=None), full=full)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


def many_layers(count):
    document = report_factory.document()
    one = document["layers"][0]
    document["layers"] = [
        {**one, "name": f"block{i}", "bytes_before": 1000 + i, "bytes_after": 10}
        for i in range(count)
    ]
    return document


FIGURES = [
    "4.3x smaller", "1.16 MB", "270.9 kB", "318.2 kB",
    "2.6x faster", "1.12 ms", "0.431 ms", "1.09 to 1.15", "0.424 to 0.447",
    "openvino int8", "batch 1, threads 2",
    "91.62 %", "91.55 %", "0.07 pp worse", "-0.08 to 0.22 pp", "99.11 %",
    "Budget met (size 4x, latency 2x, drop 0.5pp)",
    "1.63x faster than the original at its fastest",
    "drop 1.34 pp exceeds the allowed 0.50 pp", "slower than the winner",
    "int8 per channel, uint8 activations", "44.0 dB", "147.7 kB", "34.8 kB", "258.9 kB",
    "fc (quantize.static): it alone makes 41 % of the noise of all 21 layers",
    "Channels: 2 of 4 groups of channels were cut; 20 of 48",
    "logits 31.4 dB", "test sample 4719", "512 calibration", "48.2 s",
]  # fmt: skip


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("width", [80, 160])
def test_the_figures_are_there(width, figure):
    assert figure in printed(report_factory.document(), width)


@pytest.mark.parametrize("width", [80, 100, 160])
@pytest.mark.parametrize("make", [report_factory.document, report_factory.missed])
def test_no_line_is_wider_than_the_terminal_and_nothing_is_cut(make, width):
    text = printed(make(), width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text


@pytest.mark.parametrize("width", [80, 160])
def test_the_winner_is_marked_by_a_sign_and_a_word(width):
    marked = [x for x in printed(report_factory.document(), width).split("\n") if "▶" in x]
    assert len(marked) == 1
    assert marked[0].split()[1:4] == ["partly", "int8", "openvino"]
    assert marked[0].split()[-1] == "chosen"


def test_candidates_come_the_fastest_first_and_those_that_did_not_run_last():
    lines = printed(report_factory.document(), 160).splitlines()
    rows = lines[lines.index(next(x for x in lines if "Candidates" in x)) + 3 :][:12]
    times = [line.replace("▶", " ").replace("partly ", "").split()[3] for line in rows]
    assert times == [*sorted(times[:-1], key=float), "-"]


def test_the_kind_of_network_is_told_with_its_reason():
    text = " ".join(printed(report_factory.document()).split())
    assert "Kind of network: convolutional. Convolutions do 98% of the multipl" in text


def test_no_kind_is_told_where_the_recipe_did_not_ask():
    document = report_factory.document()
    for kind in ({}, {"kind": None}):
        text = printed({**{k: v for k, v in document.items() if k != "kind"}, **kind})
        assert "Kind of network" not in text


def test_a_missed_budget_says_what_why_and_how_sure():
    text = " ".join(printed(report_factory.missed()).split())
    assert "Budget MISSED (asked: size 10x, latency 2x, drop 0.1pp)" in text
    assert "size: asked 10x, got 4.27x. int8 gives at most 4x" in text
    assert "The loss is real" in text
    assert "It is more than the 0.10 pp allowed." in text
    assert "the original model is the judge" in text
    assert "Other processes took processor time" in text
    assert "0.431*" in text
    assert "* timed while other processes ran" in text


@pytest.mark.parametrize("width", [80, 120])
def test_what_runs_where_the_error_grows_and_who_suffers_are_told_in_a_line_each(width):
    text = " ".join(printed(report_factory.document(), width).split())
    for said in (
        "Search: partly int8: with so many of 8 layers in float: 0 (loses 0.61 pp",
        "Kernels: 29 of 44 nodes in int8, 1 in f32, 14 other; original 30 of 32",
        "Error: grows most at relu_7, rounded (from layer1.2.conv2): 27.6 dB; layer2.0.conv1:",
        "Sensitive: layer1.0.conv2 (43.0 dB alone, 11 % of the noise), layer3.0.conv1",
        "Worst samples: validation 100 (3 -> 5, label 3), 117 (3 -> 5, label 3), 134",
        "Not raced, since they ask the same work of the engine as the original: int8 as float",
        "10000 test samples. Calibration: the first 512 of train.npz",
    ):
        assert said in text
    table = printed(report_factory.document(), width).partition("Candidates")[2]
    assert table.partition("Not raced")[0].count("as float") == 0


def test_trainings_are_told():
    text = " ".join(printed(report_factory.document(), 160).split())
    assert "Training: 3 epochs of 900 samples, loss labels: held-out error 0.5 before" in text


def test_an_untouched_model_is_said_to_be_so():
    text = printed(report_factory.unchanged())
    assert "1.09x smaller, same speed, top-1 accuracy unchanged" in text
    assert "As fast as the original at its fastest, any precision." in text
    assert "Budget" not in text
    assert "Skipped" not in text
    assert "Worst" not in text


def test_many_layers_are_abridged_to_the_largest_and_add_up():
    text = printed(many_layers(ROWS + 5))
    assert "block4 " not in text
    assert "block5 " in text
    assert "5 smaller layers" in text
    assert "not shown; --full" in " ".join(text.split())
    assert f"{ROWS + 5} layers" in text
    assert "35.6 kB" in text  # 35 * 1000 + 34 * 35 / 2 = 35595


def test_full_shows_every_layer():
    text = printed(many_layers(ROWS + 5), full=True)
    assert all(f"block{i} " in text for i in range(ROWS + 5))
    assert "smaller layers" not in text


def test_as_many_layers_as_there_is_room_for_are_not_abridged():
    assert "smaller layers" not in printed(many_layers(ROWS))


def test_skipped_layers_are_grouped_by_reason():
    document = report_factory.document()
    document["skipped"] = [
        {"layer": f"bn{i}", "method": "quantize.static", "reason": "no kernel"}
        for i in range(8)
    ]
    text = printed(document)
    assert "bn0, bn1, bn2, bn3, bn4 and 3 more (quantize.static): no kernel" in text
    document["skipped"] = [
        {"layer": f"bn{i}", "method": "m", "reason": f"why {i}"} for i in range(ROWS + 2)
    ]
    assert "and for 2 more reasons: see report.json" in printed(document)


def test_what_is_said_of_several_candidates_stands_once_with_their_names():
    document = report_factory.document()
    text = printed(document, width=160)
    assert "partly int8 (prune.channels): 60.3 % of the macs are left, not 50 %" in text
    document["remarks"] = [
        {"candidate": name, "method": "prune.channels", "done": True, "text": "same"}
        for name in ("slim", "slim int8")
    ]
    assert "slim, slim int8 (prune.channels): same" in printed(document)
    del document["remarks"]
    assert "Said of candidates" not in printed(document)


def test_several_batch_sizes_get_a_column():
    document = report_factory.document()
    assert "batch  " not in printed(document).split("Candidates")[1]
    document["candidates"][0]["batch"] = 16
    assert "batch" in printed(document).split("Candidates")[1].splitlines()[1]


@pytest.mark.parametrize("width", [80, 160])
def test_without_unicode_all_is_ascii(width):
    text = printed(report_factory.hostile("größe→"), width, encoding="ascii")
    assert "gr??e?" in text
    assert "4.3x smaller" in text


def test_names_cannot_steer_the_terminal_or_the_markup():
    text = printed(report_factory.hostile("[red]x[/red]\x1b[2J\u202e"), 160)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[red]x[/red]?[2J?" in text


def test_a_metric_that_is_no_fraction_is_shown_in_its_own_unit():
    document = report_factory.document()
    for side in ("original", "compressed"):
        document[side]["metric"].update(name="mse", value=0.25, low=0.2, high=0.3)
    document["drop_pp"] = None
    document["drop"] = {"value": 0.005, "low": 0.0025, "high": 0.0075}
    text = printed(document)
    assert "mse 0.005 worse" in text
    assert "0.9153" in text  # of the chosen candidate, where others have their loss
    assert "0.0025 to 0.0075" in text
    assert "pp worse" not in text


def test_an_invalid_document_is_refused():
    with pytest.raises(InputError, match=r"^version in the report"):
        render({})


def test_figures_stay_whole_where_names_need_all_the_room():
    document = report_factory.document()
    for one in document["candidates"]:
        one["name"] = "a_model_with_a_long_name"
    for layer in document["layers"]:
        layer["name"] = "a.layer.with.a.very.long.name." + layer["name"]
    text = printed(document, 80)
    for figure in ("0.431", "0.424-0.447", "2.6x", "1.34 pp", "147.7 kB", "44.0 dB"):
        assert figure in text.partition("Candidates")[2]


def test_a_metric_that_was_not_compared_is_said_to_be_so():
    document = report_factory.document()
    document["drop_pp"] = None
    assert "top-1 accuracy not compared" in printed(document)
    assert "uncertainty of the difference is not known" in printed(document)
