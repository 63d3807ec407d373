"""Draw candidates while they are generated and scored: their cards, and panels that explain the result.

While a run is active only the cards are redrawn, less often the more there are, because whatever the browser redraws is
time that the engine lacks. An idle pool is not redrawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from llm_core.best_of_n.scoring import rank_candidates
from pages.ui.best_of_n.criteria_picker import OWN_SCORE, criterion_name, scores_by_criterion
from pages.ui.best_of_n.drafts import ShownPool
from pages.ui.best_of_n.ranking import find_winners, format_score, show_agreement, show_candidate, show_ranking
from pages.ui.best_of_n.scaling import show_scaling
from pages.ui.best_of_n.session_state import best_of_n_state
from pages.ui.components.candidate_cards import CandidateCard, show_candidate_cards
from pages.ui.components.fields import show_field
from pages.ui.model.hosted_notes import show_queue_note
from pages.ui.model.status import is_hosted
from pages.ui.shell import i18n, services
from pages.ui.shell.i18n import format_number, t
from pages.ui.shell.session import get, has, put

if TYPE_CHECKING:
    from llm_core.best_of_n.criteria import Score
    from llm_core.generation.record import SampleRecord

REFRESH_SECONDS, MANY_REFRESH_SECONDS, MANY_CANDIDATES = 0.4, 0.9, 16
GENERATION_ORDER = "as_written"
PANELS = ("ranking", "agreement", "theory")


def show_candidates() -> None:
    """Draw the session's candidates and redraw them while the run is active."""
    shown = best_of_n_state().shown
    if shown is None:
        st.caption(t("best.empty"))
        return
    order = _select_order(shown)
    every = MANY_REFRESH_SECONDS if shown.pool.requested > MANY_CANDIDATES else REFRESH_SECONDS
    # The same fragments whether active or idle, because Streamlit redraws the elements of a different fragment.
    now = _view_state(shown)
    st.fragment(_show_cards, run_every=every if shown.active else None)(shown, order, now)
    st.fragment(_show_explanation)(shown)


def _view_state(shown: ShownPool) -> tuple[bool, bool, int | None]:
    """Return the state that the whole page is drawn by; a change of it redraws the page."""
    return shown.pool.active, shown.scorer.active, shown.chosen


def _select_order(shown: ShownPool) -> str:
    """Draw the choice of the criterion that sorts the cards, and return it."""
    names = {GENERATION_ORDER: t("best.as_written")} | {
        name: criterion_name(name) for name in scores_by_criterion(shown.scorer)
    }
    if get("best_of_n.order") not in names:
        put("best_of_n.order", GENERATION_ORDER)
    show_field(st.selectbox, "best.order", "best_of_n.order", list(names), format_func=names.__getitem__, width=320)
    return str(get("best_of_n.order"))


def _show_cards(shown: ShownPool, order: str, drawn: tuple[bool, bool, int | None]) -> None:
    shown.scorer.advance()
    now = _view_state(shown)  # before the records are read, so none is missed
    scores = scores_by_criterion(shown.scorer) if not now[0] else {}
    show_queue_note(shown.pool.runs)
    show_candidate_cards(
        _make_cards(shown, scores, order),
        key="best_of_n.cards",
        chosen=None if shown.chosen is None else str(_find_group(shown, shown.chosen)),
        name=t("best.candidates"),
        totals=_totals_text(shown),
        on_pick=_toggle_candidate,
    )
    _show_missing(shown)
    if now != drawn:
        st.rerun()


def _find_group(shown: ShownPool, index: int) -> int:
    """Return the index of the candidate whose card also stands for this one."""
    return next((group.first.index for group in shown.pool.duplicate_groups if index in group.members), index)


def _make_cards(shown: ShownPool, scores: dict[str, dict[int, Score]], order: str) -> list[CandidateCard]:
    records = shown.pool.records
    groups = {group.first.index: group.members for group in shown.pool.duplicate_groups}
    hidden = {index for members in groups.values() for index in members[1:]} | set(shown.pool.missing)
    winners = {name: found[0] for name, each in scores.items() if (found := find_winners(each))}
    places = [index for index in range(len(records)) if index not in hidden]
    if order in scores:
        best = {index: score.value for index, score in scores[order].items() if score.value is not None}
        places.sort(key=lambda index: (index not in best, -best.get(index, 0.0), index))
    return [
        _make_card(
            shown,
            records[index],
            groups.get(index, (index,)),
            tuple(criterion_name(name) for name, winner in winners.items() if winner in groups.get(index, (index,))),
            scores.get(order, {}).get(index),
        )
        for index in places
    ]


