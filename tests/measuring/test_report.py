"""The page of a comparison: whole, well formed, safe, of one file, for every kind of comparison."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from commands import FEW
from commands import MACHINE as PLAIN

from fastconv import cli
from fastconv.measuring.comparison import Comparison, Row
from fastconv.measuring.layers import Layer
from fastconv.measuring.report.results import CaseResult, Results

pytest.importorskip("matplotlib", reason="pictures need matplotlib")
pytest.importorskip("rich", reason="tables need rich")

from fastconv.measuring.report import figures, plotting, svg
from fastconv.measuring.report import html as report

MACHINE = {**PLAIN, "cpu": "a <CPU>"}
RATES = {"gflops": 200.0, "share_of_peak": 0.8, "gbytes_per_second": 2.0}
ROWS = [
    Row(
        "direct",
        auto=True,
        kernel="f32_conv",
        status="ok",
        verified="all outputs",
        seconds=1e-3,
        speedup=5e4,
        max_error=1e-6,
        **RATES,
    ),
    Row("winograd", status="wrong", verified="wrong at <3> & more", max_error=1.0),
    Row("depthwise", status="skipped", verified='it serves "one" channel'),
    Row("reference", status="ok", verified="all outputs", seconds=50.0, speedup=1.0, max_error=0.0, **RATES),
    Row("torch", peer=True, status="ok", verified="all outputs", seconds=2e-3, speedup=2.5e4, note="2.13, <fast>", **RATES),
    Row("onnxruntime", peer=True, status="ok", verified="all outputs", seconds=5e-4, speedup=1e5, note="1.32", **RATES),
]
VOID = {"meta", "link", "br", "img", "hr", "input"}


def case(name="net.conv", rows=ROWS, count=1):
    layer = Layer(name, "conv2d", (1, 3, 8, 8), (4, 3, 3, 3), (("padding", 1),), count)
    return CaseResult(layer, "NCHW", "float32", 10**6, 10**4, list(rows))


def pool():
    rows = [replace(row, share_of_peak=None) for row in ROWS]
    layer = Layer("net.pool", "max_pool2d", (1, 3, 8, 8), None, (("kernel_size", 2),))
    return CaseResult(layer, "NCHW", "float32", 10**6, 10**4, rows)


UNTIMED = [Row("direct", auto=True, status="ok", verified="all outputs"), Row("torch", peer=True, verified="no")]
RESULTS = {
    "single": Results(MACHINE, None, True, [case()], "2026-01-02T03:04:05+00:00", "fastconv compare --layer 'a<b>&c'"),
    "several": Results(MACHINE, None, True, [case(f"net.conv{n}") for n in range(4)] + [pool()]),
    "network": Results(MACHINE, "net", True, [case("net.conv1", count=3), case("net.conv2"), pool()]),
    "interrupted": Results(MACHINE, None, False, [case(), case("net.last", UNTIMED)]),
    "interrupted network": Results(MACHINE, "net", False, [case(), case("net.last", UNTIMED)]),
    "nothing": Results(MACHINE, None, False, []),
    "nothing of a network": Results(MACHINE, "net", False, []),
    "without a peak": Results({**MACHINE, "fma_peak_gflops": None}, None, True, [case()]),
    "hostile": Results(MACHINE, None, True, [case("<script>alert(1)</script>")], "", "</main><img src=x>"),
}


class Page(HTMLParser):
    """Reads a page and fails where a tag is not closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.words, self.rows = [], [], [], {}, []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        assert len(found) == len(attrs), f"{tag} has an attribute twice"
        self.tags.append((tag, found))
        if "id" in found:
            self.ids.append(found["id"])
        if tag == "tr":
            self.rows.append([])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.words[self.open[-1]] = self.words.get(self.open[-1], "") + data
            if self.open[-1] in ("td", "th"):
                self.rows[-1].append(data)

    def having(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module", params=RESULTS)
def made(request):
    text = report.page(RESULTS[request.param])
    return RESULTS[request.param], text, Page(text)


def test_a_page_is_well_formed_and_can_be_read_by_anyone(made):
    _, text, page = made
    assert text.startswith("<!DOCTYPE html>")
    assert page.having("html") == [{"lang": "en"}]
    assert len(page.having("h1")) == len(page.having("title")) - len(page.having("svg")) == 1
    assert len(page.ids) == len(set(page.ids))
    assert {attributes["scope"] for attributes in page.having("th")} <= {"row", "col"}
    for attributes in page.having("svg"):
        assert attributes["role"] == "img"
        assert set(attributes["aria-labelledby"].split()) <= set(page.ids)


def test_every_row_is_there(made):
    results, _, page = made
    found = [row[0] if results.network is None else " ".join(row) for row in page.rows]
    for one in results.cases:
        for row in one.rows:
            assert any(row.implementation in text for text in found)
    wanted = sum(len(one.rows) for one in results.cases) + len(results.totals())
    heads = len(page.having("table"))
    assert len(page.rows) == wanted + heads
    assert heads or not results.cases


def test_nothing_is_asked_of_another_host_or_file(made):
    _, text, page = made
    assert not re.search(r"https?:|@import|//\w", text)
    assert all(
        value == "data:," or value.startswith("#")
        for tag, found in page.tags
        for key, value in found.items()
        if key in ("href", "src")
    )
    assert all(f'id="{name}"' in text for name in re.findall(r'(?:href="|url\()#([^")]+)', text))
    assert {tag for tag, _ in page.tags}.isdisjoint({"img", "iframe", "object"})
    assert len(page.having("script")) == 1


def test_interruption_and_machine_are_told(made):
    results, text, _ = made
    assert ("Interrupted" in text) == (not results.complete)
    assert "a &lt;CPU&gt;" in text
    assert "30 GB/s" in text


def test_text_is_escaped_and_the_command_stands_as_given():
    text = report.page(RESULTS["single"])
    page = Page(text)
    assert page.words["code"] == "fastconv compare --layer 'a<b>&c'"
    assert "wrong at <3> & more" in page.words["td"]
    assert "2026-01-02T03:04:05+00:00" in text
    assert "alert(1)" not in Page(report.page(RESULTS["hostile"])).words["script"]


def test_the_headline_has_the_total_and_the_best_rival():
    words = re.sub("<[^>]*>", "", re.search(r'class="headline">(.*?)</p>', report.page(RESULTS["network"]))[1])
    assert "5.00 ms for 5 layers by direct" in words
    assert "50,000 times as fast as plain loops" in words
    assert "0.50 times as fast as the fastest other library, onnxruntime (2.50 ms)" in words


def test_pictures_are_for_what_was_timed():
    assert len(Page(report.page(RESULTS["single"])).having("svg")) == 3  # loops, peers, roofline
    assert len(Page(report.page(RESULTS["network"])).having("svg")) == 4
    assert len(Page(report.page(RESULTS["nothing"])).having("svg")) == 0


def test_colours_of_every_picture_have_a_twin_for_the_dark():
    """A colour that the style sheet does not know would stay as dark as it is."""
    text = report.page(RESULTS["single"])
    inked = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))))
    assert {figures.INK, figures.OURS, figures.PEERS} <= inked <= set(svg.DARK)


