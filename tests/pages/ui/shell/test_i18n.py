"""Both languages say everything: same keys, same blanks to fill, and every key that the code asks for."""

from __future__ import annotations

import re
import string
from pathlib import Path

from llm_core.error_messages import MESSAGES
from llm_core.prompts.spec import PARTS
from pages.ui.components.prompt_tokens import PART_COLOURS
from pages.ui.settings.sampler_panel import STRATEGIES
from pages.ui.settings.stage_controls import GLOSSARY, OPTIONAL_STAGES
from pages.ui.shell.i18n import LANGUAGES, load_texts
from samplers import ORDERS
from samplers.config import STAGE_NAMES
from tests.support.widget_keys import blank_widget_keys

PAGES = Path(__file__).parents[4] / "pages"
UNTRANSLATED_KEYS = {"playground.first_prompt", "playground.shortcut", "settings.order_help"}
"""No language of their own: a prompt for an English model, names of keys, and product names joined by commas."""


def placeholder_names(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def read_source() -> str:
    """Return the source of all pages without the keys of widgets, some of which are spelled like keys of texts."""
    files = [*PAGES.rglob("*.py"), PAGES.parent / "app.py"]
    return "\n".join(blank_widget_keys(file.read_text(encoding="utf-8")) for file in files)


def test_same_keys():
    assert load_texts("en").keys() == load_texts("vi").keys()


def test_same_blanks_and_really_translated():
    offenders = []
    for key, english in load_texts("en").items():
        vietnamese = load_texts("vi")[key]
        if not english.strip() or not vietnamese.strip():
            offenders.append(f"{key} is empty")
        if placeholder_names(english) != placeholder_names(vietnamese):
            offenders.append(f"{key} has other blanks in Vietnamese")
        words = re.sub(r"\{.*?\}", "", english).split()
        if key not in UNTRANSLATED_KEYS and len(words) > 2 and english == vietnamese:
            offenders.append(f"{key} is not translated")
    assert offenders == []


def test_every_error_has_a_text_with_only_known_blanks():
    offenders = [
        f"{language}: {code}"
        for language in LANGUAGES
        for code, message in MESSAGES.items()
        if f"errors.{code}" not in load_texts(language)
        or not placeholder_names(load_texts(language)[f"errors.{code}"]) <= placeholder_names(message)
    ]
    assert offenders == []


ASKS_FOR = r"""\b(?:t\(|show_field\(\s*[^"']*?,)\s*"""
"""What stands before a text's key in the code: the call of `t`, or that of `show_field` with its first argument."""


def test_every_key_in_the_code_exists():
    source = read_source()
    request = set(re.findall(ASKS_FOR + r"""["']([\w.]+)["']""", source)) | set(
        re.findall(r'page\("([\w.]+)"\)', source)
    )
    assert len(request) > 40
    assert request <= load_texts("en").keys()
    assert {"settings.temperature", "best.answers", "hosted.show_thoughts"} <= request  # labels of fields


def test_every_key_is_used():
    source = read_source()
    families = {f"{head}." for head in re.findall(ASKS_FOR + r"""f["']([\w.]+)\.\{""", source)}
    labels = set(re.findall(r"""\bshow_field\(\s*[^"']*?,\s*["']([\w.]+)["']""", source))
    unused = [
        key
        for key in load_texts("en")
        if key not in source
        and key.removesuffix("_help") not in labels
        and not any(key.startswith(family) for family in families)
    ]
    assert not unused


def test_every_strategy_is_explained():
    parts = ("name", "heading", "text")
    assert {f"sampler.{name}.{part}" for name in STRATEGIES for part in parts} <= load_texts("vi").keys()


def test_every_order_is_named():
    assert {f"orders.{name}" for name in ORDERS} <= load_texts("vi").keys()


def test_every_part_of_a_prompt_has_a_name_and_a_colour():
    assert set(PART_COLOURS) == set(PARTS)
    assert {f"fields.{part}" for part in PARTS} <= load_texts("vi").keys()


def test_every_stage_and_its_settings_are_in_the_glossary_and_named():
    explained = {name for group in GLOSSARY.values() for name in group}
    assert {*STAGE_NAMES, "constraint"} <= explained
    keys = {f"stages.{name}.{part}" for name in explained for part in ("name", "text")}
    assert (
        keys | {f"fields.{field}" for fields in OPTIONAL_STAGES.values() for field in fields} <= load_texts("vi").keys()
    )
