"""A hosted model as people meet it: llama.cpp's own server, chosen on the Models page, under the Lens and compared."""

from __future__ import annotations

import json
import urllib.request

import pytest
from playwright.sync_api import Page, expect

from benchmarks.llama_cpp import run_llama_server
from llm_core.models.builtin import GGUF_MEMBER
from llm_core.paths import cache_directory
from pages.ui.shell.i18n import load_texts
from tests.support.browser import choose_option

DESKTOP, PHONE = {"width": 1400, "height": 1000}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def llama(builtin):
    with run_llama_server(cache_directory() / "models" / GGUF_MEMBER.rsplit("/", 1)[-1], threads=1) as running:
        yield running.address


def fetch_model_name(address: str) -> str:
    with urllib.request.urlopen(f"{address}/v1/models", timeout=20) as answer:
        return json.load(answer)["data"][0]["id"]


def use_server(page: Page, url: str, address: str, language: str) -> None:
    """Choose the server's model on the Models page, as a person does."""
    words = load_texts(language)
    page.goto(f"{url}/models?lang={language}")
    page.get_by_role("radio", name=words["hosted.providers.server"], exact=True).click()
    field = page.get_by_label(words["hosted.url"], exact=True)
    field.fill(f"{address}/v1")
    field.press("Enter")
    page.wait_for_timeout(800)
    page.get_by_role("button", name=words["hosted.list"]).click()
    page.wait_for_timeout(2500)
    page.get_by_role("combobox", name=words["hosted.model"]).click()
    name = fetch_model_name(address).rsplit("/", 1)[-1]
    choose_option(page.get_by_role("option").filter(has_text=name))
    page.get_by_role("button", name=words["hosted.use"], exact=True).click()
    expect(page.get_by_test_id("stCode").first).to_contain_text(name)


def go_to_page(page: Page, title: str) -> None:
    page.get_by_test_id("stSidebarNavLink").filter(has_text=title).click()
    expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()


def set_number(page: Page, label: str, value: str) -> None:
    field = page.get_by_label(label, exact=True)
    field.fill(value)
    field.press("Enter")
    page.wait_for_timeout(600)


def run_and_wait(page: Page, words) -> None:
    page.get_by_role("button", name=words["playground.run"], exact=True).click()
    expect(page.get_by_role("button", name=words["playground.stop"], exact=True)).to_be_disabled(timeout=60_000)


@pytest.mark.thorough
@pytest.mark.parametrize(("language", "size"), [("en", DESKTOP), ("vi", PHONE)], ids=["desktop", "phone"])
def test_the_lens_and_compare_on_a_real_server(page: Page, server: str, llama: str, language, size):
    words = load_texts(language)
    use_server(page, server, llama, language)
    go_to_page(page, words["playground.title"])
    set_number(page, words["settings.max_output_tokens"], "8")
    run_and_wait(page, words)
    expect(page.get_by_text(words["run.as_text"])).to_be_visible()

    go_to_page(page, words["lens.title"])
    page.set_viewport_size(size)
    plot = page.locator(".nucleus-plot").first
    expect(plot.get_by_text(words["hosted_views.rest"])).to_be_visible()
    expect(page.get_by_text(words["hosted_views.shown"].split("{count}")[0])).to_be_visible()
    before = plot.get_attribute("data-step")
    page.locator(".st-key-settings-temperature input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    expect(plot).not_to_have_attribute("data-step", before or "")
    for view in ("orders", "curves", "ranks", "draws", "token"):
        page.get_by_role("radio", name=words[f"lens.views.{view}"], exact=True).click()
        expect(page.get_by_test_id("stException")).to_have_count(0)
    ask = page.get_by_label(words["lens.ask"], exact=True)
    ask.fill("xylophone")
    ask.press("Enter")
    expect(page.get_by_text(words["hosted_views.not_shown"].split("{count}")[0]).first).to_be_visible()

    page.set_viewport_size(DESKTOP)
    go_to_page(page, words["compare.title"])
    expect(page.get_by_text(words["hosted_views.plan.requests"].split("{count}")[0])).to_be_visible()
    set_number(page, words["settings.max_output_tokens"], "12")
    page.set_viewport_size(size)
    run_and_wait(page, words)
    expect(page.get_by_text(words["compare.entropy_title"], exact=True)).to_be_visible()
    expect(page.get_by_role("listbox").first.get_by_role("option").nth(1)).to_be_visible()
    expect(page.get_by_text(words["hosted_views.compare.figures"])).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 1
