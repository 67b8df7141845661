"""What every command shares: the store it works on, its output, and its exit status."""

import datetime as dt
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

import click

from subject_pipeline.errors import ConfigurationError, SourceError, SubjectPipelineError
from subject_pipeline.formats.shown_text import without_credentials
from subject_pipeline.formats.times import format_time
from subject_pipeline.objects.location import home_expanded
from subject_pipeline.project.finding import project_around
from subject_pipeline.settings import Settings, json_logs, system_user

if TYPE_CHECKING:
    from subject_pipeline.keys.ring_file import KeyRingFile
    from subject_pipeline.project.reading import Project
    from subject_pipeline.store.opened import SubjectStore

DONE, SOMETHING_FAILED, WRONG_CALL, INTERRUPTED = 0, 1, 2, 130

Level = Literal["info", "error"]
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(slots=True)
class Shell:
    """The options that any command takes, at the group or at the command itself."""

    store_url: str | None = None
    storage_root: str | None = None
    as_json: bool = False
    told: bool = False
    project_folder: Path | None = None
    _found: "list[Project | None]" = field(default_factory=list)

    def open_store(self) -> "SubjectStore":
        """The store that the call names, else the project's, else the environment's; with the key ring.

        Raises:
            ConfigurationError: they contradict each other or cannot be used.
        """
        from subject_pipeline.store.opened import SubjectStore  # noqa: PLC0415 - `--help` opens no store

        if self.store_url and self.storage_root:
            raise ConfigurationError("give --store or --storage-root, not both")
        settings = Settings.read(os.environ)
        named = self.store_url or self.storage_root
        project, ring = None if named else self.project(), self.key_ring()
        if project is None:
            return SubjectStore.at(named or settings.store_url, wanted_chunks=settings.chunks, ring=ring)
        platform = project.platform
        return SubjectStore.at(
            platform.store, options=project.store_options(), wanted_chunks=platform.chunks, ring=ring
        )

    def project(self) -> "Project | None":
        """The Dagster project that the call names, else the one that the working folder lies in; read once.

        Raises:
            ConfigurationError: the call names none, or its YAML cannot be used.
        """
        if not self._found:
            around = project_around((self.project_folder or Path.cwd()).absolute())
            self._found.append(_read(*around) if around else None)
        if self._found[0] is None and self.project_folder is not None:
            raise ConfigurationError(
                f"{self.project_folder} is in no Dagster project whose YAML declares a SubjectPlatform: is it the "
                "folder that has the project's pyproject.toml? Add a platform with: dg scaffold defs "
                "subject_pipeline.components.SubjectPlatform platform"
            )
        return self._found[0]

    def existing_store(self) -> "SubjectStore":
        """The same, for commands that make no store: a mistyped address must not look like an empty one.

        Raises:
            ConfigurationError: as `open_store`, or nothing was ever written there.
        """
        store = self.open_store()
        store.check_written()
        return store

    def key_ring(self) -> "KeyRingFile":
        """The key ring that the project names, else the environment; not looked for before its first use.

        So a command that names its store and needs no key works whatever the project's YAML is like.
        """
        from subject_pipeline.keys.ring_file import KeyRingFile  # noqa: PLC0415 - nor a key ring

        return KeyRingFile(self._ring_path)

    def _ring_path(self) -> Path | None:
        project = self.project()
        path = project.platform.key_ring if project else Settings.read(os.environ).key_ring
        return home_expanded(path) if path else None

    def keyed_store(self, *, new: bool = False) -> "SubjectStore":
        """The same, for commands that need the key ring: it is opened now.

        Args:
            new: the command may be the first that writes to the store.

        Raises:
            ConfigurationError: as `open_store`, or as `existing_store` if it is not new.
            KeyRingError: there is no key ring, or it cannot be used.
        """
        store = self.open_store()
        store.ring.ring()
        if not new:
            store.check_written()
        return store

    def actor(self) -> str:
        """Who is named in audit rows: `$SUBJECT_ACTOR`, else the system user."""
        return Settings.read(os.environ).actor or system_user()

    def tell(self, result: Mapping[str, Any], words: str) -> None:
        """Print a command's result: one JSON object, or words for people."""
        self.told = True
        click.echo(_json(result, sys.stdout.encoding) if self.as_json else words)


def say(words: str, *, level: Level = "info") -> None:
    """Print a message on standard error, without any URL's credentials."""
    click.echo(log_line(without_credentials(words), level), err=True)


def _read(folder: Path, defs: Path) -> "Project | None":
    from subject_pipeline.project.reading import read_project  # noqa: PLC0415 - most calls stand in no project

    return read_project(folder, defs)


def _json(result: Mapping[str, Any], encoding: str) -> str:
    text = json.dumps(result, ensure_ascii=False)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:  # a terminal that lacks the characters, or an id that is not text: JSON can escape both
        return json.dumps(result)
    return text


def log_line(words: str, level: Level = "info") -> str:
    """A message as it is printed: as it is, or as one JSON object if `$SUBJECT_LOG_FORMAT` is json."""
    if not json_logs(os.environ):
        return f"error: {words}" if level == "error" else words
    now = format_time(dt.datetime.now(dt.UTC))
    return json.dumps({"ts": now, "level": level, "message": words}, ensure_ascii=False)


def command_options(command: Callable[P, R]) -> Callable[..., R]:
    """Give a command `--json`, `--store`, `--storage-root` and `--project`, and pass it the shell first."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
    @click.option("--store", "store_url", metavar="URL", help="Where the store is; wins over $SUBJECT_STORE_URL.")
    @click.option("--storage-root", metavar="DIR", help="The same for a local folder.")
    @click.option(
        "--project",
        "project_folder",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="The Dagster project whose YAML names store and key ring.",
    )
    @click.pass_context
    @wraps(command)
    def with_shell(
        context: click.Context,
        /,
        *args: Any,  # noqa: ANN401 - click's own
        as_json: bool,
        store_url: str | None,
        storage_root: str | None,
        project_folder: Path | None,
        **options: Any,  # noqa: ANN401 - click's own
    ) -> R:
        shell = context.ensure_object(Shell)
        shell.as_json = shell.as_json or as_json
        if store_url or storage_root:
            shell.store_url, shell.storage_root = store_url, storage_root
        shell.project_folder = project_folder or shell.project_folder
        return command(shell, *args, **options)  # type: ignore[arg-type]

    return with_shell


def say_unfinished(why: str | SubjectPipelineError) -> None:
    """Tell on stderr that a run ended early, and what to do: the same again, or first correct what it reads."""
    corrected = ", once what it reads is corrected," if isinstance(why, SourceError) else ""
    again = f"run the same command again{corrected} to continue"
    say(f"{why}: what is counted above is done; {again}", level="error")


def end(status: int) -> None:
    """Leave a command with its exit status."""
    sys.exit(status)
