"""Write recipes as Python programs for the makers' own SDKs. A program is a list of cells, of which a notebook is made
too.

Everything in a recipe stands in it as literals only (`literals`), so no text can become code; a key is read from the
environment when the program runs. A recipe may name a stranger's server: a key for the maker's own URL never goes
there, so other URLs have a variable of their own.
"""

from __future__ import annotations

import dataclasses
from shlex import quote
from typing import Any, NamedTuple

from llm_core.formats.code.literals import literal
from llm_core.formats.common.chat import dropped_prompt_fields
from llm_core.formats.common.fields import ABOUT_FIELDS, CHAT_FIELDS, dropped_fields
from llm_core.formats.common.result import DroppedField
from llm_core.prompts.spec import PromptSpec
from llm_core.providers.google import wire
from llm_core.providers.model_id import Target, parse_model_id
from llm_core.providers.openai import wire as openai_wire
from llm_core.providers.provider import Call
from llm_core.recipes.recipe import Recipe

SERVER_KEY_VARIABLE = "SERVER_API_KEY"
"""Environment variable of a key for a URL that the recipe names."""
_OPENAI_ARGUMENTS = (
    *("temperature", "top_p", "max_tokens", "presence_penalty", "frequency_penalty", "logit_bias", "stop"),
    *("response_format", "reasoning_effort"),
)
"""Arguments of `chat.completions.create`; servers' own fields go into its `extra_body`."""
_STAGE_COMPANIONS = ("mirostat_eta", "xtc_threshold", "dry_base", "dry_allowed_length")
"""Settings that accompany others of their stage."""
_CARRIED_EVERYWHERE = (
    *ABOUT_FIELDS,
    "seeds",
    "candidates",
    "limits.max_output_tokens",
    "limits.stop_sequences",
    "model.id",
)


class Program(NamedTuple):
    """Program in parts."""

    packages: tuple[str, ...]
    """Packages for pip."""
    cells: tuple[str, ...]
    """Source of each cell. The last one prints the answers; the others define what it needs and do nothing."""
    dropped: tuple[DroppedField, ...]
    modules: tuple[str, ...] = ()
    """Modules of this repository that it imports."""

    @property
    def source(self) -> str:
        *parts, last = (cell.strip("\n") for cell in self.cells)
        indented = "".join(f"    {line}".rstrip() + "\n" for line in last.splitlines())
        install = f"# pip install {' '.join(map(quote, self.packages))}\n"
        if self.modules:
            install += "# run it where the Nucleus repository is on the path: it imports from there\n"
        return "\n\n".join([install, *(f"{part}\n" for part in parts), f'if __name__ == "__main__":\n{indented}'])


def write_constants(recipe: Recipe, target: Target | None, **more: object) -> str:
    """Write the program's constants, one a line. The reader names a model where the recipe's is another provider's."""
    about = {name: value for name in ABOUT_FIELDS if (value := getattr(recipe, name))}
    head = f"ABOUT = {literal(about)}\n" if about else ""
    head += (
        f"MODEL = {literal(target.name)}\n"
        if target
        else 'MODEL = os.environ["MODEL"]  # another provider\'s in the recipe\n'
    )
    return head + "".join(f"{name} = {literal(value)}\n" for name, value in more.items())


def make_gemini_program(recipe: Recipe) -> Program:
    """Write a program for the Gemini Developer API, by `google-genai`."""
    target = _target_of_scheme(recipe, "gemini")
    place = target.place if target else ""
    body, dropped = _write_google_cells(recipe, target)
    key = SERVER_KEY_VARIABLE if place else "GEMINI_API_KEY"
    options = f"base_url={literal(place)}, timeout=TIMEOUT" if place else "timeout=TIMEOUT"
    client = f"genai.Client(api_key=os.environ[{key!r}], http_options=types.HttpOptions({options}))"
    return Program(("google-genai>=2.34",), (*body, _GOOGLE_ANSWERS.replace("CLIENT", client), _PRINT), dropped)


def make_vertex_program(recipe: Recipe) -> Program:
    """Write a program for Gemini on Vertex AI, with application-default credentials."""
    target = _target_of_scheme(recipe, "vertex")
    project, _, location = (target.place if target else "").partition("/")
    body, dropped = _write_google_cells(recipe, target)
    where = (
        f"project={literal(project)}, location={literal(location)}"
        if project
        else 'project=os.environ["GOOGLE_CLOUD_PROJECT"], location=os.environ.get("GOOGLE_CLOUD_LOCATION", "global")'
    )
    client = f"genai.Client(\n        vertexai=True, {where}, http_options=types.HttpOptions(timeout=TIMEOUT)\n    )"
    return Program(("google-genai>=2.34",), (*body, _GOOGLE_ANSWERS.replace("CLIENT", client), _PRINT), dropped)


