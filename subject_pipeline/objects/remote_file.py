"""An object of a bucket as a file that pyarrow, and readers of lines, can read."""

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import obstore
    from _typeshed import WriteableBuffer


class RemoteFile(io.RawIOBase):
    """An object as a Python file: obstore's reader lacks `closed`, `readinto` and the like."""

    def __init__(self, reader: "obstore.ReadableFile") -> None:
        self._reader = reader

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes from here; all where it is negative."""
        return bytes(self._reader.read(None if size < 0 else size))

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Fill a buffer from here as far as the object goes: what `io.BufferedReader` reads lines by."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go elsewhere; returns where that is."""
        return self._reader.seek(offset, whence)

    def tell(self) -> int:
        """Where we are, in bytes from the start."""
        return self._reader.tell()
