"""Recipes in a real browser: from saving to opening the link in another one; hostile words stay words."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.test_playground import EN, open_playground, run_button, set_number
from tests.e2e.test_playground_branches import find_button
from tests.support.browser import choose_option

SCRIPT = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"


def type_prompt(page: Page, text: str) -> None:
    page.get_by_label(EN["playground.prompt"], exact=True).fill(text)
    page.keyboard.press("Tab")


def save_recipe(page: Page, how: str, title: str = "") -> None:
    find_button(page, "desk.save").click()
    if title:
        page.get_by_label(EN["desk.title"], exact=True).fill(title)
    find_button(page, how).click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def open_section(page: Page, section: str) -> None:
    page.get_by_test_id("stSidebarNav").get_by_text(EN["gallery.title"], exact=True).click()
    page.get_by_role("radio", name=EN[f"gallery.sections.{section}"], exact=True).click()


def open_button(page: Page):
    """Return the first Open button of the list."""
    return page.locator("[class*='st-key-gallery-open'] button").first


def search(page: Page, words: str) -> None:
    field = page.get_by_label(EN["gallery.search"], exact=True)
    field.fill(words)
    field.press("Enter")


@pytest.mark.thorough
def test_save_edit_save_diff_restore_delete_undo_open(page: Page, server):
    open_playground(page, server)
    type_prompt(page, "Describe the sea.")
    save_recipe(page, "desk.save_new", f"Biển đêm {SCRIPT}")
    link = page.get_by_role("link", name=re.compile(r"\?s=")).get_attribute("href")
    assert link
    assert re.fullmatch(rf"{re.escape(server)}/\?s=[a-z2-9]{{12}}", link)
    type_prompt(page, "Describe the hills.")
    expect(page.get_by_text(EN["desk.changed"])).to_be_visible()
    save_recipe(page, "desk.save_version")
    expect(page.get_by_text(EN["desk.saved_version"].format(number=2))).to_be_visible()

    open_section(page, "saved")
    search(page, "bien dem")
    expect(page.get_by_text(EN["gallery.found"].format(count=1))).to_be_visible()
    expect(page.get_by_text(SCRIPT, exact=False).first).to_be_visible()
    find_button(page, "gallery.details").click()
    expect(page.get_by_text("-  instruction: Describe the sea.")).to_be_visible()
    expect(page.get_by_text("+  instruction: Describe the hills.")).to_be_visible()
    expect(find_button(page, "gallery.restore")).to_be_disabled()
    page.get_by_label(EN["gallery.version"], exact=True).first.press("ArrowDown")
    choose_option(page.get_by_role("option", name=re.compile("version 1 ")))
    find_button(page, "gallery.restore").click()
    expect(page.get_by_text(EN["gallery.restored"].format(number=1, new=3))).to_be_visible()
    find_button(page, "gallery.delete").click()
    expect(page.get_by_text(EN["gallery.none_found"])).to_be_visible()
    find_button(page, "gallery.undo").click()
    open_button(page).click()
    expect(page.get_by_label(EN["playground.prompt"], exact=True)).to_have_value("Describe the sea.")
    expect(page.get_by_text(EN["desk.version"].format(number=3))).to_be_visible()

    # a reload is a new session of the same browser, which still owns what it saved
    page.goto(f"{server}/gallery?lang=en")
    page.get_by_role("radio", name=EN["gallery.sections.saved"], exact=True).click()
    search(page, "bien dem")
    find_button(page, "gallery.details").click()
    expect(find_button(page, "gallery.delete")).to_be_visible()

    # somebody else opens the link: nothing runs, and nothing can be changed
    other = page.context.browser.new_context(locale="en-US").new_page()  # type: ignore[union-attr]
    other.goto(f"{link}&lang=en")
    expect(other.get_by_label(EN["playground.prompt"], exact=True)).to_have_value("Describe the sea.")
    expect(other).not_to_have_url(re.compile(r"[?&]s="))
    expect(other.locator(".st-key-playground-answer").get_by_role("option")).to_have_count(0)
    find_button(other, "desk.save").click()
    expect(find_button(other, "desk.save_new")).to_be_visible()
    expect(find_button(other, "desk.save_version")).to_have_count(0)
    for each in (page, other):
        assert each.evaluate("window.hacked") is None
    other.context.close()


@pytest.mark.thorough
def test_unsaved_work_is_asked_for_and_comes_back(page: Page, server):
    open_playground(page, server)
    type_prompt(page, "Mine alone")
    open_section(page, "ready")
    open_button(page).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(EN["desk.replace_title"])
    find_button(page, "desk.keep").click()
    expect(dialog).to_have_count(0)
    open_button(page).click()
    find_button(page, "desk.open").click()
    prompt = page.get_by_label(EN["playground.prompt"], exact=True)
    expect(prompt).not_to_have_value("Mine alone")
    find_button(page, "playground.bring_back").click()
    expect(prompt).to_have_value("Mine alone")


def test_a_run_is_in_the_history_of_this_browser_and_of_no_other(page: Page, server):
    open_playground(page, server)
    set_number(page, "max_output_tokens", "4")
    type_prompt(page, f"Say ahoy {SCRIPT}")
    run_button(page).click()
    expect(page.get_by_text(EN["run.as_text"])).to_be_visible(timeout=180_000)  # perhaps the first run of the server
    open_section(page, "history")
    search(page, "say ahoy")
    expect(page.get_by_text(EN["gallery.found"].format(count=1))).to_be_visible()
    assert page.evaluate("window.hacked") is None
    other = page.context.browser.new_context(locale="en-US").new_page()  # type: ignore[union-attr]
    other.goto(f"{server}/gallery?lang=en")
    other.get_by_role("radio", name=EN["gallery.sections.history"], exact=True).click()
    expect(other.get_by_text(EN["history.none"])).to_be_visible()
    other.context.close()
    open_button(page).click()
    find_button(page, "desk.open").click()  # what stands in the Playground is not saved as a recipe
    expect(page.get_by_label(EN["playground.prompt"], exact=True)).to_have_value(f"Say ahoy {SCRIPT}")


@pytest.mark.thorough
@pytest.mark.parametrize("language", ["en", "vi"])
def test_a_phone_shows_the_gallery_without_sideways_scrolling(browser, server, language):
    from pages.ui.shell.i18n import load_texts

    words = load_texts(language)
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    page.goto(f"{server}/gallery?lang={language}")
    for section in ("ready", "saved", "history"):
        page.get_by_role("radio", name=words[f"gallery.sections.{section}"], exact=True).click()
        page.wait_for_timeout(500)
        assert page.get_by_test_id("stMain").evaluate("(node) => node.scrollWidth") <= 390
    context.close()
