"""Branches, the strip's colours and what survives a reload, through the real app and the real engine."""

from __future__ import annotations

import math

import pytest
from streamlit.testing.v1 import AppTest

from pages.ui.playground import work_address
from pages.ui.playground.work_address import URL_PARAMETER
from pages.ui.shell.i18n import load_texts
from tests.support.app_driver import (
    APP_PATH,
    TIMEOUT_SECONDS,
    error_messages,
    open_app,
    press_run,
    session,
    wait_for_run,
)

EN = load_texts("en")


@pytest.fixture(scope="module", autouse=True)
def model_is_there(builtin):
    """Download the built-in model, which the pages load themselves."""


@pytest.fixture
def app() -> AppTest:
    """Return the app after a run of six tokens."""
    app = open_app()
    app.number_input(key="settings.max_output_tokens").set_value(6)
    return wait_for_run(press_run(app))


def open_work(work_id: str) -> AppTest:
    """Open the app in a new session, as after a reload."""
    app = AppTest.from_file(APP_PATH, default_timeout=TIMEOUT_SECONDS)
    app.query_params[URL_PARAMETER] = work_id
    app.run()
    assert not app.exception
    return app


def pin_step(app: AppTest, step: int) -> AppTest:
    session(app).selected_step = step
    app.run()
    assert not app.exception
    return app


def press_button(app: AppTest, key: str) -> AppTest:
    app.button(key=key).click().run()
    assert not app.exception
    return wait_for_run(app)


def shown_branch(app: AppTest):
    """Return the branch that is shown."""
    state = session(app)
    return state.tree.get(state.branch)


def token_ids(branch) -> list[int]:
    return [event.token_id for event in branch.events()]


def widget_suffix(app: AppTest) -> str:
    """Return the id and the step that the panel's widgets are named after."""
    return f"{session(app).run.id}_{session(app).selected_step}"


def test_another_token_is_taken_and_the_model_goes_on(app):
    [root] = [branch for branch, _ in session(app).tree.list_in_order()]
    assert not any(button.key == "playground.branch_take" for button in app.button)  # nothing is chosen yet
    pin_step(app, 2)
    choices = app.selectbox(key=f"playground.branch_token.{widget_suffix(app)}")
    assert len(choices.options) == 39  # all candidates but the one that was drawn
    token = list(root.events()[2].trace.candidates)[5]
    choices.set_value(token).run()
    press_button(app, "playground.branch_take")
    branch = shown_branch(app)
    assert branch.parent is root
    assert token_ids(branch)[:3] == [*token_ids(root)[:2], token]
    assert len(branch.row.events()) == 7
    assert session(app).selected_step is None
    assert branch.row.cached_tokens == len(root.run.rendered.token_ids) + 1
    label = branch.run.model.label(token).replace(" ", "·")
    assert any(EN["branches.title"] in each.value for each in app.markdown)
    app.toggle(key="playground.branches_table").set_value(True).run()
    table = app.dataframe[0].value
    assert list(table[EN["branches.with"]]) == ["", label]
    assert list(table[EN["branches.count"]]) == [6, 9]


def test_drawing_again_uses_a_fresh_seed_and_the_settings_of_now(app):
    app.slider(key="settings.temperature").set_value(1.5)
    pin_step(app, 1)
    press_button(app, "playground.branch_again")
    sampler = shown_branch(app).row.request.sampler
    assert (sampler.seed, sampler.temperature) == (8, 1.5)
    assert shown_branch(app).row.request.prefix_ids == tuple(token_ids(shown_branch(app).parent)[:1])
    pin_step(app, 1)
    press_button(app, "playground.branch_again")
    assert shown_branch(app).row.request.sampler.seed == 9
    assert shown_branch(app).parent.parent is None  # a sibling: it left where the other one had not begun


def test_a_typed_text_replaces_the_rest_and_what_was_left_as_it_was_stays(app):
    root = session(app).tree.list_in_order()[0][0]
    pin_step(app, 1)
    area = app.text_area(key=f"playground.branch_text.{widget_suffix(app)}")
    kept = root.events()[1].piece
    assert area.value.startswith(kept)
    area.set_value(kept + " Hà Nội").run()
    press_button(app, "playground.branch_take_text")
    branch = shown_branch(app)
    assert branch.step == 2
    assert branch.text.startswith(root.events()[0].piece + kept + " Hà Nội")
    given = [branch.events()[step] for step in branch.forced_steps]
    assert "".join(event.piece for event in given) == " Hà Nội"
    assert all(event.trace.logprob < 0 for event in given)


def test_a_text_that_was_not_changed_goes_on_after_the_end(app):
    root = session(app).tree.list_in_order()[0][0]
    pin_step(app, 2)
    press_button(app, "playground.branch_take_text")
    branch = shown_branch(app)
    written = len(root.events())
    assert branch.row.request.prefix_ids == tuple(token_ids(root)[:written])
    assert len(branch.events()) > written
    assert list(branch.forced_steps) == []


