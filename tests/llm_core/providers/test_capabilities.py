"""What is known of a setting's support: from evidence, from refusals, and from what a maker says."""

from __future__ import annotations

from llm_core.providers.capabilities import EVIDENCE_THRESHOLD, Capabilities, CapabilityTable
from llm_core.providers.model_id import Target


def test_a_verdict_takes_enough_evidence_and_can_be_overturned():
    known = Capabilities()
    known.add_evidence("top_k", EVIDENCE_THRESHOLD / 2)
    assert known.support("top_k", ("top_k",)) == "untried"
    known.add_evidence("top_k", EVIDENCE_THRESHOLD)
    assert known.support("top_k", ("top_k",)) == "honoured"
    for _ in range(9):
        known.add_evidence("top_k", -5)
    assert known.support("top_k", ("top_k",)) == "ignored"
    known.record_refusal("top_k", "Unknown parameter")
    assert known.support("top_k", ("top_k",)) == "rejected"
    assert known.support("penalty", ("repetition_penalty", "top_k")) == "untried"
    known.forget()
    assert known.support("top_k", ("top_k",)) == "untried"


def test_what_a_maker_says_holds_until_the_tokens_say_otherwise():
    table = CapabilityTable()
    known = table.get(Target("gemini", "gemini-3.8-flash-001"))
    assert known is table.get(Target("gemini", "gemini-3.8-flash-001"))
    assert known.support("temperature", ("temperature",)) == "ignored"
    assert known.support("seed", ("seed",)) == "untried"
    known.add_evidence("temperature", EVIDENCE_THRESHOLD)
    assert known.support("temperature", ("temperature",)) == "honoured"
    for other in (Target("gemini", "gemini-2.5-flash"), Target("openai", "gemini-4"), Target("gemini", "gemini-40")):
        assert table.get(other).support("temperature", ("temperature",)) == "untried"
