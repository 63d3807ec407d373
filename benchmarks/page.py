"""What watching costs: decoding speed with the Playground open and drawing, over the same run with nobody watching.

Both sides are the real engine with the page's own first settings, the first inside the real server with a real browser
on the same machine, the second in this process. They alternate; ratios are of neighbours; the medians are reported.
"""

from __future__ import annotations

import re
from statistics import median

from playwright.sync_api import Page, sync_playwright

from llm_core import Engine, GenerationRequest, ModelStore, PromptSpec, RowRequest, builtin_model
from pages.ui.i18n import texts
from samplers import SamplerConfig
from tests.browser import FLAGS, find_browser, serve

PAIRS = 7
TOKENS = 96
PROMPT = "Write a long story about a lighthouse keeper and the sea."
WORDS = texts("en")


def measure() -> dict[str, object]:
    """Tokens a second on both sides and their ratio; the page should keep at least 0.9."""
    executable = find_browser()
    if executable is None:
        raise SystemExit("no Chromium, Chrome or Edge on this machine")
    engine = Engine(ModelStore())
    alone(engine)  # loads the model
    pairs = []
    with serve() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        prepare(page, url)
        watched(page)
        for pair in range(PAIRS):
            sides = [lambda: alone(engine), lambda: watched(page)]
            first, second = (side() for side in (sides if pair % 2 else sides[::-1]))
            pairs.append((first, second) if pair % 2 else (second, first))
        browser.close()
    return {
        "tokens_per_second_alone": round(median(a for a, _ in pairs), 2),
        "tokens_per_second_watched": round(median(w for _, w in pairs), 2),
        "ratio_median": round(median(w / a for a, w in pairs), 3),
        "ratios": [round(w / a, 3) for a, w in pairs],
        "tokens": TOKENS,
    }


def alone(engine: Engine) -> float:
    row = RowRequest(SamplerConfig(temperature=1.0, seed=7), TOKENS)
    run = engine.submit(GenerationRequest(builtin_model.MODEL_ID, PromptSpec(PROMPT), (row,)))
    run.wait()
    return run.rows[0].tokens_per_second


def prepare(page: Page, url: str) -> None:
    page.goto(f"{url}/?lang=en")
    page.get_by_text("SmolLM2-135M-Instruct · float32").wait_for(timeout=120_000)
    page.get_by_role("radio", name=WORDS["sampler.random.name"], exact=True).click()
    page.get_by_label(WORDS["playground.prompt"], exact=True).fill(PROMPT)
    field = page.get_by_label(WORDS["settings.max_output_tokens"], exact=True)
    field.fill(str(TOKENS))
    field.press("Enter")
    page.wait_for_timeout(1000)


def watched(page: Page) -> float:
    page.get_by_role("button", name=WORDS["playground.run"], exact=True).click()
    stop = page.get_by_role("button", name=WORDS["playground.stop"], exact=True)
    page.wait_for_timeout(2000)
    while stop.is_enabled():  # seldom, since Playwright's own waiting looks at every frame and costs the page time
        page.wait_for_timeout(1000)
    page.wait_for_timeout(1000)
    return float(re.findall(r"([\d.]+) tokens/s", page.get_by_text("tokens/s").inner_text())[0])
