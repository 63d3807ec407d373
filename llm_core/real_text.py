"""Texts that people wrote, and how likely a model finds them: what generated texts are measured against.

The first is in the public domain and so famous that a model may know it by heart, which makes it look easy; the others
were written for this file, after the built-in model was trained.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING

from llm_core.text_statistics import Written

if TYPE_CHECKING:
    from llm_core.language_model import LanguageModel

PASSAGES: Mapping[str, str] = {
    # the second paragraph of the Declaration of Independence of the United States, 1776
    "declaration": (
        "We hold these truths to be self-evident, that all men are created equal, that they are endowed by their "
        "Creator with certain unalienable Rights, that among these are Life, Liberty and the pursuit of Happiness. "
        "That to secure these rights, Governments are instituted among Men, deriving their just powers from the "
        "consent of the governed. That whenever any Form of Government becomes destructive of these ends, it is the "
        "Right of the People to alter or to abolish it, and to institute new Government, laying its foundation on "
        "such principles and organizing its powers in such form, as to them shall seem most likely to effect their "
        "Safety and Happiness."
    ),
    "explanation": (
        "Bread rises because yeast is alive. When flour is mixed with warm water, enzymes in the grain begin to break "
        "its starch down into sugar, and the yeast feeds on that sugar and gives off carbon dioxide and a little "
        "alcohol. The gas cannot escape, since kneading has turned two proteins of the flour into gluten, a stretchy "
        "net that holds thousands of small bubbles. A cold kitchen slows the yeast down without killing it, which is "
        "why many bakers leave their dough in the refrigerator overnight: it rises just as far, only later, and has "
        "time to develop more flavour. In the oven the bubbles grow once more, then the heat sets the dough around "
        "them and drives the alcohol off."
    ),
    "story": (
        "The ferry leaves at six, before the market opens, and the same four people are always on it. The baker sits "
        "near the engine because it is warm there. Two sisters share a thermos and argue about their brother's new "
        "roof. I stand outside, where the wind comes off the water and smells of diesel and wet rope. Nobody talks to "
        "me, and I like that, since by eight I shall have to be polite until evening. Yesterday a seal followed us "
        "past the lighthouse, and the captain slowed down without being asked. When we landed, the older sister "
        "pressed half a roll into my hand and said that thin people catch cold."
    ),
}
OPENING_TOKENS = 24
"""Of each passage: given, not scored."""
_scored: weakref.WeakKeyDictionary[LanguageModel, dict[str, Written]] = weakref.WeakKeyDictionary()


def scored(model: LanguageModel) -> dict[str, Written]:
    """Each passage under the model: how likely every token after the opening is. One forward pass each, the first
    time."""
    if model not in _scored:
        _scored[model] = {name: score(model, _ids(model, text)) for name, text in PASSAGES.items()}
    return _scored[model]


def score(model: LanguageModel, ids: list[int], given: int = OPENING_TOKENS) -> Written:
    """The tokens of a text after its first `given` ones, as the model would have rated them."""
    import math

    import torch

    with torch.inference_mode():
        tokens = torch.tensor([ids], device=model.model.device)
        logits = model.model(tokens, use_cache=False).logits[0, given - 1 : -1]
        logprobs = logits.float().log_softmax(-1)
        said = logprobs.gather(-1, tokens[0, given:, None]).squeeze(-1)
        entropies = -(logprobs.exp() * logprobs).sum(-1) / math.log(2)
    rest = ids[given:]
    return Written(model.decode(rest), tuple(rest), tuple(said.tolist()), tuple(entropies.tolist()))


def _ids(model: LanguageModel, text: str) -> list[int]:
    return list(model.tokenizer(text, add_special_tokens=True).input_ids)
