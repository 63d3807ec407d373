"""Queue items so that sessions take turns: a session with many items delays its own, not those of others."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """Queue that is FIFO within a session and round-robin between sessions. Not locked: the owner locks it."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[Item]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __iter__(self) -> Iterator[Item]:
        """Yield the items in the order in which they would leave."""
        lines = [list(line) for line in self._waiting.values()]
        for turn in range(max(map(len, lines), default=0)):
            for line in lines:
                if turn < len(line):
                    yield line[turn]

    def push(self, session: str, item: Item) -> None:
        self._waiting.setdefault(session, deque()).append(item)

    def pop(self, ready: Callable[[Item], bool]) -> Item | None:
        """Remove and return the next item that is ready, or None. Its session moves to the end of the turn order;
        within a session order is kept, except that items that are not ready are passed over."""
        for session, line in self._waiting.items():
            for item in line:
                if ready(item):
                    line.remove(item)
                    self._waiting.move_to_end(session)
                    if not line:
                        del self._waiting[session]
                    return item
        return None
