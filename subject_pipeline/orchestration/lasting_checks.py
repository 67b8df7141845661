"""Checks on partitioned assets: red while any partition's last record is, whichever run ends last."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import dagster as dg
from dagster import DagsterInstance

from subject_pipeline.orchestration.history.partitions import PastPartitions
from subject_pipeline.orchestration.ui.tables import Metadata

RED_PARTITIONS = "red_partitions"
"""Metadata of an evaluation: every partition that was red when it was made, whichever run found it."""

_BETWEEN, _NONE = ", ", "none"
_NAMED = 10
_ROUNDS = 20
"""Runs of two versions of this program may disagree forever; after this many rounds the last evaluation stays."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one run found under one check.

    Attributes:
        check: the check's name.
        number: the metadata of a partition that is not zero where the check is red in it.
        words: what was found, for people.
        metadata: of the evaluation.
        partitions: where it was found.
        everywhere: something was found that belongs to no partition.
    """

    check: str
    number: str
    words: str
    metadata: Metadata
    partitions: Collection[str] = ()
    everywhere: bool = False
    severity: dg.AssetCheckSeverity = field(default=dg.AssetCheckSeverity.ERROR)

    def evaluated(self, asset: dg.AssetKey, red: Sequence[str]) -> dg.AssetCheckResult:
        """The check's result, given which partitions' last records are red."""
        earlier = [name for name in red if name not in self.partitions]
        words = self.words
        if earlier:
            words += f"; still red from earlier runs: {_named(earlier)}"
        return dg.AssetCheckResult(
            asset_key=asset,
            check_name=self.check,
            passed=not red and not self.everywhere,
            severity=self.severity,
            description=words,
            metadata={**self.metadata, RED_PARTITIONS: _list(red)},
        )


def lasting_checks(
    instance: DagsterInstance, asset: dg.AssetKey, findings: Sequence[Finding]
) -> Iterator[dg.AssetCheckResult]:
    """The results of a run's checks; to be yielded after its `MaterializeResult`.

    Dagster has stored the run's materializations by then, so of two runs that end at once at least one sees both, and
    what it sees is final: Dagster shows the evaluation of the run that was *planned* last, which may have ended first.
    If that one differs from the partitions' records, another is recorded after it.

    Args:
        instance: where records are kept.
        asset: the asset's key.
        findings: one for each check.
    """
    past = PastPartitions.of(instance, asset)
    for one in findings:
        yield one.evaluated(asset, past.red(one.number))
    for _ in range(_ROUNDS):
        past = PastPartitions.of(instance, asset, past)
        corrections = [
            result
            for one in findings
            if not _is_shown(instance, result := _correction(asset, one, past.red(one.number)))
        ]
        if not corrections:
            return
        for result in corrections:
            instance.report_runless_asset_event(result)


def _correction(asset: dg.AssetKey, finding: Finding, red: Sequence[str]) -> dg.AssetCheckEvaluation:
    words = f"red in {_named(red)}" if red else "red in no partition"
    return dg.AssetCheckEvaluation(
        asset_key=asset,
        check_name=finding.check,
        passed=not red and not finding.everywhere,
        severity=finding.severity,
        description=f"{words}, as of the last record of each; runs that overlapped said so of some",
        metadata={RED_PARTITIONS: _list(red)},
    )


def _is_shown(instance: DagsterInstance, wanted: dg.AssetCheckEvaluation) -> bool:
    """Whether what Dagster shows of a check is this, or will be said again by a run that is still going."""
    record = instance.get_latest_asset_check_evaluation_record(wanted.asset_check_key)
    if record is None:
        return False
    said = record.evaluation
    if not isinstance(said, dg.AssetCheckEvaluation):
        run = instance.get_run_by_id(record.run_id)
        return run is not None and not run.is_finished
    return said.passed == wanted.passed and said.metadata.get(RED_PARTITIONS) == wanted.metadata[RED_PARTITIONS]


def red_partitions(evaluation: dg.AssetCheckEvaluation) -> set[str]:
    """The partitions that an evaluation says are red; empty for a check that says nothing of partitions."""
    said = evaluation.metadata.get(RED_PARTITIONS)
    return set(str(said.value).split(_BETWEEN)) - {_NONE} if said else set()


def _named(partitions: Sequence[str]) -> str:
    return ", ".join(partitions[:_NAMED]) + (", ..." if len(partitions) > _NAMED else "")


def _list(partitions: Sequence[str]) -> dg.MetadataValue:
    return dg.MetadataValue.text(_BETWEEN.join(partitions) or _NONE)
