"""Choose the criteria of Best-of-N: which are available and why others are not, their judge models, and weights."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import streamlit as st

from llm_core import NucleusError, PromptSpec, SampleRequest
from llm_core.generation.request import HostedOptions
from llm_core.models import builtin
from pages.ui.best_of_n.prompt_and_check import CHECK_KEY, CRITERIA_KEY, read_check, read_equality
from pages.ui.best_of_n.session_state import best_of_n_state
from pages.ui.components.fields import show_field
from pages.ui.model.request_builder import build_request
from pages.ui.model.session_state import model_state
from pages.ui.model.status import is_hosted
from pages.ui.shell import i18n, services
from pages.ui.shell.i18n import t
from pages.ui.shell.session import Key, get, has, put, session
from samplers import SamplerConfig

if TYPE_CHECKING:
    from llm_core.best_of_n.criteria import Criterion, Score
    from llm_core.best_of_n.scoring import CandidateScorer
    from llm_core.experiments.candidate_pool import Candidate

ScoresByCriterion = Mapping[str, Mapping[int, "Score"]]
"""Scores by criterion and candidate index."""

JUDGE_KEY, REWARD_MODEL_KEY, OPPONENTS_KEY = "best_of_n.judge", "best_of_n.reward", "best_of_n.opponents"
OWN_SCORE = "own"
MAX_OPPONENTS = 8
LOCAL_ONLY_CRITERIA = {"self_certainty": "criterion_needs_vocabulary"}
"""Criteria that hosted models cannot support, with the error that says why."""


def show_criteria() -> None:
    """Draw the choice of criteria with their explanations, judge models and weights."""
    if not has(OPPONENTS_KEY):
        for key, value in {JUDGE_KEY: session().model_id, REWARD_MODEL_KEY: "", OPPONENTS_KEY: 2}.items():
            put(key, value)
    everything, truth = make_criteria(), ground_truth_id()
    reasons = {name: reason for name, each in everything.items() if (reason := unavailable_reason(each))}
    free = [name for name in everything if name not in (*reasons, truth)]
    put(CRITERIA_KEY, [name for name in get(CRITERIA_KEY) or () if name in free])
    show_field(st.pills, "best.criteria", CRITERIA_KEY, free, selection_mode="multi", format_func=criterion_name)
    for name, reason in reasons.items():
        st.caption(f":material/block: **{criterion_name(name)}**: {i18n.explain(reason)}")
    with st.expander(t("best.what_they_say")):
        st.markdown("\n".join(f"- **{criterion_name(name)}**: {t(f'best.means.{name}')}" for name in everything))
    with st.expander(t("best.judges")):
        _show_judges()
    with st.expander(t("best.weights")):
        _show_weights([each.id for each in chosen_criteria()])


def weight_key(name: str) -> str:
    """Return the key of the widget that holds a criterion's weight."""
    return f"best_of_n.weight.{name}"


def criterion_name(name: str) -> str:
    return t(f"best.criterion.{name}")


def make_criteria() -> dict[str, Criterion]:
    """Make every criterion from the fields, by id; the check of the right answer is among them if one is chosen."""
    from llm_core.best_of_n import criteria

    like = build_request(PromptSpec("?"), SampleRequest(SamplerConfig()), hosted=HostedOptions())
    judge, submit = str(get(JUDGE_KEY) or "").strip(), services.submitter()  # judges call it from their own threads
    check = read_check(str(get(CHECK_KEY)))
    found: list[Criterion] = [
        criteria.Likelihood("sum"),
        criteria.Likelihood("mean"),
        criteria.SelfCertainty(),
        criteria.MajorityVote(read_equality()),
        *([check] if check else []),
        criteria.Consensus(),
        criteria.PointwiseJudge(submit, criteria.judge_request(judge, like, criteria.RATING_PROMPT)),
        criteria.PairwiseJudge(
            submit, criteria.judge_request(judge, like, criteria.PREFERENCE_PROMPT), int(get(OPPONENTS_KEY) or 1)
        ),
        *_vertex_criteria(),
        criteria.RewardModel(str(get(REWARD_MODEL_KEY) or "")),
        criteria.Sentiment(),
    ]
    return {each.id: each for each in found}


