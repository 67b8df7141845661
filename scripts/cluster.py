"""`make cluster`: scale-out on one machine, with the parts that a deployment on many has.

Redis, Postgres, an S3 server (moto's; or the store that $SUBJECT_STORE_URL names), Dagster's web server and daemon, and
two Celery workers, all on loopback, all with one environment. What they write is below the state folder: `logs/`, and
`environment`, a file to `source` for a shell that works on the same store. A worker that ends is started again, as a
supervisor of a deployment does. Ctrl-C stops all of it.

moto's server keeps its buckets in memory, so with it the history starts from the beginning each time; with
your own store it stays.
"""

import argparse
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType

import polars as pl
import psutil
from postgres_server import PostgresError, postgres_server

from subject_pipeline.errors import SubjectPipelineError
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import create_ring
from subject_pipeline.samples.events import sample_events
from subject_pipeline.samples.people import sample_workers
from subject_pipeline.store.layout import INBOX
from subject_pipeline.store.opened import SubjectStore

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
WORKERS = ("worker-1", "worker-2")
PEOPLE, EVENTS = 100_000, 20_000
BUCKET = "cluster"
_START, _STOP = 180, 30


class ClusterError(Exception):
    """A part is missing or does not start; the message says which, and where its log is."""


@dataclass
class Cluster:
    """The running parts, by name.

    Attributes:
        state: the folder of all that they write.
        environment: what every part gets.
        processes: those that this program started, and supervises.
    """

    state: Path
    environment: dict[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def log(self, name: str) -> Path:
        """A part's log."""
        return self.state / "logs" / f"{name}.log"

    def start(self, name: str, command: list[str | Path], cwd: Path, given: str | None = None) -> None:
        """Start a part in its own session, so that Ctrl-C does not reach it before its turn.

        Args:
            name: its name, and its log's.
            command: what to run.
            cwd: where.
            given: what it reads from standard input: a password is in no command line.
        """
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=self.environment,
                stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if given is not None and process.stdin:
            process.stdin.write(given.encode())
            process.stdin.close()
        self.processes[name] = process
        pids = {part: process.pid for part, process in self.processes.items()}
        (self.state / "processes.json").write_text(json.dumps(pids), encoding="utf-8")

    def wait(self, name: str, is_ready: Callable[[], bool]) -> None:
        """Wait until a part is ready.

        Raises:
            ClusterError: it ended, or took too long.
        """
        deadline = time.monotonic() + _START
        while not is_ready():
            if (code := self.processes[name].poll()) is not None:
                raise ClusterError(f"{name} ended with {code}: see {self.log(name)}")
            if time.monotonic() > deadline:
                raise ClusterError(f"{name} was not ready after {_START} s: see {self.log(name)}")
            time.sleep(0.2)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Stop a part at the end: kindly, and after a while with all its children."""
        try:
            yield
        finally:
            process = self.processes.get(name)
            if process is not None:
                _stop(process, kindly=signal.SIGTERM if name in WORKERS else signal.SIGINT)


def _stop(process: subprocess.Popen[bytes], kindly: signal.Signals) -> None:
    with suppress(psutil.Error, ProcessLookupError):
        family = psutil.Process(process.pid).children()
        # `dagster-celery` does not pass a signal on to Celery, which ends its run first and then itself.
        for child in family if kindly == signal.SIGTERM else []:
            child.send_signal(kindly)
        if kindly == signal.SIGINT:
            process.send_signal(kindly)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - our own server on loopback
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 2):
        return True
    return False


@contextmanager
def cluster(state: Path, project: Path, page_port: int, settings: Mapping[str, str]) -> Iterator[Cluster]:
    """Start all parts, and stop them in the reverse order.

    Args:
        state: the folder of all that they write.
        project: the folder with `workspace.yaml`, `deploy/` and the package.
        page_port: the web server's port.
        settings: the environment that this program was given.

    Raises:
        ClusterError: a part does not start.
        PostgresError: Postgres does not.
    """
    if _listens(page_port):
        raise ClusterError(f"port {page_port} is taken: choose another with PORT=...")
    if shutil.which("redis-server") is None:
        raise ClusterError("Redis is not installed: run scripts/install_real_parts.sh redis")
    own_store = settings.get("SUBJECT_STORE_URL") or None
    _prepare(state, again=own_store is None)
    running = Cluster(state, {**settings, **_environment(state, project, page_port, settings)})
    with ExitStack() as parts:
        server = parts.enter_context(postgres_server(state / "postgres", free_port()))
        running.environment |= server.environment
        parts.enter_context(_redis(running))
        if own_store is None:
            parts.enter_context(_s3(running))
        _prepare_data(running, project, sample=own_store is None)
        variables = [name for name, value in sorted(running.environment.items()) if settings.get(name) != value]
        lines = [f"export {name}={shlex.quote(running.environment[name])}\n" for name in variables]
        (state / "environment").write_text("".join(lines), encoding="utf-8")
        parts.enter_context(running.part("dagster"))
        page: list[str | Path] = ["-w", project / "workspace.yaml", "-h", "127.0.0.1", "-p", str(page_port)]
        running.start("dagster", [BIN / "dagster", "dev", *page], project)
        running.wait("dagster", lambda: _answers(f"http://127.0.0.1:{page_port}/server_info"))
        # Dagster has made its tables by now: two workers that both find none would race to.
        for name in WORKERS:
            parts.enter_context(running.part(name))
            start_worker(running, name, project)
        for name in WORKERS:
            running.wait(name, partial(_is_ready, running.log(name)))
        yield running


def _is_ready(log: Path) -> bool:
    return b" ready." in log.read_bytes()


def start_worker(running: Cluster, name: str, project: Path) -> None:
    """Start a worker that does one run at a time."""
    options: list[str | Path] = [
        "-A",
        "dagster_celery.app",
        "-y",
        project / "deploy" / "celery" / "run_celery.yaml",
        "-n",
        name,
    ]
    running.start(name, [BIN / "dagster-celery", "worker", "start", *options, "--", "-c", "1"], project)


def _prepare(state: Path, *, again: bool) -> None:
    os.umask(0o077)  # passwords and the key ring are below the folder
    if again:
        for name in ("home", "postgres", "logs", "key_ring.json"):
            path = state / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for folder in (state, state / "home", state / "logs"):
        folder.mkdir(parents=True, exist_ok=True)
    state.chmod(0o711)  # the user postgres passes through to its own folder


def _environment(state: Path, project: Path, page_port: int, settings: Mapping[str, str]) -> dict[str, str]:
    shutil.copy(project / "deploy" / "celery" / "dagster.yaml", state / "home")
    return {
        "DAGSTER_HOME": str(state / "home"),
        "DAGSTER_COMPUTE_LOGS": str(state / "home" / "compute_logs"),
        # `dagster-celery` calls `celery` by its name.
        "PATH": os.pathsep.join((str(BIN), settings.get("PATH", os.defpath))),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(project), settings.get("PYTHONPATH")))),
        "SUBJECT_DAGSTER_URL": settings.get("SUBJECT_DAGSTER_URL") or f"http://127.0.0.1:{page_port}",
        "SUBJECT_KEY_RING": settings.get("SUBJECT_KEY_RING") or str(state / "key_ring.json"),
        "SUBJECT_PARTITIONS_PER_RUN": settings.get("SUBJECT_PARTITIONS_PER_RUN") or "8",
    }


@contextmanager
def _redis(running: Cluster) -> Iterator[None]:
    port, password = free_port(), secrets.token_hex(24)
    address = f"redis://:{password}@127.0.0.1:{port}"
    running.environment |= {"DAGSTER_CELERY_BROKER": f"{address}/0", "DAGSTER_CELERY_BACKEND": f"{address}/1"}
    options = f'port {port}\nbind 127.0.0.1\nsave ""\nrequirepass {password}\ndir {json.dumps(str(running.state))}\n'
    with running.part("redis"):
        running.start("redis", ["redis-server", "-"], running.state, options)
        running.wait("redis", lambda: _listens(port))
        yield


@contextmanager
def _s3(running: Cluster) -> Iterator[None]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    running.environment |= {
        "AWS_ENDPOINT_URL": url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "cluster",
        "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16),
        "AWS_REGION": "us-east-1",
        "SUBJECT_STORE_URL": f"s3://{BUCKET}/subjects",
    }
    with running.part("s3"):
        running.start("s3", [BIN / "moto_server", "-H", "127.0.0.1", "-p", str(port)], running.state)
        running.wait("s3", lambda: _answers(url))
        with urllib.request.urlopen(urllib.request.Request(f"{url}/{BUCKET}", method="PUT"), timeout=30):  # noqa: S310
            yield


def _prepare_data(running: Cluster, project: Path, *, sample: bool) -> None:
    """Make the people and the key ring where they are missing, and for a store of our own event files in its inbox."""
    people = project / "sample_data" / "workers.parquet"
    if not people.exists():
        sample_workers(PEOPLE, people)
    ring = Path(running.environment["SUBJECT_KEY_RING"])
    if not ring.exists():
        create_ring(ring, KeyRing.new(secrets.token_bytes(32), secrets.token_bytes(32)))
    if sample:
        events = running.state / "sample_events.jsonl"
        sample_events(EVENTS, events, people=pl.scan_parquet(people).select(pl.len()).collect().item())
        # The store's clients read the provider's standard environment.
        os.environ.update({name: value for name, value in running.environment.items() if name.startswith("AWS_")})
        store = SubjectStore.at(running.environment["SUBJECT_STORE_URL"])
        store.objects.create(f"{INBOX}sample_events.jsonl", events.read_bytes())
        events.unlink()


def _tell(running: Cluster, page_port: int) -> None:
    environment = running.environment
    for name, words in {
        "page": f"http://127.0.0.1:{page_port}   (no login: it listens only on this machine)",
        "store": environment["SUBJECT_STORE_URL"] + f"   {environment.get('AWS_ENDPOINT_URL', '')}",
        "postgres": f"127.0.0.1:{environment['DAGSTER_PG_PORT']}",
        "redis": environment["DAGSTER_CELERY_BROKER"].rpartition("@")[2],
        "workers": ", ".join(f"{name} (process group {running.processes[name].pid})" for name in WORKERS),
        "a run has": f"{environment['SUBJECT_PARTITIONS_PER_RUN']} partitions (SUBJECT_PARTITIONS_PER_RUN)",
        "logs": str(running.state / "logs"),
        "a shell": f". {running.state / 'environment'}   gives subject-pipeline this store and key ring",
        "stop": "Ctrl-C stops all of it",
    }.items():
        print(f"{name:>12}  {words}")
    sys.stdout.flush()


def _supervise(running: Cluster, project: Path) -> None:
    while True:
        for name, process in list(running.processes.items()):
            if (code := process.poll()) is None:
                continue
            if name not in WORKERS:
                raise ClusterError(f"{name} ended with {code}: see {running.log(name)}")
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what is left of it holds no run that counts
            print(f"{name} ended with {code}; it is started again", flush=True)
            start_worker(running, name, project)
        time.sleep(0.5)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it running
    raise KeyboardInterrupt


def main() -> None:
    """Start the cluster, say where everything is, and supervise it until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Scale-out on one machine.")
    parser.add_argument("--state", type=Path, default=ROOT / ".cluster", help="folder of all that is written")
    parser.add_argument("--project", type=Path, default=ROOT, help="folder with workspace.yaml and deploy/")
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT") or 3000), help="the web page's")
    given = parser.parse_args()
    state, project = given.state.resolve(), given.project.resolve()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        with cluster(state, project, given.port, dict(os.environ)) as running:
            _tell(running, given.port)
            _supervise(running, project)
    except KeyboardInterrupt:
        print("\nstopped")
    except (ClusterError, PostgresError, SubjectPipelineError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
