"""Saving, finding, comparing, restoring, copying and deleting recipes, on both databases."""

from __future__ import annotations

import dataclasses
import random
import signal
import string
import subprocess
import sys
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from llm_core.errors import NucleusError
from llm_core.prompts.spec import Example, PromptSpec
from llm_core.recipes.recipe import Limits, ModelReference, Recipe
from llm_core.storage import recipe_store
from llm_core.storage.database import Database
from llm_core.storage.recipe_store import RecipeStore
from llm_core.storage.schema import tags, versions
from samplers import SamplerConfig
from tests.llm_core.storage.conftest import ANN, BINH, make_recipe


def refusal_code(code: str):
    return pytest.raises(NucleusError, check=lambda error: error.code == code)


def titles(found) -> list[str]:
    return [entry.title for entry in found.entries]


def test_every_save_is_a_version_that_stays(store: RecipeStore):
    first = store.save(make_recipe("one", title="First"), ANN)
    second = store.save_version(first.id, make_recipe("two", title="Second"), ANN, 1)
    assert (first.number, second.number, second.concurrent_versions, second.changed) == (1, 2, (), True)
    assert store.recipe(first.id, 1, ANN) == make_recipe("one", title="First")
    assert store.recipe(first.id, 2, ANN) == make_recipe("two", title="Second")
    entry = store.get(first.id, ANN)
    assert (entry.title, entry.latest, entry.mine) == ("Second", 2, True)
    assert entry.created_at < entry.saved_at
    assert [(v.number, v.title, v.base) for v in store.versions(first.id, ANN)] == [
        (2, "Second", 1),
        (1, "First", None),
    ]


def test_saving_the_same_again_makes_no_version(store: RecipeStore):
    saved = store.save(make_recipe(title="T"), ANN)
    again = store.save_version(saved.id, make_recipe(title="T"), ANN, 1)
    assert (again.number, again.changed) == (1, False)
    assert len(store.versions(saved.id, ANN)) == 1


def test_two_tabs_that_save_one_recipe_lose_nothing_and_the_second_is_told(store: RecipeStore):
    saved = store.save(make_recipe("start"), ANN)
    left = store.save_version(saved.id, make_recipe("left"), ANN, 1)
    right = store.save_version(saved.id, make_recipe("right"), ANN, 1)
    assert (left.number, left.concurrent_versions) == (2, ())
    assert (right.number, right.concurrent_versions) == (3, (2,))
    assert [store.recipe(saved.id, number, ANN).prompt.instruction for number in (1, 2, 3)] == [
        "start",
        "left",
        "right",
    ]
    assert store.versions(saved.id, ANN)[0].base == 1


def test_a_restored_version_is_another_save(store: RecipeStore):
    saved = store.save(make_recipe("one", title="Một", tags=("a",)), ANN)
    store.save_version(saved.id, make_recipe("two", title="Hai", tags=("b",)), ANN, 1)
    restored = store.restore(saved.id, 1, ANN, 2)
    assert restored.number == 3
    assert store.recipe(saved.id, 3, ANN) == store.recipe(saved.id, 1, ANN)
    assert (store.get(saved.id, ANN).title, store.get(saved.id, ANN).tags) == ("Một", ("a",))
    assert [(v.number, v.restored) for v in store.versions(saved.id, ANN)] == [(3, 1), (2, None), (1, None)]


def test_a_diff_shows_what_changed_between_any_two_versions(store: RecipeStore):
    saved = store.save(make_recipe("Viết về biển.", title="Biển"), ANN)
    store.save_version(saved.id, make_recipe("Viết về núi.", title="Biển"), ANN, 1)
    store.save_version(saved.id, make_recipe("Viết về núi.", title="Biển", seeds=(9,)), ANN, 2)
    forwards = store.diff(saved.id, 1, 2, ANN).splitlines()
    assert [line for line in forwards if line[0] == "-" and "biển" in line]
    assert [line for line in forwards if line[0] == "+" and "núi" in line]
    assert not [line for line in forwards[2:] if line[0] in "+-" and "title" in line]
    assert "9" in store.diff(saved.id, 2, 3, ANN)
    assert store.diff(saved.id, 2, 2, ANN) == ""


