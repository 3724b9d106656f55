"""The page in a real browser, without a network: it shows its figures and says no error."""

import json
import re
import shutil
import subprocess
from html import unescape

import pytest
import report_factory

from tersor.report.page import to_html

NAMES = ("chromium", "chromium-browser", "google-chrome")
SORT = """<script>
document.querySelectorAll("table.layers th button")[4].click();
document.querySelectorAll("table.layers th button")[4].click();
</script></body>"""

MEASURE = """<script>
document.querySelectorAll("details").forEach((one) => { one.open = true; });
const wide = document.documentElement.scrollWidth;
const scrolling = [...document.querySelectorAll("body *")].filter((one) =>
  one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).overflowX === "auto");
const mute = scrolling.filter((one) => one.tabIndex !== 0).length;
const stops = [...document.querySelectorAll("a, button, summary, [tabindex='0']")];
const lost = stops.filter((one) => {
  one.focus({focusVisible: true});
  const shown = getComputedStyle(one);
  return document.activeElement !== one || one.tabIndex !== 0
    || shown.outlineStyle === "none" || parseFloat(shown.outlineWidth) < 2;
}).map((one) => one.outerHTML.slice(0, 80));
const found = {window: innerWidth, wide, scrolling: scrolling.length, mute,
               stops: stops.length, lost};
parent.postMessage(JSON.stringify(found), "*");
</script></body>"""
FRAME = """<!doctype html><body style="margin: 0">
<script>onmessage = (told) => { document.body.dataset.found = told.data; };</script>
<iframe src="framed.html" style="border: 0; width: WIDTHpx; height: 800px"></iframe></body>"""


@pytest.fixture
def browse(tmp_path):
    """Opens a page; gives the document that the browser made of it, and what it logged."""
    found = [path for path in map(shutil.which, NAMES) if path]
    if not found:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")

    def run(html, *options):
        page = tmp_path / "report.html"
        page.write_text(html, "utf-8")
        command = [
            found[0], "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}", *options, page.as_uri(),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, timeout=120, check=True)
        said = done.stderr.decode("utf-8", "replace").splitlines()
        return done.stdout.decode("utf-8"), [line for line in said if "CONSOLE" in line]

    return run


def test_the_page_shows_its_figures_and_logs_nothing(browse):
    dom, logged = browse(to_html(report_factory.document()), "--dump-dom")
    for figure in ("4.3x smaller", "2.6x faster", "0.07 pp worse", "270.9 kB", "0.431 ms"):
        assert figure in dom
    assert logged == []


def test_names_that_are_scripts_do_not_run(browse):
    attack = "<script>document.title = 'taken'</script>"
    dom, logged = browse(to_html(report_factory.hostile(attack)), "--dump-dom")
    assert "<title>taken" not in dom
    assert logged == []


def test_the_policy_stops_a_script_that_is_not_the_pages_own(browse):
    """Also shows that an error would be seen in what the browser logs."""
    html = to_html(report_factory.document())
    html = html.replace("</body>", "<script>document.title = 'taken'</script></body>")
    dom, logged = browse(html, "--dump-dom")
    assert "<title>taken" not in dom
    assert any("Content Security Policy" in line for line in logged)


def test_a_press_on_a_heading_sorts_the_layers(browse):
    document = report_factory.document()
    html = to_html(document).replace("Content-Security-Policy", "none")
    dom, logged = browse(html.replace("</body>", SORT), "--dump-dom")
    table = dom.partition('<table class="layers">')[2]
    found = sorted(document["layers"], key=lambda x: table.index(f">{x['name']}</th>"))
    sizes = [layer["bytes_after"] for layer in found]
    assert sizes == sorted(sizes, reverse=True)
    assert 'aria-sort="descending"' in table
    assert logged == []


def long_names():
    """The same with a long word for every name."""
    return report_factory.hostile("a_module.with_a_long_name." * 4)


@pytest.mark.parametrize("width", [1200, 400])
def test_the_page_is_painted(browse, tmp_path, width):
    picture = tmp_path / "page.png"
    browse(
        to_html(report_factory.document()),
        f"--screenshot={picture}",
        f"--window-size={width},900",
    )
    data = picture.read_bytes()
    assert data.startswith(b"\x89PNG")
    assert int.from_bytes(data[16:20], "big") == width
    assert len(data) > 20_000  # an empty page has less than 5,000 bytes


@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("make", [report_factory.document, long_names])
def test_nothing_overflows_and_every_stop_of_the_tab_key_is_seen(
    browse, tmp_path, make, width
):
    """In a frame: no window of the browser is narrower than 500 pixels."""
    html = to_html(make()).replace("Content-Security-Policy", "none")
    (tmp_path / "framed.html").write_text(html.replace("</body>", MEASURE), "utf-8")
    frame = FRAME.replace("WIDTH", str(width))
    options = ("--window-size=1400,900", "--virtual-time-budget=3000", "--dump-dom")
    dom, logged = browse(frame, *options)
    (told,) = re.findall(r'data-found="([^"]*)"', dom)
    found = json.loads(unescape(told))
    assert found["window"] == width
    assert found["wide"] <= width
    assert found["scrolling"] >= (1 if width == 360 else 0)
    assert found["mute"] == 0
    assert found["stops"] > 15
    assert found["lost"] == []
    assert logged == []
