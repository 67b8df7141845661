"""What an ingestion did, and the dead letters that name what it did not record."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from subject_pipeline.audit.events import AccessEvent
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.store.layout import DEAD_LETTERS


@dataclass(frozen=True, slots=True)
class Rejection:
    """A line that was not recorded: its place, why, and the SHA-256 of its bytes; its content is kept nowhere."""

    file: str
    line: int
    reason: str
    line_sha256: str


class Placed(NamedTuple):
    """An event, and the line that holds it: its number, and the SHA-256 of its bytes."""

    event: AccessEvent
    line: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of one chunk's part of a batch.

    Attributes:
        events: how many there were.
        new: those appended, by result.
        conflicting: those whose id the log has with other content.
        unregistered: those about unregistered subjects.
    """

    events: int
    new: Counter[str]
    conflicting: list[Placed]
    unregistered: int


@dataclass(slots=True)
class IngestReport:
    """What an ingestion did; `events = appended + already_present + conflicting + rejected`.

    Attributes:
        conflicting: events whose id the log has with other content: the first is kept.
        unregistered: events, of those that are not rejected, about a subject that has no manifest.
        rejected: lines that are not events.
        rejections: the first 10,000 of the lines rejected or conflicting; all are counted.
        dead_letters: the reports that were written of these lines, as keys of the store.
    """

    files: int = 0
    appended: int = 0
    already_present: int = 0
    conflicting: int = 0
    unregistered: int = 0
    rejected: int = 0
    rejections: list[Rejection] = field(default_factory=list)
    dead_letters: list[str] = field(default_factory=list)
    results: dict[str, int] = field(default_factory=dict)
    elapsed_s: float = 0.0

    @property
    def events(self) -> int:
        """Lines that were read, without blank ones."""
        return self.appended + self.already_present + self.conflicting + self.rejected

    def add(self, tally: Tally) -> None:
        """Add the counts of a part of a batch; not for two threads at once."""
        appended = tally.new.total()
        self.appended += appended
        self.already_present += tally.events - appended - len(tally.conflicting)
        self.conflicting += len(tally.conflicting)
        self.unregistered += tally.unregistered
        self.results.update({result: self.results.get(result, 0) + count for result, count in tally.new.items()})


def bury(objects: ObjectStore, name: str, rejections: Sequence[Rejection]) -> str:
    """Write the report of a file's rejected lines, once however often the file is read; returns its key."""
    report = {
        "schema": "subject_dead_letters.v1",
        "file": name,
        "rejections": [
            {key: value for key, value in asdict(rejection).items() if key != "file"} for rejection in rejections
        ],
    }
    data = json.dumps(report, ensure_ascii=False, indent=1).encode() + b"\n"
    key = f"{DEAD_LETTERS}{hashlib.sha256(data).hexdigest()[:32]}.json"
    objects.create(key, data)
    return key