def test_only_the_owner_changes_a_recipe_and_others_copy_it(store: RecipeStore):
    saved = store.save(make_recipe("mine", title="T", tags=("one",)), ANN, listed=True)
    for change in (
        lambda: store.save_version(saved.id, make_recipe("theirs"), BINH, 1),
        lambda: store.restore(saved.id, 1, BINH, 1),
        lambda: store.set_listed(saved.id, False, BINH),
        lambda: store.delete(saved.id, BINH),
    ):
        with refusal_code("recipe_not_yours"):
            change()
    copy = store.fork(saved.id, 1, BINH)
    entry = store.get(copy.id, BINH)
    assert (entry.mine, entry.origin, entry.tags, entry.listed) == (True, (saved.id, 1), ("one",), False)
    store.save_version(copy.id, make_recipe("changed"), BINH, 1)
    assert store.recipe(saved.id, 1, ANN).prompt.instruction == "mine"
    assert store.get(saved.id, BINH).mine is False


def test_who_has_the_id_opens_a_recipe_and_only_listed_ones_are_found_by_others(store: RecipeStore):
    hidden = store.save(make_recipe(title="hidden"), ANN)
    store.save(make_recipe(title="listed"), ANN, listed=True)
    assert titles(store.search(ANN)) == ["listed", "hidden"]
    assert titles(store.search(BINH)) == ["listed"]
    assert titles(store.search(BINH, whose="mine")) == []
    assert store.get(hidden.id, BINH).title == "hidden"
    store.set_listed(hidden.id, True, ANN)
    assert titles(store.search(BINH)) == ["listed", "hidden"]


def test_a_deleted_recipe_can_be_brought_back_until_it_is_purged(store: RecipeStore, clock):
    saved = store.save(make_recipe(title="T", tags=("x",)), ANN, listed=True)
    store.save_version(saved.id, make_recipe("two", title="T", tags=("x",)), ANN, 1)
    store.delete(saved.id, ANN)
    assert store.search(ANN).total == store.search(BINH).total == 0
    assert store.tags(ANN) == []
    assert titles(store.search(ANN, whose="deleted")) == ["T"]
    assert store.search(BINH, whose="deleted").total == 0
    for use in (store.get, store.versions, lambda i, o: store.recipe(i, 1, o), lambda i, o: store.fork(i, 1, o)):
        with refusal_code("recipe_gone"):
            use(saved.id, BINH)
    with refusal_code("recipe_gone"):
        store.save_version(saved.id, make_recipe("three"), ANN, 2)
    clock.advance_days(recipe_store.RETENTION_DAYS - 1)
    assert store.purge() == 0
    store.undelete(saved.id, ANN)
    assert len(store.versions(saved.id, ANN)) == 2
    assert titles(store.search(BINH, tag="x")) == ["T"]

    store.delete(saved.id, ANN)
    clock.advance_days(recipe_store.RETENTION_DAYS + 1)
    store.search(ANN)  # tidies
    with refusal_code("recipe_gone"):
        store.undelete(saved.id, ANN)
    with store._database.read_transaction() as connection:
        assert connection.execute(select(versions)).all() == connection.execute(select(tags)).all() == []


def test_deleting_for_good_takes_only_what_was_deleted(store: RecipeStore):
    saved = store.save(make_recipe(title="T"), ANN)
    store.delete_forever(saved.id, ANN)
    assert store.search(ANN).total == 1
    store.delete(saved.id, ANN)
    with refusal_code("recipe_gone"):
        store.delete_forever(saved.id, BINH)
    store.delete_forever(saved.id, ANN)
    assert store.search(ANN, whose="deleted").total == 0


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("tieng viet", True),
        ("TIẾNG Việt", True),
        ("viet tieng", True),
        ("dong bang", True),  # Đồng bằng, in the prompt
        ("mai toi truong", True),  # in an example
        ("toan hoc", True),  # a tag
        ("ghi chu", True),  # in the notes
        ("binh", True),  # the author
        ("tiéng", True),  # another mark
        ("tieng anh", False),
        ("vie%", False),
        ("t_eng", False),
        ("", True),
    ],
)
def test_words_are_found_wherever_they_stand_whatever_the_marks(store: RecipeStore, query, found):
    spec = PromptSpec("Tả Đồng bằng sông Cửu Long.", examples=(Example("mai tới trường", "x"),))
    full = Recipe(prompt=spec, title="Tiếng Việt", author="Bình", notes="Ghi chú", tags=("Toán học",))
    store.save(full, ANN)
    assert store.search(ANN, query).total == found


