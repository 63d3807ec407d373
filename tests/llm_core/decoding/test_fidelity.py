"""How close each precision of the built-in model stays to float32, and that `auto` keeps to its bound."""

from __future__ import annotations

import pytest

from llm_core.decoding.auto_precision import MAX_MEAN_KL, MIN_TOP1, ROWS, AutoDecoder, text_ids
from llm_core.decoding.factory import make_decoder
from llm_core.decoding.fidelity import fidelity


@pytest.mark.parametrize(("precision", "most_kl"), [("bfloat16", 0.002), ("int8", 0.01), ("int4", 0.002)])
def test_precisions_of_the_builtin_model(builtin, precision, most_kl):
    """Four bits are as close as bfloat16: its own weights lie on sixteen values a block, which are found again."""
    ids = text_ids(builtin.tokenizer)[:60]
    reference = make_decoder(builtin, "float32")
    found = fidelity(make_decoder(builtin, precision), reference, ids)
    assert 0 < found.mean_kl < most_kl
    assert found.top1 > 0.9
    same = fidelity(reference, reference, ids)
    assert (same.mean_kl, same.top1) == (0, 1)


def test_auto_uses_only_formats_within_its_bound(builtin):
    decoder = make_decoder(builtin, "auto")
    assert isinstance(decoder, AutoDecoder)
    assert tuple(decoder.choice) == ROWS
    for rows, name in decoder.choice.items():
        assert decoder.fidelity[name].mean_kl <= MAX_MEAN_KL
        assert decoder.fidelity[name].top1 >= MIN_TOP1
        assert decoder.seconds[name][rows] == min(each[rows] for each in decoder.seconds.values())
    ids = text_ids(builtin.tokenizer)[:40]
    assert fidelity(decoder, make_decoder(builtin, "float32"), ids).mean_kl < MAX_MEAN_KL
