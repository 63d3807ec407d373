"""The report: everything that others wrote is text in it, its figures are the run's."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html.parser
import math
import re

import pytest

from llm_core import PromptSpec, Recipe
from llm_core.formats.registry import dump
from llm_core.formats.report.html_report import MAX_DRAWN_STEPS, MAX_DRAWN_STEPS_TOTAL, WORDS
from llm_core.generation.record import TokenEvent

HOSTILE = "\"'></pre></style><script>alert(1)</script><img src=x onerror=alert(2)>&lt;b"


class TagCollector(html.parser.HTMLParser):
    """Every tag with its attributes, and the text outside of the style sheet."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def make_hostile_report(toy_engine) -> str:
    """Markup in every field of the recipe, in the answer and in the tokens' labels."""
    recipe = Recipe(
        title=HOSTILE,
        author=HOSTILE,
        licence=HOSTILE,
        notes=HOSTILE,
        tags=("<script>",),
        model={"id": "<script>alert(4)</script>", "revision": "<b>"},
        prompt=PromptSpec(HOSTILE, prefill=HOSTILE),
        seeds=(1, 2),
        limits={"max_output_tokens": 6, "stop_sequences": ("<script>",)},
    )
    run = toy_engine.submit(dataclasses.replace(recipe.request(), model_id="toy"))
    assert run.wait(60)
    assert run.error is None
    run.samples[0]._events.append(TokenEvent(None, HOSTILE, HOSTILE, None, 1.0))
    run.samples[0].thoughts = HOSTILE
    traced = run.samples[1]._events[0]
    run.samples[1]._events[0] = dataclasses.replace(traced, piece=HOSTILE, text=HOSTILE)
    run.model = None
    run.labels = dict.fromkeys(range(500), HOSTILE)
    return dump("report", recipe, [run]).text


def test_markup_in_every_field_stays_text(toy_engine):
    page = TagCollector(make_hostile_report(toy_engine))
    known = {
        *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "dl", "dt", "dd", "div", "span", "b"),
        *("figure", "figcaption", "svg", "path", "text", "circle", "rect", "details", "summary", "table", "thead"),
        *("tbody", "tr", "th", "td", "pre"),
    }
    assert {tag for tag, _ in page.tags} <= known
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") or name in ("src", "href", "style") for name in attributes), tag
    assert page.text.count("<script>alert(1)</script>") >= 12
    policy = next(attributes["content"] for tag, attributes in page.tags if attributes.get("http-equiv"))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")


def test_the_policy_admits_the_style_sheet_as_it_stands_in_the_page(toy_recipe, toy_run):
    text = dump("report", toy_recipe, [toy_run]).text
    style = text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in text
    assert '"Segoe UI"' in style


def test_figures_are_the_run_s(toy_recipe, toy_run):
    text = dump("report", toy_recipe, [toy_run]).text
    page = TagCollector(text)
    for row in toy_run.samples:
        for event in row.events():
            assert f">{html.escape(event.piece)}</span>".replace("\n", "↵\n") in text
        mean = math.fsum(event.known_trace.logprob for event in row.events()) / len(row.events())
        assert f"mean log-probability {mean:.2f}".replace("-", "−", 2).replace("log−", "log-") in page.text
    assert text.count('class="bar-drawn"') == sum(len(row.events()) for row in toy_run.samples) + len(toy_run.samples)
    assert len(re.findall("<tr><td", text)) == sum(len(row.events()) for row in toy_run.samples)


def test_it_says_that_not_every_step_is_drawn(toy_engine, toy_recipe):
    long = toy_recipe.model_copy(update={"limits": toy_recipe.limits.model_copy(update={"max_output_tokens": 150})})
    run = toy_engine.submit(long.request())
    assert run.wait(60)
    longest = max(len(row.events()) for row in run.samples)
    assert longest > MAX_DRAWN_STEPS
    dumped = dump("report", long, [run])
    assert ("steps", "later_steps") in dumped.dropped
    assert f"The first {MAX_DRAWN_STEPS} of {longest} steps" in dumped.text
    assert dumped.text.count('class="bar-drawn"') <= MAX_DRAWN_STEPS_TOTAL + len(run.samples)
    assert len(re.findall("<tr><td", dumped.text)) == sum(len(row.events()) for row in run.samples)


def test_it_speaks_the_reader_s_language(toy_recipe, toy_run):
    words = {name: f"<{name}>" for name in WORDS} | {"language": "vi", "decimal": ","}
    text = dump("report", toy_recipe, [toy_run], words=words).text
    assert '<html lang="vi">' in text
    for word in ("prompt", "entropy_caption", "steps", "table", "recipe"):
        assert f"&lt;{word}&gt;" in text
    assert "0,75" in text


@pytest.mark.parametrize("name", [*WORDS])
def test_pages_have_every_word(name):
    from pages.ui.shell.i18n import load_texts

    for language in ("en", "vi"):
        if name not in ("language", "decimal"):
            assert set(re.findall(r"\{(\w+)\}", load_texts(language)[f"report.{name}"])) == set(
                re.findall(r"\{(\w+)\}", WORDS[name])
            )