def test_decomposed_letters_are_the_same_letters(store: RecipeStore):
    store.save(make_recipe(title=unicodedata.normalize("NFD", "Tiếng Việt")), ANN)
    assert store.search(ANN, unicodedata.normalize("NFC", "tiếng việt")).total == 1


def test_what_has_the_words_in_its_title_comes_first_then_the_newest(store: RecipeStore):
    store.save(make_recipe("x", title="the sea"), ANN)
    store.save(make_recipe("the sea", title="two"), ANN)
    store.save(make_recipe("the sea", title="three"), ANN)
    assert titles(store.search(ANN, "SEA")) == ["the sea", "three", "two"]
    assert titles(store.search(ANN)) == ["three", "two", "the sea"]


def test_tags_of_the_latest_version_are_counted_and_filter(store: RecipeStore):
    one = store.save(make_recipe("1", title="1", tags=("Toán", "lớp 9")), ANN, listed=True)
    store.save(make_recipe("2", title="2", tags=("toán",)), BINH)
    assert store.tags(ANN) == [("lớp 9", 1), ("Toán", 1)]
    assert [count for _, count in store.tags(BINH)] == [2, 1]
    assert titles(store.search(BINH, tag="TOAN")) == ["2", "1"]
    store.save_version(one.id, make_recipe("1", title="1", tags=("văn",)), ANN, 1)
    assert store.tags(ANN) == [("văn", 1)]
    assert store.search(ANN, tag="toán").total == 0


def test_tags_that_no_reader_would_tell_apart_are_one(store: RecipeStore):
    saved = store.save(make_recipe(tags=("Biển", "bien", "BIỂN", "núi")), ANN)
    assert store.get(saved.id, ANN).tags == ("Biển", "núi")


def test_pages_of_a_search_are_whole_and_do_not_overlap(store: RecipeStore):
    for number in range(recipe_store.PAGE_SIZE + 3):
        store.save(make_recipe(title=f"number {number}"), ANN)
    first, second = store.search(ANN, "number"), store.search(ANN, "number", skip=recipe_store.PAGE_SIZE)
    assert first.total == second.total == recipe_store.PAGE_SIZE + 3
    assert len({entry.id for entry in (*first.entries, *second.entries)}) == first.total
    assert store.search(ANN, skip=-5).entries == store.search(ANN).entries


def test_language_filters(store: RecipeStore):
    store.save(make_recipe(title="e", language="en"), ANN)
    store.save(make_recipe(title="v", language="vi"), ANN)
    assert titles(store.search(ANN, language="vi")) == ["v"]


HOSTILE = (
    "'; DROP TABLE recipes; --",
    "%' OR '1'='1",
    '" OR 1=1 --',
    "\\",
    "%",
    "_",
    "x' UNION SELECT owner FROM recipes --",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "{{7*7}} ${7*7} %s %(a)s :name ?",
    "a" * 190,
)


@pytest.mark.parametrize("text", HOSTILE)
def test_sql_and_html_are_text(store: RecipeStore, text):
    store.save(make_recipe("another", title="another"), ANN)
    tag = text[:60]
    saved = store.save(make_recipe(text, title=text, author=text, notes=text, tags=(tag,), language=text), ANN)
    assert store.get(saved.id, ANN).title == text
    assert store.recipe(saved.id, 1, ANN).tags == (tag,)
    assert [entry.id for entry in store.search(ANN, text).entries] == [saved.id]
    assert [entry.id for entry in store.search(ANN, tag=tag).entries] == [saved.id]
    assert [entry.id for entry in store.search(ANN, language=text).entries] == [saved.id]
    with refusal_code("recipe_gone"):
        store.get(text, ANN)
    assert store.search(text, text).total == 0
    assert store.search(ANN).total == 2


