"""What is in a dossier, as values and as the bytes of its files."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from subject_pipeline.audit.events import EVIDENCE_PREFIX
from subject_pipeline.formats.shown_text import cell
from subject_pipeline.lifecycle.dossier.own_rows import OwnRows, as_text
from subject_pipeline.lifecycle.history.chains import Row
from subject_pipeline.lifecycle.history.events import without_actors
from subject_pipeline.lifecycle.history.telling import Record

PAGE = "index.html"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is wanted in a dossier.

    Attributes:
        actors: who had access.
        source: the person's rows of the datasets.
        proof: the proof, which names who had access in any case, since rows are signed whole.
    """

    actors: bool = False
    source: bool = True
    proof: bool = True


EVERYTHING = Wanted()
"""Everything but who had access."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What one dossier tells.

    Attributes:
        time: when it was made, RFC 3339.
        actors: whether it says who had access.
        own: what each dataset has of the person.
        proof: of the whole history; None: it is left out.
        unproved: where it is left out, why, in words.
    """

    record: Record
    time: str
    actors: bool
    own: Sequence[OwnRows]
    proof: Mapping[str, Any] | None
    unproved: str

    @property
    def accesses(self) -> list[Row]:
        """The rows of accesses, in order of time."""
        found = [row for row in self.record.rows if not row["action"].startswith(EVIDENCE_PREFIX)]
        return sorted(found, key=lambda row: (row["ts"], row["seq"]))

    def files(self) -> dict[str, bytes]:
        """Every file but the page, by its name in the folder."""
        anchored = self.record.anchoring
        events = self.record.events(folded=False)
        history = {
            "candidate_id": self.record.candidate_id,
            "events": events if self.actors else without_actors(events),
            "checkpoint": {"number": anchored.number, "time": anchored.time, "seq": anchored.seq} if anchored else None,
        }
        found = {"history.json": _json(history), "accesses.csv": self._accesses()}
        if self.record.document is not None:
            found["manifest.json"] = _json(self.record.document)
        for name, rows in self.datasets().items():
            found[f"datasets/{name}.json"] = _json(rows)
            columns = list(dict.fromkeys(column for row in rows for column in row))
            found[f"datasets/{name}.csv"] = _csv(columns, ([as_text(row.get(one)) for one in columns] for row in rows))
        if self.proof is not None:
            found["proof.json"] = _json(self.proof)
        return found

    def datasets(self) -> dict[str, list[dict[str, Any]]]:
        """The person's rows by dataset; one dataset may know them under several keys."""
        found: dict[str, list[dict[str, Any]]] = {}
        for one in self.own:
            if one.rows is not None:
                found.setdefault(one.reference.name, []).extend(one.rows)
        return found

    def _accesses(self) -> bytes:
        columns = ["when", "what", "dataset", "fields", "purpose", "result"] + (["who"] if self.actors else [])
        rows = (
            [row["ts"], row["action"], row.get("dataset", ""), " ".join(row.get("fields", ())), row.get("purpose", ""),
             row["result"], row["actor"]]
            for row in self.accesses
        )  # fmt: skip
        return _csv(columns, rows)


def _json(value: object) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode("utf-8", "backslashreplace")


def _csv(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """CSV (RFC 4180) in which no cell is a formula to a spreadsheet; of a row, the first so many cells."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerow(map(cell, columns))
    writer.writerows([cell(text) for text in row[: len(columns)]] for row in rows)
    return out.getvalue().encode("utf-8", "backslashreplace")
