"""How close each precision of the built-in model stays to float32, and that `auto` keeps to its bound."""

from __future__ import annotations

import pytest

from llm_core.decoding.auto_precision import (
    MAX_MEAN_KL,
    MIN_TOP1,
    TIMED_BATCH_SIZES,
    AutoPrecisionDecoder,
    encode_fidelity_text,
)
from llm_core.decoding.factory import make_decoder
from llm_core.decoding.fidelity import measure_fidelity


@pytest.mark.thorough
@pytest.mark.parametrize(("precision", "most_kl"), [("bfloat16", 0.002), ("int8", 0.01), ("int4", 0.002)])
def test_precisions_of_the_builtin_model(builtin, precision, most_kl):
    """Four bits are as close as bfloat16: its own weights lie on sixteen values a block, which are found again."""
    ids = encode_fidelity_text(builtin.tokenizer)[:60]
    reference = make_decoder(builtin, "float32")
    found = measure_fidelity(make_decoder(builtin, precision), reference, ids)
    assert 0 < found.mean_kl < most_kl
    assert found.top1 > 0.9
    same = measure_fidelity(reference, reference, ids)
    assert (same.mean_kl, same.top1) == (0, 1)


@pytest.mark.thorough
def test_auto_uses_only_formats_within_its_bound(builtin):
    decoder = make_decoder(builtin, "auto")
    assert isinstance(decoder, AutoPrecisionDecoder)
    assert tuple(decoder.choice) == TIMED_BATCH_SIZES
    for rows, name in decoder.choice.items():
        assert decoder.fidelity[name].mean_kl <= MAX_MEAN_KL
        assert decoder.fidelity[name].top1 >= MIN_TOP1
        assert decoder.seconds[name][rows] == min(each[rows] for each in decoder.seconds.values())
    ids = encode_fidelity_text(builtin.tokenizer)[:40]
    assert measure_fidelity(decoder, make_decoder(builtin, "float32"), ids).mean_kl < MAX_MEAN_KL
