"""Who does the reading of many images: this thread, one image after the other, or several threads of this machine.

An engine maps one pure function over items and gives the results back in the order of the items; what the function
computes of one item depends on no other, so that every engine gives the same.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import chain, islice
from typing import Protocol, TypeVar, runtime_checkable

from leukospike.side_by_side import one_core_each

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST_WORKERS = 4
_AHEAD = 8  # items in work or done and not yet asked for


def _never(_item: object) -> bool:
    """Tell that no item has to be worked on alone."""
    return False


@runtime_checkable
class Engine(Protocol):
    """Maps a function over items."""

    def map(
        self,
        work: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        alone: Callable[[Item], bool] = _never,
    ) -> Iterator[tuple[Item, Result]]:
        """Apply `work` to each item.

        Parameters
        ----------
        work : callable
            Pure, and callable from several threads.
        items : iterable
            Asked for a few items ahead.
        alone : callable
            Whether an item is so large that no other should be worked on beside it.

        Yields
        ------
        tuple of (item, result)
            In the order of the items. What `work` raises, the iteration raises.
        """
        ...


@dataclass(frozen=True)
class InOrder:
    """Work in the calling thread: the plain engine, which the others are tested against."""

    def map(
        self,
        work: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        alone: Callable[[Item], bool] = _never,  # noqa: ARG002 - every item is
    ) -> Iterator[tuple[Item, Result]]:
        """Apply `work` to one item after the other."""
        for item in items:
            yield item, work(item)


@dataclass(frozen=True)
class Threads:
    """Small items side by side, one on each core; a large or lone one has all cores."""

    most_workers: int = _MOST_WORKERS

    def map(
        self,
        work: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        alone: Callable[[Item], bool] = _never,
    ) -> Iterator[tuple[Item, Result]]:
        """Apply `work` on as many threads as torch has, four at the most."""
        waiting: deque[tuple[Item, Future[Result]]] = deque()

        def done(at_most: int) -> Iterator[tuple[Item, Result]]:
            while len(waiting) > at_most:
                item, result = waiting.popleft()
                yield item, result.result()

        items = iter(items)
        first_two = list(islice(items, 2))
        with one_core_each(self.most_workers) as pool:
            for item in chain(first_two, items):
                if len(first_two) == 1 or alone(item):
                    yield from done(at_most=0)
                    yield item, work(item)
                else:
                    waiting.append((item, pool.submit(work, item)))
                    yield from done(at_most=_AHEAD - 1)
            yield from done(at_most=0)
