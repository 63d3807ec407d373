"""Rows of one model that advance together: read their prompts, then gain a token each in every forward pass.

Rows join and leave at any step. A prompt's last token is always read in a step of the whole batch, so a row needs no
forward pass of its own once the rest of its prompt is known: sixteen answers to one prompt cost one reading of it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from llm_core.decoding.thread_tuning import ThreadTuner, count_cores
from llm_core.engine.prefix_cache import PrefixCache
from llm_core.errors import NucleusError
from llm_core.generation.record import FirstStepLogits
from samplers import SamplerChain, summarize

if TYPE_CHECKING:
    from llm_core.decoding.decoder import Decoder
    from llm_core.decoding.kv_cache import Prefix
    from llm_core.engine.sequence import ActiveSequence
    from samplers.chain import Draw, StageRecording

log = logging.getLogger(__name__)

PREFILL_CHUNK_TOKENS = 128
"""Prompt tokens read between two steps: a long prompt delays the others by this much a step, and no more."""


class Batch:
    """Owns the decoder's caches. Not locked: one thread uses it."""

    def __init__(self, decoder: Decoder, cache_bytes: int, prefix_bytes: int) -> None:
        self.decoder = decoder
        self.prefixes = PrefixCache(prefix_bytes)
        self._cache_bytes = cache_bytes
        self._cache = decoder.new_cache(cache_bytes)
        self._prefill_cache = decoder.new_cache(cache_bytes)
        """The cache of the one row whose prompt is being read."""
        self._prefilling: deque[ActiveSequence] = deque()
        self._sequences: list[ActiveSequence] = []
        """In the order of the cache's rows."""
        self._chain: SamplerChain | None = None
        on_cpu = self._cache.device.type == "cpu"
        self._threads = ThreadTuner(count_cores() if on_cpu else 1, torch.set_num_threads)

    @property
    def sequences(self) -> list[ActiveSequence]:
        """All rows in here, whether they are still reading or already writing."""
        return [*self._sequences, *self._prefilling]

    @property
    def active_bytes(self) -> int:
        """Bytes set aside for the keys and values of these rows."""
        return self._cache.nbytes + self._prefill_cache.nbytes

    def join(self, answer: ActiveSequence) -> None:
        self._prefilling.append(answer)

    @torch.inference_mode()
    def advance(self) -> None:
        """Read a little, then one token for every row that has read its prompt. Rows that ended leave."""
        self._release()
        self._prefill()
        if self._sequences:
            self._step()
        self._release()

    def clear(self, error: NucleusError) -> None:
        """End every row with `error`, and start over with empty caches."""
        for answer in self.sequences:
            answer.record.fail(error)
        self._sequences.clear()
        self._prefilling.clear()
        self._cache = self.decoder.new_cache(self._cache_bytes)
        self._prefill_cache = self.decoder.new_cache(self._cache_bytes)
        self._chain = None

    def _prefill(self) -> None:
        """Spend up to `PREFILL_CHUNK_TOKENS` on the prompts of rows that want to join."""
        left = PREFILL_CHUNK_TOKENS
        while self._prefilling and left > 0:
            answer = self._prefilling[0]
            wanted = answer.ids[:-1]
            if not self._prefill_cache.rows:
                if not self._has_room(answer):
                    return
                known = self.prefixes.longest(wanted)
                answer.record.cached_tokens = known.length if known else 0
                if answer.record.cached_tokens == len(wanted):
                    self._admit(known)
                    continue
                self._prefill_cache.append()
                if known:
                    self._prefill_cache.put(0, known)
            start = self._prefill_cache.lengths[0]
            chunk = wanted[start : start + left]
            self.decoder.prefill(chunk, self._prefill_cache, 0)
            left -= len(chunk)
            if self._prefill_cache.lengths[0] == len(wanted):
                read = self._prefill_cache.copy_out(0, len(wanted))
                self._prefill_cache.remove(0)
                self.prefixes.store(wanted, read)
                self._admit(read)

    def _has_room(self, answer: ActiveSequence) -> bool:
        """Whether the cache can hold the row to its end beside the others, to theirs. A row that could not even alone
        ends; any other waits until somebody leaves."""
        lengths = [_longest_prefix(each) for each in (*self._sequences, answer)]
        if self._cache.fits(len(lengths), max(lengths)):
            return True
        if not self._cache.fits(1, lengths[-1]):
            needed = lengths[-1] * self._cache.bytes_per_token // 2**20 + 1
            answer.record.fail(NucleusError("row_too_large", needed=needed, limit=self._cache_bytes // 2**20))
        return False

    def _admit(self, read: Prefix | None) -> None:
        """The first row that wants to join has read what is before its last token."""
        row = self._cache.append()
        if read:
            self._cache.put(row, read)
        self._sequences.append(self._prefilling.popleft())
        self._chain = None

    def _step(self) -> None:
        with self._threads.time_step(len(self._sequences)):
            logits = self.decoder.step([answer.ids[-1] for answer in self._sequences], self._cache)
        if logits.device.type == "mps":  # which lacks the float64 that the noise is made in
            logits = logits.cpu()
        if self._chain is None:
            self._chain = SamplerChain([answer.state.config for answer in self._sequences])
        recording: StageRecording = []
        for row, answer in enumerate(self._sequences):
            if answer.record.request.keep_logits and answer.record.first_step is None:
                answer.record.first_step = _keep_first_logits(logits[row], answer)
        states = [answer.state for answer in self._sequences]
        try:
            drawn = self._chain.sample(logits, states, recording)
        except ValueError:
            self._step_singly(logits)
            return
        self._deliver_tokens(self._sequences, drawn, recording)

    def _step_singly(self, logits: torch.Tensor) -> None:
        """One row's sampler refused its logits: find it, and let the others go on."""
        for row, answer in enumerate(self._sequences):
            recording: StageRecording = []
            try:
                drawn = SamplerChain([answer.state.config]).sample(logits[row : row + 1], [answer.state], recording)
            except ValueError as error:
                log.warning("a row ended: %s", error)
                answer.record.fail(NucleusError("sampler_failed", detail=str(error)))
            else:
                self._deliver_tokens([answer], drawn, recording)

    @staticmethod
    def _deliver_tokens(answers: Iterable[ActiveSequence], drawn: Draw, recording: StageRecording) -> None:
        rows = list(answers)
        forced = [answer.next_forced_token for answer in rows]
        tokens = [own if given is None else given for own, given in zip(drawn.tokens, forced, strict=True)]
        traces = summarize(recording, tokens, certain=[answer.record.request.keep_self_certainty for answer in rows])
        for answer, token, probability, trace in zip(rows, tokens, drawn.probabilities, traces, strict=True):
            try:
                answer.accept(token, probability, trace)
            except Exception as error:  # one bad row must not end its neighbours
                log.exception("a row failed")
                answer.record.fail(NucleusError("engine_failed", detail=type(error).__name__))

    def _release(self) -> None:
        """Let ended rows go, and remember what they had read and written."""
        if self._prefill_cache.rows and self._prefilling[0].finished:
            self._prefill_cache.remove(0)
        self._prefilling = deque(answer for answer in self._prefilling if not answer.finished)
        for row in reversed(range(len(self._sequences))):
            answer = self._sequences[row]
            if not answer.finished:
                continue
            length = self._cache.lengths[row]
            if length:
                self.prefixes.store(answer.ids[:length], self._cache.copy_out(row, length))
            self._cache.remove(row)  # the last row takes its place
            self._sequences[row] = self._sequences[-1]
            self._sequences.pop()
            self._chain = None
        if self.active_bytes and not self.sequences:
            self._cache.trim()
            self._prefill_cache.trim()


def _keep_first_logits(logits: torch.Tensor, answer: ActiveSequence) -> FirstStepLogits:
    constraint = answer.state.constraint
    return FirstStepLogits(logits.float().cpu().clone(), constraint.allowed().clone() if constraint else None)


def _longest_prefix(answer: ActiveSequence) -> int:
    """Tokens that the row may come to."""
    return len(answer.ids) + answer.remaining
