"""Engines for reading many images: this thread, one image after the other, or several threads.

An engine maps a pure function over items and returns the results in the order of the items. Items are independent, so
every engine gives the same results.
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
_AHEAD = 8  # items in progress, or done but not yet consumed


def _never(_item: object) -> bool:
    """Allow every item to run beside others."""
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
            Whether an item is so large that no other should run beside it.

        Yields
        ------
        tuple of (item, result)
            In the order of the items. Exceptions from `work` are raised by the iteration.
        """
        ...


@dataclass(frozen=True)
class InOrder:
    """Runs in the calling thread: the plain engine, against which the others are tested."""

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
    """Runs small items in parallel, one per core; a large or single item gets all cores."""

    most_workers: int = _MOST_WORKERS

    def map(
        self,
        work: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        alone: Callable[[Item], bool] = _never,
    ) -> Iterator[tuple[Item, Result]]:
        """Apply `work` on as many threads as torch has, at most four."""
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
