"""Recipes in a real browser: what a stranger's link may do, and what it may not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from llm_core import Engine, Example, ModelReference, ModelStore, PromptSpec, Recipe, dump_yaml, encode_link
from llm_core.prompts.output_format import OutputFormat
from llm_core.recipes.recipe import Limits
from llm_core.recipes.trace import make_trace
from pages.ui.shell.i18n import load_texts
from samplers import SamplerConfig

EN = load_texts("en")
SCRIPT = "<script>window.ran=1</script><img src=x onerror='window.ran=1'>[a](javascript:window.ran=1) $x^2$ :red[b]"


def share_url(url: str, recipe: Recipe) -> str:
    return f"{url}/?lang=en&r={encode_link(recipe)}"


def run_button(page: Page):
    return page.get_by_role("button", name=EN["playground.run"], exact=True)


def prompt_field(page: Page):
    return page.get_by_label(EN["playground.prompt"], exact=True)


def test_scripts_in_every_field_stay_text(page: Page, server):
    recipe = Recipe(
        title=f"Title {SCRIPT}",
        author=f"Author {SCRIPT}",
        licence=f"Licence {SCRIPT}",
        notes=f"Notes {SCRIPT}",
        tags=("<script>window.ran=1</script>",),
        model=ModelReference(id="<script>window.ran=1</script>"),
        prompt=PromptSpec(
            f"Prompt {SCRIPT}",
            **dict.fromkeys(("system", "role", "context", "question", "trigger", "prefill", "document"), SCRIPT),
            technique="few_shot",
            examples=(Example(SCRIPT, SCRIPT, SCRIPT),),
            output=OutputFormat("choice", (SCRIPT,)),
            stop_sequences=("<script>",),
        ),
        criteria={"<script>": 1.0},
    )
    page.goto(share_url(server, recipe))
    expect(run_button(page)).to_be_visible()
    card = page.locator(".st-key-playground-opened_recipe")
    for field in (recipe.title, recipe.author, recipe.licence, recipe.notes):
        expect(card.get_by_text(field, exact=False).first).to_be_visible()
    expect(prompt_field(page)).to_have_value(recipe.prompt.instruction)
    page.wait_for_timeout(1_000)
    assert page.evaluate("window.ran") is None
    assert card.locator("img, script, a, .katex").count() == 0
    # nothing ran, and the model that a stranger named was not asked for
    expect(page.get_by_text(EN["run.empty"])).to_be_visible()
    expect(page.get_by_text("SmolLM2-135M-Instruct · float32")).to_be_visible()


@pytest.mark.thorough
def test_a_damaged_link_is_explained(page: Page, server):
    page.goto(f"{server}/?lang=vi&r=aePlGmF0Bjunk")
    expect(page.get_by_text(load_texts("vi")["errors.recipe_link_damaged"])).to_be_visible()
    expect(page.get_by_role("button", name=load_texts("vi")["playground.run"], exact=True)).to_be_visible()
    expect(page).not_to_have_url(re.compile("r=a"))


def test_share_open_and_bring_back(page: Page, server, builtin, tmp_path: Path):
    """A recorded run travels in a file, asks before it takes the place of work, and the work comes back."""
    engine = Engine(ModelStore(loader=lambda model_id, report: builtin))
    recipe = Recipe(
        title="Recorded lesson",
        prompt=PromptSpec("Say hello."),
        sampler=SamplerConfig(temperature=0),
        limits=Limits(max_output_tokens=5),
    )
    run = engine.submit(recipe.request())
    run.wait(120)
    engine.close()
    file = tmp_path / "lesson.yaml"
    file.write_text(dump_yaml(recipe.replace(trace=make_trace(run, "2026-11-25"))), encoding="utf-8")

    page.goto(f"{server}/?lang=en")
    expect(run_button(page)).to_be_visible()
    prompt_field(page).fill("My own work")
    prompt_field(page).press("Tab")
    page.get_by_role("button", name=EN["share.title"], exact=True).click()
    link = page.get_by_role("dialog").locator("code").first
    expect(link).to_contain_text(f"{server}/?r=a")
    page.get_by_role("tab", name=EN["share.other"]).click()
    page.get_by_role("dialog").locator("input[type=file]").set_input_files(file)
    waiting = page.get_by_role("dialog", name=EN["desk.replace_title"])
    expect(waiting.get_by_text("Recorded lesson")).to_be_visible()
    waiting.get_by_role("button", name=EN["desk.open"], exact=True).click()
    expect(prompt_field(page)).to_have_value("Say hello.")
    expect(page.get_by_text("2026-11-25", exact=False)).to_be_visible()
    expect(page.get_by_role("option")).to_have_count(len(run.samples[0].events()))
    page.get_by_role("link", name=EN["lens.title"]).click()
    expect(page.get_by_text(EN["step.place"].format(step=5, count=5)).first).to_be_visible()
    assert page.get_by_text(EN["errors.unexpected"]).count() == 0
    page.get_by_role("link", name=EN["playground.title"]).first.click()
    page.get_by_role("button", name=EN["playground.bring_back"]).click()
    expect(prompt_field(page)).to_have_value("My own work")
