"""Ways to tell the best of several candidates: what each looks at, what it needs, and how it can fail.

`base` the contract · `likelihood` the model's own probabilities.
"""

from __future__ import annotations

from llm_core.criteria.base import Criterion, Need, OwnCriterion, Score
from llm_core.criteria.likelihood import Likelihood, SelfCertainty

__all__ = ["Criterion", "Likelihood", "Need", "OwnCriterion", "Score", "SelfCertainty"]
