"""Exported reports in a real browser: they open offline, and nothing that others wrote does anything."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from llm_core import Engine, ModelStore
from llm_core.formats.registry import dump
from tests.e2e.test_playground import EN, open_playground
from tests.llm_core.formats.report.test_html_report import HOSTILE, make_hostile_report
from tests.support.browser import choose_option
from tests.support.toy_model import toy_model


@pytest.fixture(scope="module")
def toy_engine() -> Engine:
    return Engine(ModelStore(loader=lambda model_id, report: toy_model()))


@pytest.fixture
def watched(browser, tmp_path):
    """Yield a function that opens HTML offline and returns the page with its dialogs, messages and requests."""
    context = browser.new_context(offline=True)

    def open_page(text: str):
        file = tmp_path / "report.html"
        file.write_text(text, encoding="utf-8")
        page = context.new_page()
        happened: list[str] = []
        page.on("dialog", lambda dialog: (happened.append(dialog.message), dialog.dismiss()))
        page.on("console", lambda message: happened.append(message.text))
        page.on("pageerror", lambda error: happened.append(str(error)))
        page.on(
            "request", lambda request: happened.append(request.url) if not request.url.startswith("file:") else None
        )
        page.goto(file.as_uri())
        return page, happened

    yield open_page
    context.close()


def test_a_report_with_script_in_every_field_runs_nothing(watched, toy_engine):
    page, happened = watched(make_hostile_report(toy_engine))
    for summary in page.locator("summary").all():
        summary.evaluate("each => each.parentElement.open = true")
    page.mouse.move(300, 300)
    page.wait_for_timeout(300)
    assert happened == []
    assert page.locator("script, img, iframe, object, embed, link, a, form, input").count() == 0
    assert page.locator("[onload], [onerror], [onclick], [style]").count() == 0
    assert page.title() == HOSTILE
    assert page.locator("h1").inner_text() == HOSTILE
    assert page.locator("body").inner_text().count("<script>alert(1)</script>") >= 8


@pytest.mark.thorough
def test_even_a_script_that_slipped_through_would_not_run(watched, toy_engine):
    """What the policy is for. The browser says that it refused, and that is all that happens."""
    text = make_hostile_report(toy_engine)
    page, happened = watched(text.replace("</body>", "<script>alert(5)</script><img src=x onerror=alert(6)></body>"))
    page.wait_for_timeout(300)
    assert happened
    assert all("Content Security Policy" in line for line in happened)
    open_page, happened = watched(
        text.replace("http-equiv", "x").replace("</body>", "<script>alert(5)</script></body>")
    )
    open_page.wait_for_timeout(300)
    assert "5" in happened  # so the listeners above do hear one


def test_a_report_is_drawn_and_can_be_read_on_a_phone(watched, toy_engine, toy_report_recipe):
    run = toy_engine.submit(toy_report_recipe.request())
    assert run.wait(60)
    page, happened = watched(dump("report", toy_report_recipe, [run]).text)
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("figure svg").first.bounding_box()["height"] > 100
    colour = page.locator(".token").first.evaluate("each => getComputedStyle(each).boxShadow")
    assert colour != "none"  # the style sheet applies under its policy
    steps = page.locator("summary", has_text="How each token was chosen").first
    steps.click()
    page.locator("summary").nth(1).click()
    assert page.locator("rect.bar-drawn").nth(1).is_visible()
    assert happened == []


@pytest.fixture
def toy_report_recipe():
    from llm_core import PromptSpec, Recipe

    return Recipe(
        title="Toy", model={"id": "toy"}, prompt=PromptSpec("Describe the sea."), limits={"max_output_tokens": 12}
    )


PROMPT_FILE = """---
model: googleai/gemini-2.5-flash
config: {temperature: 0.3, candidateCount: 2}
---
{{role "system"}}Be brief.
{{role "user"}}Name one {{thing}}.
"""


@pytest.mark.thorough
def test_a_file_of_another_program_opens_in_the_playground_and_goes_out_again(server, page, tmp_path):
    open_playground(page, server)
    page.get_by_role("button", name="Share").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("Other forms")).to_be_visible()
    dialog.get_by_role("tab", name="Open a recipe").click()
    file = tmp_path / "greeting.prompt"
    file.write_text(PROMPT_FILE, encoding="utf-8")
    dialog.locator("input[type=file]").set_input_files(file)
    expect(page.get_by_text("What was not taken from the file")).to_be_visible()
    expect(page.locator("code", has_text="config.candidateCount")).to_be_visible()
    expect(page.get_by_role("textbox", name=EN["playground.prompt"], exact=True)).to_have_value("Name one {{thing}}.")
    page.get_by_role("button", name="Share").click()
    expect(dialog.get_by_text("Other forms")).to_be_visible()
    page.wait_for_timeout(2000)  # a list that opens while the dialog is still being drawn closes again
    dialog.get_by_role("combobox").last.click()
    choose_option(page.get_by_role("option", name="promptfoo configuration"))
    with page.expect_download() as download:
        dialog.get_by_role("button", name="Download recipe.promptfoo.yaml").click()
    from llm_core.formats.registry import load

    back = load(download.value.path().read_bytes()).recipe
    assert back.prompt.instruction == "Name one {{thing}}."
    assert back.prompt.system == "Be brief.\n"
    assert back.sampler.temperature == 0.3
