"""The app as people meet it: a real server, a real browser, the real built-in model."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from llm_core.models.builtin import GGUF_MEMBER
from llm_core.paths import cache_directory
from pages.ui.shell.i18n import load_texts
from tests.support.browser import choose_option, run_server

EN, VI = load_texts("en"), load_texts("vi")

# Counts plot nodes, and looks at every frame for a missing plot or a scroll that nobody made.
WATCH_SCRIPT = """() => {
  const seen = new Set(document.querySelectorAll('.nucleus-plot'));
  const w = window.watched = { nodes: seen, framesWithoutPlot: 0, frames: 0, jumps: 0, steps: new Set(), growth: 0 };
  const main = document.querySelector('[data-testid="stMain"]');
  const strip = () => document.querySelector('.st-key-playground-answer_card')?.getBoundingClientRect().height ?? 0;
  const start = main.scrollHeight - strip(), scroll = main.scrollTop;
  const look = () => {
    const plots = document.querySelectorAll('.nucleus-plot .main-svg');
    w.frames += 1;
    if (!plots.length) w.framesWithoutPlot += 1;
    document.querySelectorAll('.nucleus-plot').forEach((node) => { seen.add(node); w.steps.add(node.dataset.step); });
    if (main.scrollTop !== scroll) w.jumps += 1;
    w.growth = Math.max(w.growth, Math.abs(main.scrollHeight - strip() - start));
    window.watching = requestAnimationFrame(look);
  };
  look();
}"""
WATCH_RESULT_SCRIPT = """() => { cancelAnimationFrame(window.watching); const w = window.watched;
  return { nodes: w.nodes.size, framesWithoutPlot: w.framesWithoutPlot, frames: w.frames, jumps: w.jumps,
           steps: w.steps.size, growth: w.growth }; }"""


def open_playground(page: Page, url: str, language: str = "en") -> None:
    page.goto(f"{url}/?lang={language}")
    expect(run_button(page, language)).to_be_visible()
    expect(page.locator(".nucleus-plot .main-svg").first).to_be_attached()
    expect(page.get_by_text("SmolLM2-135M-Instruct · float32")).to_be_visible(timeout=60_000)


def run_button(page: Page, language: str = "en"):
    return page.get_by_role("button", name=load_texts(language)["playground.run"], exact=True)


def stop_button(page: Page, language: str = "en"):
    return page.get_by_role("button", name=load_texts(language)["playground.stop"], exact=True)


def strip_tokens(page: Page):
    return page.get_by_role("option")


def wait_for_run(page: Page) -> None:
    expect(stop_button(page)).to_be_disabled(timeout=60_000)
    expect(page.get_by_text(EN["run.as_text"])).to_be_visible()


def set_number(page: Page, key: str, value: str) -> None:
    field = page.get_by_label(EN[f"settings.{key}"], exact=True)
    field.fill(value)
    field.press("Enter")
    page.wait_for_timeout(600)


def choose_strategy(page: Page, strategy: str) -> None:
    page.get_by_role("radio", name=EN[f"sampler.{strategy}.name"], exact=True).click()
    expect(page.get_by_text(EN[f"sampler.{strategy}.heading"])).to_be_visible()


@pytest.mark.parametrize(
    "path", ["/models", *(pytest.param(path, marks=pytest.mark.thorough) for path in ("/playground", "/"))]
)
def test_a_cold_server_opened_by_a_deep_link(page: Page, builtin, path):
    with run_server() as url:
        page.goto(f"{url}{path}?lang=vi")
        title = VI["models.title" if path == "/models" else "playground.title"]
        expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
        menu = page.get_by_test_id("stSidebarNav")
        expect(menu.get_by_text(VI["playground.title"])).to_be_visible()
        expect(menu.get_by_text(VI["models.title"])).to_be_visible()
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(page.get_by_test_id("stException")).to_have_count(0)
        page.goto("about:blank")  # before the server goes


def test_run_streams_text_and_moves_one_plot(page: Page, server):
    open_playground(page, server)
    choose_strategy(page, "temperature")
    set_number(page, "max_output_tokens", "40")
    page.evaluate(WATCH_SCRIPT)
    run_button(page).click()
    expect(strip_tokens(page).nth(2)).to_be_visible()
    early = strip_tokens(page).count()
    wait_for_run(page)
    seen = page.evaluate(WATCH_RESULT_SCRIPT)
    assert strip_tokens(page).count() > early
    assert seen["nodes"] == 1
    assert seen["framesWithoutPlot"] == 0
    assert seen["jumps"] == 0
    assert seen["steps"] > 4
    assert seen["growth"] < 90  # one line of figures and the table's switch appear below the plot; nothing else
    written = "".join(strip_tokens(page).all_text_contents())
    page.get_by_text(EN["run.as_text"]).click()
    expect(page.get_by_test_id("stCode").last).to_contain_text(written.split("<|")[0].strip().splitlines()[0])


def test_clicking_a_token_shows_its_step_and_arrow_keys_move(page: Page, server):
    open_playground(page, server)
    set_number(page, "max_output_tokens", "12")
    run_button(page).click()
    wait_for_run(page)
    plot = page.locator(".nucleus-plot")
    strip_tokens(page).nth(3).click()
    expect(page.get_by_text("Token 4 of 12")).to_be_visible()
    expect(plot).to_have_attribute("data-step", re.compile(":3$"))
    expect(strip_tokens(page).nth(3)).to_have_attribute("aria-selected", "true")
    chosen = strip_tokens(page).nth(3).text_content().strip()
    expect(plot.locator(".ytick b, .ytick text").filter(has_text=chosen).first).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(plot).to_have_attribute("data-step", re.compile(":2$"))
    page.keyboard.press("End")
    expect(plot).to_have_attribute("data-step", re.compile(":11$"))
    page.keyboard.press("Enter")  # the pinned one again: follow the newest
    expect(page.get_by_text(EN["step.pinned"])).to_have_count(0)


@pytest.mark.thorough
def test_a_first_start_shows_progress_and_loses_nothing_typed_meanwhile(page: Page, builtin, tmp_path):
    gguf = cache_directory() / "models" / Path(GGUF_MEMBER).name
    (tmp_path / "models").mkdir()
    shutil.copy(gguf, tmp_path / "models")
    with run_server(NUCLEUS_HOME=str(tmp_path)) as url:
        page.goto(f"{url}/?lang=en")
        prompt = page.get_by_label(EN["playground.prompt"], exact=True)
        expect(page.get_by_text(EN["models.stage.converting"])).to_be_visible()
        run_button(page).click()
        expect(page.get_by_text(EN["run.starting"])).to_be_visible()
        prompt.fill("Typed, and not sent yet")
        expect(strip_tokens(page).first).to_be_visible(timeout=120_000)
        expect(prompt).to_have_value("Typed, and not sent yet")
        expect(page.get_by_text(EN["models.stage.converting"])).to_have_count(0)
        wait_for_run(page)
        expect(prompt).to_have_value("Typed, and not sent yet")
        page.goto("about:blank")


@pytest.mark.thorough
def test_stop_keeps_what_was_written(page: Page, server):
    open_playground(page, server)
    choose_strategy(page, "random")
    page.get_by_label(EN["playground.prompt"], exact=True).fill("Write a very long story about a ship.")
    set_number(page, "max_output_tokens", "400")
    run_button(page).click()
    expect(strip_tokens(page).nth(4)).to_be_visible()
    stop_button(page).click()
    wait_for_run(page)
    expect(page.get_by_text(EN["run.finished.cancelled"])).to_be_visible()
    count = strip_tokens(page).count()
    assert 4 < count < 400
    page.wait_for_timeout(800)
    assert strip_tokens(page).count() == count


def test_ctrl_enter_runs_what_was_just_typed(page: Page, server):
    open_playground(page, server)
    choose_strategy(page, "greedy")
    set_number(page, "max_output_tokens", "12")
    prompt = page.get_by_label(EN["playground.prompt"], exact=True)
    prompt.fill("Repeat this word: banana")
    prompt.press("Control+Enter")
    wait_for_run(page)
    expect(page.get_by_role("listbox")).to_contain_text(re.compile("banana", re.IGNORECASE))


def test_the_language_switches_in_place_and_survives_a_reload(page: Page, server):
    open_playground(page, server)
    set_number(page, "max_output_tokens", "6")
    page.get_by_label(EN["playground.prompt"], exact=True).fill("Count to three.")
    run_button(page).click()
    wait_for_run(page)
    written = strip_tokens(page).all_text_contents()
    choose_strategy(page, "combined")
    chosen = page.get_by_test_id("stMultiSelect")
    chosen.get_by_role("combobox").click()
    choose_option(page.get_by_role("option", name=EN["stages.presence_penalty.name"], exact=True))
    expect(page.get_by_label(EN["fields.presence_penalty"], exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("radio", name="Tiếng Việt").click()
    expect(run_button(page, "vi")).to_be_visible()
    expect(chosen).to_contain_text(VI["stages.presence_penalty.name"])
    page.get_by_role("radio", name=VI["strip.modes.rank"], exact=True).click()  # choices hold in what comes after, too
    expect(page.get_by_role("spinbutton", name=VI["fields.presence_penalty"], exact=True)).to_be_visible()
    page.get_by_role("radio", name=VI["strip.modes.probability"], exact=True).click()
    assert strip_tokens(page).all_text_contents() == written
    expect(page.get_by_label(VI["playground.prompt"], exact=True)).to_have_value("Count to three.")
    expect(page).to_have_url(re.compile("lang=vi"))
    page.reload()
    expect(run_button(page, "vi")).to_be_visible()
    page.get_by_role("link", name=VI["models.title"]).click()
    expect(page.get_by_role("heading", name=VI["models.title"])).to_be_visible()
    page.get_by_role("radio", name="English").click()
    expect(page.get_by_role("heading", name=EN["models.title"])).to_be_visible()


@pytest.mark.thorough
def test_bad_input_is_explained_beside_the_button_and_no_traceback_shows(page: Page, server):
    open_playground(page, server)
    choose_strategy(page, "top_k")
    set_number(page, "max_output_tokens", "4")
    run_button(page).click()
    wait_for_run(page)
    before = strip_tokens(page).all_text_contents()
    prompt = page.get_by_label(EN["playground.prompt"], exact=True)
    alert = page.get_by_test_id("stAlertContentError")
    prompt.fill("")
    run_button(page).click()
    expect(alert).to_contain_text(EN["errors.prompt_empty"])
    prompt.fill("x" * 2**20)
    run_button(page).click()
    expect(alert).to_contain_text("at most 200000 are accepted")
    assert strip_tokens(page).all_text_contents() == before
    prompt.fill("Hello")
    for typed, words in (("", "is empty"), ("-5", "is -5. Use a number from 0")):
        set_number(page, "seed", typed)
        run_button(page).click()
        expect(alert).to_contain_text(words)
    set_number(page, "seed", "7")
    set_number(page, "top_k", "99999999")
    run_button(page).click()
    expect(page.get_by_text("this model's vocabulary has 49152 tokens")).to_be_visible()
    expect(alert).to_have_count(1)  # the refusal before it has gone
    expect(page.get_by_test_id("stException")).to_have_count(0)


@pytest.mark.thorough
def test_two_tabs_do_not_see_each_other(page: Page, browser, server):
    open_playground(page, server)
    set_number(page, "max_output_tokens", "8")
    other = browser.new_context(locale="vi-VN").new_page()
    other.goto(server)
    expect(run_button(other, "vi")).to_be_visible()  # the browser's own language, without ?lang=
    run_button(page).click()
    wait_for_run(page)
    expect(strip_tokens(other)).to_have_count(0)
    other.context.close()


@pytest.mark.parametrize("language", ["en", "vi"])
def test_a_phone_shows_everything_without_sideways_scrolling(browser, server, language):
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    open_playground(page, server, language)
    width = page.evaluate("() => document.querySelector('[data-testid=\"stMain\"]').scrollWidth")
    assert width <= 390
    expect(run_button(page, language)).to_be_in_viewport()
    context.close()