def test_a_setting_out_of_range_is_named_beside_the_panel(app):
    pin_step(app, 1)
    app.number_input(key="settings.seed").set_value(None).run()
    app.button(key="playground.branch_take").click().run()
    assert any("“Seed” is empty" in error for error in error_messages(app))
    assert len(session(app).tree) == 1


def test_branches_are_named_compared_pruned_and_brought_back(app):
    root = session(app).tree.list_in_order()[0][0]
    pin_step(app, 3)
    press_button(app, "playground.branch_take")
    branch = shown_branch(app)
    app.text_input(key=f"playground.branch_name.{branch.id}").set_value("the other way").run()
    assert branch.name == "the other way"
    app.selectbox(key=f"playground.branch_compare.{branch.id}").set_value(root.id).run()
    assert not app.exception
    assert any(EN["branches.shared"].format(count=3) == each.value for each in app.markdown)
    total = sum(event.trace.logprob for event in root.events()[3:])
    assert any(f"log-probability **−{-total:.2f}**" in each.value for each in app.caption)
    assert math.isfinite(total)
    app.button(key="playground.branch_prune").click().run()
    assert shown_branch(app) is root
    assert session(app).tree.list_in_order() == [(root, 0)]
    assert app.button(key="playground.branch_prune").disabled  # the answer of the last run stays
    app.button(key="playground.branch_restore").click().run()
    assert shown_branch(app) is branch
    assert session(app).tree.list_in_order() == [(root, 0), (branch, 1)]


@pytest.mark.parametrize("language", ["en", "vi"])
def test_the_strip_has_four_colours_and_a_table(language):
    words = load_texts(language)
    app = open_app(language)
    app.number_input(key="settings.max_output_tokens").set_value(4)
    wait_for_run(press_run(app))
    assert app.segmented_control(key="components.strip_mode").options == [
        words[f"strip.modes.{mode}"] for mode in ("probability", "rank", "entropy", "surprisal")
    ]
    app.segmented_control(key="components.strip_mode").set_value("surprisal").run()
    app.toggle(key="playground.strip_table").set_value(True).run()
    assert not app.exception
    table = app.dataframe[0].value
    events = session(app).run.samples[0].events()
    assert list(table[words["step.token"]]) == [
        session(app).run.model.label(e.token_id).replace(" ", "·") for e in events
    ]
    assert list(table[words["strip.surprisal"]]) == [round(e.trace.surprisal_bits, 3) for e in events]
    assert list(table[words["strip.modes.rank"]]) == [e.trace.rank for e in events]


def test_a_new_session_with_the_address_finds_the_tree_the_prompt_and_the_settings(app):
    app.text_area(key="prompt.instruction").set_value("Name a colour.")
    app.slider(key="settings.top_p").set_value(0.5)
    wait_for_run(press_run(app))
    pin_step(app, 2)
    press_button(app, "playground.branch_take")
    session(app).tree.list_in_order()[-1][0].name = "mine"
    app.run()
    [work_id] = [
        value[0] if isinstance(value, list) else value
        for key, value in app.query_params.items()
        if key == URL_PARAMETER
    ]
    again = AppTest.from_file(app._script_path, default_timeout=120)
    again.query_params[URL_PARAMETER] = work_id
    again.run()
    assert not again.exception
    assert [(b.run, b.name, d) for b, d in session(again).tree.list_in_order()] == [
        (b.run, b.name, d) for b, d in session(app).tree.list_in_order()
    ]
    assert shown_branch(again).run is shown_branch(app).run
    assert again.text_area(key="prompt.instruction").value == "Name a colour."
    assert again.slider(key="settings.top_p").value == 0.5
    assert again.number_input(key="settings.max_output_tokens").value == 6

    # a reload of another page brings it back as well
    elsewhere = open_work(work_id)
    elsewhere.switch_page("pages/models.py").run()
    assert elsewhere.query_params[URL_PARAMETER] in (work_id, [work_id])
    elsewhere.switch_page("pages/playground.py").run()
    assert elsewhere.text_area(key="prompt.instruction").value == "Name a colour."
    again = open_work(work_id)

    # two tabs with one address: each goes on with a tree of its own, and the first gets another address
    again.button(key="playground.branch_prune").click().run()
    assert len(session(again).tree) == len(session(app).tree) - 1
    app.run()
    assert session(app).work_id != work_id == session(again).work_id
    assert work_address.work_store().open(session(app).work_id) is not None


def test_an_address_of_work_that_has_gone_says_so_and_starts_afresh():
    app = open_work("0" * 32)
    assert [toast.value for toast in app.toast] == [EN["branches.gone"].format(hours=12)]
    assert URL_PARAMETER not in app.query_params
    assert session(app).technique_runs == []
