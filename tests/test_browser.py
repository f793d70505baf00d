"""The page in a real headless Chromium: it opens, sorts, filters and downloads, asks for nothing,
and axe finds no fault.

Needs the extra `browser` and a Chromium on the PATH (Debian's package `chromium`); skipped without
them.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from avcheck.record.report import Report
from avcheck.render.records import to_json
from tests.support.page_reports import HOSTILE, compared, hostile, page, run, stills, title

playwright = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed (extra `browser`)"
)

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = os.environ.get("AVCHECK_TEST_CHROMIUM") or next(
    filter(None, map(shutil.which, NAMES)), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the PATH")

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        # Chromium's own sandbox does not run as root, which containers do; the pages are ours.
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """`opened(text)` shows a page and fails at the end if it had anything to say, or asked for
    anything but itself.
    """
    said: list[str] = []
    contexts = []

    def show(text: str, **options: Any) -> Any:
        path = tmp_path / "page.html"
        path.write_text(text, encoding="utf-8")
        contexts.append(browser.new_context(**options))
        tab = contexts[-1].new_page()
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
        tab.on(
            "request",
            lambda request: (
                said.append(request.url) if not request.url.startswith(("data:", "blob:")) else None
            ),
        )
        tab.goto(path.as_uri())
        assert said.pop(0) == path.as_uri()
        return tab

    yield show
    for context in contexts:
        context.close()
    assert said == []


def names(tab: Any) -> list[str]:
    return [text.strip() for text in tab.locator("table.files tbody .opens").all_inner_texts()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_title_opens_without_a_word(opened: Open, scheme: str) -> None:
    tab = opened(
        page([title(60)], stills), color_scheme=scheme, viewport={"width": 390, "height": 800}
    )
    assert tab.locator("svg.chart").count() == 3
    assert tab.locator("svg.still").count() == 6
    # Nothing sticks out of a narrow window
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    dark = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(20, 24, 29)") is (scheme == "dark")


def test_a_drawing_fits_into_half_a_window(opened: Open) -> None:
    """At 200 % a window of 1280 px is 640 wide: the end of every drawing was out of sight."""
    tab = opened(page([title(60)], stills), viewport={"width": 640, "height": 450})
    hidden = "boxes => boxes.map(box => box.scrollWidth - box.clientWidth)"
    assert tab.eval_on_selector_all("section.scroll:has(svg.chart)", hidden) == [0, 0, 0]


def test_the_record_is_downloaded_as_it_is(opened: Open) -> None:
    report = title(60)
    tab = opened(page([report]))
    with tab.expect_download() as waiting:
        tab.click("a.download")
    assert waiting.value.suggested_filename == "film.mp4.avcheck.json"
    assert Path(waiting.value.path()).read_text(encoding="ascii") == to_json(report) + "\n"
    assert Report.from_record(json.loads(to_json(report))) == report


def test_the_table_sorts_both_ways_and_what_has_no_number_comes_last(opened: Open) -> None:
    reports = run(30, seconds=60)
    tab = opened(page(reports))
    known = [report.offset_ms for report in reports if report.offset_ms is not None]
    for order in (sorted(known), sorted(known, reverse=True)):
        tab.click("th[data-key=offset] button")
        shown = tab.eval_on_selector_all(
            "table.files tbody tr", "rows => rows.map(row => row.dataset.offset)"
        )
        assert [float(text) for text in shown if text] == order
        assert shown[len(order) :] == [""] * (30 - len(order))
    assert tab.get_attribute("th[data-key=offset]", "aria-sort") == "descending"
    assert tab.get_attribute("th[data-key=rank]", "aria-sort") is None
    tab.click("th[data-key=name] button")
    assert names(tab) == sorted(names(tab))


def test_the_table_filters_by_words_and_verdict(opened: Open) -> None:
    tab = opened(page(run(30, seconds=60)))
    tab.fill("#find", "03/episode TITLE")
    playwright.expect(tab.locator("#status")).to_contain_text("4 of 30")
    assert all("Season 03" in name for name in names(tab))
    tab.fill("#find", "no audio track")
    playwright.expect(tab.locator("#status")).to_contain_text("3 of 30")
    tab.fill("#find", "")
    playwright.expect(tab.locator("#status")).to_contain_text("30 rows")
    tab.uncheck("[name=verdict][value=in_sync]")
    assert tab.locator("table.files tbody tr.in_sync").count() == 0
    assert tab.locator("table.files tbody tr.error").count() == 3


def test_a_row_opens_by_keyboard(opened: Open) -> None:
    tab = opened(page(run(30, seconds=60)))
    button = tab.locator("table.files tbody button.opens").first
    button.focus()
    tab.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    details = tab.locator("tr.opened")
    assert details.locator("svg.chart").is_visible()
    assert "--output html=report.html" in details.inner_text()
    tab.keyboard.press("Space")
    assert details.count() == 0


def test_a_narrow_screen_says_why_a_file_failed(opened: Open) -> None:
    tab = opened(page(run(30, seconds=60)), viewport={"width": 390, "height": 800})
    failed = tab.locator("table.files tbody tr.error").first
    assert "no audio track" not in failed.inner_text()  # there is no room for the column
    failed.locator("button.opens").click()
    assert "no audio track" in tab.locator("tr.opened").inner_text()


@pytest.mark.parametrize("count", [1, len(HOSTILE)])
def test_no_name_runs(opened: Open, count: int) -> None:
    tab = opened(page([hostile(name) for name in HOSTILE[:count]], stills))
    tab.evaluate("document.querySelectorAll('button.opens').forEach(button => button.click())")
    if count > 1:
        shown = "".join(names(tab))
        assert all(
            name in shown.replace("\n", "")
            for name in HOSTILE
            if name.isprintable() and "/" not in name
        )
    assert tab.locator("img, iframe, object").count() == 0


def test_without_scripts_every_row_is_there(opened: Open) -> None:
    tab = opened(page(run(300, seconds=20)), java_script_enabled=False)
    assert tab.locator("table.files tbody tr").count() == 300
    assert tab.locator("table.files tbody tr").last.is_visible()
    assert not tab.locator(".filters").is_visible()


def test_print_shows_all_rows_and_no_controls(opened: Open) -> None:
    tab = opened(page(run(300, seconds=20)), color_scheme="dark")
    assert tab.locator("table.files tbody tr").count() == 200
    tab.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    tab.emulate_media(media="print")
    assert tab.locator("table.files tbody tr").count() == 300
    assert not tab.locator(".filters").is_visible()
    # Dark on white, whatever the screen is
    assert tab.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"
    assert tab.evaluate("getComputedStyle(document.body).color") == "rgb(26, 32, 40)"


@pytest.mark.parametrize(
    ("kind", "scheme", "width"),
    [
        ("one", "light", 1280),
        ("one", "dark", 390),
        ("many", "light", 390),
        ("many", "dark", 1280),
        ("compared", "light", 1280),
        ("compared", "dark", 390),
        # Colours do not go by the width
        pytest.param("one", "light", 390, marks=pytest.mark.slow),
        pytest.param("one", "dark", 1280, marks=pytest.mark.slow),
        pytest.param("many", "light", 1280, marks=pytest.mark.slow),
        pytest.param("many", "dark", 390, marks=pytest.mark.slow),
    ],
)
def test_axe_finds_no_fault(opened: Open, kind: str, scheme: str, width: int) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe is not installed (extra `browser`)"
    )
    reports = {"one": [title(60)], "many": run(10, seconds=60), "compared": [compared()]}[kind]
    text = page(reports, stills)
    tab = opened(text, color_scheme=scheme, viewport={"width": width, "height": 900})
    if kind == "many":
        tab.locator("table.files tbody button.opens").first.click()
    results = axe.Axe().run(tab).response
    assert len(results["passes"]) > 20
    assert [(fault["id"], fault["nodes"][0]["html"]) for fault in results["violations"]] == []


@pytest.mark.slow
def test_ten_thousand_rows_stay_quick(opened: Open) -> None:
    began = time.monotonic()
    tab = opened(page(run(10_000, seconds=10)))
    assert tab.locator("table.files tbody tr").count() == 200
    clicks = (
        "th[data-key=offset] button",
        "th[data-key=name] button",
        "[name=verdict][value=in_sync]",
    )
    for selector in clicks:
        took_ms = tab.evaluate(
            "async selector => { const began = performance.now(); "
            "document.querySelector(selector).click();"
            " await new Promise(done => requestAnimationFrame(() => setTimeout(done))); return "
            "performance.now() - began }",
            selector,
        )
        assert took_ms < 2000, selector  # a tenth of it where nothing else runs
    assert time.monotonic() - began < 120
