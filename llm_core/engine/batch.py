"""Advance the samples of one model together: prefill their prompts, then add one token to each in every forward pass.

Samples join and leave at any step. A prompt's last token is always read in a step of the whole batch, so a sample needs
no forward pass of its own once the rest of its prompt is cached: sixteen answers to one prompt cost one prefill.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch

from llm_core.decoding.thread_tuning import ThreadTuner, default_thread_count
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
"""Number of prompt tokens read between two steps: the most by which a long prompt delays the other samples a step."""


class Batch:
    """Owner of a decoder's caches and of the sequences in them. Not locked: one thread uses it."""

    def __init__(self, decoder: Decoder, cache_bytes: int, prefix_bytes: int) -> None:
        self.decoder = decoder
        self.prefixes = PrefixCache(prefix_bytes)
        self._cache_bytes = cache_bytes
        self._cache = decoder.new_cache(cache_bytes)
        self._prefill_cache = decoder.new_cache(cache_bytes)
        """Cache of the one sequence whose prompt is being read."""
        self._prefilling: deque[ActiveSequence] = deque()
        self._sequences: list[ActiveSequence] = []
        """Sequences being decoded, in the order of the cache's rows."""
        self._chain: SamplerChain | None = None
        on_cpu = self._cache.device.type == "cpu"
        self._threads = ThreadTuner(default_thread_count() if on_cpu else 1, torch.set_num_threads)

    @property
    def sequences(self) -> list[ActiveSequence]:
        """All sequences in the batch, in prefill or decoding."""
        return [*self._sequences, *self._prefilling]

    @property
    def active_bytes(self) -> int:
        """Bytes allocated for the keys and values of these sequences."""
        return self._cache.nbytes + self._prefill_cache.nbytes

    def join(self, answer: ActiveSequence) -> None:
        """Add a sequence to those that wait for prefill."""
        self._prefilling.append(answer)

    @torch.inference_mode()
    def advance(self) -> None:
        """Read up to `PREFILL_CHUNK_TOKENS`, then decode one token for every sequence that is prefilled. Finished ones
        leave."""
        self._release()
        self._prefill()
        if self._sequences:
            self._step()
        self._release()

    def clear(self, error: NucleusError) -> None:
        """End every sequence with `error`, and start over with empty caches."""
        for answer in self.sequences:
            answer.record.fail(error)
        self._sequences.clear()
        self._prefilling.clear()
        self._cache = self.decoder.new_cache(self._cache_bytes)
        self._prefill_cache = self.decoder.new_cache(self._cache_bytes)
        self._chain = None

    def _prefill(self) -> None:
        """Spend up to `PREFILL_CHUNK_TOKENS` on the prompts of sequences that wait to join."""
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
        """Return whether the cache can hold the sequence at its full length beside the others at theirs.

        A sequence that does not fit even alone fails with `row_too_large`; any other waits until one leaves.
        """
        lengths = [_max_length(each) for each in (*self._sequences, answer)]
        if self._cache.fits(len(lengths), max(lengths)):
            return True
        if not self._cache.fits(1, lengths[-1]):
            needed = lengths[-1] * self._cache.bytes_per_token // 2**20 + 1
            answer.record.fail(NucleusError("row_too_large", needed=needed, limit=self._cache_bytes // 2**20))
        return False

    def _admit(self, read: Prefix | None) -> None:
        """Move the first waiting sequence, prefilled up to its last token, into the decoding batch."""
        row = self._cache.append()
        if read:
            self._cache.put(row, read)
        self._sequences.append(self._prefilling.popleft())
        self._chain = None

    def _step(self) -> None:
        with self._threads.time_step(len(self._sequences)):
            logits = self.decoder.step([answer.ids[-1] for answer in self._sequences], self._cache)
        if logits.device.type == "mps":  # MPS lacks float64, the type of the noise
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
        """Sample each sequence alone after a sampler refused its logits: fail that one, and let the others continue."""
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
        """Append each sequence's token, the forced one if there is one, with its trace."""
        rows = list(answers)
        forced = [answer.next_forced_token for answer in rows]
        tokens = [own if given is None else given for own, given in zip(drawn.tokens, forced, strict=True)]
        traces = summarize(recording, tokens, certain=[answer.record.request.keep_self_certainty for answer in rows])
        for answer, token, probability, trace in zip(rows, tokens, drawn.probabilities, traces, strict=True):
            try:
                answer.accept(token, probability, trace)
            except Exception as error:  # one bad sample must not end its neighbors
                log.exception("a row failed")
                answer.record.fail(NucleusError("engine_failed", detail=type(error).__name__))

    def _release(self) -> None:
        """Remove finished sequences, and keep their keys and values in the prefix cache."""
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


def _max_length(answer: ActiveSequence) -> int:
    """Return the most tokens that the sequence may reach, prompt included."""
    return len(answer.ids) + answer.remaining
