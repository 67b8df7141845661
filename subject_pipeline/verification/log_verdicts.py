"""Verdicts over one chunk's log, from its bytes alone.

Per segment, in the log's order:

1. the header: its form, MAC, place, link to the one before, and the hash of its rows' hashes. A problem breaks the log,
   not the chains in it.
2. each row on its own: its one form, its key, its MAC, its chunk.
3. each row in its chain: its seq, its link to the row before, its event not seen before, and where a checkpoint
   anchored this row, the same hash.

Without keys MACs are looked at for their form alone, and all else is judged alike.

A chain has one verdict, its first problem, at the seq up to which it is sound. What a checkpoint anchored and the log
does not have is found at the end. If the store failed to return a segment, everything that may depend on it is
unreadable, which is neither intact nor tampered with.

It is longer than other files because a judge in two places would be two judges.
"""

import hmac
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from subject_pipeline.audit.events import EVIDENCE_PREFIX
from subject_pipeline.audit.result_state import RESULT_STATES
from subject_pipeline.audit.row_form import judged_row, row_of
from subject_pipeline.audit.segment import (
    ROW_FORM,
    ROW_INNER,
    Evidence,
    LogHead,
    Segment,
    evidence_of,
    split_line,
)
from subject_pipeline.formats.leaves import NO_HASH
from subject_pipeline.keys.macs import ROW_DOMAIN, SEGMENT_DOMAIN, KeyLookup, Mac, Macs
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.ids import storage_key
from subject_pipeline.verification.questionable import ANSWERED, DENIED, Questionable, Restrictions, note

_UNKNOWN_KEY = "the key ring does not have the row's key {!r}"
_RETIRED = "its {} has a key that was retired before this segment was written"
_MISSING = "the last checkpoint anchored row {}, the log has none of its rows"
_BAD_MAC = "the row's MAC is not that of its bytes"


@dataclass(frozen=True, slots=True)
class BrokenChain:
    """A chain's first problem.

    Attributes:
        candidate_id: None where neither log nor table names any more whom a checkpoint anchored.
        storage_key: of that id; None likewise.
        kind: `malformed`, `bad_mac`, `bad_prev`, `bad_seq`, `wrong_chunk`, `duplicate_event`, `unknown_key`,
            `retired_key`, `truncated`, `missing` or `rewritten`.
        seq: the first row that is not as it must be; those before it are sound.
        id_sha256: the name that the checkpoint's roster has for somebody without an id; None otherwise.
    """

    candidate_id: str | None
    storage_key: str | None
    kind: str
    seq: int
    detail: str
    id_sha256: str | None = None

    @property
    def subject(self) -> str | None:
        """Whose chain it is, by the best name that is known."""
        return self.candidate_id or self.id_sha256

    def named(self, candidate_id: str) -> "BrokenChain":
        """The same of somebody whose id is known after all."""
        return BrokenChain(candidate_id, storage_key(candidate_id), self.kind, self.seq, self.detail)


@dataclass(frozen=True, slots=True)
class BrokenLog:
    """A problem of a log itself.

    Attributes:
        chunk: None where it concerns the whole store.
        segment: its number; None where it is not one segment's.
        kind: `bad_segment`, `missing_segment`, `foreign_object`, `truncated`, `missing`, `rewritten`,
            `bad_checkpoint` or `unreadable`.
    """

    chunk: str | None
    segment: int | None
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    """A registry row: what it says about a manifest.

    Attributes:
        decision: what was decided.
        written_at: when its segment says that it was written, RFC 3339; empty where it does not.
    """

    evidence: Evidence
    decision: Mapping[str, Any] = field(default_factory=dict)
    written_at: str = ""

    @property
    def seq(self) -> int:
        """The row's."""
        return self.evidence.seq


