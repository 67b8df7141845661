"""Holds descriptor 2 back while a library may print to it what people should not see."""

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO


class HeldStderr:
    """Holds back what is written to descriptor 2: a Rust panic prints there before anyone can catch it.

    Passed on when the last holder is done, unless one of them failed. Shared by all threads, since the descriptor is.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._failed = False
        self._kept = -1
        self._file: IO[bytes] | None = None

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold it back until the block ends."""
        with self._lock:
            self._holders += 1
            if self._holders == 1:
                self._begin()
        try:
            yield
        except GeneratorExit:
            raise
        except BaseException:
            self._failed = True
            raise
        finally:
            with self._lock:
                self._holders -= 1
                if self._holders == 0:
                    self._end()

    def _begin(self) -> None:
        sys.stderr.flush()
        self._failed = False
        self._kept = os.dup(2)
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _end
        os.dup2(self._file.fileno(), 2)

    def _end(self) -> None:
        sys.stderr.flush()
        os.dup2(self._kept, 2)
        os.close(self._kept)
        if self._file is not None:
            self._file.seek(0)
            words = self._file.read()
            self._file.close()
            if words and not self._failed:
                os.write(2, words)


HELD_STDERR = HeldStderr()
