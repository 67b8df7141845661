"""A webhook's receiver: a real HTTP server that answers as a test says, and keeps what it was sent."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Receiver:
    """What came in, and what goes out.

    Attributes:
        answers: status and headers of the next answers, in turn; when there are none left: 200. None: no answer.
        received: the bodies, parsed.
        headers: the requests' headers.
        let_go: ends answers that never come.
    """

    url: str = ""
    answers: list[tuple[int, dict[str, str]] | None] = field(default_factory=list)
    received: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    let_go: threading.Event = field(default_factory=threading.Event)

    def will_answer(self, *statuses: int | None, **headers: str) -> None:
        """Say the next answers' statuses; the headers go with each (`retry_after="1"`)."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers = [None if status is None else (status, named) for status in statuses]

    @property
    def ids(self) -> Sequence[str]:
        """The alerts that came in."""
        return [body["alert_id"] for body in self.received]


@contextmanager
def receiver(port: int = 0) -> Iterator[Receiver]:
    """A receiver on loopback, with a path that is a secret as Slack's are."""
    state = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.received.append(json.loads(body))
            state.headers.append(dict(self.headers))
            answer = state.answers.pop(0) if state.answers else (200, {})
            if answer is None:
                state.let_go.wait(30)
                return
            status, headers = answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            state.received.append({"followed": self.path})
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/services/T0/B0/secret-token"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        state.let_go.set()
        server.shutdown()
        thread.join()
        server.server_close()