@dataclass(slots=True)
class LogVerdict:
    """What was found in one chunk's log.

    Attributes:
        head: where the log ends, as far as it could be followed.
        rows: lines read.
        chains: the chains judged: last seq and leaf hash of each, as far as it is sound.
        broken: the first problem of each chain that has one.
        broken_unnamed: chains that a checkpoint anchored, and of which the log has nothing.
        unreadable: the chains that could not be judged.
        unreadable_unnamed: `id_sha256` of those among them that the checkpoint alone knows.
        logs: problems of the log itself.
        evidence: the registry's rows, by subject, in order.
        results: sound rows by result.
        denied: how many sound rows are accesses that were denied, by subject.
        questionable: sound rows of accesses that should not have been; of a log that was not read from its beginning,
            only by what was recorded in what was read.
    """

    head: LogHead
    rows: int = 0
    chains: dict[str, tuple[int, str]] = field(default_factory=dict)
    broken: dict[str, BrokenChain] = field(default_factory=dict)
    broken_unnamed: list[BrokenChain] = field(default_factory=list)
    unreadable: set[str] = field(default_factory=set)
    unreadable_unnamed: set[str] = field(default_factory=set)
    logs: list[BrokenLog] = field(default_factory=list)
    evidence: dict[str, list[EvidenceRow]] = field(default_factory=dict)
    results: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RESULT_STATES, 0))
    denied: dict[str, int] = field(default_factory=dict)
    questionable: list[Questionable] = field(default_factory=list)


class AnchoredChains(Protocol):
    """Where chains ended when the last checkpoint was made; its roster knows them by hashes of their ids."""

    def chain(self, candidate_id: str) -> tuple[int, str] | None:
        """Seq and hash of the last row anchored of a subject; None where there is none."""
        ...

    def unmet(self, met: Iterable[str]) -> Iterable[tuple[str, int]]:
        """`id_sha256` and last seq of every chain that is none of these subjects'."""
        ...


