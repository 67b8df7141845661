"""The list of subjects: who meets some conditions, found by column."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from subject_pipeline.decisions.decision import BIOMETRIC, GENERAL_PII, SCOPES
from subject_pipeline.errors import ConfigurationError
from subject_pipeline.formats.shown_text import shown
from subject_pipeline.lifecycle.lists.life_columns import CONSENT, DATASETS, HELD, POLICY, UNTIL, Frames, due, text_of
from subject_pipeline.manifests.manifest import VOCABULARY

_FLAT = (
    "candidate_id",
    "status",
    "vertical",
    "consent_general_pii",
    "consent_biometric",
    "policy",
    "general_pii_until",
    "biometric_until",
)
SUBJECT_SCHEMA = pl.Schema(
    [
        *((name, pl.String) for name in _FLAT),
        ("due", pl.List(pl.String)),
        ("held", pl.Boolean),
        ("datasets", pl.List(pl.String)),
        ("created_at", pl.String),
    ]
)
"""One subject a row, in words; `due` has the scopes whose time is over."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What subjects must meet to be listed; what is not given is met by all.

    Attributes:
        consent: the status of a consent, by scope.
        declared: the words that there are, by field as in `VOCABULARY`, and the names of `datasets`. A condition may
            also name a word that is only in manifests: it was declared before, or a newer writer knows it.
    """

    status: str | None = None
    vertical: str | None = None
    dataset: str | None = None
    consent: Mapping[str, str] = field(default_factory=dict)
    held: bool = False
    due: bool = False
    declared: Mapping[str, Sequence[str]] = field(default_factory=lambda: VOCABULARY)

    def met(self, frames: Frames, now: dt.datetime) -> Frames:
        """The rows of those who meet them.

        Args:
            frames: `LIFE_COLUMNS` of the whole table.
            now: UTC.

        Raises:
            ConfigurationError: at the end: a condition names a word that is neither declared nor in any manifest.
        """
        named = self._named()
        doubted = {name: set(self.declared.get(name, ())) for name, (_, word) in named.items()
                   if word not in self.declared.get(name, ())}  # fmt: skip
        where = [
            value.list.contains(word) if name == "dataset" else value == word for name, (value, word) in named.items()
        ]
        if self.held:
            where.append(HELD)
        if self.due:
            where.append(pl.any_horizontal(due(scope, now) for scope in SCOPES))
        for rows in frames:
            for name, words in doubted.items():
                value, _ = named[name]
                words.update(rows.select(value.explode() if name == "dataset" else value).to_series().drop_nulls())
            yield rows.filter(where) if where else rows
        for name, words in doubted.items():
            word = named[name][1]
            if word not in words:
                there = ", ".join(sorted(words)) or "none"
                raise ConfigurationError(f"{name}: there is no {shown(word)!r}; there are: {there}")

    def _named(self) -> dict[str, tuple[pl.Expr, str]]:
        """The words that the conditions name: where each stands, by field."""
        fields = {
            "status": (pl.col("status"), self.status),
            "vertical": (pl.col("vertical"), self.vertical),
            "dataset": (DATASETS, self.dataset),
            **{f"consent.{scope}.status": (CONSENT[scope], word) for scope, word in self.consent.items()},
        }
        return {name: (value, word) for name, (value, word) in fields.items() if word is not None}


def parse_consents(pairs: Sequence[str]) -> dict[str, str]:
    """What `SCOPE=STATUS` means, one of a scope.

    Raises:
        ConfigurationError: the scopes that there are.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        scope, equals, status = pair.partition("=")
        if not equals or scope not in SCOPES:
            raise ConfigurationError(f"--consent {pair!r}: give SCOPE=STATUS; the scopes are {', '.join(SCOPES)}")
        if found.setdefault(scope, status) != status:
            raise ConfigurationError(f"--consent: nobody's consent to {scope} is both {found[scope]!r} and {status!r}")
    return found


def in_words(rows: pl.DataFrame, now: dt.datetime) -> pl.DataFrame:
    """Subjects as `SUBJECT_SCHEMA`.

    Args:
        rows: `LIFE_COLUMNS` of the table.
        now: UTC.
    """
    scopes = [pl.when(due(scope, now)).then(pl.lit(scope)) for scope in SCOPES]
    return rows.select(
        "candidate_id",
        "status",
        "vertical",
        CONSENT[GENERAL_PII].alias("consent_general_pii"),
        CONSENT[BIOMETRIC].alias("consent_biometric"),
        POLICY.alias("policy"),
        text_of(UNTIL[GENERAL_PII]).alias("general_pii_until"),
        text_of(UNTIL[BIOMETRIC]).alias("biometric_until"),
        pl.concat_list(scopes).list.drop_nulls().alias("due"),
        HELD.alias("held"),
        DATASETS.alias("datasets"),
        text_of(pl.col("created_at")).alias("created_at"),
    )
