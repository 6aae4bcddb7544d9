"""The page: complete, self-contained, and safe with hostile names."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from lissom.artifact import Manifest
from lissom.report import text
from lissom.report.page import render_page, tiles
from lissom.report.results import Results, Row, Skipped
from tests.report import invented

VOID = {"meta", "input", "br", "link", "img"}
# Elements of inline SVG that the template closes with "/>".
DRAWN = {"line", "rect", "circle", "path", "polyline"}


class Page(HTMLParser):
    """The page's elements, attributes and text; says whether tags are balanced."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words: dict[str, str] = {}
        self.row: str | None = None
        self.text = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attributes}
        self.elements.append((tag, named))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.row = named.get("id")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag in DRAWN
        self.elements.append((tag, {name: value or "" for name, value in attributes}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "tr":
            self.row = None

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            return
        self.text += data
        if self.row:
            self.words[self.row] = self.words.get(self.row, "") + data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_every_tag_is_closed_and_every_row_has_its_numbers(results: Results) -> None:
    page = Page(render_page(results))
    assert page.open == []
    for number, row in enumerate(results.rows, 1):
        measured = row.measurement
        words = page.words[f"row-{number}"]
        assert measured.speed is not None
        assert measured.quality is not None
        assert row.name in words
        for shown in (
            text.size(measured.footprint.bytes),
            text.milliseconds(measured.speed.candidate.p50),
            text.ratio(measured.speed.ratio.value),
            text.speed_interval(measured.speed.ratio),
            text.score(measured.quality.value.value),
            text.drop(measured.quality),
            text.drop_interval(measured.quality),
            *text.remarks(row),
        ):
            assert shown in words
    assert "90.8 MB" in page.words["row-0"]
    assert "142.3 MB" in page.words["row-0"]


def test_only_the_chosen_row_is_marked(results: Results) -> None:
    page = Page(render_page(results))
    assert [tr["id"] for tr in page.all("tr") if tr.get("class") == "chosen"] == ["row-1"]
    assert "chosen" in page.words["row-1"]
    assert "chosen" not in page.words["row-2"]


def test_the_rest_of_the_story_is_there(results: Results) -> None:
    told = " ".join(Page(render_page(results)).text.split())
    for words in (
        "all-MiniLM-L6-v2 became 3.9x smaller (90.8 → 23.2 MB)",
        "u8 x s8 products saturate on this machine",
        "quantize.dynamic(weights=int7, per_channel=true)",
        "Exported from torch: the outputs differ by at most 2.1e-07.",
        "Invented 9000 16-Core Processor",
        "one thread, batch 1, input_ids 1x128",
        "3 fresh processes of 3 s",
        "size 25MB, latency 4ms, drop 1pt",
        'ort.InferenceSession("out/model.onnx")',
        "No labels were used, so it says how faithful the copy is, not how right it is.",
        "Not proven: drop 0.90 pt is inside the limit 1pt, its interval (up to 1.02 pt) is not.",
    ):
        assert words in told


def test_nothing_is_fetched_and_the_browser_is_told_so(results: Results) -> None:
    source = render_page(results)
    page = Page(source)
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            assert attributes.get(name, "#").startswith("#")
    assert "url(" not in source
    assert "@import" not in source
    assert "http://" not in source
    assert "https://" not in source
    assert page.all("link") == page.all("img") == page.all("iframe") == []
    policy = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"]
    assert len(source) < 200_000


def test_whatever_the_user_named_is_text(results: Results) -> None:
    evil = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}"
    row = results.rows[0].model_copy(
        update={"name": evil, "steps": (evil,), "flags": (evil,), "misses": (evil,)}
    )
    machine = results.machine.model_copy(update={"cpu": evil})
    settings = results.settings.model_copy(update={"shapes": {evil: (1, 2)}})
    hostile = results.model_copy(
        update={
            "model": evil, "task": evil, "target": evil, "objective": evil, "lissom": evil,
            "sentence": evil, "snippet": evil, "notes": (evil,),
            "budget": {evil: evil, "size": evil},
            "skipped": (Skipped(name=evil, why=evil),), "rows": (row, *results.rows[1:]),
            "machine": machine, "settings": settings,
        }
    )  # fmt: skip
    source = render_page(hostile)
    page = Page(source)
    assert page.open == []
    assert len(page.all("script")) == 1
    assert page.all("img") == []
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert "49" not in page.words["row-1"].replace("{{ 7*7 }}", "")
    assert evil in page.words["row-1"]


def test_every_plot_has_every_file_as_a_link_to_its_row(results: Results) -> None:
    page = Page(render_page(results))
    rows = {tr["id"] for tr in page.all("tr") if "id" in tr}
    marks = [a for a in page.all("a") if "data-tip" in a]
    # Three plots, each once for wide and once for narrow pages.
    assert len(marks) == 6 * len(rows)
    assert {a["href"].removeprefix("#") for a in marks} == rows
    tip = next(a["data-tip"] for a in marks if a["data-row"] == "1")
    assert tip.splitlines()[0] == "dynamic int8 per channel"
    assert "speed-up 2.9x [2.85, 2.98]" in tip


def test_the_snippet_is_copied_as_it_was(results: Results) -> None:
    source = render_page(results)
    assert 'id="copy"' in source
    page = Page(source)
    assert results.snippet in page.text


@pytest.mark.parametrize("missing", ["quality", "speed", "rows", "chosen", "all"])
def test_what_was_not_measured_leaves_no_empty_room(results: Results, missing: str) -> None:
    def without(row: Row) -> Row:
        gone = {
            "quality": {"quality": None},
            "speed": {"speed": None, "latency": None},
            "all": {"quality": None, "speed": None, "latency": None},
        }.get(missing, {})
        return row.model_copy(
            update={
                "measurement": row.measurement.model_copy(update=gone),
                "chosen": row.chosen and missing != "chosen",
            }
        )

    rows = () if missing == "rows" else tuple(without(row) for row in results.rows)
    page = Page(
        render_page(
            results.model_copy(update={"rows": rows, "original": without(results.original)})
        )
    )
    assert page.open == []
    assert "90.8 MB" in page.words["row-0"]
    assert ("Quality was not measured" in page.text) == (missing in ("quality", "all", "rows"))
    assert ("Nothing was chosen" in page.text) == (missing in ("rows", "chosen"))
    plots = {"quality": 1, "speed": 1, "rows": 0, "chosen": 3, "all": 0}[missing]
    assert len(page.all("svg")) - ("How long one run takes" in page.text) * len(rows) == 2 * plots


def test_a_recipe_shows_what_each_step_did(recipe: Results) -> None:
    source = render_page(recipe)
    page = Page(source)
    told = " ".join(page.text.split())
    assert page.open == []
    assert "What each step did" in told
    assert "quantize.static(percentile=99.99)" in told
    for words in ("Pareto", "candidate", "Objective", "chosen"):
        assert words not in told
    assert "What is traded for what" not in told
    for drawing in (svg for svg in page.all("svg") if "aria-describedby" in svg):
        assert {drawing["aria-labelledby"], drawing["aria-describedby"]} <= {
            attributes.get("id") for _, attributes in page.elements
        }
    # The table has every number of the drawing.
    for words in ("560.0 kB", "step -540.0 kB", "step -0.41 ms", "step -4.10 pt", "4.10 pt"):
        assert words in page.words["row-1"]
    assert page.words["row-1"].split()[0] == "1prune.structured"  # badge, name
    assert "result" in page.words["row-4"]
    assert (
        "What each step did" not in Page(render_page(recipe.model_copy(update={"rows": ()}))).text
    )


def test_a_search_has_no_steps(results: Results) -> None:
    page = Page(render_page(results))
    assert "What each step did" not in page.text
    assert "differences rarer than 0.2 % (3/n) go unseen" in page.text


def test_the_template_is_package_data() -> None:
    from importlib import resources

    files = {file.name for file in resources.files("lissom.report").iterdir()}
    assert {"page.html.j2", "page.css", "page.js"} <= files


def test_both_ways_into_the_dark_have_the_same_colours() -> None:
    from importlib import resources

    css = resources.files("lissom.report").joinpath("page.css").read_text(encoding="utf-8")
    palettes = re.findall(r"color-scheme: dark;([^}]*)}", css)
    assert len(palettes) == 2
    assert palettes[0].split() == palettes[1].split()
    # Every colour of the light palette has a dark one.
    light = re.search(r"color-scheme: light;([^}]*)}", css)
    assert light is not None
    assert re.findall(r"--[\w-]+", light[1]) == re.findall(r"--[\w-]+", palettes[0])


def test_a_file_saved_in_place_of_the_chosen_one_is_told(results: Results) -> None:
    manifest = Manifest(
        lissom="0.1.0",
        name="float16",
        model="model.onnx",
        files={"model.onnx": "ab" * 32},
        original={},
        recipe={"name": "float16", "steps": [{"technique": "quantize.float16"}]},
        target="onnxruntime 1.31.1",
        cpu="avx2",
        pair_sums=True,
        machine={},
        measurement={},
    )
    told = " ".join(Page(render_page(results, manifest)).text.split())
    assert "The folder holds float16, which was saved in place of the file chosen above." in told
    assert "ab" * 32 in told
    assert "technique: quantize.float16" in told
    chosen = manifest.model_copy(update={"name": "dynamic int8 per channel"})
    assert "in place of" not in render_page(results, chosen)


def test_what_is_not_proven_stands_in_its_box_alone(results: Results) -> None:
    limit = results.rows[0].unproven[0]
    told = results.model_copy(
        update={"sentence": f"{results.sentence} {text.not_proven(results.rows[0])}"}
    )
    header = render_page(told).split("</header>")[0]
    assert header.count(limit) == 1
    assert "<strong>Not proven:</strong>" in header


def test_what_became_worse_is_not_drawn_as_a_gain(results: Results) -> None:
    timed = invented.speed(6.4, 7.1, 0.88, 0.92, "slower")
    slow = invented.row("slow", 22_000_000, timed, None, 200_000_000)
    worse = results.model_copy(update={"rows": (slow.model_copy(update={"chosen": True}),)})
    assert [(tile.title, tile.direction) for tile in tiles(worse)] == [
        ("Size", "better"),
        ("Latency", "worse"),
        ("Peak memory", "worse"),
    ]
