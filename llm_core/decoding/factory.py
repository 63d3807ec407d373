"""Make the decoder that fits a model, and check it against the model before use.

`LlamaDecoder` serves the Llama family in several precisions, `TransformersDecoder` any other causal model of
transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_core.decoding.decoder import Decoder, UnsupportedModel
from llm_core.decoding.precision import Precision

if TYPE_CHECKING:
    from torch import Tensor

    from llm_core.models.language_model import LanguageModel


def make_decoder(model: LanguageModel, precision: Precision = "float32") -> Decoder:
    """Return the fastest decoder that gives this model's logits in this precision, one of `PRECISIONS`.

    A model outside the Llama family runs in float32 (also for `auto`) or bfloat16, and so does any model on an
    accelerator (bfloat16 for `auto`). Raises `UnsupportedModel` for a model that cannot share a pass between rows, and
    `FormatUnavailable` for a precision that is not available here.
    """
    from llm_core.decoding import llama_decoder
    from llm_core.decoding.auto_precision import AutoPrecisionDecoder, encode_fidelity_text
    from llm_core.decoding.quantized_linear import FormatUnavailable
    from llm_core.decoding.transformers_decoder import TransformersDecoder

    window, on_cpu = model.context_window, model.model.device.type == "cpu"
    lean = on_cpu and llama_decoder.unsupported_reason(model.model) is None  # not tested on accelerators
    decoder: Decoder
    if lean and precision == "auto":
        return AutoPrecisionDecoder(model.model, window, encode_fidelity_text(model.tokenizer))
    if precision == "auto":
        precision = "float32" if on_cpu else "bfloat16"
    if lean:
        decoder = llama_decoder.LlamaDecoder(model.model, window, precision)
        if precision != "float32":
            return decoder  # fewer bits give other logits: `fidelity` measures how far they are off
    elif precision in ("float32", "bfloat16"):
        decoder = TransformersDecoder(model.model, window, precision)
    else:
        raise FormatUnavailable(f"{type(model.model).__name__} runs here in float32 and bfloat16 only")
    check_decoder(decoder, model.model)
    return decoder


def check_decoder(decoder: Decoder, model: Any) -> None:
    """Compare a few tokens, in rows of unequal length, with the model's own pass without a cache.

    Raises `UnsupportedModel` if they differ by more than rounding.
    """
    import torch

    long, short = [1, 4, 2, 3, 5, 1, 2], [3, 1, 2]
    try:
        cache = decoder.new_cache(2**40)
        for ids in (long, short):
            row = cache.append()
            decoder.prefill(ids[:2], cache, row)
            if ids is long:
                decoder.prefill(ids[2:-1], cache, row)
        found = decoder.step([long[-1], short[-1]], cache)
        with torch.inference_mode():
            alone = [_logits_without_cache(model, ids) for ids in (long, short)]
    except UnsupportedModel:
        raise
    except Exception as error:  # a model's own code may raise anything on such a call
        raise UnsupportedModel(f"{type(model).__name__} cannot decode rows together: {error}") from error
    expected = torch.stack(alone).to(found.device)
    spread = (expected - expected.mean(-1, keepdim=True)).norm()
    tolerance = 1e-3 if decoder.precision == "float32" else 0.5  # bfloat16 stays below 0.5, wrong logits exceed 1
    if not float((found - expected).norm() / spread) <= tolerance:
        raise UnsupportedModel(f"{type(model).__name__} gives other logits when rows are decoded together")


def _logits_without_cache(model: Any, ids: list[int]) -> Tensor:
    import torch

    tokens = torch.tensor([ids], device=model.device)
    logits: Tensor = model(tokens, attention_mask=torch.ones_like(tokens), use_cache=False).logits
    return logits[0, -1].float()
