"""The Best-of-N page as people meet it: a real server, a real browser, the real built-in model."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from pages.ui.shell.i18n import load_texts
from tests.e2e.test_compare import WATCH_RESULT_SCRIPT, WATCH_SCRIPT

EN = load_texts("en")


def open_best_of_n(page: Page, url: str, language: str = "en", n: int = 6, tokens: int = 24) -> None:
    words = load_texts(language)
    page.goto(f"{url}/best_of_n?lang={language}")
    expect(page.get_by_role("heading", name=words["best.title"], exact=True)).to_be_visible()
    expect(page.get_by_text("SmolLM2-135M-Instruct · float32")).to_be_visible(timeout=120_000)
    for key, value in (("best.n", n), ("settings.max_output_tokens", tokens)):
        field = page.get_by_label(words[key], exact=True).first
        field.fill(str(value))
        field.press("Enter")
        page.wait_for_timeout(800)


def press_run(page: Page, language: str = "en") -> None:
    page.get_by_role("button", name=load_texts(language)["playground.run"], exact=True).click()


def wait_for_winners(page: Page, language: str = "en") -> None:
    words = load_texts(language)
    expect(page.get_by_text(words["best.winners"], exact=True)).to_be_visible(timeout=240_000)
    expect(page.get_by_role("button", name=words["playground.stop"], exact=True)).to_be_disabled(timeout=120_000)


def test_cards_grow_in_place_and_winners_are_marked(page: Page, server):
    open_best_of_n(page, server, tokens=40)
    press_run(page)
    expect(page.locator(".card")).to_have_count(6)
    expect(page.locator(".card .inner:not(.empty)").first).to_be_visible()
    grid = page.locator(".cards")
    grid.evaluate(WATCH_SCRIPT)
    expect(page.locator(".card.live")).to_have_count(0, timeout=240_000)
    seen = page.evaluate(WATCH_RESULT_SCRIPT)
    assert seen["states"] > 5
    assert seen["replaced"] == 0
    wait_for_winners(page)
    expect(page.locator(".card.wins").first).to_be_visible()
    winners = page.locator(".st-key-best_of_n-winners_card")
    expect(winners.get_by_text(EN["best.criterion.sum_logprob"])).to_be_visible()
    expect(page.get_by_test_id("stException")).to_have_count(0)


@pytest.mark.thorough
def test_a_candidate_is_read_token_by_token_and_opened_in_the_lens(page: Page, server):
    open_best_of_n(page, server)
    press_run(page)
    wait_for_winners(page)
    page.locator(".card").nth(1).click()
    card = page.locator(".st-key-best_of_n-candidate_card")
    expect(card.get_by_role("option").first).to_be_visible()
    expect(card.get_by_text(re.compile("Candidate 2"))).to_be_visible()
    page.get_by_role("button", name=EN["best.open.lens"]).click()
    expect(page.get_by_role("heading", name=EN["lens.title"], exact=True)).to_be_visible()
    expect(page.locator(".nucleus-plot .main-svg").first).to_be_attached()
    expect(page.get_by_test_id("stException")).to_have_count(0)


@pytest.mark.thorough
def test_more_candidates_are_added_to_those_that_are_there(page: Page, server):
    open_best_of_n(page, server, n=3, tokens=12)
    press_run(page)
    wait_for_winners(page)
    before = page.locator(".card .inner").first.inner_text()
    page.get_by_role("button", name=EN["best.grow"], exact=True).click()
    expect(page.get_by_text(re.compile("6 of 6 candidates done"))).to_be_visible(timeout=120_000)
    assert page.locator(".card .inner").first.inner_text() == before


@pytest.mark.thorough
def test_the_panels_draw_their_charts_and_one_is_downloaded(page: Page, server):
    open_best_of_n(page, server, n=8, tokens=16)
    press_run(page)
    wait_for_winners(page)
    page.get_by_role("radio", name=EN["best.panels.agreement"], exact=True).click()
    panel = page.locator(".st-key-best_of_n-panel_card")
    expect(panel.locator(".nucleus-plot .main-svg").first).to_be_attached()
    expect(panel.locator(".nucleus-plot")).to_have_count(2)
    page.get_by_role("radio", name=EN["best.panels.theory"], exact=True).click()
    expect(panel.locator(".nucleus-plot")).to_have_count(4)
    expect(panel.get_by_text(EN["best.kl"], exact=True)).to_be_visible()
    with page.expect_download() as download:
        panel.get_by_role("button", name=EN["charts.save"]).first.click()
    assert download.value.path().read_bytes().startswith(b"\x89PNG")


@pytest.mark.thorough
@pytest.mark.parametrize("language", ["en", "vi"])
def test_a_phone_shows_the_cards_below_each_other(browser, server, language):
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    open_best_of_n(page, server, language, n=3, tokens=8)
    press_run(page, language)
    wait_for_winners(page, language)
    assert page.evaluate("() => document.querySelector('[data-testid=\"stMain\"]').scrollWidth") <= 390
    lefts = {round(page.locator(".card").nth(place).bounding_box()["x"]) for place in range(2)}
    assert len(lefts) == 1
    context.close()
