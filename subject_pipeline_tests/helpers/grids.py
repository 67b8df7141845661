"""Which cells of a large grid of parameters a quick run tries."""

import os
from collections.abc import Sequence
from typing import TypeVar

Cell = TypeVar("Cell")


def thorough(cells: Sequence[Cell], *, quick: int) -> Sequence[Cell]:
    """All cells in CI and for `make mutants`; in the profile `quick` one of so many, taken evenly from the first on.

    For grids whose cells are alike. A step that shares no factor with the length of the inner loops takes each value
    of every parameter.
    """
    return cells[::quick] if os.environ.get("HYPOTHESIS_PROFILE", "quick") == "quick" else cells