class LogJudge:
    """Judges one chunk's log, segment by segment in the order of their numbers."""

    def __init__(
        self,
        *,
        start: LogHead,
        layout: ChunkLayout,
        keys: KeyLookup | None,
        anchored: AnchoredChains,
        resumed: bool,
        retired: Mapping[str, int],
    ) -> None:
        """Begin before the first segment.

        Args:
            start: where the log ends before the first segment to judge.
            layout: the store's chunks.
            keys: the ring's; None: MACs are looked at for their form alone.
            anchored: every chain that the last checkpoint anchored.
            resumed: these chains are what comes before `start`; False: they are in what is judged now.
            retired: the last segment under which each retired key may appear.
        """
        self._layout = layout
        self._segment_macs = None if keys is None else Macs(keys, SEGMENT_DOMAIN)
        self._row_macs = None if keys is None else Macs(keys, ROW_DOMAIN)
        self._anchored = anchored
        self._resumed = resumed
        self._retired = retired
        self._anchors: dict[str, tuple[int, str]] = {}
        self._prev_known = True
        self._blind = False
        self._written_at = ""
        self._next: dict[str, int] = {}
        self._last: dict[str, str] = {}
        self._seen: set[str] = set()
        self._restricted: dict[str, Restrictions] = {}
        self.verdict = LogVerdict(start)

    def segment(self, data: bytes) -> str:
        """Judge the next segment; returns its header's leaf hash, as it is there."""
        segment = Segment.parse(data)
        head = self.verdict.head
        problem = segment.problem(head, self._segment_macs, prev_known=self._prev_known)
        if problem is not None:
            self._log(head.number + 1, "bad_segment", problem)
        self._written_at = segment.header["written_at"] if segment.header and problem is None else ""
        # A damaged header says nothing about the link that follows, so that is not a second problem.
        self._prev_known = segment.header is not None and problem is None
        if segment.header is not None and self._is_retired(str(segment.header["key_id"]), head.number + 1):
            self._log(head.number + 1, "bad_segment", _RETIRED.format("header"))
        self.verdict.head = head._replace(number=head.number + 1, sha256=segment.sha256)
        self._rows(segment.lines, segment.leaves)
        return segment.sha256

    def gone(self) -> None:
        """The next segment is not in the store, though later ones are."""
        number = self.verdict.head.number + 1
        self._log(number, "missing_segment", f"segment {number} is gone, later ones are there")
        self._skip()

    def unreadable(self, detail: str) -> None:
        """The store failed to give the next segment."""
        self._log(self.verdict.head.number + 1, "unreadable", detail)
        self._blind = True
        self._skip()

    @property
    def met(self) -> Collection[str]:
        """Everybody whose chain was begun or continued so far."""
        return self._next.keys()

    def finish(self) -> LogVerdict:
        """The verdict, once all segments were judged."""
        verdict = self.verdict
        for candidate_id, (seq, _) in self._anchors.items():
            there = self._next[candidate_id]
            if not (self._blind or candidate_id in verdict.broken or there > seq):
                detail = f"the last checkpoint anchored row {seq}, the log has {there} rows"
                self._break(candidate_id, "truncated", detail)
        unmet = self._anchored.unmet(self._next.keys() | verdict.broken.keys())
        if self._blind:
            verdict.unreadable = self._next.keys() - verdict.broken.keys()
            verdict.unreadable_unnamed = {id_sha256 for id_sha256, _ in unmet}
        elif not self._resumed:
            verdict.broken_unnamed = [
                BrokenChain(None, None, "missing", 0, _MISSING.format(seq), id_sha256) for id_sha256, seq in unmet
            ]
        verdict.chains = {
            candidate_id: (after - 1, self._last[candidate_id]) for candidate_id, after in self._next.items()
        }
        return verdict

    def _skip(self) -> None:
        self.verdict.head = self.verdict.head._replace(number=self.verdict.head.number + 1, sha256=NO_HASH)
        self._prev_known = False

    @property
    def _flagged(self) -> bool:
        """Whether something was found in this segment itself."""
        return bool(self.verdict.logs) and self.verdict.logs[-1].segment == self.verdict.head.number

    def _log(self, segment: int, kind: str, detail: str) -> None:
        self.verdict.logs.append(BrokenLog(self.verdict.head.chunk, segment, kind, detail))

    def _break(self, candidate_id: str, kind: str, detail: str) -> None:
        seq = self._next.get(candidate_id)
        if seq is None:
            seq = self._before(candidate_id)[0] + 1
        self.verdict.broken[candidate_id] = BrokenChain(candidate_id, storage_key(candidate_id), kind, seq, detail)

    def _before(self, candidate_id: str) -> tuple[int, str]:
        """Where a chain ended before the first segment to judge."""
        anchored = self._anchored.chain(candidate_id) if self._resumed else None
        return anchored or (-1, NO_HASH)

    def _is_retired(self, key_id: str, segment: int) -> bool:
        return segment > self._retired.get(key_id, segment)

    def _rows(self, lines: list[bytes], leaves: Iterable[bytes]) -> None:  # noqa: C901, PLR0912 - one pass, in the order of the module's plan
        verdict, following, last, seen, anchors = self.verdict, self._next, self._last, self._seen, self._anchors
        chunk, broken, restricted, denied = verdict.head.chunk, verdict.broken, self._restricted, verdict.denied
        verdict.rows += len(lines)
        macs, known_id, mac, late = self._row_macs, "", None, False
        for line, digest in zip(lines, leaves, strict=True):
            inner = line[ROW_INNER:-1]
            judged = judged_row(inner)
            if judged is None:
                self._malformed(line)
                continue
            action, candidate_id, event_id, key_id, prev, result, found_seq, ts, row = judged
            if candidate_id in broken:
                continue
            if key_id != known_id:
                known_id, late = key_id, self._is_retired(key_id, verdict.head.number)
                mac = macs.get(key_id) if macs is not None else None
            if macs is not None and mac is None:
                self._break(candidate_id, "unknown_key", _UNKNOWN_KEY.format(key_id[:16]))
                continue
            computed = digest.hex()
            if not _is_line_of(line, inner, mac):
                self._malformed(line)  # which distinguishes a wrong MAC from another form
            elif late:
                self._break(candidate_id, "retired_key", _RETIRED.format("row"))
            elif candidate_id not in following and not self._begin(candidate_id, chunk):
                continue
            elif found_seq != (seq := following[candidate_id]):
                if self._blind and found_seq > seq:
                    # What is missing may be in what could not be read.
                    following[candidate_id], last[candidate_id] = found_seq + 1, computed
                else:
                    self._break(candidate_id, "bad_seq", f"the next row has seq {found_seq}, not {seq}")
            elif prev != last[candidate_id]:
                self._break(candidate_id, "bad_prev", "the row does not link to the one before it")
            elif (event := f"{ts[:7]}{len(candidate_id)}:{candidate_id}{event_id}") in seen:
                self._break(candidate_id, "duplicate_event", "an earlier row records the same event")
            elif candidate_id in anchors and anchors[candidate_id][0] == seq and anchors[candidate_id][1] != computed:
                self._break(candidate_id, "rewritten", "the last checkpoint anchored another row in this place")
            else:
                seen.add(event)
                following[candidate_id] = seq + 1
                last[candidate_id] = computed
                verdict.results[result] += 1
                if row is not None and action.startswith(EVIDENCE_PREFIX):
                    self._evidence(row, seq)
                elif result == DENIED:
                    denied[candidate_id] = denied.get(candidate_id, 0) + 1
                elif candidate_id in restricted and result == ANSWERED:
                    self._question(restricted[candidate_id], inner)

    def _begin(self, candidate_id: str, chunk: str) -> bool:
        """Begin a chain at its first row here; False if it does not belong here."""
        seq, sha256 = self._before(candidate_id)
        anchor = None if self._resumed else self._anchored.chain(candidate_id)
        if anchor is not None:
            self._anchors[candidate_id] = anchor
        self._next[candidate_id] = seq + 1
        self._last[candidate_id] = sha256
        home = self._layout.chunk_of(storage_key(candidate_id))
        if home != chunk:
            self._break(candidate_id, "wrong_chunk", f"its rows belong in {home}, one is in {chunk}")
        return home == chunk

    def _malformed(self, line: bytes) -> None:
        """Judge a line that is not a row as rows are written, as a problem of the subject that it names.

        If line and key are of the right form, a wrong MAC is what is wrong first. A line that names no subject
        breaks its segment.
        """
        parts = split_line(line, ROW_FORM)
        row = _object_in(parts[1]) if parts else None
        if row is None:
            parts, row = None, (_object_in(line) or {}).get("row")
        candidate_id = row.get("candidate_id") if isinstance(row, dict) else None
        if not isinstance(candidate_id, str) or not isinstance(row, dict):
            if not self._flagged:
                self._log(self.verdict.head.number, "bad_segment", "a line of it is no row, and names no subject")
            return
        if candidate_id in self.verdict.broken:
            return
        if parts and self._row_macs is not None and row_of(parts[1]) is not None:
            # Its key is known, or it would not have come here, and with the right MAC it would be the row's line.
            self._break(candidate_id, "bad_mac", _BAD_MAC)
        else:
            self._break(candidate_id, "malformed", "a line of the chain is not a row as rows are written")

    def _evidence(self, row: dict[str, Any], seq: int) -> None:
        evidence = evidence_of(seq, row["action"], row.get("manifest_sha256"), row["decision"])
        if evidence is not None:
            found = EvidenceRow(evidence, row["decision"], self._written_at)
            self.verdict.evidence.setdefault(row["candidate_id"], []).append(found)
            note(self._restricted, row["candidate_id"], row["decision"])

    def _question(self, restrictions: Restrictions, inner: bytes) -> None:
        found = restrictions.against(orjson.loads(inner))
        if found is not None:
            self.verdict.questionable.append(found)


def _is_line_of(line: bytes, inner: bytes, mac: Mac | None) -> bool:
    """Whether a line is the row's in the one form there is; without a key, whatever its MAC is."""
    if mac is None:
        return split_line(line, ROW_FORM) is not None
    return hmac.compare_digest(b'{"mac":"%b","row":%b}' % (mac.hex(inner).encode(), inner), line)


def _object_in(data: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
