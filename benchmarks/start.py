"""Measure how long the built-in model takes to be ready once it has been converted, in a new process each time."""

from __future__ import annotations

import json
import subprocess
import sys
from statistics import median

ROUNDS = 5
_CHILD = """
import json, time
marks, stages = [time.perf_counter()], []
from llm_core.models.language_model import load
import torch, transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM
marks.append(time.perf_counter())
load("builtin", lambda progress: None)
marks.append(time.perf_counter())
print(json.dumps([marks[1] - marks[0], marks[2] - marks[1]]))
"""


def measure() -> dict[str, object]:
    """Return the seconds for importing torch and transformers, and for checking and loading the model after that."""
    from llm_core.models.language_model import load

    load("builtin", lambda progress: None)  # fetched and converted, if it was not yet
    rounds = []
    for _ in range(ROUNDS):
        child = subprocess.run([sys.executable, "-c", _CHILD], capture_output=True, text=True, check=True)
        rounds.append(json.loads(child.stdout))
    return {
        "import_seconds": round(median(imports for imports, _ in rounds), 2),
        "load_seconds": round(median(loading for _, loading in rounds), 2),
    }
