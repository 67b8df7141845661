"""A server that speaks as much S3 as one object needs, and answers each write as a script says."""

import http.server
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from subject_pipeline.objects.location import StoreLocation

RESET = 0
"""In a script: take the whole request, and close the connection without an answer."""


class ScriptedS3(http.server.ThreadingHTTPServer):
    """Answers writes by the script's next status, the last one over and over; 200 does what is asked.

    Attributes:
        script: statuses, or `RESET`.
        objects: what reads see, by path.
        deleted: what a delete that is answered by 200 says of the object.
        writes: method and path of each write, and the body that it carried.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Scripted)
        self.script: list[int] = [200]
        self.objects: dict[str, bytes] = {}
        self.deleted = b"<Deleted><Key>it</Key></Deleted>"
        self.writes: list[tuple[str, str, bytes]] = []

    @property
    def location(self) -> StoreLocation:
        """A store that it answers for."""
        options = {
            "aws_endpoint": f"http://127.0.0.1:{self.server_address[1]}",
            "aws_access_key_id": "id",
            "aws_secret_access_key": "secret",
            "aws_region": "us-east-1",
        }
        return StoreLocation("s3://bucket/store", options)

    def land(self, write: int) -> None:
        """Do a write now, whatever was answered to it."""
        method, path, body = self.writes[write]
        if method == "PUT":
            self.objects[path] = body
        for key in re.findall("<Key>(.*?)</Key>", body.decode()) if method == "POST" else ():
            self.objects.pop(f"/bucket/{key}", None)


class _Scripted(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedS3

    def _write(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.writes.append((self.command, self.path, body))
        script = self.server.script
        status = script.pop(0) if len(script) > 1 else script[0]
        if status == RESET:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        if status == 200:
            self.server.land(len(self.server.writes) - 1)
        each = self.server.deleted if status == 200 else b""
        self._answer(
            status, b"<DeleteResult>%b</DeleteResult>" % each if each else b"<Error><Code>Scripted</Code></Error>"
        )

    do_PUT = do_POST = _write  # noqa: N815 - http.server's names

    def do_GET(self) -> None:
        """An object's bytes."""
        data = self.server.objects.get(self.path)
        self._answer(200 if data is not None else 404, data or b"<Error><Code>NoSuchKey</Code></Error>")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle(self) -> None:
        """Serve a connection until one side closes it."""
        try:
            super().handle()
        except (OSError, ValueError):
            self.close_connection = True  # by the script

    def finish(self) -> None:
        """Close what the script has not closed."""
        try:
            super().finish()
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Say nothing."""


@contextmanager
def scripted_s3() -> Iterator[ScriptedS3]:
    """The server; stopped at the end."""
    with ScriptedS3() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
