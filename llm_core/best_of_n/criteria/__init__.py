"""Criteria that score candidates, so that the best one can be chosen.

`base` has the contract; `likelihood` reads the model's own probabilities; `correctness` checks results against answers
or each other; `consensus` prefers the most similar candidate; `llm_judge` and `vertex_eval` ask a language model;
`reward_model` runs a model that was trained to score; `sentiment` is a toy that shows what optimising the wrong thing
does.
"""

from __future__ import annotations

from llm_core.best_of_n.criteria.base import Criterion, FunctionCriterion, Need, Score
from llm_core.best_of_n.criteria.consensus import Consensus
from llm_core.best_of_n.criteria.correctness import (
    ExactMatch,
    MajorityVote,
    NumericMatch,
    PatternMatch,
    SchemaMatch,
    TaskVerifier,
)
from llm_core.best_of_n.criteria.likelihood import Likelihood, SelfCertainty
from llm_core.best_of_n.criteria.llm_judge import (
    PREFERENCE_PROMPT,
    RATING_PROMPT,
    PairwiseJudge,
    PointwiseJudge,
    judge_request,
)
from llm_core.best_of_n.criteria.reward_model import RewardModel
from llm_core.best_of_n.criteria.sentiment import Sentiment

__all__ = [
    "PREFERENCE_PROMPT",
    "RATING_PROMPT",
    "Consensus",
    "Criterion",
    "ExactMatch",
    "FunctionCriterion",
    "Likelihood",
    "MajorityVote",
    "Need",
    "NumericMatch",
    "PairwiseJudge",
    "PatternMatch",
    "PointwiseJudge",
    "RewardModel",
    "SchemaMatch",
    "Score",
    "SelfCertainty",
    "Sentiment",
    "TaskVerifier",
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
"""Ids of the built-in criteria, in the order of the pages."""
