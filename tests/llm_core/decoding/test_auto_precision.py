"""What `auto` holds, why, and that rows may pass from one format to the other."""

from __future__ import annotations

import pytest
import torch

from llm_core.decoding import auto_precision
from llm_core.decoding.auto_precision import TIMED_BATCH_SIZES, AutoPrecisionDecoder
from llm_core.decoding.fidelity import Fidelity, measure_fidelity
from llm_core.decoding.quantized_linear import FormatUnavailable
from llm_core.decoding.transformers_decoder import TransformersDecoder
from tests.support.tiny_models import tiny_model

IDS = [(7 * place) % 95 + 1 for place in range(75)]


@pytest.fixture
def speeds(monkeypatch):
    """Measured speeds, set: bfloat16 is the fastest from eight rows on, below that int4, float16 and int8 in turn."""

    def step_seconds(decoders):
        fixed = {"int4": 0.0, "float16": 0.5, "int8": 1.0, "bfloat16": 4.0}
        return {
            name: {rows: fixed[name] + (name != "bfloat16") * rows for rows in TIMED_BATCH_SIZES} for name in decoders
        }

    monkeypatch.setattr(auto_precision, "measure_step_seconds", step_seconds)


@pytest.fixture
def coarse(monkeypatch):
    """How far each format is from float32, set by the test; 0 where it is not."""
    distances: dict[str, Fidelity] = {}

    class Judged(auto_precision.LlamaDecoder):
        def __init__(self, model, window, precision, *rest):
            super().__init__(model, window, precision, *rest)
            judged.append(precision)

    judged: list[str] = []
    monkeypatch.setattr(auto_precision, "LlamaDecoder", Judged)
    monkeypatch.setattr(auto_precision, "compare_logits", lambda *_: distances.get(judged[-1], Fidelity(0.0, 1.0)))
    return distances


def test_takes_the_fastest_for_each_number_of_rows(speeds, coarse):
    decoder = AutoPrecisionDecoder(tiny_model("llama"), 512, IDS)
    assert decoder.choice == {rows: "int4" if rows <= 4 else "bfloat16" for rows in TIMED_BATCH_SIZES}
    assert [decoder._decoder_for(rows).precision for rows in (1, 7, 8, 100)] == ["int4", "int4", "bfloat16", "bfloat16"]


@pytest.mark.parametrize("outside", [Fidelity(0.0051, 1.0), Fidelity(0.0, 0.949)])
def test_leaves_out_what_is_outside_the_bound(speeds, coarse, outside):
    coarse["int4"] = outside
    decoder = AutoPrecisionDecoder(tiny_model("llama"), 512, IDS)
    assert decoder.choice[1] == "float16"
    assert decoder.fidelity["int4"] == outside
    coarse["float16"] = coarse["int8"] = coarse["bfloat16"] = outside
    with pytest.raises(FormatUnavailable):
        AutoPrecisionDecoder(tiny_model("llama"), 512, IDS)


def test_rows_pass_from_one_format_to_the_other(speeds, coarse):
    model = tiny_model("llama")
    decoder = AutoPrecisionDecoder(model, 512, IDS)
    cache = decoder.new_cache(2**28)
    texts = [IDS[row : row + 20 + row] for row in range(10)]
    for row, ids in enumerate(texts):
        decoder.prefill(ids[:-1], cache, cache.append())
        logits = decoder.step([text[-1] for text in texts[: row + 1]], cache)
        for earlier in range(row + 1):
            cache.truncate(earlier, len(texts[earlier]) - 1)
    assert logits.shape == (10, decoder.vocab_size)
    assert logits.dtype == torch.float32
    reference = TransformersDecoder(model, 512)
    assert measure_fidelity(decoder, reference, IDS).mean_kl < 0.05


def test_measures_real_steps():
    lean = auto_precision.LlamaDecoder(tiny_model("llama"), 512)
    seconds = auto_precision.measure_step_seconds({"one": lean, "other": lean})
    assert set(seconds) == {"one", "other"}
    for each in seconds.values():
        assert set(each) == set(TIMED_BATCH_SIZES)
        assert all(0 < value < 5 for value in each.values())
