"""Validate and hold one row's sampler settings: frozen, checked when made, neutral by default."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real


@dataclass(frozen=True, slots=True)
class Setting:
    """Default and range of one number in `SamplerConfig`. Open bounds are themselves excluded."""

    default: float
    low: float
    high: float
    whole: bool = False
    open_low: bool = False
    open_high: bool = False

    def check(self, field: str, value: object) -> None:
        """Raise `ValueError` naming the field, the value and the range unless the value lies in the range."""
        kind = "whole number" if self.whole else "number"
        low = f"{'above' if self.open_low else 'at least'} {self.low:g}"
        high = f" and {'below' if self.open_high else 'at most'} {self.high:g}" if self.high < math.inf else ""
        right_type = isinstance(value, Integral if self.whole else Real) and not isinstance(value, bool)
        if not right_type or not math.isfinite(value):  # type: ignore[arg-type]
            raise ValueError(f"{field}={value!r}: expected a finite {kind} {low}{high}")
        too_low = value <= self.low if self.open_low else value < self.low  # type: ignore[operator]
        too_high = value >= self.high if self.open_high else value > self.high  # type: ignore[operator]
        if too_low or too_high:
            raise ValueError(f"{field}={value!r}: expected a {kind} {low}{high}")


SETTINGS: dict[str, Setting] = {
    "temperature": Setting(1, 0, 100),
    "top_k": Setting(0, 0, math.inf, whole=True),
    "top_p": Setting(1, 0, 1, open_low=True),
    "min_p": Setting(0, 0, 1),
    "typical_p": Setting(1, 0, 1, open_low=True),
    "epsilon_cutoff": Setting(0, 0, 1, open_high=True),
    "eta_cutoff": Setting(0, 0, 1, open_high=True),
    "top_n_sigma": Setting(0, 0, 100),
    "xtc_probability": Setting(0, 0, 1),
    "xtc_threshold": Setting(0.1, 0, 1, open_low=True),
    "mirostat_tau": Setting(0, 0, 100),
    "mirostat_eta": Setting(0.1, 0, 1, open_low=True),
    "repetition_penalty": Setting(1, 0, 100, open_low=True),
    "presence_penalty": Setting(0, -2, 2),
    "frequency_penalty": Setting(0, -2, 2),
    "dry_multiplier": Setting(0, 0, 100),
    "dry_base": Setting(1.75, 1, 10),
    "dry_allowed_length": Setting(2, 1, math.inf, whole=True),
    "no_repeat_ngram_size": Setting(0, 0, math.inf, whole=True),
    "min_new_tokens": Setting(0, 0, math.inf, whole=True),
    "seed": Setting(0, 0, 2**63 - 1, whole=True),
}
"""Every numeric setting with its range and its default, which is neutral if the setting turns a stage on."""

BIAS_SETTING = Setting(0, -100, 100)
TOKEN_ID_SETTING = Setting(0, 0, math.inf, whole=True)

STAGE_FIELDS: dict[str, str] = {
    "logit_bias": "logit_bias",
    "repetition_penalty": "repetition_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "no_repeat_ngram": "no_repeat_ngram_size",
    "dry": "dry_multiplier",
    "banned_tokens": "banned_tokens",
    "min_new_tokens": "min_new_tokens",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "typical_p": "typical_p",
    "epsilon_cutoff": "epsilon_cutoff",
    "eta_cutoff": "eta_cutoff",
    "top_n_sigma": "top_n_sigma",
    "xtc": "xtc_probability",
    "mirostat": "mirostat_tau",
}
"""Each stage with the setting that turns it on by differing from its neutral value."""

STAGE_NAMES = tuple(STAGE_FIELDS)

HISTORY_STAGES = STAGE_NAMES[: STAGE_NAMES.index("temperature")]
"""Stages that address tokens by id: those of the prompt and the answer, or those that the settings list."""

ORDERS: dict[str, tuple[str, ...]] = {
    "huggingface": STAGE_NAMES,
    "llama_cpp": (
        *(name for name in HISTORY_STAGES if name != "dry"),
        *("dry", "top_n_sigma", "top_k", "typical_p", "top_p", "min_p", "epsilon_cutoff", "eta_cutoff"),
        *("xtc", "temperature", "mirostat"),
    ),
    "gemini": (
        *HISTORY_STAGES,
        *("top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "top_n_sigma", "xtc"),
        *("temperature", "mirostat"),
    ),
}
"""Stage orders as the providers run them. The same settings keep different tokens under different orders.

