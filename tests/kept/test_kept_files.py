"""Files that an earlier version of the program wrote still open, and say what they said when they were written."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from llm_core import Engine, ModelStore, Recipe, decode_link, load_text
from llm_core.formats.registry import load
from llm_core.models.revision import find_revision
from llm_core.recipes.replay import replay_prompts, verify
from llm_core.storage.database import Database, hash_owner_secret
from llm_core.storage.history import History
from llm_core.storage.recipe_store import RecipeStore
from samplers import unpack_traces

FILES = Path(__file__).parent / "files"
EXPECTED = json.loads((FILES / "expected.json").read_text(encoding="utf-8"))
"""What the files said to the program that wrote them: every field of every recipe, defaults included."""
LINKS = dict(line.split(" ") for line in (FILES / "links.txt").read_text(encoding="utf-8").splitlines())
ANN, BINH = hash_owner_secret("ann's secret"), hash_owner_secret("bình's secret")


def assert_holds(data: object, expected: object, place: str = "") -> None:
    """Fail where `data` lacks something of `expected` or has another value; fields that came later may be there."""
    if isinstance(expected, dict):
        assert isinstance(data, dict), place
        for name, value in expected.items():
            assert name in data, f"{place}.{name} is gone"
            assert_holds(data[name], value, f"{place}.{name}")
    elif isinstance(expected, list):
        assert isinstance(data, list), place
        assert len(data) == len(expected), place
        for number, (one, other) in enumerate(zip(data, expected, strict=True)):
            assert_holds(one, other, f"{place}[{number}]")
    else:
        assert data == expected, place


def fields(recipe: Recipe) -> dict:
    return recipe.model_dump(mode="json", by_alias=True, exclude={"trace"})


def test_no_kept_file_was_written_again():
    sums = dict(reversed(line.split("  ")) for line in (FILES / "SHA256SUMS").read_text().splitlines())
    there = {path.relative_to(FILES).as_posix(): path for path in FILES.rglob("*") if path.is_file()}
    del there["SHA256SUMS"]
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in there.items()} == sums


@pytest.mark.parametrize("ending", ["yaml", "json"])
@pytest.mark.parametrize("name", EXPECTED["recipes"])
def test_a_recipe_means_what_it_meant(name, ending):
    recipe = load_text((FILES / f"recipes/{name}.{ending}").read_bytes())
    assert_holds(fields(recipe), EXPECTED["recipes"][name])
    said = [[[turn.role, turn.content] for turn in prompt.messages()] for prompt in recipe.prompt.variants()]
    assert said == EXPECTED["messages"][name]
    assert list(recipe.sampler.stages) == EXPECTED["stages"][name]


@pytest.mark.parametrize("name", EXPECTED["recipes"])
def test_a_link_opens_the_recipe_that_it_was_made_of(name):
    recipe = decode_link(LINKS[name])
    assert recipe == load_text((FILES / f"recipes/{name}.yaml").read_bytes())
    assert_holds(fields(recipe), EXPECTED["recipes"][name])


def test_what_the_files_hold_is_read_as_a_person_reads_it():
    """A few of the expected values by hand, which were not written by the program."""
    poem, words, cited = (
        load_text((FILES / f"recipes/{name}.yaml").read_bytes())
        for name in ("zero-shot", "few-shot-variables", "retrieval")
    )
    assert (poem.title, poem.tags, poem.seeds) == ("Biển đêm", ("thơ", "biển"), (7, 2**40 + 1))
    assert (poem.sampler.temperature, poem.sampler.top_k, poem.sampler.order) == (0.8, 40, "llama_cpp")
    assert (poem.limits.max_output_tokens, poem.limits.stop_sequences) == (64, ("\n\n",))
    dry, warm = words.prompt.variants()
    assert dry.messages()[-1].content == (
        "Single words only. {{this}} is text.\n\nGive the opposite, in the tone: dry.\n\n"
        "Word: hot\nOpposite: cold\n\nWord: up\nOpposite: down\n\nWord: large\nOpposite:"
    )
    assert warm.messages()[-1].content.endswith("Word: {{early}}\nOpposite:")
    assert "[2] The lighthouse was built in 1871." in cited.prompt.messages()[-1].content
    assert "Fish" not in cited.prompt.messages()[-1].content
    best = load_text((FILES / "recipes/best-of-n.json").read_bytes())
    assert (best.candidates, best.seeds, len(best.rows())) == (4, (21,), 4)
    assert best.criteria == {"sum_logprob": 1.0, "self_certainty": 0.5, "vote": 2.0, "consensus": 0.0}
    seen = load_text((FILES / "recipes/hosted-gemini.json").read_bytes())
    assert (seen.model.id, seen.hosted.thinking, seen.hosted.safety[0]) == (
        "gemini:gemini-2.5-flash",
        512,
        ("HARASSMENT", "BLOCK_ONLY_HIGH"),
    )
    assert seen.hosted.images[0].data.startswith(b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize("file", EXPECTED["conversions"])
def test_a_file_in_another_program_s_form_gives_the_same_recipe(file):
    expected = EXPECTED["conversions"][file]
    loaded = load((FILES / "conversions" / file).read_bytes(), file)
    assert_holds(fields(loaded.recipe), expected["recipe"])
    lost = [list(each) for each in loaded.dropped]
    if expected["form"] == "notebook":  # its cells are compared with those that are written today, which may differ
        lost = [each for each in lost if each != ["cells", "edited"]]
    assert lost == expected["lost"]


@pytest.mark.parametrize("file", EXPECTED["traces"])
def test_a_recorded_run_shows_every_token_as_it_was(file):
    expected = EXPECTED["traces"][file]
    recipe = load_text((FILES / "traces" / file).read_bytes())
    assert_holds(fields(recipe), expected["recipe"])
    trace = recipe.trace
    assert trace is not None
    assert [trace.at, trace.model, list(trace.ends)] == [expected[name] for name in ("at", "model", "ends")]
    shown = [
        (number, asking, place, row)
        for number, asking in enumerate(replay_prompts(recipe))
        for place, row in enumerate(asking.main.samples)
    ]
    assert len(shown) == len(expected["rows"])
    for (number, asking, place, row), then in zip(shown, expected["rows"], strict=True):
        events, run = row.events(), asking.main
        steps = [event.trace for event in events]
        now = {
            "prompt": number,
            "seed": row.seed,
            "text": row.text,
            "tokens": [event.token_id for event in events],
            "pieces": [event.piece for event in events],
            "labels": [run.label(event.token_id) for event in events if event.token_id is not None],
            "finish_reason": row.finish_reason,
            "error": str(row.error) if row.error else None,
            "outcome": [asking.outcomes[place].text, asking.outcomes[place].result] if asking.outcomes else None,
            "logprobs": [step and step.logprob for step in steps],
            "ranks": [step and step.rank for step in steps],
            "stages": [step and [stage.name for stage in step.stages] for step in steps],
            "entropy_bits": [step and step.final.entropy_bits for step in steps],
            "certainty": [step and step.self_certainty for step in steps],
            "candidates": [step and [run.label(token) for token in step.candidates[:5]] for step in steps],
        }
        assert now == {name: then[name] for name in now}
        counted = row.usage and [
            *(row.usage.prompt_tokens, row.usage.output_tokens, row.usage.thought_tokens, row.usage.cached_tokens)
        ]
        assert counted == then["usage"]


def test_the_built_in_model_still_writes_what_was_recorded(builtin):
    recipe = load_text((FILES / "traces/builtin.yaml").read_bytes())
    assert recipe.model.revision == find_revision(builtin)
    engine = Engine(ModelStore(loader=lambda model_id, report: builtin))
    try:
        verdict = verify(recipe, engine.submit)
    finally:
        engine.close()
    assert verdict.identical, verdict
    assert verdict.drift < 1e-3
    rows = EXPECTED["traces"]["builtin.yaml"]["rows"]
    assert [(row["seed"], len(row["tokens"])) for row in rows] == [(3, 12), (4, 12)]


@pytest.mark.parametrize("file", EXPECTED["steps"])
def test_packed_steps_are_unpacked_to_the_numbers_that_were_packed(file):
    traces = unpack_traces((FILES / "steps" / file).read_bytes())
    assert len(traces) == len(EXPECTED["steps"][file])
    for trace, then in zip(traces, EXPECTED["steps"][file], strict=True):
        assert (trace.token_id, trace.rank, trace.self_certainty) == (
            then["token_id"],
            then["rank"],
            then["self_certainty"],
        )
        assert (len(trace.candidates), list(trace.candidates[:5])) == (then["count"], then["candidates"])
        chosen = trace.candidates.index(trace.token_id)
        now = [
            [stage.name, stage.kept, stage.kept_mass, stage.entropy_bits, stage.logprobs[chosen]]
            for stage in trace.stages
        ]
        assert now == [
            [stage[name] for name in ("name", "kept", "kept_mass", "entropy_bits", "logprob")]
            for stage in then["stages"]
        ]


@pytest.fixture
def kept_database(request, tmp_path):
    """A copy of one of the databases, opened by the program of today."""
    file = tmp_path / request.param
    shutil.copy(FILES / "databases" / request.param, file)
    with closing(sqlite3.connect(file)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        versions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    old = request.param == "r0001.sqlite3"
    assert (versions, "runs" in tables) == ([("0001" if old else "0002",)], not old)
    database = Database(f"sqlite:///{file}")
    yield database
    database.close()


def kept_recipe(name: str) -> Recipe:
    return load_text((FILES / f"recipes/{name}.yaml").read_bytes())


@pytest.mark.parametrize("kept_database", ["newest.sqlite3", "r0001.sqlite3"], indirect=True)
def test_a_saved_recipe_has_both_its_versions(kept_database):
    store = RecipeStore(kept_database)
    [entry] = store.search(ANN, "bien", tag="biển", whose="mine").entries
    assert (entry.mine, entry.listed, entry.author, entry.language) == (True, True, "Bình", "vi")
    *_, second, first = store.versions(entry.id, ANN)
    assert (first.number, first.title, first.base) == (1, "Biển đêm", None)
    assert (second.number, second.title, second.base) == (2, "Biển ngày", 1)
    assert first.saved_at < second.saved_at
    one, two = (store.recipe(entry.id, number, ANN) for number in (1, 2))
    assert one == kept_recipe("zero-shot")
    assert_holds(fields(one), EXPECTED["recipes"]["zero-shot"])
    assert (two.title, two.seeds, two.tags, two.prompt) == ("Biển ngày", (9,), ("biển",), one.prompt)
    assert "+title: Biển ngày" in store.diff(entry.id, 1, 2, ANN)
    assert store.get(entry.id, BINH).mine is False
    saved = store.save_version(entry.id, one.model_copy(update={"title": "Today"}), ANN, entry.latest)
    assert saved.number == entry.latest + 1


@pytest.mark.parametrize("kept_database", ["newest.sqlite3"], indirect=True)
def test_copies_restored_and_deleted_recipes_are_what_they_were(kept_database):
    store = RecipeStore(kept_database, clock=lambda: 1_780_010_000.0)  # within the days that deleted ones are kept
    [original] = store.search(ANN, "biển", whose="mine").entries
    assert [(each.number, each.restored) for each in store.versions(original.id, ANN)] == [(3, 1), (2, None), (1, None)]
    [copy] = store.search(BINH, whose="mine").entries
    assert (copy.title, copy.origin) == ("Biển ngày", (original.id, 2))
    [gone] = store.search(ANN, whose="deleted").entries
    assert gone.title == "Every stage"
    store.undelete(gone.id, ANN)
    assert store.recipe(gone.id, 1, ANN) == kept_recipe("custom-order")
    [recorded] = store.search(ANN, "two answers").entries
    assert store.recipe(recorded.id, 1, ANN) == load_text((FILES / "traces/hosted-vllm.yaml").read_bytes())


@pytest.mark.parametrize("kept_database", ["newest.sqlite3"], indirect=True)
def test_the_history_has_its_runs(kept_database):
    history = History(kept_database)
    newer, older = history.search(ANN).runs
    row = EXPECTED["traces"]["builtin.yaml"]["rows"][0]
    assert (older.model, older.title, older.answer) == ("builtin", "Describe the sea.", row["text"])
    assert older.summary == {
        "tokens": 12,
        "seconds": 1.234,
        "answers": 1,
        "result": "",
        "finish_reason": row["finish_reason"],
        "mean_logprob": -1.0321,
    }
    asked = history.recipe(older.id, ANN)
    assert (asked.prompt.system, asked.seeds, asked.sampler.top_p) == ("Be brief.", (3,), 0.9)
    assert (newer.title, newer.answer, newer.summary["mean_logprob"]) == ("A picture", "Một chấm nhỏ.", None)
    assert history.recipe(newer.id, ANN) == kept_recipe("hosted-gemini")
    assert [run.answer for run in history.search(ANN, "cham nho").runs] == ["Một chấm nhỏ."]
    assert [run.answer for run in history.search(BINH).runs] == ["In 1871 [2]."]


@pytest.mark.parametrize("kept_database", ["r0001.sqlite3"], indirect=True)
def test_a_database_from_before_the_history_gets_one(kept_database):
    history = History(kept_database)
    assert history.search(ANN).total == 0
    history.add("r1", ANN, kept_recipe("retrieval"), "In 1871 [2].", {"tokens": 5})
    assert history.recipe("r1", ANN) == kept_recipe("retrieval")
