"""The key ring's file: only its owner can read it, and a change of it is whole, on disk and never lost."""

import contextlib
import os
import secrets
import stat
import threading
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from subject_pipeline.errors import KeyRingError
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.objects.durability import sync_file

_OWNER_ONLY = 0o600
_OWNER_FOLDER = 0o700
_OTHERS = 0o077
_HOW_TO = "make one with `subject-pipeline keys new FILE`, then set SUBJECT_KEY_RING=FILE"


def read_ring(path: Path) -> KeyRing:
    """The ring of a file; a symbolic link is followed.

    Raises:
        KeyRingError: there is no such file, others than its owner can read it, or it is no key ring; the message says
            how to fix it and holds nothing of the ring.
    """
    with file_errors("read", path), open(path, "rb", opener=_without_waiting) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise KeyRingError(f"cannot read the key ring {path}: it is not a file")
        if found.st_mode & _OTHERS:
            raise KeyRingError(
                f"cannot use the key ring {path}: others than its owner have access to it "
                f"(mode {stat.S_IMODE(found.st_mode):04o}); fix it with `chmod 600 {path}`"
            )
        data = file.read()
    try:
        return KeyRing.parse(data)
    except KeyRingError as error:
        raise KeyRingError(f"cannot use the key ring {path}: {error}") from error


def create_ring(path: Path, ring: KeyRing) -> None:
    """Write a new ring, on disk when this returns, readable only by its owner; never over an existing file.

    Missing folders are made, for their owner only.

    Raises:
        KeyRingError: the file exists, or cannot be written; then nothing is left of it.
    """
    with file_errors("create", path):
        target = path.absolute()
        _make_folder(target.parent)
        _write_new(target, ring.to_json())
        sync_file(target.parent)


def replace_ring(path: Path, ring: KeyRing) -> None:
    """Put a ring in a file's place, whole or not at all, on disk when this returns, readable only by its owner.

    A symbolic link stays one; the file it names is replaced. The owner of an existing file stays its owner. Missing
    folders are made, for their owner only.

    Raises:
        KeyRingError: the file cannot be written; then the former one is as it was.
    """
    with file_errors("write", path):
        replace_private_file(Path(os.path.realpath(path)), ring.to_json())


def replace_private_file(target: Path, data: bytes) -> None:
    """Put bytes in a file's place, whole or not at all, on disk when this returns, readable only by its owner.

    Args:
        target: where; no symbolic link. The owner of an existing file stays its owner.
        data: what it is to hold.

    Raises:
        OSError: it cannot be written; then the former one is as it was.
    """
    _make_folder(target.parent)
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        _write_new(unfinished, data, like=target)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    sync_file(target.parent)


@contextlib.contextmanager
def file_errors(doing: str, path: Path) -> Iterator[None]:
    """What the system refuses while a ring's file is worked on becomes a `KeyRingError` that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise KeyRingError(f"cannot {doing} the key ring {path}: there is no such file; {_HOW_TO}") from error
    except FileExistsError as error:
        raise KeyRingError(
            f"cannot {doing} the key ring {path}: it exists, and its keys are never overwritten; name another file"
        ) from error
    except OSError as error:
        raise KeyRingError(f"cannot {doing} the key ring {path}: {error.strerror}") from error


class KeyRingFile:
    """The ring of a file, read when it is first needed and kept; safe to share between threads.

    Pickled, it is the same file, to be read again.

    Args:
        path: the file, or what finds it when it is first asked for; None where none is configured, which is an error
            only when the ring is needed.
    """

    def __init__(self, path: Path | Callable[[], Path | None] | None) -> None:
        self._asked = path
        self._lock = threading.Lock()
        self._ring: KeyRing | None = None
        self._looked_for: set[str] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        return KeyRingFile, (self._path,)  # no key leaves this process

    @cached_property
    def _path(self) -> Path | None:
        return self._asked() if callable(self._asked) else self._asked

    @property
    def path(self) -> Path:
        """The file.

        Raises:
            KeyRingError: none is configured; the message says how to make one.
        """
        if self._path is None:
            raise KeyRingError(f"no key ring is configured; {_HOW_TO}")
        return self._path

    @property
    def configured(self) -> bool:
        """Whether a file is named at all."""
        return self._path is not None

    def ring(self) -> KeyRing:
        """The ring as last read.

        Raises:
            KeyRingError: no file is configured, or it cannot be used; the message says how to fix it.
        """
        with self._lock:
            return self._ring or self._read()

    def reload(self) -> KeyRing:
        """The ring as it is now; one that cannot be read leaves what was read before.

        Raises:
            KeyRingError: no file is configured, or it cannot be used.
        """
        with self._lock:
            return self._read()

    def key(self, key_id: str) -> bytes | None:
        """The key of an id; an id that the ring does not have reads the file again, once per id, and is then None.

        Raises:
            KeyRingError: no file is configured, or it cannot be used.
        """
        with self._lock:
            found = (self._ring or self._read()).key(key_id)
            if found is None and key_id not in self._looked_for:
                found = self._read().key(key_id)
                self._looked_for.add(key_id)
            return found

    def _read(self) -> KeyRing:
        self._ring = read_ring(self.path)
        return self._ring


def _make_folder(folder: Path) -> None:
    for missing in reversed([parent for parent in (folder, *folder.parents) if not parent.exists()]):
        missing.mkdir(mode=_OWNER_FOLDER, exist_ok=True)
        sync_file(missing.parent)


def _write_new(path: Path, data: bytes, *, like: Path | None = None) -> None:
    with open(path, "xb", opener=_for_the_owner) as file:
        try:
            os.fchmod(file.fileno(), _OWNER_ONLY)  # whatever the umask
            if like is not None and like.exists() and like.stat().st_uid != os.geteuid():
                # Root rotating a service's ring must not take it away from the service.
                os.fchown(file.fileno(), like.stat().st_uid, like.stat().st_gid)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _for_the_owner(path: str, flags: int) -> int:
    return os.open(path, flags, _OWNER_ONLY)


def _without_waiting(path: str, flags: int) -> int:
    # A pipe in the file's place must not hang the caller.
    return os.open(path, flags | os.O_NONBLOCK)
