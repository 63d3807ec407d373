"""Encode step traces as bytes: a few hundred a step, readable without torch, and safe to read from an untrusted source.

The bytes are zlib over one line of JSON (everything but the candidates), followed by the candidates as little-endian
arrays: for each step its ids (int32), and for each of its stages their log-probabilities (float32).
"""

from __future__ import annotations

import json
import sys
import zlib
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

from samplers.trace import StageSnapshot, StepTrace

VERSION = 1
MAX_TRACE_BYTES = 256 * 1024 * 1024
"""Largest number of bytes that a trace may unpack to, so that a small file cannot fill the memory."""


def pack_traces(traces: Iterable[StepTrace]) -> bytes:
    """Encode traces as bytes that `unpack_traces` decodes to equal traces."""
    header: list[list[Any]] = []
    body = bytearray()
    for trace in traces:
        stages = [[s.name, s.kept, s.kept_mass, s.entropy_bits] for s in trace.stages]
        certainty = [] if trace.self_certainty is None else [trace.self_certainty]
        header.append([trace.token_id, trace.rank, len(trace.candidates), stages, *certainty])
        body += _to_little_endian(trace.candidates).tobytes()
        for stage in trace.stages:
            body += _to_little_endian(stage.logprobs).tobytes()
    line = json.dumps({"version": VERSION, "steps": header}, separators=(",", ":"), allow_nan=False)
    return zlib.compress(line.encode() + b"\n" + bytes(body))


def unpack_traces(packed: bytes, max_bytes: int | None = None) -> list[StepTrace]:
    """Decode the bytes of `pack_traces`. Raises `ValueError` for anything else, however malformed, and for more than
    `largest` unpacked bytes, `MAX_TRACE_BYTES` by default."""
    max_bytes = MAX_TRACE_BYTES if max_bytes is None else max_bytes
    try:
        unzipped = zlib.decompressobj()
        data = unzipped.decompress(packed, max_bytes)
        if unzipped.unconsumed_tail or not unzipped.eof:
            raise ValueError(f"is longer than {max_bytes} bytes, or cut short")
        line, _, body = data.partition(b"\n")
        header = json.loads(line)
        if header["version"] != VERSION:
            raise ValueError(f"has version {header['version']!r}: expected {VERSION}")
        traces, rest = [], memoryview(body)
        for step in header["steps"]:
            trace, rest = _read_step(step, rest)
            traces.append(trace)
        if rest:
            raise ValueError(f"has {len(rest)} bytes too many")
    except (zlib.error, ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise ValueError(f"trace: not one that was packed here: {error}") from error
    return traces


def _read_step(step: Sequence[Any], rest: memoryview) -> tuple[StepTrace, memoryview]:
    token_id, rank, count, stages, *certainty = step
    if not all(isinstance(number, int) and number >= 0 for number in (token_id, rank, count)):
        raise ValueError("has a step whose token, rank or number of candidates is no whole number")
    candidates, rest = _read_array("i", count, rest)
    if token_id not in candidates:
        raise ValueError("has a step whose token is not among its candidates")
    snapshots = []
    for name, kept, mass, entropy in stages:
        logprobs, rest = _read_array("f", count, rest)
        snapshots.append(StageSnapshot(str(name), logprobs, int(kept), float(mass), float(entropy)))
    if not snapshots:
        raise ValueError("has a step without stages")
    [certain] = map(float, certainty) if certainty else [None]
    return StepTrace(token_id, rank, candidates, tuple(snapshots), certain), rest


def _read_array(kind: str, count: int, rest: memoryview) -> tuple[array, memoryview]:
    """Read `count` little-endian numbers of array type `kind`; return them with the remaining bytes."""
    numbers = array(kind)
    size = count * numbers.itemsize
    if len(rest) < size:
        raise ValueError("is cut short")
    numbers.frombytes(rest[:size])
    return _to_little_endian(numbers), rest[size:]


def _to_little_endian(numbers: array) -> array:
    if sys.byteorder == "little":
        return numbers
    swapped = array(numbers.typecode, numbers)
    swapped.byteswap()
    return swapped
