"""The app as it is, plus two routes that run samplers and stream their tokens as server-sent events.

Only `benchmarks.stream_probe` starts it: it measures what streaming in place of redrawing would give.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
from collections.abc import AsyncIterator
from pathlib import Path

import streamlit as st
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from llm_core import Engine, GenerationRequest, ModelStore, PromptSpec, Run, SampleRequest, TokenEvent
from llm_core.models.builtin import MODEL_ID
from samplers import SamplerConfig

SHOWN_CANDIDATES = 20
INTERVAL_SECONDS = 0.1
SAMPLERS = (
    SamplerConfig(temperature=0),
    SamplerConfig(),
    SamplerConfig(top_k=40),
    SamplerConfig(temperature=0.8, top_p=0.9),
)

_engine = Engine(ModelStore())
_runs: dict[int, Run] = {}
_numbers = itertools.count()


async def submit(request: Request) -> JSONResponse:
    """Submit a run of `samples` (1 or 4) answers of `tokens` tokens in `precision`, and return its id."""
    body, number = await request.json(), next(_numbers)
    samplers = SAMPLERS if body["samples"] == len(SAMPLERS) else SAMPLERS[-1:]
    samples = tuple(SampleRequest(sampler, body["tokens"]) for sampler in samplers)
    prompt = PromptSpec(f"Write a short poem about the sea. {number}")
    _runs[number] = _engine.submit(GenerationRequest(MODEL_ID, prompt, samples, body["precision"], session=str(number)))
    return JSONResponse({"id": number})


async def stream(request: Request) -> StreamingResponse:
    """Stream a run's tokens, with rank, log-probability and candidates of each, until it ends."""
    return StreamingResponse(_events(_runs[request.path_params["id"]]), media_type="text/event-stream")


async def _events(run: Run) -> AsyncIterator[str]:
    cursors = [0] * len(run.samples)
    active = True
    while active:
        active = run.active  # before the tokens are read, so that the last ones are not missed
        news = []
        for index, sample in enumerate(run.samples):
            events = sample.events(cursors[index])
            cursors[index] += len(events)
            news += [_as_data(index, event) for event in events]
        if news:
            yield f"data: {json.dumps(news)}\n\n"
        if active:
            await asyncio.sleep(INTERVAL_SECONDS)
    yield "event: end\ndata: {}\n\n"


def _as_data(index: int, event: TokenEvent) -> list[object]:
    trace = event.known_trace
    likeliest = zip(trace.candidates[:SHOWN_CANDIDATES], trace.final.logprobs[:SHOWN_CANDIDATES], strict=False)
    candidates = [[token, round(logprob, 4)] for token, logprob in likeliest]
    return [index, event.piece, trace.token_id, round(math.exp(trace.logprob), 5), trace.rank, candidates]


app = st.App(
    str(Path(__file__).parents[2] / "app.py"),
    routes=[
        Route("/nucleus/runs", submit, methods=["POST"]),
        Route("/nucleus/events/{id:int}", stream),
    ],
)
