"""Measure the cost of watching: decoding speed with a page open and drawing, over the same run with nobody watching.

Two pages: the Playground with one answer, and Compare with its six. Both sides are the real engine with the page's own
first settings, the first inside the real server with a real browser on the same machine, the second in this process.
They alternate; ratios are of neighbours; the medians are reported.

Twice: with the browser on cores of its own, as on a reader's machine, half of the cores for each (Linux only), and with
the browser taking what it needs of the engine's cores, as where both are one small machine. `renderer_cores` is the
number of cores that the page's main thread takes.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median

import torch
from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from llm_core import Engine, GenerationRequest, ModelStore, PromptSpec, SampleRequest
from llm_core.decoding.thread_tuning import default_thread_count
from llm_core.models import builtin
from pages.ui.compare.drafts import PRESETS
from pages.ui.shell.i18n import load_texts
from samplers import SamplerConfig
from tests.support.browser import BROWSER_FLAGS, find_browser, run_server

PAIRS = 5
TOKENS = 96
PROMPT = "Write a long story about a lighthouse keeper and the sea."
WORDS = load_texts("en")
SAMPLERS = {"playground": (SamplerConfig(temperature=1.0),), "compare": PRESETS["samplers"]}


def measure() -> dict[str, object]:
    """Return tokens a second of both sides and their ratio for each page; on cores of its own it should be at least
    0.9."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    half = len(cores) // 2
    measured: dict[str, object] = {"tokens": TOKENS}
    if half:
        measured["own_cores"] = measure_on_cores(cores[:half], cores[half:])
    return measured | {"shared_cores": measure_on_cores(cores, cores)}


def measure_on_cores(engines: Sequence[int], browsers: Sequence[int]) -> dict[str, object]:
    """Measure with the server and this process's engine on the cores `engines`, and the browser on `browsers`. Empty
    lists leave the choice to the system."""
    executable = find_browser()
    if executable is None:
        raise SystemExit("no Chromium, Chrome or Edge on this machine")
    pin_to_cores(browsers)  # what is started after this inherits it
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=BROWSER_FLAGS)
        pin_to_cores(engines)
        return measure_pages(browser, {"OMP_NUM_THREADS": str(len(engines))} if engines else {})


def pin_to_cores(cores: Sequence[int]) -> None:
    if cores:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(len(cores))


def measure_pages(browser: Browser, environment: Mapping[str, str]) -> dict[str, object]:
    default_thread_count.cache_clear()
    engine = Engine(ModelStore())
    measure_alone(engine, "playground")  # loads the model
    measured = {}
    with run_server(**environment) as url:
        for name, prepare in (("playground", prepare_playground), ("compare", prepare_compare)):
            page = browser.new_page(viewport={"width": 1400, "height": 1000})
            prepare(page, url)
            measured[name] = compare_page(page, lambda name=name: measure_alone(engine, name))
            page.close()
    engine.close()
    return measured


def compare_page(page: Page, alone: Callable[[], float]) -> dict[str, object]:
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable")
    measure_watched(page, devtools)
    pairs, shares = [], []
    for pair in range(PAIRS):
        if pair % 2:
            without = alone()
        speed, share = measure_watched(page, devtools)
        if not pair % 2:
            without = alone()
        pairs.append((without, speed))
        shares.append(share)
    return {
        "tokens_per_second_alone": round(median(a for a, _ in pairs), 2),
        "tokens_per_second_watched": round(median(w for _, w in pairs), 2),
        "ratio_median": round(median(w / a for a, w in pairs), 3),
        "ratios": [round(w / a, 3) for a, w in pairs],
        "renderer_cores": round(median(shares), 3),
    }


def measure_alone(engine: Engine, name: str) -> float:
    """Return tokens a second of all answers together, without a page."""
    rows = tuple(SampleRequest(replace(sampler, seed=7), TOKENS) for sampler in SAMPLERS[name])
    run = engine.submit(GenerationRequest(builtin.MODEL_ID, PromptSpec(PROMPT), rows))
    run.wait()
    if name == "playground":
        return run.samples[0].tokens_per_second
    return sum(row.length for row in run.samples) / max(row.seconds for row in run.samples)


def prepare_playground(page: Page, url: str) -> None:
    page.goto(f"{url}/?lang=en")
    page.get_by_text("SmolLM2-135M-Instruct · float32").wait_for(timeout=120_000)
    page.get_by_role("radio", name=WORDS["sampler.random.name"], exact=True).click()
    fill_form(page)


def prepare_compare(page: Page, url: str) -> None:
    page.goto(f"{url}/compare?lang=en")
    page.get_by_text("SmolLM2-135M-Instruct · float32").wait_for(timeout=120_000)
    fill_form(page)


def fill_form(page: Page) -> None:
    page.get_by_label(WORDS["playground.prompt"], exact=True).first.fill(PROMPT)
    field = page.get_by_label(WORDS["settings.max_output_tokens"], exact=True)
    field.fill(str(TOKENS))
    field.press("Enter")
    page.wait_for_timeout(1500)


def measure_watched(page: Page, devtools: CDPSession) -> tuple[float, float]:
    """Return tokens a second as the page shows them, and the number of cores that its main thread kept busy."""
    begin, busy = time.monotonic(), busy_seconds(devtools)
    page.get_by_role("button", name=WORDS["playground.run"], exact=True).click()
    stop = page.get_by_role("button", name=WORDS["playground.stop"], exact=True)
    page.wait_for_timeout(2000)
    while stop.is_enabled():  # seldom, since Playwright's own waiting looks at every frame and costs the page time
        page.wait_for_timeout(1000)
    share = (busy_seconds(devtools) - busy) / (time.monotonic() - begin)
    page.wait_for_timeout(1500)
    return float(re.findall(r"([\d.]+) tokens/s", page.get_by_text("tokens/s").first.inner_text())[0]), share


def busy_seconds(devtools: CDPSession) -> float:
    metrics = devtools.send("Performance.getMetrics")["metrics"]
    return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")
