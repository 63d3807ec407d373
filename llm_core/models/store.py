"""Keep models in memory, shared by every session: loaded once, in the background, with progress for readers."""

from __future__ import annotations

import gc
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from llm_core.errors import NucleusError
from llm_core.models.language_model import LanguageModel, load
from llm_core.models.progress import Progress, ReportProgress

log = logging.getLogger(__name__)

Loader = Callable[[str, ReportProgress], LanguageModel]


@dataclass(eq=False)
class ModelEntry:
    """Model that is loading or loaded. `result` holds the model or the `NucleusError` that stopped the load."""

    id: str
    progress: Progress = field(default_factory=lambda: Progress("starting"))
    result: Future[LanguageModel] = field(default_factory=Future)

    @property
    def model(self) -> LanguageModel | None:
        return self.result.result() if self.result.done() and not self.result.exception() else None

    @property
    def error(self) -> NucleusError | None:
        error = self.result.exception() if self.result.done() else None
        return error if isinstance(error, NucleusError) else None


class ModelStore:
    """Cache of the `capacity` models used last. Safe to call from any thread; each model is loaded once."""

    def __init__(self, capacity: int = 2, loader: Loader = load) -> None:
        self._capacity = capacity
        self._loader = loader
        self._entries: OrderedDict[str, ModelEntry] = OrderedDict()
        self._lock = threading.Lock()
        self.changed = threading.Condition()
        """Condition that is notified when a load ends."""

    def request(self, model_id: str, retry: bool = False) -> ModelEntry:
        """Return the model's entry, loading it in the background if it is new (or failed before and `retry` is set)."""
        with self._lock:
            entry = self._entries.get(model_id)
            if entry is None or (retry and entry.error):
                entry = self._entries[model_id] = ModelEntry(model_id)
                threading.Thread(target=self._load, args=(entry,), name=f"load {model_id}", daemon=True).start()
            self._entries.move_to_end(model_id)
            self._evict_oldest()
            return entry

    def loaded_models(self) -> list[LanguageModel]:
        """Return the models that are kept now, the most recently used last."""
        with self._lock:
            return [model for entry in self._entries.values() if (model := entry.model)]

    def _evict_oldest(self) -> None:
        settled = [entry.id for entry in self._entries.values() if entry.result.done()]
        for model_id in settled[: max(0, len(self._entries) - self._capacity)]:
            if next(reversed(self._entries)) != model_id:
                del self._entries[model_id]

    def _load(self, entry: ModelEntry) -> None:
        def report(progress: Progress) -> None:
            entry.progress = progress

        try:
            model = self._loader(entry.id, report)
        except NucleusError as error:
            self._fail(entry, error)
        except Exception as error:
            log.exception("loading %s failed", entry.id)
            self._fail(entry, NucleusError("model_damaged", model=entry.id, detail=type(error).__name__))
        else:
            # Weights and modules live long: without freezing, every later collection would traverse their objects.
            gc.collect()
            gc.freeze()
            entry.progress = Progress("ready")
            entry.result.set_result(model)
        with self.changed:
            self.changed.notify_all()

    @staticmethod
    def _fail(entry: ModelEntry, error: NucleusError) -> None:
        entry.progress = Progress("failed")
        entry.result.set_exception(error)
