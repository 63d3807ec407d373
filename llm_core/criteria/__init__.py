"""Ways to tell the best of several candidates: what each looks at, what it needs, and how it can fail.

`base` the contract · `likelihood` the model's own probabilities · `answers` results, right or in agreement ·
`consensus` the most alike · `autorater` a language model as the judge · `reward_model` one trained to judge ·
`sentiment` a toy that shows what optimising the wrong thing does.
"""

from __future__ import annotations

from llm_core.criteria.answers import Exact, Numeric, Pattern, Schema, Verifier, Vote
from llm_core.criteria.autorater import PREFERENCE, RATING, Autorater, Pairwise, judge_request
from llm_core.criteria.base import Criterion, Need, OwnCriterion, Score
from llm_core.criteria.consensus import Consensus
from llm_core.criteria.likelihood import Likelihood, SelfCertainty
from llm_core.criteria.reward_model import RewardModel
from llm_core.criteria.sentiment import Sentiment

__all__ = [
    "PREFERENCE",
    "RATING",
    "Autorater",
    "Consensus",
    "Criterion",
    "Exact",
    "Likelihood",
    "Need",
    "Numeric",
    "OwnCriterion",
    "Pairwise",
    "Pattern",
    "RewardModel",
    "Schema",
    "Score",
    "SelfCertainty",
    "Sentiment",
    "Verifier",
    "Vote",
    "judge_request",
]

CRITERIA = (
    "sum_logprob",
    "mean_logprob",
    "self_certainty",
    "vote",
    "verifier",
    "exact",
    "number",
    "pattern",
    "schema",
    "consensus",
    "autorater",
    "pairwise",
    "reward_model",
    "sentiment",
)
"""Ids of the built-in ones, as pages list them."""
