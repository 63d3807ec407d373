"""List the number formats that a decoder can compute in."""

from __future__ import annotations

from typing import Literal, get_args

Precision = Literal["float32", "bfloat16", "int8", "int4", "auto"]


PRECISIONS: tuple[Precision, ...] = get_args(Precision)
