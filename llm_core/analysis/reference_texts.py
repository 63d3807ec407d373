"""Score texts that people wrote under a model: the measure for generated texts.

All texts are in the public domain. The first is so famous that a model may know it by heart, which makes it look easy.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING

from llm_core.analysis.text_metrics import TextSample

if TYPE_CHECKING:
    from llm_core.models.language_model import LanguageModel

REFERENCE_TEXTS: Mapping[str, str] = {
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
    # the opening of Henry David Thoreau's Walden, 1854
    "walden": (
        "When I wrote the following pages, or rather the bulk of them, I lived alone, in the woods, a mile from any "
        "neighbor, in a house which I had built myself, on the shore of Walden Pond, in Concord, Massachusetts, and "
        "earned my living by the labor of my hands only. I lived there two years and two months. At present I am a "
        "sojourner in civilized life again. I should not obtrude my affairs so much on the notice of my readers if "
        "very particular inquiries had not been made by my townsmen concerning my mode of life, which some would call "
        "impertinent, though they do not appear to me at all impertinent, but, considering the circumstances, very "
        "natural and pertinent."
    ),
    # the opening of Charles Darwin's On the Origin of Species, 1859, without its dash and quotation marks
    "origin": (
        "When on board H.M.S. Beagle, as naturalist, I was much struck with certain facts in the distribution of the "
        "inhabitants of South America, and in the geological relations of the present to the past inhabitants of that "
        "continent. These facts seemed to me to throw some light on the origin of species, that mystery of mysteries, "
        "as it has been called by one of our greatest philosophers. On my return home, it occurred to me, in 1837, "
        "that something might perhaps be made out on this question by patiently accumulating and reflecting on all "
        "sorts of facts which could possibly have any bearing on it. After five years' work I allowed myself to "
        "speculate on the subject, and drew up some short notes."
    ),
}
OPENING_TOKENS = 24
"""Tokens at the beginning of each text that are given and not scored."""
_scores_by_model: weakref.WeakKeyDictionary[LanguageModel, dict[str, TextSample]] = weakref.WeakKeyDictionary()


def score_reference_texts(model: LanguageModel) -> dict[str, TextSample]:
    """Return the log-probability of every token after the opening, for each reference text.

    Takes one forward pass a text, at the first call for a model only.
    """
    if model not in _scores_by_model:
        _scores_by_model[model] = {
            name: score_continuation(model, _tokenize(model, text)) for name, text in REFERENCE_TEXTS.items()
        }
    return _scores_by_model[model]


def first_words(name: str, words: int = 24) -> str:
    """Return the first words of a reference text, for a model to continue."""
    return " ".join(REFERENCE_TEXTS[name].split()[:words])


def score_continuation(model: LanguageModel, ids: list[int], given: int = OPENING_TOKENS) -> TextSample:
    """Return the log-probabilities and entropies of a text's tokens after its first `given` ones."""
    import math

    import torch

    with torch.inference_mode():
        tokens = torch.tensor([ids], device=model.model.device)
        logits = model.model(tokens, use_cache=False).logits[0, given - 1 : -1]
        logprobs = logits.float().log_softmax(-1)
        said = logprobs.gather(-1, tokens[0, given:, None]).squeeze(-1)
        entropies = -(logprobs.exp() * logprobs).sum(-1) / math.log(2)
    rest = ids[given:]
    return TextSample(model.decode(rest), tuple(rest), tuple(said.tolist()), tuple(entropies.tolist()))


def _tokenize(model: LanguageModel, text: str) -> list[int]:
    return list(model.tokenizer(text, add_special_tokens=True).input_ids)