def _vertex_criteria() -> list[Criterion]:
    """Return Vertex AI's evaluation as a criterion, if the Models page names a project."""
    place = str(get(Key.VERTEX_PLACE) or "").strip()
    if not place:
        return []
    from llm_core.best_of_n.criteria.vertex_eval import VertexJudge
    from llm_core.providers.http.url_policy import UrlPolicy

    return [VertexJudge(place, url_policy=UrlPolicy.from_environment(os.environ))]


def chosen_criteria() -> list[Criterion]:
    """Return the chosen criteria and the ground-truth check, if there is one.

    A recorded run is only read, so criteria that would call a model are left out.
    """
    everything, shown = make_criteria(), best_of_n_state().shown
    chosen = [each for name, each in everything.items() if name in (*(get(CRITERIA_KEY) or ()), ground_truth_id())]
    return [each for each in chosen if not (shown and shown.recorded and unavailable_reason(each))]


def ground_truth_id() -> str | None:
    """Return the id of the criterion that checks against the right answer, or None."""
    check = read_check(str(get(CHECK_KEY)))
    return check.id if check else None


def unavailable_reason(criterion: Criterion) -> NucleusError | None:
    """Return the error that says why the criterion is unavailable for the current pool or settings, or None."""
    shown = best_of_n_state().shown
    if shown and shown.recorded and "judge" in criterion.needs:
        return NucleusError("criterion_asks_a_model")
    candidates: Sequence[Candidate] = shown.pool.candidates() if shown and not shown.pool.active else ()
    if not candidates and is_hosted() and criterion.id in LOCAL_ONLY_CRITERIA:
        return NucleusError(LOCAL_ONLY_CRITERIA[criterion.id])
    return criterion.unavailable_reason(candidates)


def _show_judges() -> None:
    st.caption(t("best.judge_text"))
    judge, opponents = st.columns([2, 1])
    listed = (model.id for models in model_state().listed_models.values() for model in models)
    known = dict.fromkeys([session().model_id, builtin.MODEL_ID, *listed, str(get(JUDGE_KEY) or session().model_id)])
    show_field(
        judge.selectbox,
        "best.judge",
        JUDGE_KEY,
        list(known),
        format_func=lambda model_id: builtin.NAME if model_id == builtin.MODEL_ID else model_id,
        accept_new_options=True,
    )
    show_field(opponents.number_input, "best.opponents", OPPONENTS_KEY, 1, MAX_OPPONENTS, step=1)
    show_field(st.text_input, "best.reward", REWARD_MODEL_KEY, max_chars=300)
    st.caption(t("best.reward_text"))


def _show_weights(names: Sequence[str]) -> None:
    st.caption(t("best.weights_text"))
    if not names:
        st.caption(t("best.weights_empty"))
        return
    fields = st.columns(4)
    for place, name in enumerate(names):
        key = weight_key(name)
        if not has(key):
            put(key, 0.0)
        show_field(fields[place % 4].number_input, f"best.criterion.{name}", key, -10.0, 10.0, step=0.5, format="%.4g")


def scores_by_criterion(scorer: CandidateScorer) -> dict[str, dict[int, Score]]:
    """Return scores by criterion and candidate index, the weighted combination last, without unavailable criteria."""
    scores: dict[str, dict[int, Score]] = {
        each.id: scorer.scores(each.id) for each in scorer.criteria if scorer.unavailable_reason(each.id) is None
    }
    weights = {name: float(get(weight_key(name)) or 0) for name in scores}
    if used := {name: weight for name, weight in weights.items() if weight}:
        scores[OWN_SCORE] = scorer.combine(used)
    return scores
