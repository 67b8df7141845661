"""Sample data: people that look real, the same bytes for the same seed."""

from pathlib import Path

import polars as pl
import polars_hash as plh

from subject_pipeline.objects.durability import whole_file

_FIRST = (
    "Ada Amir Ana Anders Aoife Ben Bianca Carlos Chen Chidi Clara Dana Diego Elena Emeka Eva Farah Femi Fiona "
    "Gita Grace Hana Hugo Ines Ivan Jamal Jana Jin Joao Jonas Kaito Karim Kofi Lars Leila Lena Lucia Maja Malik "
    "Marek Maria Mei Miguel Mina Nadia Nia Noah Nora Olga Omar Owen Petra Priya Rafael Rosa Sam Sara Sofia Tariq "
    "Tomas Uma Victor Wanda Yara Yusuf Zoe"
)
_LAST = (
    "Abbott Adeyemi Ahmed Alvarez Andersen Baker Banerjee Becker Brown Castillo Chavez Cohen Costa Cruz Davies "
    "Diaz Dubois Eriksen Farouk Fischer Flores Garcia Gomez Gupta Haddad Hansen Hernandez Hughes Ibrahim Ito "
    "Jansen Jones Kaur Khan Kim Kowalski Kumar Larsen Lee Lewis Lopez Martin Mensah Meyer Miller Mohamed Moreau "
    "Murphy Nguyen Novak Okafor Olsen Ortiz Patel Perez Petrov Quinn Ramos Reyes Rossi Santos Sato Schmidt Silva "
    "Singh Smith Suzuki Tanaka Torres Usman Vargas Walker Weber Williams Wong Yamada Young Zhang"
)
_TRADES = (
    "electrician welder plumber carpenter forklift_operator picker_packer nurse_assistant machinist painter "
    "roofer hvac_technician mason"
)
_REGIONS = "US-IL-Chicago US-IL-Peoria US-IN-Gary US-MI-Detroit US-OH-Toledo US-TX-Houston US-WI-Racine US-MN-Duluth"
_FIRST_ID = 100_001


def sample_workers(rows: int, path: Path, *, seed: int = 7) -> int:
    """Write a parquet file of people.

    Columns: `worker_id` (int64, unique, in no sorted order), `name`, `trade`, `region`, `hired_on` (date),
    `hourly_rate` (float64), `active` (bool).

    Args:
        rows: how many people.
        path: the file; it appears whole or not at all.
        seed: another seed gives other people.

    Returns:
        How many bytes were written.

    Raises:
        SourceError: the file cannot be written.
    """
    # XXH64 of the row number replaces a random generator: fast, by column, and stable over versions.
    number = plh.concat_str(pl.lit(str(seed)), pl.col("at").cast(pl.String), separator=":").nchash

    def pick(salt: int, words: str) -> pl.Expr:
        values = words.split()
        return pl.lit(pl.Series(values)).gather(number.xxhash64(seed=salt) % len(values))

    people = (
        pl.select(at=pl.int_range(rows, dtype=pl.Int64))
        .sort(number.xxhash64(seed=1), "at")
        .select(
            worker_id=_FIRST_ID + pl.col("at"),
            name=pick(2, _FIRST) + " " + pick(3, _LAST),
            trade=pick(4, _TRADES),
            region=pick(5, _REGIONS),
            hired_on=pl.date(2015, 1, 1) + pl.duration(days=(number.xxhash64(seed=6) % 4_000).cast(pl.Int64)),
            hourly_rate=(1_600 + number.xxhash64(seed=8) % 3_400).cast(pl.Float64) / 100,
            active=number.xxhash64(seed=9) % 10 != 0,
        )
    )
    with whole_file(path) as unfinished:
        path.parent.mkdir(parents=True, exist_ok=True)
        people.write_parquet(unfinished, compression="zstd", row_group_size=131_072)
        return unfinished.stat().st_size