def make_openai_program(recipe: Recipe) -> Program:
    """Write a program for OpenAI and compatible servers, by the `openai` package."""
    target = _target_of_scheme(recipe, "openai")
    place = target.place if target else ""
    if place and not place.partition("://")[2].partition("/")[2]:
        place = f"{place}/v1"
    without = frozenset() if place else frozenset({"continue_final_message"})
    calls = _make_calls(recipe, target or Target("openai", "?"), without)
    sent = openai_wire.request_body(calls[0])
    settings = {name: sent[name] for name in _OPENAI_ARGUMENTS if name in sent}
    base = ("model", "messages", "stream", "stream_options", "seed")
    extra = {name: value for name, value in sent.items() if name not in (*base, *settings)}
    carried = {*_CARRIED_EVERYWHERE, *CHAT_FIELDS, "prompt.output", "hosted.thinking", "limits.deadline_seconds"}
    carried |= {"hosted.images", *(f"sampler.{name}" for name in (*openai_wire.SETTINGS, *_STAGE_COMPANIONS))}
    if place:
        carried |= {"sampler.order"} if isinstance(recipe.sampler.order, str) else set()
    else:  # OpenAI itself refuses fields that it does not know
        extra = {}
        known = (*_OPENAI_ARGUMENTS, "seed", "banned_tokens", *_STAGE_COMPANIONS)
        carried -= {f"sampler.{name}" for name in openai_wire.SETTINGS if name not in known}
        carried -= {"prompt.output"} if recipe.prompt.output.kind == "choice" else set()
    key = f'os.environ.get({SERVER_KEY_VARIABLE!r}, "none")' if place else 'os.environ["OPENAI_API_KEY"]'
    cells = (
        "import base64\nimport os\n\nfrom openai import OpenAI\n",
        write_constants(
            recipe,
            target,
            BASE_URL=place or None,
            PROMPTS=[openai_wire.request_body(call)["messages"] for call in calls],
            SETTINGS=settings,
            EXTRA=extra,
            SEEDS=_provider_seeds(recipe),
            TIMEOUT=recipe.limits.deadline_seconds,
        ),
        _OPENAI_ANSWERS.replace("LOOKUP", key),
        _PRINT,
    )
    return Program(("openai>=2",), cells, _dropped_fields(recipe, target, carried))


def _write_google_cells(recipe: Recipe, target: Target | None) -> tuple[list[str], tuple[DroppedField, ...]]:
    calls = _make_calls(recipe, target or Target("gemini", "?"))
    config = {name: value for name, value in wire.config(calls[0]).items() if name != "seed"}
    carried = {*_CARRIED_EVERYWHERE, *CHAT_FIELDS, "prompt.output", "limits.deadline_seconds"}
    carried |= {f"sampler.{name}" for name in wire.SETTINGS}
    carried |= {"hosted.thinking", "hosted.show_thoughts", "hosted.safety", "hosted.images"}
    if recipe.sampler.order == "gemini":
        carried.add("sampler.order")
    dropped = []
    if len(calls[0].row.stop_sequences) > len(config.get("stop_sequences", ())):
        dropped.append(DroppedField("limits.stop_sequences", "first_few"))
    head = "import base64\nimport os\n\nfrom google import genai\nfrom google.genai import types\n"
    values = write_constants(
        recipe,
        target,
        PROMPTS=[wire.contents(call) for call in calls],
        CONFIG=config,
        SEEDS=_provider_seeds(recipe),
        TIMEOUT=int(recipe.limits.deadline_seconds * 1000),
    )
    return [head, values], (*dropped, *_dropped_fields(recipe, target, carried))


def _dropped_fields(recipe: Recipe, target: Target | None, carried: set[str]) -> tuple[DroppedField, ...]:
    dropped = (
        dropped_prompt_fields(recipe.prompt)
        if target
        else [DroppedField("model.id", "other_model"), *dropped_prompt_fields(recipe.prompt)]
    )
    if recipe.prompt.values and recipe.prompt.variables():
        dropped.append(DroppedField("prompt.values", "as_prompts"))
    carried |= {"prompt.extraction", "prompt.stop_sequences"}  # spoken of by `prompt_losses`; merged by `rows`
    return tuple(dict.fromkeys([*dropped, *dropped_fields(recipe, carried)]))


def _target_of_scheme(recipe: Recipe, scheme: str) -> Target | None:
    """Return the recipe's model if it is one of this provider's, else None."""
    target = parse_model_id(recipe.model.id)
    return target if target and target.scheme == scheme else None


def expand_prompts(recipe: Recipe) -> tuple[PromptSpec, ...]:
    """Return the prompts of a recipe with their variables replaced; one without values shows its variables as they
    are."""
    spec = recipe.prompt
    if names := spec.variables():
        rows = spec.values or ({name: f"{{{{{name}}}}}" for name in names},)
        prompts = tuple(spec.expand({name: row.get(name, "") for name in names}) for row in rows)
    else:
        prompts = spec.variants()
    return tuple(each.make_step_back_prompt() if each.traits.steps_back else each for each in prompts)


def _make_calls(recipe: Recipe, target: Target, without: frozenset[str] = frozenset()) -> list[Call]:
    """Return the recipe's prompts as calls of the provider, without log-probabilities, which nobody needs to read an
    answer."""
    options = dataclasses.replace(recipe.hosted, top_logprobs=0)
    row = recipe.rows()[0]
    line: Any = None
    return [Call(target, prompt, row, options, None, line, without) for prompt in expand_prompts(recipe)]


def _provider_seeds(recipe: Recipe) -> list[int]:
    """Return the seeds in the range that the providers take."""
    return [row.sampler.seed % 2**31 for row in recipe.rows()]


_GOOGLE_ANSWERS = '''def answers():
    """The answers as they come: one for each prompt and seed."""
    client = CLIENT
    for contents in PROMPTS:
        for seed in SEEDS:
            config = types.GenerateContentConfig(**CONFIG, seed=seed)
            parts = client.models.generate_content_stream(model=MODEL, contents=contents, config=config)
            yield "".join(part.text or "" for part in parts)
'''

_OPENAI_ANSWERS = '''def answers():
    """The answers as they come: one for each prompt and seed."""
    client = OpenAI(api_key=LOOKUP, base_url=BASE_URL, timeout=TIMEOUT)
    for messages in PROMPTS:
        for seed in SEEDS:
            chunks = client.chat.completions.create(
                model=MODEL, messages=messages, seed=seed, stream=True, extra_body=EXTRA, **SETTINGS
            )
            yield "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
'''

_PRINT = """for number, answer in enumerate(answers(), 1):
    print(f"--- {number}")
    print(answer)
"""