@pytest.mark.parametrize("dark", [False, True])
def test_words_stand_out_from_the_paper(dark):
    """The contrast of the accessibility guidelines: 4.5 for words, 3 for bars."""

    def luminance(colour):
        parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(colour):
        pair = sorted(luminance(svg.DARK[one] if dark else one) for one in (colour, figures.PAPER))
        return (pair[1] + 0.05) / (pair[0] + 0.05)

    assert contrast(figures.INK) >= 4.5
    assert min(map(contrast, (figures.OURS, figures.PEERS, figures.REFERENCE))) >= 3


def test_a_picture_by_itself_is_a_file_of_its_own(tmp_path):
    from xml.etree import ElementTree

    text = svg.standalone(plotting.speedup_bars(ROWS), "bars & more")
    root = ElementTree.fromstring(text)
    assert root.find("{http://www.w3.org/2000/svg}title").text == "bars & more"
    assert "prefers-color-scheme:dark" in text
    assert text == svg.standalone(plotting.speedup_bars(ROWS), "bars & more")


# The command ------------------------------------------------------------------------------------------------------------


def test_the_command_writes_the_page(tmp_path, capsys):
    assert cli.main([*FEW, "--report", str(tmp_path / "a" / "b")]) == 0
    text = (tmp_path / "a" / "b" / "index.html").read_text()
    assert f"wrote {tmp_path / 'a' / 'b' / 'index.html'}" in capsys.readouterr().err
    page = Page(text)
    assert page.words["code"].startswith("fastconv compare --op conv2d --shape 1x3x8x8")
    assert [row[0] for row in page.rows[1:]] == ["loops", "reference"]


def test_an_interrupted_command_writes_what_was_measured(tmp_path, monkeypatch):
    whole = Comparison.steps

    def interrupted(self):
        for step in whole(self):
            if "round 2" in step:
                raise KeyboardInterrupt
            yield step

    monkeypatch.setattr(Comparison, "steps", interrupted)
    monkeypatch.setattr(Comparison, "_timed_enough", lambda self, entry: entry.extrapolated)  # a second round, however slow
    assert cli.main([*FEW, "--report", str(tmp_path)]) == 130
    assert "Interrupted" in (tmp_path / "index.html").read_text()


def test_a_folder_that_cannot_be_made_is_an_error_before_anything_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Comparison, "steps", lambda self: pytest.fail("it ran"))
    (tmp_path / "file").write_text("")
    assert cli.main([*FEW, "--report", str(tmp_path / "file")]) == 2
    assert "file" in capsys.readouterr().err
