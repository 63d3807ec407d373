"""Tables of results, read back by the readers that people use."""

from __future__ import annotations

import csv
import io
import json
import math

import pytest

from llm_core import NucleusError
from llm_core.formats.registry import dump
from llm_core.generation.record import TokenEvent


def test_csv_has_a_row_for_each_answer(toy_recipe, toy_run):
    text = dump("csv", toy_recipe, [toy_run, toy_run]).text
    assert text[0] == "\ufeff"
    rows = list(csv.DictReader(io.StringIO(text[1:], newline="")))
    assert [(row["prompt"], row["row"], row["seed"]) for row in rows] == [
        ("1", "1", "1"),
        ("1", "2", "2"),
        ("2", "1", "1"),
        ("2", "2", "2"),
    ]
    for row, record in zip(rows, (*toy_run.samples, *toy_run.samples), strict=True):
        assert row["answer"].removeprefix("'") == record.text
        assert int(row["tokens"]) == len(record.events())
        total = math.fsum(event.known_trace.logprob for event in record.events())
        assert float(row["mean_logprob"]) == pytest.approx(total / len(record.events()))


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", 'a,"b"\n=1'])
def test_no_cell_is_a_formula(toy_recipe, toy_run, text):
    record = toy_run.samples[0]
    record._events[:] = [TokenEvent(None, text, text, None, 0.0)]
    dumped = dump("csv", toy_recipe, [toy_run])
    [row, _] = csv.DictReader(io.StringIO(dumped.text[1:], newline=""))
    assert row["answer"] == (text if text[0] == "a" else f"'{text}")
    assert (("answer", "guarded") in dumped.dropped) == (text[0] != "a")


def test_numbers_are_no_formulas(toy_recipe, toy_run):
    toy_run.samples[0]._events[:] = [TokenEvent(None, "-12.5", "-12.5", None, 0.0)]
    [row, _] = csv.DictReader(io.StringIO(dump("csv", toy_recipe, [toy_run]).text[1:], newline=""))
    assert row["answer"] == "-12.5"


def test_json_lines_have_every_token(toy_recipe, toy_run):
    lines = dump("jsonl", toy_recipe, [toy_run]).text.splitlines()
    told = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert [each["seed"] for each in told] == [1, 2]
    for each, record in zip(told, toy_run.samples, strict=True):
        assert each["answer"] == record.text
        assert [event["id"] for event in each["events"]] == [event.token_id for event in record.events()]
        assert each["events"][0]["logprob"] == record.events()[0].known_trace.logprob
        assert each["sampler"]["top_k"] == 20


@pytest.mark.parametrize("form", ["csv", "jsonl", "report"])
def test_without_a_run_there_are_no_results(form, toy_recipe):
    with pytest.raises(NucleusError) as refused:
        dump(form, toy_recipe)
    assert refused.value.code == "export_without_run"
