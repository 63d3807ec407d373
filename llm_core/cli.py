"""Run, verify and convert recipes on the command line: `python -m llm_core run | verify | convert | gallery`.

Results go to standard output, everything else to standard error; progress only where that is a terminal. `-` stands for
standard input or output. Exit codes:

| code | meaning |
|---|---|
| 0 | done; `verify`: the same tokens |
| 1 | `verify`: other tokens; `run`: an answer failed or time was up, and what was written is printed |
| 2 | the command line is wrong |
| 3 | a file cannot be read or written, or what is in it is refused |
| 130 | Ctrl+C: what was written so far is printed |
| 141 | whoever read the output has gone |
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_core.errors import NucleusError

if TYPE_CHECKING:
    from llm_core.generation.record import Run
    from llm_core.models.store import ModelStore
    from llm_core.recipes.recipe import Recipe
    from llm_core.recipes.replay import RecipeRun

DONE, DIFFERENT, REFUSED, INTERRUPTED, NO_READER = 0, 1, 3, 130, 141


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code. Raises `SystemExit` with 2 for a wrong command line."""
    options = _make_parser().parse_args(arguments)
    try:
        code: int = options.command(options)
        sys.stdout.flush()
        return code
    except NucleusError as error:
        _print_to_stderr(f"{error}")
        return REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains again as it ends
        return NO_READER


def _make_parser() -> argparse.ArgumentParser:
    codes = "Exit codes: 0 done, or the same tokens; 1 other tokens, or an answer failed; 2 wrong command line; "
    codes += "3 a file or recipe is refused; 130 Ctrl+C; 141 the reader of the output has gone."
    parser = argparse.ArgumentParser(prog="python -m llm_core", description="Recipes without a browser.", epilog=codes)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run a recipe and print its answers", epilog=codes)
    run.add_argument(
        "recipe",
        metavar="RECIPE",
        help="a file (recipe, .prompt, notebook, promptfoo), a recipe's link, or - for standard input",
    )
    run.add_argument("--json", action="store_true", help="print one JSON object: texts, tokens, figures")
    run.add_argument("--trace", metavar="FILE", help="write the recipe with the recorded run (.json: JSON, else YAML)")
    run.set_defaults(command=_run_recipe)
    verify = commands.add_parser("verify", help="run a recipe again and compare it with its recorded run", epilog=codes)
    verify.add_argument("recipe", metavar="RECIPE")
    verify.add_argument("--json", action="store_true", help="print one JSON object")
    verify.set_defaults(command=_verify_recipe)
    convert = commands.add_parser("convert", help="write a recipe in another form", epilog=codes)
    convert.add_argument("source", metavar="IN")
    convert.add_argument("target", metavar="OUT", help="its ending says the form: .yaml, .py, .prompt, ...; - is YAML")
    convert.add_argument("--to", metavar="FORM", help="the form, whatever the ending: python_gemini, promptfoo, ...")
    convert.set_defaults(command=_convert_recipe)
    _add_gallery(commands)
    return parser


def _add_gallery(commands: Any) -> None:
    """Add the commands for whoever runs the server, on the database that `NUCLEUS_HOME` or `NUCLEUS_DATABASE_URL`
    names."""
    gallery = commands.add_parser("gallery", help="on the server: look through its listed recipes and remove any")
    actions = gallery.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="recipes that everybody finds: id, when saved, title, author")
    listing.add_argument("words", nargs="*", metavar="WORD", help="that title, notes, tags or prompt have")
    listing.set_defaults(command=_list_recipes)
    remove = actions.add_parser("remove", help="as if its owner had deleted it: nobody finds or opens it any more")
    remove.set_defaults(command=_remove_recipe, restore=False)
    restore = actions.add_parser("restore", help="bring back what was removed; its owner can do so, too")
    restore.set_defaults(command=_remove_recipe, restore=True)
    for each in (remove, restore):
        each.add_argument("id", metavar="ID")


def _run_recipe(options: argparse.Namespace) -> int:
    from llm_core.recipes.trace import make_trace

    recipe = _read_recipe(options.recipe)
    if options.trace and options.trace != "-":
        _check_writable(options.trace)
    run, stopped = _run_to_end(recipe)
    _warn_of_other_weights(recipe, run)
    if options.trace:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        model = recipe.model.model_copy(update={"revision": _run_revision(run) or recipe.model.revision})
        traced = recipe.replace(trace=make_trace(run.recorded_samples(), at), model=model)
        _write(options.trace, _dump_recipe(traced, options.trace))
    if options.trace != "-":
        print(json.dumps(_collect_results(recipe, run), ensure_ascii=False) if options.json else _format_answers(run))
    if run.error:
        _print_to_stderr(f"{run.error}")
    late = any(each.sample.finish_reason == "deadline" for each in run.recorded_samples())
    return INTERRUPTED if stopped else DIFFERENT if run.error or late else DONE


