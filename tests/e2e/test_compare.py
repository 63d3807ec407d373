"""The Compare page as people meet it: a real server, a real browser, the real built-in model."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from pages.ui.shell.i18n import load_texts
from tests.e2e.test_playground import set_number

EN = load_texts("en")

# Looks at every frame for columns that were drawn anew, that went missing, or that moved the page.
WATCH_SCRIPT = """(grid) => {
  const main = document.querySelector('[data-testid="stMain"]');
  const first = [...grid.children], scroll = main.scrollTop, top = grid.getBoundingClientRect().top;
  const w = window.watched = { frames: 0, replaced: 0, moved: 0, states: new Set() };
  const look = () => {
    w.frames += 1;
    if (!grid.isConnected || first.some((node, place) => node !== grid.children[place])) w.replaced += 1;
    if (main.scrollTop !== scroll || grid.getBoundingClientRect().top !== top) w.moved += 1;
    w.states.add(grid.textContent.length);
    window.watching = requestAnimationFrame(look);
  };
  look();
}"""
WATCH_RESULT_SCRIPT = """() => { cancelAnimationFrame(window.watching); const w = window.watched;
  return { frames: w.frames, replaced: w.replaced, moved: w.moved, states: w.states.size }; }"""
SELECT_SCRIPT = """(grid) => {
  const range = document.createRange();
  range.selectNodeContents(grid.querySelector('.token'));
  const selection = grid.getRootNode().getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
  return selection.toString();
}"""
SELECTION_SCRIPT = "(grid) => grid.getRootNode().getSelection().toString()"


def open_compare(page: Page, url: str, language: str = "en") -> None:
    words = load_texts(language)
    page.goto(f"{url}/compare?lang={language}")
    expect(page.get_by_role("heading", name=words["compare.title"], exact=True)).to_be_visible()
    expect(page.get_by_text("SmolLM2-135M-Instruct · float32")).to_be_visible(timeout=60_000)


def press_run(page: Page, language: str = "en") -> None:
    page.get_by_role("button", name=load_texts(language)["playground.run"], exact=True).click()


def wait_for_comparison(page: Page, language: str = "en") -> None:
    stop = page.get_by_role("button", name=load_texts(language)["playground.stop"], exact=True)
    expect(stop).to_be_disabled(timeout=120_000)
    expect(page.get_by_text(load_texts(language)["compare.entropy_title"], exact=True)).to_be_visible()


def find_column(page: Page, place: int):
    return page.get_by_role("listbox").nth(place)


def test_six_answers_grow_in_place_and_a_selection_lasts(page: Page, server):
    open_compare(page, server)
    set_number(page, "max_output_tokens", "40")
    press_run(page)
    expect(find_column(page, 5).get_by_role("option").nth(1)).to_be_visible()
    grid = page.locator(".grid")
    marked = grid.evaluate(SELECT_SCRIPT)
    assert marked
    grid.evaluate(WATCH_SCRIPT)
    wait_for_comparison(page)
    seen = page.evaluate(WATCH_RESULT_SCRIPT)
    assert seen["states"] > 5
    assert seen["replaced"] == 0
    assert seen["moved"] == 0
    assert grid.evaluate(SELECTION_SCRIPT) == marked
    expect(page.get_by_role("listbox")).to_have_count(6)


@pytest.mark.thorough
def test_where_two_part_is_marked_explained_and_can_be_left(page: Page, server):
    open_compare(page, server)
    set_number(page, "max_output_tokens", "24")
    press_run(page)
    wait_for_comparison(page)
    panel = page.locator(".st-key-compare-divergence_card")
    chosen = page.locator(".token.first").nth(2)
    place = chosen.get_attribute("data-place")
    chosen.click()
    number, step = place.split(":")
    heading = re.compile(f"part at token {int(step) + 1}:")
    expect(panel.get_by_text(heading)).to_be_visible()
    expect(panel.locator(".nucleus-plot .main-svg").first).to_be_attached()
    expect(panel.locator(".nucleus-plot")).to_have_count(2)
    expect(panel.get_by_role("listitem").first).to_contain_text(re.compile("could not choose|takes only|Both could"))
    expect(chosen).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowRight")
    expect(panel.get_by_text(re.compile("The two parted at token"))).to_be_visible()
    expect(find_column(page, int(number)).get_by_role("option").nth(int(step) + 1)).to_have_attribute(
        "aria-selected", "true"
    )
    expect(page.get_by_test_id("stException")).to_have_count(0)


@pytest.mark.thorough
def test_a_cell_of_the_map_is_clicked_to_read_its_texts_and_the_chart_downloaded(page: Page, server):
    open_compare(page, server)
    page.get_by_role("radio", name=EN["compare.kinds.sweep.name"], exact=True).click()
    page.get_by_role("button", name=EN["sweep.ready.map"], exact=True).click()
    expect(page.get_by_label(EN["sweep.second"])).to_be_visible()
    set_number(page, "max_output_tokens", "6")
    press_run(page)
    expect(page.get_by_text("50 of 50 answers")).to_be_visible(timeout=120_000)
    plot = page.locator(".st-key-compare-sweep_card .nucleus-plot")
    plot.locator(".nsewdrag").first.click()  # its middle: the third of five values on both axes
    expect(page.get_by_test_id("stCode")).to_have_count(2)
    expect(page.get_by_label(EN["sweep.read"])).to_have_value("Temperature 0.9, Top-P 0.7")
    with page.expect_download() as download:
        page.get_by_role("button", name=EN["charts.save"]).click()
    image = download.value.path().read_bytes()
    assert image.startswith(b"\x89PNG")
    assert len(image) > 10_000


@pytest.mark.thorough
@pytest.mark.parametrize("language", ["en", "vi"])
def test_a_phone_shows_the_columns_below_each_other(browser, server, language):
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    open_compare(page, server, language)
    press_run(page, language)
    wait_for_comparison(page, language)
    assert page.evaluate("() => document.querySelector('[data-testid=\"stMain\"]').scrollWidth") <= 390
    lefts = {round(find_column(page, place).bounding_box()["x"]) for place in range(6)}
    assert len(lefts) == 1
    context.close()
