"""A private Postgres cluster on loopback, from Debian's package, for `make cluster` and the tests."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_USER = "dagster"
_PATIENCE = 120


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """Where a running server is; its database and its only user are named `dagster`."""

    port: int
    password: str = field(repr=False)

    @property
    def environment(self) -> dict[str, str]:
        """What `deploy/dagster.postgres.yaml` reads."""
        return {
            "DAGSTER_PG_HOST": "127.0.0.1",
            "DAGSTER_PG_PORT": str(self.port),
            "DAGSTER_PG_USER": _USER,
            "DAGSTER_PG_PASSWORD": self.password,
            "DAGSTER_PG_DB": _USER,
        }


class PostgresError(Exception):
    """Postgres is not installed or does not start; the message says what to do."""


def binaries() -> Path:
    """The folder of Postgres's programs, the newest version's.

    Raises:
        PostgresError: there is none.
    """
    if found := shutil.which("pg_ctl"):
        return Path(found).resolve().parent
    versions = Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")
    newest = max(versions, key=lambda program: float(program.parents[1].name), default=None)
    if newest is None:
        raise PostgresError("Postgres is not installed: run scripts/install_real_parts.sh postgres")
    return newest.parent


@contextmanager
def postgres_server(folder: Path, port: int) -> Iterator[PostgresServer]:
    """Run the cluster in a folder, made at the first use and kept, and stop it.

    It listens only on 127.0.0.1, and asks for a password that is made with it. Postgres refuses to run as root: then
    it runs as the system's user `postgres`, who has to reach the folder.

    Raises:
        PostgresError: it is not installed, cannot reach the folder, or does not start.
    """
    programs, data = binaries(), folder / "data"
    if not (data / "PG_VERSION").exists():
        _make(programs, folder)
    password = (folder / "password").read_text(encoding="utf-8").strip()
    # Without a socket nobody can come in by a path, and the path's length has no limit.
    options = f"-h 127.0.0.1 -p {port} -c unix_socket_directories=''"
    control: list[str | Path] = [programs / "pg_ctl", "-D", data, "-w", "-t", str(_PATIENCE)]
    try:
        _as_server([*control, "-o", options, "-l", folder / "log", "start"], folder)
        server = PostgresServer(port, password)
        _make_database(programs, server)
        yield server
    finally:
        if (data / "postmaster.pid").exists():
            _as_server([*control, "-m", "fast", "stop"], folder)


def _make(programs: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    password = folder / "password"
    password.touch(mode=0o600)
    password.write_text(secrets.token_hex(24), encoding="utf-8")
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
        shutil.chown(password, "postgres")
    folder.chmod(0o700)
    flags = ["-U", _USER, "--auth=scram-sha-256", f"--pwfile={password}", "-E", "UTF8", "--locale=C.UTF-8"]
    _as_server([programs / "initdb", "-D", folder / "data", *flags], folder)


def _make_database(programs: Path, server: PostgresServer) -> None:
    given = server.environment
    environment = {**os.environ, "PGPASSWORD": server.password, "PGHOST": given["DAGSTER_PG_HOST"]}
    connect = ["-p", given["DAGSTER_PG_PORT"], "-U", _USER]
    there = _said(
        [programs / "psql", *connect, "-d", "postgres", "-Atc", "select datname from pg_database"], environment
    )
    if _USER not in there.split():
        _said([programs / "createdb", *connect, _USER], environment)


def _as_server(command: list[str | Path], folder: Path) -> None:
    """Run a program as the user that the server runs as."""
    if os.geteuid() == 0:
        as_postgres: list[str | Path] = ["runuser", "-u", "postgres", "--"]
        if subprocess.run([*as_postgres, "test", "-w", folder], check=False, cwd="/").returncode:
            raise PostgresError(f"the user postgres cannot reach {folder}: choose a folder that it can")
        command = [*as_postgres, *command]
    # The server would keep a pipe open forever: its output goes to its log.
    _said(command, {**os.environ, "LC_ALL": "C.UTF-8"}, silent="start" in command)


def _said(command: list[str | Path], environment: dict[str, str], *, silent: bool = False) -> str:
    done = subprocess.run(
        command,
        check=False,
        cwd="/",
        env=environment,
        text=True,
        stdout=subprocess.DEVNULL if silent else subprocess.PIPE,
        stderr=subprocess.DEVNULL if silent else subprocess.STDOUT,
    )
    if done.returncode:
        where = f": {done.stdout.strip()[-2_000:]}" if done.stdout else " (see its log)"
        raise PostgresError(f"{' '.join(str(part) for part in command)} ended with {done.returncode}{where}")
    return done.stdout or ""
