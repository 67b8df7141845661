"""Prints the tables of docs/scale.md: what measured costs come to for 10 thousand to a billion subjects, and a gateway.

Nothing is measured here. Each constant says which measurement it is from (docs/performance.md, one core of the machine
named there); the tables are these multiplied. Work that is partitioned by chunk is divided by the workers, at the
efficiency that two processes on two cores showed; the rest is not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

# CPU seconds, alone on a machine whose bare loops ingested 57,000 and verified 175,000 rows a second on one core.
REGISTER_S, REGISTER_AGAIN_S = 2.5e-6, 1.7e-6  # a subject, at 10 million
INGEST_S, VERIFY_S = 69e-6, 8.3e-6  # a row, at 3 million
MANIFEST_S = (
    11.4e-6  # one subject's manifest hashed, its roster's entry parsed, and both compared, in a full verification
)
ROSTER_S = 17.1e-6  # one subject in a changed chunk of a checkpoint: read, made again, parsed again, in one process
TABLE_BYTES, ROSTER_BYTES = 13, 316  # a subject
LOG_BYTES, INDEX_BYTES = 566, 64  # a row
SUBJECTS_A_CHUNK, ROWS_A_SUBJECT, ROWS_A_SEGMENT = 10_000, 10, 10_000
PUTS_AN_APPEND = 1.05  # a segment, and the index every 64 segments
KEYS_A_PAGE = 1_000  # of a LIST
EFFICIENCY = 0.9
RUN_START_S = {"one machine": 10, "16 workers": 10, "K8s, 16 pods": 30}
WORKERS = {"one machine": 2, "16 workers": 16, "K8s, 16 pods": 16}
SIZES = {"10 k": 10**4, "1 M": 10**6, "10 M": 10**7, "100 M": 10**8, "1 B": 10**9}
MINUTE, HOUR, DAY = 60, 3_600, 86_400


@dataclass(frozen=True, slots=True)
class Load:
    """A store of some size."""

    subjects: int

    @property
    def chunks(self) -> int:
        """A comfortable count: a power of two from 64 on."""
        chunks = 64
        while chunks * SUBJECTS_A_CHUNK < self.subjects:
            chunks *= 2
        return chunks

    @property
    def rows(self) -> int:
        """Of the log."""
        return self.subjects * ROWS_A_SUBJECT

    @property
    def segments(self) -> int:
        """Of the log, as ingestion fills them."""
        return max(self.chunks, self.rows // ROWS_A_SEGMENT)


STEPS: dict[str, tuple[Callable[[Load], float], Callable[[Load], float]]] = {
    # what is divided by the workers; what is not
    "register, first": (lambda load: load.subjects * REGISTER_S, lambda _: 0.0),
    "register, again": (lambda load: load.subjects * REGISTER_AGAIN_S, lambda _: 0.0),
    "ingest all rows": (lambda load: load.rows * INGEST_S, lambda _: 0.0),
    "verify, full": (lambda load: load.rows * VERIFY_S + load.subjects * MANIFEST_S, lambda _: 0.0),
    "checkpoint, a tenth changed": (
        lambda _: 0.0,
        lambda load: load.rows / 10 * VERIFY_S + load.subjects * (ROSTER_S + MANIFEST_S / 10),
    ),
}


def times() -> list[str]:
    """Seconds, minutes or hours of each step, by size and place."""
    lines = ["| subjects | chunks | where | " + " | ".join(STEPS) + " |", "|---:|---:|---|" + "---:|" * len(STEPS)]
    for name, subjects in SIZES.items():
        load = Load(subjects)
        for where, workers in WORKERS.items():
            shared = workers * EFFICIENCY
            told = [_time(RUN_START_S[where] + parted(load) / shared + alone(load)) for parted, alone in STEPS.values()]
            lines.append(f"| {name} | {load.chunks:,} | {where} | " + " | ".join(told) + " |")
    return lines


def sizes() -> list[str]:
    """What lies in the store, and how many requests the work on it makes."""
    lines = [
        "| subjects | table | log | index | two rosters | segments | requests: register | full verify | checkpoint |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, subjects in SIZES.items():
        load = Load(subjects)
        lines.append(
            f"| {name} | {_bytes(subjects * TABLE_BYTES)} | {_bytes(load.rows * LOG_BYTES)} | "
            f"{_bytes(load.rows * INDEX_BYTES)} | {_bytes(2 * subjects * ROSTER_BYTES)} | {load.segments:,} | "
            f"{3 * load.chunks:,} | {load.segments + 2 * load.chunks:,} | {2 * load.chunks:,} |"
        )
    return lines


def gateway() -> list[str]:
    """What a gateway's single appends leave in a bucket and ask of it, where no two share a segment."""
    lines = [
        "| appends a second | objects a day | writes a day | LISTs of a verification after a day | after a year |",
        "|---:|---:|---:|---:|---:|",
    ]
    for rate in (0.1, 1, 10, 100):
        day = rate * DAY
        pages = [f"{ceil(days * day / KEYS_A_PAGE):,}" for days in (1, 365)]
        lines.append(f"| {rate:g} | {day:,.0f} | {day * PUTS_AN_APPEND:,.0f} | {pages[0]} | {pages[1]} |")
    return lines


def _time(seconds: float) -> str:
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * HOUR:
        return f"{seconds / MINUTE:.0f} min"
    return f"{seconds / HOUR:.0f} h" if seconds < 2 * DAY else f"{seconds / DAY:.1f} d"


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


if __name__ == "__main__":
    print("\n".join([*times(), "", *sizes(), "", *gateway()]))
