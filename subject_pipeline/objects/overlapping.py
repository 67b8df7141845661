"""Requests that overlap: results in order, some asked for before they are wanted."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from subject_pipeline.objects.protocol import ObjectStore

Item = TypeVar("Item")
Result = TypeVar("Result")


def at_once(objects: ObjectStore, concurrency: int) -> int:
    """How many requests to overlap.

    One locally, where it takes microseconds; as many as given in a bucket, where it takes tens of milliseconds.
    """
    return 1 if objects.local else max(1, concurrency)


def overlapped(work: Callable[[Item], Result], items: Iterable[Item], concurrency: int) -> Iterator[Result]:
    """The results of work on each item, in their order, at most `concurrency` of them begun and not yet taken.

    What the work raises is raised where its result would have been.
    """
    if concurrency == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(concurrency) as pool:
        waiting = iter(items)
        flying = [pool.submit(work, item) for item in islice(waiting, concurrency)]
        try:
            while flying:
                first = flying.pop(0)
                yield first.result()
                flying.extend(pool.submit(work, item) for item in islice(waiting, 1))
        finally:
            for one in flying:
                one.cancel()
