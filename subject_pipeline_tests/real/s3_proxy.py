"""A real S3 protocol server (moto's) behind a proxy that counts requests and can make each of them late."""

import collections
import http.client
import http.server
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-connection", "host"}


class Counted(http.server.ThreadingHTTPServer):
    """Passes every request on, after `latency_s`, and counts it by what S3 bills: LIST, GET, HEAD, PUT, DELETE."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.upstream = urllib.parse.urlsplit(upstream).netloc
        self.latency_s = 0.0
        self.counts: collections.Counter[str] = collections.Counter()
        self.places: collections.Counter[tuple[str, str]] = collections.Counter()
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()

    @property
    def environment(self) -> dict[str, str]:
        """The variables that reach it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }

    @property
    def url(self) -> str:
        """The proxy's own address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def reset(self) -> None:
        """Count from nought."""
        with self._lock:
            self.counts.clear()
            self.places.clear()
            self.most_at_once = 0

    def enter(self, kind: str, place: str) -> None:
        """A request begins."""
        with self._lock:
            self.counts[kind] += 1
            self.places[kind, place] += 1
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)

    def leave(self) -> None:
        """A request is answered."""
        with self._lock:
            self._now -= 1


class _Passing(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Counted

    def setup(self) -> None:
        super().setup()
        self._upstream = http.client.HTTPConnection(self.server.upstream, timeout=120)

    def finish(self) -> None:
        self._upstream.close()
        super().finish()

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind, place = _kind(self.command, self.path)
        self.server.enter(kind, place)
        try:
            if self.server.latency_s:
                time.sleep(self.server.latency_s)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
            self._upstream.request(self.command, self.path, body or None, headers)
            answer = self._upstream.getresponse()
            data = answer.read()
        finally:
            self.server.leave()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {*_HOP_BY_HOP, "content-length", "server", "date"}:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Say nothing."""


def _kind(method: str, target: str) -> tuple[str, str]:
    """What S3 bills a request as, and the store's place that it is about."""
    parts = urllib.parse.urlsplit(target)
    query = urllib.parse.parse_qs(parts.query, keep_blank_values=True)
    if "list-type" in query:
        key = query.get("prefix", [""])[0].split("/", 1)[-1]
        return "LIST", key.split("/")[0] or "all"
    key = urllib.parse.unquote(parts.path).lstrip("/").split("/", 2)[-1]
    return ("PUT" if method == "POST" and "delete" not in query else method), key.split("/")[0]


@contextmanager
def s3_server(folder: Path) -> Iterator[Counted]:
    """The server and the proxy before it; both stopped at the end."""
    log = (folder / "s3.log").open("wb")
    probe = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    port = probe.server_address[1]
    probe.server_close()
    command: list[str | Path] = [Path(sys.executable).with_name("moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    upstream = f"http://127.0.0.1:{port}"
    with log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            _wait(upstream)
            proxy = Counted(upstream)
            threading.Thread(target=proxy.serve_forever, daemon=True).start()
            yield proxy
            proxy.shutdown()
        finally:
            process.terminate()


def make_bucket(proxy: Counted, name: str) -> str:
    """A fresh bucket; its URL."""
    request = urllib.request.Request(f"{proxy.url}/{name}", method="PUT")  # noqa: S310 - loopback
    urllib.request.urlopen(request, timeout=30).close()  # noqa: S310 - loopback
    return f"s3://{name}"


def _wait(url: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()  # noqa: S310 - loopback
        except urllib.error.HTTPError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