def _verify_recipe(options: argparse.Namespace) -> int:
    from llm_core.recipes.replay import compare_with_trace

    recipe = _read_recipe(options.recipe)
    if recipe.trace is None:
        raise NucleusError("recipe_without_trace")
    run, stopped = _run_to_end(recipe)
    _warn_of_other_weights(recipe, run)
    if stopped:
        return INTERRUPTED
    verdict = compare_with_trace(recipe, run)
    if options.json:
        print(json.dumps(verdict._asdict(), ensure_ascii=False))
    elif verdict.identical:
        print(f"identical: {len(recipe.trace.rows)} answers, at most {verdict.drift:.2g} nats apart")
    else:
        apart = (
            "" if verdict.nats is None else f"; the model's log-probabilities there are {verdict.nats:.2g} nats apart"
        )
        words = f"recorded {verdict.expected!r}, now {verdict.found!r}"
        print(f"different: answer {verdict.answer}, step {verdict.step}: {words}{apart}")
    return DONE if verdict.identical else DIFFERENT


def _convert_recipe(options: argparse.Namespace) -> int:
    from llm_core.formats import registry

    recipe = _read_recipe(options.source)
    form = options.to or ("yaml" if options.target == "-" else registry.find_format_by_suffix(options.target, recipe))
    dumped = registry.dump(form, recipe, _replay_runs(recipe))
    for dropped in dumped.dropped:
        _print_to_stderr(f"{dropped.field}: {dropped.reason}")
    _write(options.target, dumped.text)
    return DONE


def _list_recipes(options: argparse.Namespace) -> int:
    from llm_core.storage.database import Database
    from llm_core.storage.recipe_store import RecipeStore

    store, skip = RecipeStore(Database()), 0
    while found := store.search("", " ".join(options.words), skip=skip).entries:
        for entry in found:
            saved = datetime.fromtimestamp(entry.saved_at, UTC).isoformat(timespec="minutes")
            print(entry.id, saved, entry.title, entry.author, sep="\t")
        skip += len(found)
    return DONE


def _remove_recipe(options: argparse.Namespace) -> int:
    from llm_core.storage.database import Database
    from llm_core.storage.recipe_store import RETENTION_DAYS, RecipeStore

    store = RecipeStore(Database())
    (store.undelete if options.restore else store.delete)(options.id, store.owner(options.id))
    if not options.restore:
        _print_to_stderr(
            f"removed; for {RETENTION_DAYS} days 'gallery restore {options.id}' or its owner can bring it back"
        )
    return DONE


def _replay_runs(recipe: Recipe) -> list[Run]:
    """Return the recorded runs, for formats that show a run; empty without a trace."""
    from llm_core.recipes.replay import replay_prompts

    return [technique_run.main for technique_run in replay_prompts(recipe)] if recipe.trace else []


def _run_to_end(recipe: Recipe) -> tuple[RecipeRun, bool]:
    """Run the recipe to its end, and return its run and whether Ctrl+C stopped it."""
    from llm_core.engine.engine import Engine
    from llm_core.models.store import ModelStore
    from llm_core.recipes.replay import RecipeRun
    from llm_core.router import Router

    models = ModelStore()
    progress = _ProgressLine()
    run = RecipeRun(recipe, Router(Engine(models)).submit)
    stopped = False
    while run.active:
        try:
            run.advance()
            progress.show(lambda: _describe_progress(run, models, recipe))
            time.sleep(0.02)
        except KeyboardInterrupt:
            run.stop()
            stopped = True
    progress.clear()
    return run, stopped


def _run_revision(run: RecipeRun) -> str:
    from llm_core.models.revision import find_revision

    return find_revision(run.parts[0][1].main.model)


def _warn_of_other_weights(recipe: Recipe, run: RecipeRun) -> None:
    """Warn if the recipe was made with other weights, which give other tokens."""
    here = _run_revision(run)
    if here and recipe.model.revision and here != recipe.model.revision:
        _print_to_stderr(
            f"note: the weights of {recipe.model.id} are {here} here; the recipe says {recipe.model.revision}"
        )


