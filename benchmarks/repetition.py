"""Measure repetition and perplexity by decoding method on the built-in model, beside texts that people wrote.

Each text of `reference_texts` is begun with its first tokens and continued to a fixed length, with several seeds; the
text's own continuation is scored in the same place. float32, so every run gives the same numbers. `NUCLEUS_BENCH_PLOT`
names a PNG file to draw them into, with the Chromium that the browser tests use.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from llm_core import Engine, GenerationRequest, ModelStore, PromptSpec, SampleRequest
from llm_core.analysis.reference_texts import OPENING_TOKENS, REFERENCE_TEXTS, score_continuation
from llm_core.analysis.text_metrics import TextSample, perplexity, repeated_ngram_share
from llm_core.experiments.sweep import GridPoint, Sweep
from llm_core.generation.request import MAX_SAMPLES_PER_REQUEST
from llm_core.models.builtin import MODEL_ID
from llm_core.models.language_model import LanguageModel
from llm_core.prompts.rendering import render
from samplers import BeamSearch, SamplerConfig

TOKENS = 200
SEEDS = 4
BEAMS = 4
TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.5)
TOP_PS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
INSTRUCTION = "Continue this text."


def measure() -> dict[str, object]:
    """Return for each method the mean share of repeated 4-grams and the perplexity over all its tokens at temperature
    1."""
    store = ModelStore()
    engine, model = Engine(store), store.request(MODEL_ID).result.result()
    points: dict[GridPoint, SamplerConfig] = {
        **{("temperature", value): SamplerConfig(temperature=value, min_new_tokens=TOKENS) for value in TEMPERATURES},
        **{("top_p", value): SamplerConfig(top_p=value, min_new_tokens=TOKENS) for value in TOP_PS},
        ("top_k", 40): SamplerConfig(top_k=40, min_new_tokens=TOKENS),
        ("min_p", 0.1): SamplerConfig(min_p=0.1, min_new_tokens=TOKENS),
    }
    prompts = [PromptSpec(INSTRUCTION, prefill=_decode_opening(model, text)) for text in REFERENCE_TEXTS.values()]
    sweeps = [Sweep(engine.submit, _make_request(prompt), points, SEEDS) for prompt in prompts]
    for sweep in sweeps:
        sweep.max_parallel = MAX_SAMPLES_PER_REQUEST  # nobody watches
        while not sweep.finished:
            sweep.advance()
            time.sleep(0.05)
    engine.close()
    texts = {f"{name} {value:g}": [text for sweep in sweeps for text in sweep.texts_at((name, value))]
             for name, value in points}  # fmt: skip
    texts[f"beam search {BEAMS}"] = [
        _run_beam_search(model, list(render(prompt, model).token_ids)) for prompt in prompts
    ]
    people = {
        f"people: {name}": [_score_passage(model, prompt, text)]
        for (name, text), prompt in zip(REFERENCE_TEXTS.items(), prompts, strict=True)
    }
    results: dict[str, object] = {name: _figures(each) for name, each in (texts | people).items()}
    if target := os.environ.get("NUCLEUS_BENCH_PLOT"):
        draw_plot(results, Path(target))
    return results


def _make_request(prompt: PromptSpec) -> GenerationRequest:
    return GenerationRequest(MODEL_ID, prompt, (SampleRequest(SamplerConfig(seed=1), TOKENS),), deadline_seconds=3600)


def _figures(texts: list[TextSample]) -> dict[str, float]:
    shares = [repeated_ngram_share(text) or 0.0 for text in texts]
    return {
        "texts": len(texts),
        "repeated_4_grams": round(sum(shares) / len(shares), 4),
        "perplexity": round(perplexity(texts) or 0.0, 2),
    }


def _decode_opening(model: LanguageModel, text: str) -> str:
    return model.decode(model.tokenizer(text).input_ids[:OPENING_TOKENS])


def _score_passage(model: LanguageModel, prompt: PromptSpec, text: str) -> TextSample:
    """Score the text's own continuation after the same prompt."""
    given = list(render(prompt, model).token_ids)
    rest = model.tokenizer(text).input_ids[OPENING_TOKENS:]
    return score_continuation(model, [*given, *rest], given=len(given))


