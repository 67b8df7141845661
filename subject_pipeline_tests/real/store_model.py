"""What a store may hold and say after operations of which some were killed: nothing else is true of it.

An operation is acknowledged, refused, or killed, and then nobody knows how far it got: what it recorded in the log may
be applied by anyone who changes the same subject next, or by a compaction, at any time until one has ended. Operations
run beside each other, so the model is told of a round of them at once, when all have ended, and asks of each only what
the order in which they started and ended lets it ask.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_SHOWN = 300
_UNMADE = {"unapplied", "pending"}
"""What may be said of a manifest whose change was recorded by an operation that was killed."""


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt at an operation.

    Attributes:
        asked: the operation, as the worker got it; attempts at one operation have one `number`.
        outcome: `done`, `refused` where no subject has the id, `failed`, or `killed` before any answer was read.
        answer: the worker's.
    """

    asked: Mapping[str, Any]
    started: float
    ended: float
    outcome: str
    answer: Any = None

    @property
    def number(self) -> str:
        """The operation's."""
        return str(self.asked["number"])

    @property
    def does(self) -> str:
        """What kind of operation it is."""
        return str(self.asked["do"])

    @property
    def leaves(self) -> dict[str, str | None]:
        """The mark of each manifest that it writes, by subject; None where it deletes it."""
        if self.does == "delete":
            return {self.asked["subject"]: None}
        return {one["candidate_id"]: one["mark"] for one in self.asked.get("manifests", ())}

    def __str__(self) -> str:
        """One line of a journal."""
        manifests = self.asked.get("manifests", ())
        written = [f"{one['candidate_id']}={one['mark']}@{one['updated_at']}" for one in manifests]
        what = " ".join(written or self.events[:1]) or self.asked.get("subject", "")
        return f"{self.outcome:7} {self.number} {self.does} {what} -> {str(self.answer)[:_SHOWN]}"

    @property
    def deleted(self) -> set[str]:
        """The subjects whose manifests it deletes."""
        return {subject for subject, mark in self.leaves.items() if mark is None}

    @property
    def events(self) -> list[str]:
        """The ids of the events that it appends."""
        return [one["event_id"] for one in self.asked.get("events", ())]

    def ends(self, killed: Sequence["Run"]) -> bool:
        """Whether it was answered, and began after all of these had been killed."""
        return self.outcome in {"done", "refused"} and all(self.started > one.ended for one in killed)