@pytest.mark.parametrize("text", ["\0", "\ud800", "a\0b", "\u202e", "x" * 100_000, " " * 1000])
def test_a_search_for_anything_is_answered(store: RecipeStore, text):
    store.save(make_recipe(title="T"), ANN)
    assert store.search(ANN, text).total <= 1
    assert store.search(ANN, tag=text).total <= 1
    assert store.search(ANN, language=text).total == 0
    with refusal_code("recipe_gone"):
        store.get(text, ANN)


def test_ids_are_short_and_do_not_repeat(store: RecipeStore):
    ids = {store.save(make_recipe(title="T"), ANN).id for _ in range(20)}
    assert len(ids) == 20
    assert all(len(each) == 12 and set(each) <= set(string.ascii_lowercase + string.digits) for each in ids)


def test_sizes_and_counts_are_bounded(store: RecipeStore, monkeypatch):
    saved = store.save(make_recipe("a"), ANN)
    store.save_version(saved.id, make_recipe("b"), ANN, 1)
    monkeypatch.setattr(recipe_store, "MAX_VERSIONS", 2)
    with refusal_code("versions_full"):
        store.save_version(saved.id, make_recipe("c"), ANN, 2)
    monkeypatch.setattr(recipe_store, "MAX_RECIPES", 1)
    with refusal_code("recipes_full"):
        store.save(make_recipe("d"), ANN)
    store.save(make_recipe("d"), BINH)  # a bound of each owner
    monkeypatch.setattr(recipe_store, "MAX_ALL_RECIPES", 2)
    with refusal_code("server_full"):
        store.save(make_recipe("d"), "somebody new")
    monkeypatch.setattr(recipe_store, "MAX_RECIPES", 9)
    monkeypatch.setattr(recipe_store, "MAX_ALL_RECIPES", 9)
    monkeypatch.setattr(recipe_store, "MAX_OWNER_CHARACTERS", 500)
    with refusal_code("gallery_full"):
        store.save(make_recipe("d" * 400), ANN)
    monkeypatch.setattr(recipe_store, "MAX_VERSION_CHARACTERS", 100)
    with refusal_code("recipe_too_large_to_save"):
        store.save(make_recipe("e" * 101), ANN)
    assert len(store.versions(saved.id, ANN)) == 2


def test_versions_that_are_not_there_are_named(store: RecipeStore):
    saved = store.save(make_recipe(), ANN)
    for number in (0, 2, -1, 2**31 - 1):
        with refusal_code("version_unknown"):
            store.recipe(saved.id, number, ANN)
        with refusal_code("version_unknown"):
            store.restore(saved.id, number, ANN, 1)


def test_many_threads_save_one_recipe_and_every_save_is_there(store: RecipeStore):
    saved = store.save(make_recipe("0"), ANN)
    with ThreadPoolExecutor(12) as pool:
        done = list(pool.map(lambda n: store.save_version(saved.id, make_recipe(f"{n}"), ANN, 1), range(1, 61)))
    assert sorted(each.number for each in done) == list(range(2, 62))
    kept = {store.recipe(saved.id, version.number, ANN).prompt.instruction for version in store.versions(saved.id, ANN)}
    assert kept == {str(n) for n in range(61)}
    for each in done:
        assert each.concurrent_versions == tuple(range(2, each.number))


WRITER = """
import sys
from llm_core.prompts.spec import PromptSpec
from llm_core.recipes.recipe import Recipe
from llm_core.storage.database import Database
from llm_core.storage.recipe_store import RecipeStore
url, recipe_id, owner, name, count = sys.argv[1:]
store = RecipeStore(Database(url))
for n in range(int(count)):
    saved = store.save_version(recipe_id, Recipe(prompt=PromptSpec(f"{name}-{n}" + "x" * 3000)), owner, 1)
    print(f"{name}-{n}", saved.number, flush=True)
"""


