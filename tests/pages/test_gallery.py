"""Saving, finding, opening and restoring recipes, and the history, through the real app and database."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from llm_core.prompts.spec import PromptSpec
from llm_core.recipes.link import encode_link
from llm_core.recipes.recipe import Limits, ModelReference, Recipe
from llm_core.storage.database import hash_owner_secret
from pages.ui.shell import services
from pages.ui.shell.i18n import load_texts
from samplers import SamplerConfig
from tests.support.app_driver import APP_PATH, error_messages, open_app, press_run, session, wait_for_run

EN = load_texts("en")


@pytest.fixture(autouse=True)
def model_is_there(builtin):
    """Download the built-in model, which the pages load themselves."""


def owner_id(app: AppTest) -> str:
    return hash_owner_secret(session(app).owner_secret)


def set_prompt(app: AppTest, prompt: str) -> None:
    app.text_area(key="prompt.instruction").set_value(prompt).run()
    assert not app.exception


def save_recipe(app: AppTest, button: str = "recipes.save_new", title: str = "T", tags: str = "") -> AppTest:
    app.button(key="recipes.save").click().run()
    app.text_input(key="recipes.title").set_value(title)
    app.text_input(key="recipes.tags").set_value(tags)
    app.button(key=button).click().run()
    assert not app.exception
    return app


def open_section(app: AppTest, section: str = "saved") -> AppTest:
    app.switch_page("pages/gallery.py").run()
    app.segmented_control(key="gallery.section").set_value(section).run()
    assert not app.exception
    return app


def open_address(address: dict[str, str], app: AppTest | None = None) -> AppTest:
    app = app or AppTest.from_file(APP_PATH, default_timeout=120)
    app.query_params["lang"] = "en"
    for name, value in address.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def test_save_change_save_compare_restore_delete_undo_open():
    app = open_app()
    set_prompt(app, "Describe the sea.")
    save_recipe(app, title="Biển", tags=" thơ , biển,thơ")
    first = session(app).opened
    assert (first.version, first.mine) == (1, True)
    assert first.recipe.tags == ("thơ", "biển")
    assert not app.get("dialog")
    set_prompt(app, "Describe the hills.")
    save_recipe(app, "recipes.save_version", title="Núi", tags="núi")
    assert session(app).opened.version == 2
    assert EN["desk.saved_version"].format(number=2) in [each.value for each in app.success]

    open_section(app)
    app.text_input(key="gallery.saved_query").set_value("nui").run()
    app.button(key=f"gallery.details.{first.id}").click().run()
    assert not app.exception
    diff = next(block.value for block in app.code if block.value.startswith("---"))
    assert "-  instruction: Describe the sea." in diff
    assert "+  instruction: Describe the hills." in diff
    assert any(f"?s={first.id}" in block.value for block in app.code)
    app.selectbox(key=f"gallery.version.{first.id}.2").set_value(1).run()
    app.button(key="gallery.recipe_restore").click().run()
    assert EN["gallery.restored"].format(number=1, new=3) in [each.value for each in app.success]
    app.button(key="gallery.recipe_delete").click().run()
    assert not app.exception
    assert services.recipe_store().search(owner_id(app)).total == 0
    app.button(key="gallery.undo_delete").click().run()
    assert services.recipe_store().search(owner_id(app)).total == 1
    app.text_input(key="gallery.saved_query").set_value("").run()
    app.button(key=f"gallery.open.{first.id}").click().run()
    app.switch_page("pages/playground.py").run()
    assert app.text_area(key="prompt.instruction").value == "Describe the sea."
    assert session(app).opened.version == 3


def test_two_tabs_of_one_browser_save_the_same_recipe_and_the_second_is_told():
    left = open_app()
    set_prompt(left, "start")
    save_recipe(left)
    right = AppTest.from_file(APP_PATH, default_timeout=120)
    right.query_params["lang"] = "en"
    right.query_params["s"] = session(left).opened.id
    right.run()
    session(right).owner_secret = session(left).owner_secret
    right.query_params["s"] = session(left).opened.id
    right.run()
    assert session(right).opened.mine
    set_prompt(left, "from the left")
    save_recipe(left, "recipes.save_version")
    set_prompt(right, "from the right")
    save_recipe(right, "recipes.save_version")
    told = EN["desk.overtaken"].format(number=3, others="2")
    assert told in [each.value for each in right.warning]
    store, name = services.recipe_store(), session(left).opened.id
    kept = [store.recipe(name, number, owner_id(left)).prompt.instruction for number in (1, 2, 3)]
    assert kept == ["start", "from the left", "from the right"]


def test_a_short_link_opens_and_runs_nothing_and_others_can_only_copy():
    mine = open_app()
    set_prompt(mine, "Shared by link")
    save_recipe(mine, title="Shared")
    name = session(mine).opened.id
    other = open_address({"s": name})
    assert other.text_area(key="prompt.instruction").value == "Shared by link"
    assert "s" not in other.query_params
    assert session(other).technique_runs == []
    assert not session(other).opened.mine
    other.button(key="recipes.save").click().run()
    assert [button.key for button in other.button if button.key in ("recipes.save_version", "recipes.save_new")] == [
        "recipes.save_new"
    ]
    assert services.recipe_store().search(owner_id(other)).total == 0  # it was not listed

    gone = open_address({"s": "zzzzzzzzzzzz"})
    assert EN["errors.recipe_gone"].format(id="zzzzzzzzzzzz") in error_messages(gone)


def test_opening_asks_before_it_replaces_and_the_way_back_brings_the_settings_too():
    app = open_app()
    set_prompt(app, "Mine, not saved")
    app.slider(key="settings.temperature").set_value(1.3).run()
    link = encode_link(Recipe(prompt=PromptSpec("Theirs"), title="*Theirs*", sampler=SamplerConfig(temperature=0.5)))
    open_address({"r": link}, app)
    assert app.text_area(key="prompt.instruction").value == "Mine, not saved"
    assert session(app).pending_recipe is not None
    app.button(key="playground.cancel_open").click().run()
    assert session(app).pending_recipe is None
    open_address({"r": link}, app)
    app.button(key="playground.confirm_open").click().run()
    assert app.text_area(key="prompt.instruction").value == "Theirs"
    assert app.slider(key="settings.temperature").value == 0.5
    app.button(key="playground.bring_back").click().run()
    assert app.text_area(key="prompt.instruction").value == "Mine, not saved"
    assert app.slider(key="settings.temperature").value == 1.3


def test_opening_over_what_is_saved_asks_nothing():
    app = open_app()
    set_prompt(app, "Saved")
    save_recipe(app)
    open_address({"r": encode_link(Recipe(prompt=PromptSpec("Next")))}, app)
    assert app.text_area(key="prompt.instruction").value == "Next"


def test_a_damaged_link_is_told_and_changes_nothing():
    app = open_address({"r": "a" + "x" * 40})
    assert len(error_messages(app)) == 1
    assert app.text_area(key="prompt.instruction").value == EN["playground.first_prompt"]


def test_what_the_playground_cannot_show_is_told_and_kept_by_the_next_version():
    sampler = SamplerConfig(
        temperature=7, top_k=10**12, min_new_tokens=2, order=("min_new_tokens", "top_k", "temperature")
    )
    made = Recipe(
        prompt=PromptSpec("Rare settings"),
        title="Rare",
        licence="CC-BY-4.0",
        sampler=sampler,
        seeds=(2**62, 5),
        candidates=3,
        criteria={"length": 1.0},
        limits=Limits(max_output_tokens=9, stop_sequences=("###",), deadline_seconds=60),
        model=ModelReference(id="somebody/model"),
    )
    app = open_address({"r": encode_link(made)})
    told = next(each.value for each in app.info if "order of the stages" in each.value)
    for name in ("temperature", "top_k", "order"):
        assert EN[f"fields.{name}"] in told
    assert session(app).model_id == "builtin"  # nothing is loaded before the reader wants it
    assert app.button(key="playground.use_recipe_model")
    save_recipe(app, title="Rare")
    kept = services.recipe_store().recipe(session(app).opened.id, 1, owner_id(app))
    about = {"title": "", "author": "", "language": "", "notes": "", "tags": ()}
    assert kept.model_copy(update=about) == made.model_copy(update=about)
    app.slider(key="settings.temperature").set_value(0.5).run()
    save_recipe(app, "recipes.save_version", title="Rare")
    later = services.recipe_store().recipe(session(app).opened.id, 2, owner_id(app))
    assert later.sampler.temperature == 0.5
    assert (later.sampler.min_new_tokens, later.sampler.order) == (2, sampler.order)
    assert (later.seeds, later.candidates, later.model.id) == (made.seeds, 3, "somebody/model")


def test_a_refused_save_says_why_and_keeps_the_fields():
    app = open_app()
    set_prompt(app, "")
    app.button(key="recipes.save").click().run()
    assert EN["errors.prompt_empty"] in error_messages(app)


def test_words_of_others_are_text():
    app = open_app()
    set_prompt(app, "<img src=x onerror=alert(1)>")
    save_recipe(app, title="**bold** <script>alert(1)</script> :smile: $x$", tags="[a](javascript:b)")
    open_section(app)
    texts_shown = [each.value for each in app.markdown]
    assert any(r"\*\*bold\*\* \<script\>alert(1)\</script\> \:smile\: \$x\$" in text for text in texts_shown)
    app.button(key=f"gallery.details.{session(app).opened.id}").click().run()
    assert not app.exception
    assert services.recipe_store().search(owner_id(app), "<script>").total == 1


def test_runs_are_kept_for_this_browser_only_and_open_again():
    app = open_app()
    app.number_input(key="settings.max_output_tokens").set_value(3)
    set_prompt(app, "Tả biển đêm")
    wait_for_run(press_run(app))
    open_section(app, "history")
    found = services.history().search(owner_id(app), "bien dem")
    assert found.total == 1
    [run] = found.runs
    assert run.summary["tokens"] == 3
    app.button(key=f"gallery.open_run.{run.id}").click().run()
    if session(app).pending_recipe:
        app.button(key="playground.confirm_open").click().run()
    app.switch_page("pages/playground.py").run()
    assert app.text_area(key="prompt.instruction").value == "Tả biển đêm"
    assert app.number_input(key="settings.max_output_tokens").value == 3

    other = open_section(open_app(), "history")
    assert not [button for button in other.button if str(button.key).startswith("gallery.open_run.")]

    open_section(app, "history")
    app.radio(key="gallery.history_prune").set_value("all")
    app.button(key="gallery.history_prune_now").click().run()
    assert services.history().search(owner_id(app)).total == 0


def test_nothing_is_kept_where_the_reader_or_the_installation_wants_none(monkeypatch):
    app = open_section(open_app(), "history")
    app.toggle(key="gallery.history_on").set_value(False).run()
    app.switch_page("pages/playground.py").run()
    app.number_input(key="settings.max_output_tokens").set_value(1)
    wait_for_run(press_run(app))
    monkeypatch.setenv("NUCLEUS_HISTORY", "0")
    other = open_app()
    other.number_input(key="settings.max_output_tokens").set_value(1)
    wait_for_run(press_run(other))
    for each in (app, other):
        assert services.history().search(owner_id(each)).total == 0
    open_section(other, "history")
    assert EN["history.off_here"] in [each.value for each in other.info]


def test_a_database_that_fails_stops_no_run(monkeypatch):
    for each in (services.history, services.recipe_store, services._database):
        each.clear()
    monkeypatch.setenv("NUCLEUS_DATABASE_URL", "postgresql://127.0.0.1:9/none")
    try:
        app = open_app()
        app.number_input(key="settings.max_output_tokens").set_value(2)
        wait_for_run(press_run(app))
        assert not error_messages(app)
        assert session(app).run.samples[0].text
        open_section(app, "history")
        assert any("NUCLEUS_DATABASE_URL" in error for error in error_messages(app))
        open_section(app)
        assert any("NUCLEUS_DATABASE_URL" in error for error in error_messages(app))
    finally:
        for each in (services.history, services.recipe_store, services._database):
            each.clear()
