"""The Lens in a real browser: from a pinned token, by the sliders, under the keyboard, and after a reload."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.test_playground import EN, choose_strategy, open_playground, run_button, set_number, wait_for_run


def go_to_lens(page: Page) -> None:
    page.get_by_test_id("stSidebarNavLink").filter(has_text=EN["lens.title"]).click()
    expect(page.get_by_role("heading", name=EN["lens.title"])).to_be_visible()


def find_chart(page: Page):
    return page.locator(".nucleus-plot").first


def step_label(step: int, count: int) -> str:
    return EN["step.place"].format(step=step, count=count)


def test_a_pinned_token_is_looked_at_and_recomputed(page: Page, server: str):
    open_playground(page, server)
    choose_strategy(page, "combined")
    set_number(page, "max_output_tokens", "8")
    run_button(page).click()
    wait_for_run(page)
    page.locator(".st-key-playground-answer").get_by_role("option").nth(2).click()
    go_to_lens(page)
    expect(page.get_by_text(step_label(3, 8))).to_be_visible()
    for heading in ("lens.raw", "stages.temperature.name", "stages.top_k.name", "stages.top_p.name"):
        expect(find_chart(page).get_by_text(EN[heading], exact=True)).to_be_visible()
    before = find_chart(page).get_attribute("data-step")
    page.locator(".st-key-settings-temperature input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    expect(find_chart(page)).not_to_have_attribute("data-step", before or "")
    page.locator(".st-key-lens-strip").get_by_role("option").nth(5).click()
    expect(page.get_by_text(step_label(6, 8))).to_be_visible()
    page.reload()
    expect(page.locator(".st-key-lens-strip").get_by_role("option")).to_have_count(8)
    expect(find_chart(page)).to_be_visible()


@pytest.mark.thorough
def test_the_answer_waits_for_the_guess(page: Page, server: str):
    open_playground(page, server)
    choose_strategy(page, "greedy")
    set_number(page, "max_output_tokens", "6")
    run_button(page).click()
    wait_for_run(page)
    go_to_lens(page)
    page.get_by_text(EN["lens.guess_first"], exact=True).click()
    expect(page.locator(".st-key-lens-strip").get_by_role("option")).to_have_count(5)
    expect(page.locator(".nucleus-plot")).to_have_count(0)
    page.get_by_role("textbox", name=EN["lens.guess.ask"]).fill("<b>sea</b>")
    page.get_by_role("button", name=EN["lens.guess.reveal"]).click()
    expect(find_chart(page)).to_be_visible()
    expect(page.locator(".st-key-lens-strip").get_by_role("option")).to_have_count(6)
    expect(page.get_by_text(EN["lens.guess.truth"].split("**")[0].strip())).to_be_visible()
