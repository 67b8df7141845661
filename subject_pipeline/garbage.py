"""Python's collector of cycles, kept from looking through a hundred thousand objects of which none is in a cycle."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """No search for cycles in this process until the end of the block, or of the function that this decorates.

    What is in no cycle is freed as ever.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