class StoreModel:
    """One store.

    Attributes:
        homes: the chunk of every subject.
        manifests: the marks of which each subject's manifest has one; None: it has no manifest.
        unfinished: operations that were killed and not run again to their end, by number.
        unmade: for each subject the operations, by number, whose change of it may be recorded and not made, and the
            mark that each would leave.
        appended: events whose append was acknowledged.
        tried: events that anybody ever tried to append.
        notes: of the checkpoints that were acknowledged.
    """

    def __init__(self, homes: Mapping[str, str]) -> None:
        self.homes = homes
        self.manifests: dict[str, set[str | None]] = {subject: {None} for subject in homes}
        self.unfinished: dict[str, Mapping[str, Any]] = {}
        self.unmade: dict[str, dict[str, str | None]] = {subject: {} for subject in homes}
        self.appended: set[str] = set()
        self.tried: set[str] = set()
        self.notes: list[str] = []

    def settle(self, runs: Sequence[Run]) -> list[str]:
        """Take in what was run beside each other; returns what cannot have been answered so."""
        wrong = [f"{run.number} {run.does}: {one}" for run in runs for one in self._wrong(run, runs)]
        for subject in {subject for run in runs for subject in run.leaves}:
            self._settle_subject(subject, [run for run in runs if subject in run.leaves])
        for subject in self.homes:
            self._settle_unmade(subject, runs)
        for run in runs:
            self.tried.update(run.events)
            if run.outcome == "done":
                self.appended.update(run.events)
                self.notes += [run.answer["note"]] if run.does == "checkpoint" and run.answer["note"] else []
        killed = {run.number: run.asked for run in runs if run.outcome == "killed" and (run.events or run.leaves)}
        for number, asked in (self.unfinished | killed).items():
            self.unfinished[number] = asked
            if any(run.number == number and run.ends(_killed(number, runs)) for run in runs):
                del self.unfinished[number]
        return wrong

    def _settle_subject(self, subject: str, runs: Sequence[Run]) -> None:
        sure = [run for run in runs if run.outcome in {"done", "refused"}]
        last = {run.leaves[subject] for run in runs if not any(other.started > run.ended for other in sure)}
        self.manifests[subject] = last if sure else last | self.manifests[subject]

    def _settle_unmade(self, subject: str, runs: Sequence[Run]) -> None:
        """Anyone who changed the subject, or maintained the store, once an operation was dead, settled what it left."""
        killed = {run.number: run.leaves[subject] for run in runs if run.outcome == "killed" and subject in run.leaves}
        settling = [run for run in runs if subject in run.leaves or run.does == "compact"]
        self.unmade[subject] = {
            number: mark
            for number, mark in (self.unmade[subject] | killed).items()
            if not any(run.ends(_killed(number, runs)) for run in settling)
        }

    def _wrong(self, run: Run, runs: Sequence[Run]) -> Iterator[str]:
        """What a run's answer says that cannot be, given what was run beside it."""
        if run.outcome == "failed":
            yield str(run.answer)
        elif run.outcome == "refused":
            subject = run.asked["subject"]
            deleted = any(subject in other.deleted for other in runs if other is not run)
            if not deleted and None not in self.manifests[subject]:
                yield f"the subject is registered, yet: {run.answer}"
        elif run.outcome == "done" and run.events:
            yield from self._wrong_events(run, runs)
        elif run.outcome == "done" and run.does == "import" and run.answer:
            yield f"{run.answer} manifests were not imported"
        elif run.outcome == "done" and run.does == "compact" and run.answer:
            yield f"{run.answer} manifests were not explained by the log"
        elif run.outcome == "done" and run.does in {"verify", "checkpoint"}:
            yield from self._wrong_audit(run, runs)

    def _wrong_events(self, run: Run, runs: Sequence[Run]) -> Iterator[str]:
        """What an append or ingestion says of events that were, or were not, there already."""
        tried = self.tried.union(*(other.events for other in runs if other is not run))
        present, rejected = run.answer
        known, maybe = len(self.appended.intersection(run.events)), len(tried.intersection(run.events))
        if rejected or not known <= present <= maybe:
            yield f"{present} were there already, not {known} to {maybe}, and {rejected} were rejected"

    def _wrong_audit(self, run: Run, runs: Sequence[Run]) -> Iterator[str]:
        """What a verification or checkpoint beside these runs found that is not so."""
        touched = {subject for other in runs for subject in other.leaves}
        killed = {subject for other in runs if other.outcome == "killed" for subject in other.leaves}
        excused = killed | {subject for subject, numbers in self.unmade.items() if numbers}
        named = set()
        for what, kind, detail in run.answer["problems"]:
            if (kind in _UNMADE and what in excused) or (kind == "pending" and what in touched):
                named.add(what)
            else:
                yield f"{what}: {kind}: {detail}"
        deleted = {subject for other in runs for subject in other.deleted}
        sure = {one for one, marks in self.manifests.items() if None not in marks} - deleted
        most = touched | {one for one, marks in self.manifests.items() if marks != {None}}
        if not len(sure) <= run.answer["subjects"] <= len(most):
            yield f"{run.answer['subjects']} subjects, and {len(sure)} to {len(most)} are registered"
        if sure.intersection(run.answer["unregistered"]):
            yield f"unregistered: {sure.intersection(run.answer['unregistered'])}"
        if run.does == "checkpoint":
            if run.answer["note"] is None:
                yield "no checkpoint was written"
            carried = set(run.answer["carried"]) - {self.homes[subject] for subject in excused | named}
            if carried:
                yield f"{carried} were carried, though nothing there is unfinished"

    def wrong_rows(self, rows: Mapping[str, int]) -> list[str]:
        """What is wrong with the events in the log: acknowledged ones are there once, others at most once."""
        return [
            *(f"{event} was acknowledged and is not in the log" for event in self.appended - rows.keys()),
            *(f"{event} is in the log {count} times" for event, count in rows.items() if count > 1),
            *(f"{event} is in the log, though nobody appended it" for event in rows.keys() - self.tried),
        ]

    def wrong_manifests(self, found: Collection[tuple[str, str | None]]) -> list[str]:
        """What is wrong with the table's manifests, (subject, mark); what is not is known from here on."""
        counts = Counter(subject for subject, _ in found)
        wrong = [f"{subject} has {count} manifests" for subject, count in counts.items() if count > 1]
        marks = dict.fromkeys(self.homes) | dict(found)
        for subject, mark in marks.items():
            if mark not in self.manifests.get(subject, ()):
                wrong.append(f"{subject} has the manifest {mark}, not one of {self.manifests.get(subject)}")
            self.manifests[subject] = {mark, *self.unmade.get(subject, {}).values()}
        return wrong


def _killed(number: str, runs: Sequence[Run]) -> list[Run]:
    """The attempts at one operation that were killed."""
    return [run for run in runs if run.number == number and run.outcome == "killed"]
