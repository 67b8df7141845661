"""What the last checkpoint says of a chunk's subjects, found by their ids: its roster knows them by hashes alone."""

from collections.abc import Iterable, Iterator

from subject_pipeline.checkpoints.rosters import Roster, RosterEntry, id_sha256


class AnchoredSubjects:
    """A roster, and the hash of every id that is asked for, computed once."""

    def __init__(self, log_id: str, roster: Roster) -> None:
        self._log_id = log_id
        self._hashes: dict[str, str] = {}
        self.roster = roster

    def id_sha256(self, candidate_id: str) -> str:
        """The name that rosters have for a subject."""
        known = self._hashes.get(candidate_id)
        if known is None:
            known = self._hashes[candidate_id] = id_sha256(self._log_id, candidate_id)
        return known

    def entry(self, candidate_id: str) -> RosterEntry | None:
        """A subject's entry; None where the checkpoint does not know them."""
        return self.roster.entries.get(self.id_sha256(candidate_id)) if self.roster.entries else None

    def entries(self, candidate_ids: Iterable[str]) -> dict[str, RosterEntry]:
        """The entries of those of these subjects whom the checkpoint knows, by candidate id."""
        known = self.roster.entries
        if not known:
            return {}
        found = {one: known.get(self.id_sha256(one)) for one in candidate_ids}
        return {one: entry for one, entry in found.items() if entry is not None}

    def chain(self, candidate_id: str) -> tuple[int, str] | None:
        """Where a subject's chain ended: seq and hash of its last row; None where it had none."""
        return self.roster.chain(self.id_sha256(candidate_id)) if self.roster.entries else None

    def others(self, met: Iterable[str]) -> Iterator[tuple[str, RosterEntry]]:
        """The entries of everybody who is none of these subjects, by `id_sha256`."""
        entries = self.roster.entries
        if entries:
            others = entries.keys() - {self.id_sha256(candidate_id) for candidate_id in met}
            yield from ((id_hash, entries[id_hash]) for id_hash in sorted(others))

    def unmet(self, met: Iterable[str]) -> list[tuple[str, int]]:
        """`id_sha256` and last seq of every chain that is none of these subjects'."""
        return [(id_hash, entry.seq) for id_hash, entry in self.others(met) if entry.seq >= 0]
