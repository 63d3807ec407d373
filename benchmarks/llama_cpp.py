"""Run llama.cpp's own server, from the `xllamacpp` wheel, in a process of its own on 127.0.0.1."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SLOTS = 32
CONTEXT = 1024
TIMEOUT_SECONDS = 120.0

_CHILD = f"""
import os, sys, time, xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_parallel, params.n_ctx = {SLOTS}, {SLOTS * CONTEXT}
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(sys.argv[2])
params.port = 0
server = xllamacpp.Server(params)
print("listening", server.listening_address, flush=True)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the server's log would fill the pipe that nobody reads any more
while True: time.sleep(1)
"""


class LlamaServer:
    """Client for completions of text prompts, without llama.cpp's own defaults for samplers."""

    def __init__(self, address: str) -> None:
        self.address = address

    def complete(self, prompts: Sequence[str], tokens: int) -> None:
        """Complete all prompts at the same time, `tokens` each."""
        with ThreadPoolExecutor(len(prompts)) as pool:
            for made in pool.map(lambda seeded: self._post(*seeded, tokens), enumerate(prompts)):
                assert made["tokens_predicted"] == tokens, made

    def _post(self, seed: int, prompt: str, tokens: int) -> dict:
        body = {"prompt": prompt, "n_predict": tokens, "ignore_eos": True, "seed": seed, "cache_prompt": True}
        body |= {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0}
        request = urllib.request.Request(
            f"{self.address}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            return json.load(answer)


@contextlib.contextmanager
def run_llama_server(gguf: Path, threads: int) -> Iterator[LlamaServer]:
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(gguf), str(threads)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield LlamaServer(_read_address(child))
    finally:
        child.kill()
        child.communicate()


def _read_address(child: subprocess.Popen[str]) -> str:
    began = time.monotonic()
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("listening "):
            return line.split()[1]
        if time.monotonic() - began > TIMEOUT_SECONDS:
            break
    raise RuntimeError("llama.cpp's server did not start")
