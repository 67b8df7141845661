"""The manifest as it was at a time: what registration wrote, and every recorded change up to then.

1. Of a first registration there is no row. What it wrote is the current manifest with every field that some row
   changed put back to what registration writes.
2. The registry's rows are applied to it, in order of `seq`. After a deletion there is no manifest; a row `registered`
   has a whole one.
3. A manifest is told only where its hash is the one that its row records. That of the first registration has no row: it
   is told where the first row's hash confirms it, and that row's decision could have been made upon it. So of somebody
   who was imported otherwise it is said from when on their manifest can be told, and nothing is guessed.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from subject_pipeline.changes.registry_rows import RegistryRow
from subject_pipeline.changes.replaying import Document, changes_between, replayed
from subject_pipeline.decisions.decision import BIOMETRIC, Decision, Kind
from subject_pipeline.decisions.policies import Policies
from subject_pipeline.decisions.transitions import apply
from subject_pipeline.errors import AmbiguousSubjectError, DecisionError, UnknownThenError
from subject_pipeline.manifests.hashes import document_hash
from subject_pipeline.manifests.manifest import DatasetReference, new_manifest

SafeViews = Mapping[str, Sequence[str]]
"""The safe views that each dataset is declared with, by its name."""

_BY_POLICIES = frozenset({Kind.CLASSIFIED, Kind.RETENTION_SET, Kind.READMITTED})
"""Decisions that were allowed or not by the policies of their time, which nobody keeps; or that leave no manifest."""


class _Step(NamedTuple):
    """A subject's manifest from one time on.

    Attributes:
        since: RFC 3339; empty: whenever it began.
        document: None where there was none, or none is known.
        told: whether what is known is confirmed.
        gone: `deleted` or `erased` where there was none any more.
    """

    since: str
    document: Document | None
    told: bool
    gone: str = ""


def manifest_at(
    candidate_id: str,
    current: Document | None,
    rows: Sequence[RegistryRow],
    time: str,
    *,
    chunk: str,
    declared: SafeViews,
) -> Document:
    """A subject's manifest as it was at a time.

    Args:
        candidate_id: whose.
        current: the table's manifest; None: it has none.
        rows: the registry rows of its chain, in order.
        time: RFC 3339, UTC, six decimals.
        chunk: its chunk.
        declared: of the datasets that are registered now.

    Raises:
        UnknownThenError: there was no manifest then, or what it was cannot be told; the message says from when on.
        AmbiguousSubjectError: neither then nor later was the manifest one that the log explains.
    """
    steps = _steps(candidate_id, current, rows, chunk, declared)
    at = next((step for step in reversed(steps) if step.since <= time), None)
    if at is None:
        since = f", which was registered at {steps[0].since}" if steps else ""
        raise UnknownThenError(f"no subject had the id {candidate_id!r} at {time}{since}")
    if at.gone:
        raise UnknownThenError(f"{candidate_id!r} had no manifest at {time}: it was {at.gone} at {at.since}")
    if at.told and at.document is not None:
        return at.document
    later = next((step.since for step in steps if step.told and step.since > time), None)
    if later is None:
        raise AmbiguousSubjectError(
            f"the manifest of {candidate_id!r} is none that the audit log explains, so what it was cannot be told: run "
            "`subject-pipeline audit verify`"
        )
    raise UnknownThenError(
        f"what the manifest of {candidate_id!r} was at {time} cannot be told: it can be told from {later} on"
    )


def _steps(
    candidate_id: str, current: Document | None, rows: Sequence[RegistryRow], chunk: str, declared: SafeViews
) -> list[_Step]:
    """What a subject's manifest was, from when on; the first of them may be what registration wrote."""
    first_life = not any(row.evidence.deleted for row in rows)
    document = _registered(candidate_id, current, rows, chunk, declared) if current and first_life else None
    steps = [_Step("", None, told=False)]
    if document is not None:
        confirmed = not rows or _follows(document, rows[0])
        created, updated = str(document["created_at"]), str(document["updated_at"])
        # An imported manifest may be older than its time here; what it was before its last change is not known.
        steps = [_Step(created, None, told=False)] if created < updated else []
        steps.append(_Step(updated, document, told=confirmed))
    elif not rows:
        return []
    for evidence, decision in rows:
        since = str(decision.get("recorded_at", ""))
        if evidence.deleted:
            document = None
            steps.append(_Step(since, None, told=True, gone=evidence.state))
        else:
            whole = decision["kind"] == "registered"
            document = replayed(None if whole else document, decision) if whole or document is not None else None
            told = document is not None and document_hash(document) == evidence.sha256
            steps.append(_Step(since, document, told))
    return steps


def _registered(
    candidate_id: str, current: Document, rows: Sequence[RegistryRow], chunk: str, declared: SafeViews
) -> Document | None:
    """What registration wrote, if nothing but the defaults was changed since; None where not even that is known."""
    first: dict[str, tuple[Any, Mapping[str, Any]]] = {}
    for _, decision in rows:
        for name, value in decision.get("changes", {}).items():
            first.setdefault(name, (value, decision))
    if "created_at" in first:
        return None
    references = first["datasets"][0] if "datasets" in first else current["datasets"]
    reference = DatasetReference.model_validate(references[0]) if references else None
    default = new_manifest(
        candidate_id=candidate_id,
        dataset=reference or DatasetReference(name="", key_column="", key_value=""),
        safe_views=tuple(declared.get(reference.name, ())) if reference else (),
        chunk=chunk,
        now=datetime.fromisoformat(str(current["created_at"])),
    ).as_json()
    base = {name: value for name, value in current.items() if name not in first}
    base.update({name: default[name] for name in first if name in default})
    if "consent" in first:
        consent, decision = first["consent"]
        scopes = set(consent) if decision["kind"] == "replaced" else {decision.get("scope", BIOMETRIC)}
        base["consent"] = {name: default["consent"].get(name, one) if name in scopes else one
                           for name, one in consent.items()}  # fmt: skip
    return base


def _follows(base: Document, row: RegistryRow) -> bool:
    """Whether a row can have been the first after a registration that wrote this."""
    evidence, decision = row
    after = replayed(base, decision)
    if document_hash(after) != evidence.sha256 or changes_between(base, after) != decision.get("changes"):
        return False
    kind = decision["kind"]
    if kind not in set(Kind) - _BY_POLICIES:
        return True
    order = {name: decision[name] for name in Decision._fields if name in decision}
    try:
        apply(base, Decision(**{**order, "kind": Kind(kind)}), Policies())
    except (DecisionError, TypeError):
        return False
    return True