def _run_beam_search(model: LanguageModel, prompt: list[int]) -> TextSample:
    """Score the best answer of a beam search of the same length, by the model's own cache."""
    import torch

    search = BeamSearch(BEAMS, max_new_tokens=TOKENS)
    ids, cache = torch.tensor([prompt]), None
    with torch.inference_mode():
        while not search.done:
            out = model.model(ids, cache=cache, use_cache=True)
            logprobs = out.logits[:, -1].float().log_softmax(-1)
            logprobs[:, list(model.end_ids)] = -torch.inf  # as long as the others
            step = search.step(logprobs)
            cache = out.cache
            if not search.done:
                cache.reorder_cache(step.parents)
                ids = step.tokens[:, None]
    return score_continuation(model, [*prompt, *search.finished[0].tokens], given=len(prompt))


def draw_plot(results: dict, target: Path) -> None:
    """Draw repeated 4-grams over temperature and over top_p, with greedy and beam search, and the perplexity by
    method."""
    from playwright.sync_api import sync_playwright
    from plotly.io import to_html

    from tests.support.browser import BROWSER_FLAGS, find_browser

    page = to_html(_make_figure(results), include_plotlyjs=True, config={"displayModeBar": False})
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=BROWSER_FLAGS)
        view = browser.new_page(viewport={"width": 1180, "height": 440}, device_scale_factor=1.5)
        view.set_content(page)
        view.wait_for_selector(".main-svg")
        view.screenshot(path=target)
        browser.close()


def _make_figure(results: dict) -> dict:
    from pages.ui.components.figure import COLOURS

    def curve(setting: str, place: int) -> dict:
        names = [name for name in results if name.startswith(f"{setting} ")]
        return {
            "x": [float(name.split()[1]) for name in names],
            "y": [results[name]["repeated_4_grams"] for name in names],
            "xaxis": f"x{place}",
            "yaxis": f"y{place}",
            "line": {"color": COLOURS[0]},
            "marker": {"size": 8},
        }

    beam, greedy = f"beam search {BEAMS}", "temperature 0"
    shown = {
        beam: beam.replace(f" {BEAMS}", f" ({BEAMS} beams)"),
        greedy: "greedy",
        **{name: name.replace("_", "-") for name in ("top_p 0.9", "top_k 40", "min_p 0.1")},
        "temperature 0.6": "temperature 0.6",
        "top_p 1": "pure sampling",
        "temperature 1.2": "temperature 1.2",
        **{f"people: {name}": f"people: {name}" for name in REFERENCE_TEXTS},
    }
    shown = dict(sorted(shown.items(), key=lambda each: results[each[0]]["perplexity"]))
    colours = [COLOURS[1] if name.startswith("people") else COLOURS[0] for name in shown]
    perplexities = [results[name]["perplexity"] for name in shown]
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": perplexities,
        "y": list(shown.values()),
        "text": [f"{value:.1f}" for value in perplexities],
        "textposition": "outside",
        "marker": {"color": colours},
        "xaxis": "x3",
        "yaxis": "y3",
    }
    at_beam = results[beam]["repeated_4_grams"]
    share = {"range": [0, 1], "tickformat": ".0%"}
    return {
        "data": [curve("temperature", 1), curve("top_p", 2), bars],
        "layout": {
            "width": 1180,
            "height": 440,
            "showlegend": False,
            "template": "simple_white",
            "margin": {"l": 70, "r": 20, "t": 30, "b": 60},
            "xaxis": {"domain": [0, 0.25], "title": "temperature (0 is greedy)"},
            "yaxis": {**share, "title": "4-grams said before (share)"},
            "xaxis2": {"domain": [0.3, 0.55], "title": "top_p", "anchor": "y2", "range": [0.05, 1.05], "dtick": 0.2},
            "yaxis2": {**share, "anchor": "x2", "showticklabels": False},
            "xaxis3": {
                "domain": [0.72, 1],
                "title": "perplexity at temperature 1 (log scale)",
                "type": "log",
                "anchor": "y3",
                "range": [0, 3.5],
                "dtick": 1,
            },
            "yaxis3": {"anchor": "x3", "autorange": "reversed"},
            "shapes": [
                {
                    "type": "line",
                    "x0": 0,
                    "x1": 1.5,
                    "y0": at_beam,
                    "y1": at_beam,
                    "line": {"dash": "dot", "width": 2, "color": COLOURS[1]},
                }
            ],
            "annotations": [
                {
                    "x": 1.5,
                    "y": at_beam,
                    "text": "beam search",
                    "xanchor": "right",
                    "yanchor": "top",
                    "showarrow": False,
                }
            ],
        },
    }
