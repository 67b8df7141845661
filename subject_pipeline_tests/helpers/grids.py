"""Which cells of a large grid of parameters a quick run tries."""

import os
from collections.abc import Sequence
from typing import TypeVar

Cell = TypeVar("Cell")

QUICK = os.environ.get("HYPOTHESIS_PROFILE", "quick") == "quick"
"""Whether this run is `make test` as a person starts it, not CI's or that of `make mutants`."""


def thorough(cells: Sequence[Cell], *, quick: int) -> Sequence[Cell]:
    """All cells, or in a quick run one of so many, taken evenly from the first on.

    For grids whose cells are alike. A step that shares no factor with the length of the inner loops takes each value
    of every parameter.
    """
    return cells[::quick] if QUICK else cells