def _describe_progress(run: RecipeRun, models: ModelStore, recipe: Recipe) -> str:
    """Describe the progress of the run in one line."""
    written = sum(each.sample.length for each in run.recorded_samples())
    if written or not recipe.local:
        return f"{written} tokens"
    load = models.request(recipe.model.id).progress
    share = "" if load.fraction is None else f" {load.fraction:.0%}"
    return "reading the prompt" if load.stage == "ready" else f"model: {load.stage}{share}"


class _ProgressLine:
    """One line of progress on a terminal, updated a few times a second."""

    def __init__(self) -> None:
        self._shown_at = 0.0
        self._terminal = sys.stderr.isatty()

    def show(self, line: Callable[[], str]) -> None:
        if self._terminal and time.monotonic() > self._shown_at + 0.2:
            self._shown_at = time.monotonic()
            sys.stderr.write(f"\r\x1b[K{line()}")
            sys.stderr.flush()

    def clear(self) -> None:
        if self._terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _format_answers(run: RecipeRun) -> str:
    """Return the answer as text; several answers each under their number, then the result of the vote."""
    recordings = list(run.recorded_samples())
    if len(recordings) == 1:
        return _answer_text(recordings[0])
    parts = [
        f"--- answer {number}"
        + ("" if each.sample.seed is None else f", seed {each.sample.seed}")
        + f"\n{_answer_text(each)}"
        for number, each in enumerate(recordings, 1)
    ]
    votes = [technique_run.votes for _, technique_run in run.parts if technique_run.chains > 1]
    parts += [f"--- result: {result} ({count} votes)" for [(result, count), *_] in filter(None, votes)]
    return "\n".join(parts)


def _answer_text(recording: Any) -> str:
    return recording.outcome.text if recording.outcome else recording.sample.text


def _collect_results(recipe: Recipe, run: RecipeRun) -> dict[str, Any]:
    return {
        "title": recipe.title,
        "model": recipe.model.id,
        "answers": [
            {
                "prompt": each.prompt,
                "seed": each.sample.seed,
                "text": _answer_text(each),
                "result": each.outcome.result if each.outcome else None,
                "tokens": [event.token_id for event in each.sample.events()],
                "finish_reason": each.sample.finish_reason,
                "error": str(each.sample.error) if each.sample.error else None,
                "seconds": round(each.sample.seconds, 3),
                "tokens_per_second": round(each.sample.tokens_per_second, 1),
            }
            for each in run.recorded_samples()
        ],
        "notices": list(dict.fromkeys(str(note) for _, each in run.parts for note in each.main.notices)),
    }


def _read_recipe(source: str) -> Recipe:
    from llm_core.formats import registry
    from llm_core.recipes.link import decode_link
    from llm_core.recipes.recipe import MAX_RECIPE_CHARACTERS

    if source.startswith(("http://", "https://")):
        return decode_link(source)
    try:
        if source == "-":
            data = sys.stdin.buffer.read(4 * MAX_RECIPE_CHARACTERS)
        else:
            with open(source, "rb") as file:
                data = file.read(4 * MAX_RECIPE_CHARACTERS)
    except OSError as error:
        raise NucleusError("recipe_file_unreadable", path=source, detail=error.strerror or error) from error
    loaded = registry.load(data, source)
    for dropped in loaded.dropped:
        _print_to_stderr(f"{source}: {dropped.field}: {dropped.reason}")
    return loaded.recipe


def _dump_recipe(recipe: Recipe, target: str) -> str:
    from llm_core.recipes.yaml_json import dump_json, dump_yaml

    endings: dict[str, Callable[[Recipe], str]] = {".json": dump_json, ".yaml": dump_yaml, ".yml": dump_yaml}
    ending = ".yaml" if target == "-" else Path(target).suffix.lower()
    if ending not in endings:
        raise NucleusError("recipe_form_unknown", ending=ending or target, known=", ".join(endings))
    return endings[ending](recipe)


def _check_writable(target: str) -> None:
    """Check that a file can be written, before a long run. Raises `NucleusError`."""
    try:
        with open(target, "a", encoding="utf-8"):
            pass
    except OSError as error:
        raise NucleusError("recipe_file_unwritable", path=target, detail=error.strerror or error) from error


def _write(target: str, text: str) -> None:
    if target == "-":
        sys.stdout.write(text)
        return
    try:
        Path(target).write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise NucleusError("recipe_file_unwritable", path=target, detail=error.strerror or error) from error


def _print_to_stderr(line: str) -> None:
    print(line, file=sys.stderr)