A stage that a provider lacks stands where the other providers have it. Mirostat is always last, since it steers by the
probability that the token was drawn with.
"""


@dataclass(frozen=True, slots=True)
class SamplerConfig:
    """Settings that decide how the next token of one row is chosen; the stages define what each setting does.

    ======================  ============  =============  =================================================
    field                   range         default        meaning
    ======================  ============  =============  =================================================
    `temperature`           [0, 100]      1, neutral     logits are divided by it; 0 means greedy
    `top_k`                 integer >= 0  0, neutral     keep exactly the k most likely tokens
    `top_p`                 (0, 1]        1, neutral     keep the smallest set with this much probability
    `min_p`                 [0, 1]        0, neutral     keep tokens with this share of the best one's
    `typical_p`             (0, 1]        1, neutral     as `top_p`, the most typical tokens first
    `epsilon_cutoff`        [0, 1)        0, neutral     keep tokens at least this probable
    `eta_cutoff`            [0, 1)        0, neutral     the same, lower if the model is uncertain
    `top_n_sigma`           [0, 100]      0, neutral     keep logits within n deviations of the best
    `xtc_probability`       [0, 1]        0, neutral     how often to drop the obvious choices
    `xtc_threshold`         (0, 1]        0.1            probability from which a choice is obvious
    `mirostat_tau`          [0, 100]      0, neutral     target surprisal, in bits a token
    `mirostat_eta`          (0, 1]        0.1            how fast mirostat corrects itself
    `repetition_penalty`    (0, 100]      1, neutral     weakens every token of prompt and answer
    `presence_penalty`      [-2, 2]       0, neutral     subtracted from tokens of the answer, once
    `frequency_penalty`     [-2, 2]       0, neutral     the same, for every time they occurred
    `dry_multiplier`        [0, 100]      0, neutral     weakens tokens that would continue a repetition
    `dry_base`              [1, 10]       1.75           growth with each token the repetition is longer
    `dry_allowed_length`    integer >= 1  2              longest repetition that costs nothing more
    `dry_sequence_breakers` token ids     none           tokens that no repetition reaches across
    `no_repeat_ngram_size`  integer >= 0  0, neutral     no sequence of this length occurs twice
    `logit_bias`            [-100, 100]   none, neutral  `{token id: bias}`, added to the logits
    `banned_tokens`         token ids     none, neutral  never chosen
    `min_new_tokens`        integer >= 0  0, neutral     the answer may not end before
    `seed`                  [0, 2^63)     0              same seed and step give the same noise
    `order`                 see `ORDERS`  a preset       a preset's name or a tuple of stage names
    ======================  ============  =============  =================================================

    A custom order may leave out neutral stages. A value outside its range raises `ValueError` naming the field, the
    value and the range. `logit_bias` is given as a mapping and kept as sorted pairs, so that configs can be compared
    and hashed.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    epsilon_cutoff: float = 0.0
    eta_cutoff: float = 0.0
    top_n_sigma: float = 0.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    mirostat_tau: float = 0.0
    mirostat_eta: float = 0.1
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_sequence_breakers: tuple[int, ...] = ()
    no_repeat_ngram_size: int = 0
    logit_bias: Mapping[int, float] | tuple[tuple[int, float], ...] = ()
    banned_tokens: tuple[int, ...] = ()
    min_new_tokens: int = 0
    seed: int = 0
    order: str | tuple[str, ...] = "huggingface"

    def __post_init__(self) -> None:
        for field, setting in SETTINGS.items():
            setting.check(field, getattr(self, field))
        for field in ("banned_tokens", "dry_sequence_breakers"):
            object.__setattr__(self, field, _check_token_ids(field, getattr(self, field)))
        object.__setattr__(self, "logit_bias", _check_biases(self.logit_bias))
        self._check_order()

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages that are not neutral, in the order they run."""
        order = ORDERS[self.order] if isinstance(self.order, str) else self.order
        return tuple(name for name in order if self.uses(name))

    def uses(self, stage: str) -> bool:
        """Return whether the stage is on, that is, whether its setting differs from the neutral value."""
        switch = STAGE_FIELDS[stage]
        return getattr(self, switch) != (SETTINGS[switch].default if switch in SETTINGS else ())

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is always chosen."""
        return self.temperature == 0

    def _check_order(self) -> None:
        order = self.order
        if isinstance(order, str):
            if order not in ORDERS:
                raise ValueError(f"order={order!r}: expected one of {', '.join(ORDERS)} or a tuple of stage names")
            return
        if not isinstance(order, tuple):
            raise ValueError(f"order={order!r}: expected a preset's name or a tuple of stage names")
        for name in order:
            if name not in STAGE_NAMES:
                raise ValueError(f"order contains {name!r}: expected names out of {', '.join(STAGE_NAMES)}")
        if len(set(order)) != len(order):
            raise ValueError(f"order={order!r}: each stage may stand only once")
        if missing := [name for name in STAGE_NAMES if name not in order and self.uses(name)]:
            raise ValueError(f"order={order!r}: missing {', '.join(missing)}, expected every stage that is in use")


def _check_token_ids(field: str, ids: object) -> tuple[int, ...]:
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        raise ValueError(f"{field}={ids!r}: expected token ids")
    ids = tuple(ids)
    for token in ids:
        TOKEN_ID_SETTING.check(field, token)
    return tuple(sorted({int(token) for token in ids}))


def _check_biases(biases: object) -> tuple[tuple[int, float], ...]:
    try:
        pairs = dict(biases)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        raise ValueError(f"logit_bias={biases!r}: expected a bias for each token id, as in {{42: -1.5}}") from None
    for token, bias in pairs.items():
        TOKEN_ID_SETTING.check("logit_bias", token)
        BIAS_SETTING.check(f"logit_bias[{token}]", bias)
    return tuple(sorted((int(token), float(bias)) for token, bias in pairs.items() if bias))