def _make_card(
    shown: ShownPool, record: SampleRecord, members: tuple[int, ...], badges: tuple[str, ...], score: Score | None
) -> CandidateCard:
    parts = [t("best.tokens", count=record.length)] if record.length else []
    if score is not None:
        parts.append(format_score(score))
    elif record.finish_reason:
        parts.append(t(f"run.finished.{record.finish_reason}"))
    return CandidateCard(
        id=str(members[0]),
        number=str(members[0] + 1),
        times=f"×{len(members)}" if len(members) > 1 else "",
        tag="" if record.active or record.finish_reason in ("end", "stop") else t("best.cut_off"),
        badges=badges,
        text=shown.pool.template.prompt.prefill + record.text if record.length else "",
        empty=_status_text(shown, members[0], record),
        foot=" · ".join(parts),
        live=record.active,
    )


def _status_text(shown: ShownPool, index: int, record: SampleRecord) -> str:
    if record.error:
        return i18n.explain(record.error)
    run = shown.pool.find_run(index)
    if run.status == "waiting":
        ahead = services.router().position(run)
        return t("run.queued", ahead=ahead) if ahead else t("run.starting")
    if record.status == "waiting" and is_hosted(run.request.model_id):
        return t("hosted_views.queue.place", ahead=services.router().hosted.samples_ahead(record))
    return t("run.reading") if record.active else t("run.nothing")


def _totals_text(shown: ShownPool) -> str:
    pool, records = shown.pool, shown.pool.records
    done = sum(not record.active for record in records)
    speed = format_number(pool.tokens / pool.seconds, 0) if pool.seconds else "0"
    parts = [
        t("best.totals", done=done, asked=pool.requested, tokens=format_number(pool.tokens, 0), speed=speed),
    ]
    different = len(pool.duplicate_groups)
    if not pool.active and different < len(pool.candidates()):
        parts.append(t("best.different", count=different))
    if not pool.active and shown.scorer.active:
        waits = [
            f"{criterion_name(each.id)} {' / '.join(map(str, shown.scorer.progress(each.id)))}"
            for each in shown.scorer.criteria
            if shown.scorer.status(each.id) == "scoring"
        ]
        parts.append(t("best.judging", names=", ".join(waits)))
    return " · ".join(parts)


def _show_missing(shown: ShownPool) -> None:
    """Warn that fewer candidates came than were requested, with the reason."""
    pool = shown.pool
    if pool.active or not pool.missing:
        return
    reason = i18n.explain(pool.error) if pool.error else t("best.missing_unknown")
    came = pool.requested - len(pool.missing)
    st.warning(t("best.missing", came=came, asked=pool.requested, reason=reason), icon=":material/warning:")


def _toggle_candidate(card_id: str) -> None:
    """Look at this candidate; at none if it is chosen again."""
    shown = best_of_n_state().shown
    if shown is not None:
        shown.chosen = None if shown.chosen == int(card_id) else int(card_id)


def _show_explanation(shown: ShownPool) -> None:
    if shown.pool.active:
        st.caption(t("best.later"))
        return
    for run in shown.pool.runs:
        for notice in run.notices:
            st.info(i18n.explain(notice), icon=":material/info:")
    if not shown.pool.candidates():
        return
    scores = scores_by_criterion(shown.scorer)
    _show_winners(shown, scores)
    show_candidate(shown, scores)
    names = {name: t(f"best.panels.{name}") for name in PANELS}
    if not has("best_of_n.panel"):
        put("best_of_n.panel", PANELS[0])
    panel = show_field(
        st.segmented_control,
        "best.panel",
        "best_of_n.panel",
        list(names),
        required=True,
        format_func=names.__getitem__,
        label_visibility="collapsed",
    )
    with st.container(border=True, key="best_of_n.panel_card"):
        {"ranking": show_ranking, "agreement": show_agreement, "theory": show_scaling}[str(panel)](shown, scores)


def _show_winners(shown: ShownPool, scores: dict[str, dict[int, Score]]) -> None:
    """Draw the winner under each criterion, and whether the ground truth calls it right."""
    truth = scores.get(shown.ground_truth or "", {})
    lines = []
    for name, each in scores.items():
        found = find_winners(each)
        if not found:
            if len(each) > 1 and rank_candidates(each).winners:
                lines.append(f"- **{criterion_name(name)}**: {t('best.no_difference')}")
            continue
        worth = truth[found[0]].value if found[0] in truth else None
        right = "" if worth is None or name == shown.ground_truth else t("best.right" if worth >= 1 else "best.wrong")
        tie = t("best.tie", count=len(found)) if len(found) > 1 else ""
        lines.append(f"- **{criterion_name(name)}**: {t('best.winner', number=found[0] + 1)} {right} {tie}".rstrip())
    if lines:
        with st.container(border=True, key="best_of_n.winners_card"):
            st.markdown(f"**{t('best.winners')}**\n" + "\n".join(lines))
            if OWN_SCORE in scores:
                st.caption(t("best.own_weights"))
