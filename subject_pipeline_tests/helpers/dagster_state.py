from collections.abc import Iterator

import pytest
from dagster._core.storage.defs_state.base import set_defs_state_storage


@pytest.fixture(autouse=True)
def no_instance_of_an_earlier_test() -> Iterator[None]:
    """Definitions load whatever instance an earlier test of this process left behind.

    Dagster keeps the current one in a context variable, which points to a closed one where two ended out of turn.
    """
    with set_defs_state_storage(None):
        yield