def run_writer(url: str, recipe_id: str, name: str, count: int) -> subprocess.Popen:
    command = [sys.executable, "-c", WRITER, url, recipe_id, ANN, name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_many_processes_save_one_recipe_and_every_save_is_there(store: RecipeStore, url):
    saved = store.save(make_recipe("0"), ANN)
    processes = [run_writer(url, saved.id, name, 15) for name in "abcd"]
    told: dict[str, int] = {}
    for process in processes:
        output, complaint = process.communicate(timeout=120)
        assert process.returncode == 0, complaint
        told |= {name: int(number) for name, number in map(str.split, output.splitlines())}
    assert sorted(told.values()) == list(range(2, 62))
    for name, number in told.items():
        assert store.recipe(saved.id, number, ANN).prompt.instruction.startswith(f"{name}x")


@pytest.mark.thorough
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
def test_a_kill_at_any_moment_leaves_a_readable_database_with_every_save_that_was_told(store: RecipeStore, url):
    """Eight processes, four at a time, are killed while they save, at moments drawn at random."""
    draw = random.Random(7)
    saved = store.save(make_recipe("0"), ANN)
    told: dict[int, str] = {}
    for turn in range(2):
        for process in [run_writer(url, saved.id, f"{turn}{place}", 10_000) for place in "abcd"]:
            assert process.stdout
            first = process.stdout.readline()  # it is saving now
            time.sleep(draw.uniform(0, 0.08))
            process.send_signal(signal.SIGKILL)
            rest, complaint = process.communicate(timeout=60)
            assert process.returncode == -signal.SIGKILL, complaint
            whole = (first + rest).rpartition("\n")[0]  # the kill may have cut a line
            told |= {int(number): name for name, number in map(str.split, whole.splitlines())}
    assert len({name.partition("-")[0] for name in told.values()}) == 8
    store._database.close()
    again = RecipeStore(Database(url))
    kept = {version.number for version in again.versions(saved.id, ANN)}
    assert kept == set(range(1, max(kept) + 1))
    assert again.get(saved.id, ANN).latest == max(kept)
    for number, name in told.items():
        assert again.recipe(saved.id, number, ANN).prompt.instruction.startswith(f"{name}x")
    if url.startswith("sqlite"):
        with again._database.read_transaction() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
    again.save_version(saved.id, make_recipe("after"), ANN, max(kept))
    again._database.close()


texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cf", "Zl", "Zp")), max_size=200)
shown = texts.filter(str.strip)
recipes = st.builds(
    Recipe,
    prompt=st.builds(
        PromptSpec,
        shown.map(lambda text: text.replace("{{", "")),
        system=texts.map(lambda text: text.replace("{{", "")),
        examples=st.lists(st.builds(Example, shown.map(str), shown.map(str)), max_size=3).map(tuple),
    ),
    title=texts,
    author=texts,
    notes=texts,
    language=st.sampled_from(["", "en", "vi"]),
    tags=st.lists(texts.map(lambda text: text[:60]).filter(bool), max_size=5).map(tuple),
    model=st.sampled_from([ModelReference(), ModelReference(id="gemini:gemini-3-pro", revision="r")]),
    sampler=st.builds(SamplerConfig, temperature=st.floats(0, 2), top_k=st.integers(0, 1000), top_p=st.floats(0.01, 1)),
    seeds=st.lists(st.integers(0, 2**53), min_size=1, max_size=4).map(tuple),
    limits=st.builds(Limits, max_output_tokens=st.integers(1, 1000)),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(recipes)
def test_any_recipe_comes_back_as_it_was(store: RecipeStore, made: Recipe):
    saved = store.save(made, ANN)
    assert store.recipe(saved.id, 1, ANN) == made
    entry = store.get(saved.id, ANN)
    assert (entry.title, entry.author, entry.language) == (made.title, made.author, made.language)
    assert set(entry.tags) <= set(made.tags)
    assert bool(entry.tags) == bool(made.tags)
    word = next(iter(made.prompt.instruction.split()), "")[:100]
    assert saved.id in {each.id for each in store.search(ANN, word).entries} or store.search(ANN, word).total > 20
    later = dataclasses.replace(made.prompt, instruction=made.prompt.instruction + " again")
    assert store.save_version(saved.id, made.model_copy(update={"prompt": later}), ANN, 1).number == 2
    assert store.recipe(saved.id, 2, ANN).prompt == later
