"""The compliance report: what an auditor asks for, from table, log and checkpoint, once a run."""

from dataclasses import replace

import dagster as dg

from subject_pipeline.orchestration.history.partitions import last_note
from subject_pipeline.orchestration.history.stagings import vanished_by_dataset
from subject_pipeline.orchestration.history.verifications import verification_history
from subject_pipeline.orchestration.lineage import VERIFICATION_POOL
from subject_pipeline.orchestration.privacy.failures import clear_failures
from subject_pipeline.orchestration.provenance import provenance
from subject_pipeline.orchestration.resources import KeyRingResource, StoreResource
from subject_pipeline.orchestration.ui.data import placed
from subject_pipeline.orchestration.ui.reports import report_check_specs, report_checks, report_metadata
from subject_pipeline.project.platform import PlatformSettings
from subject_pipeline.reports.collecting import collect_numbers
from subject_pipeline.reports.report import write_compliance_report

_CHECKPOINT = dg.AssetKey("audit_checkpoint")
_VERIFICATION = dg.AssetKey("audit_verification")


def compliance(platform: PlatformSettings) -> dg.Definitions:
    """The asset of reports."""

    @dg.asset(
        deps=[_CHECKPOINT],
        group_name="audit",
        kinds={"html"},
        pool=VERIFICATION_POOL,
        code_version="1",
        backfill_policy=dg.BackfillPolicy.single_run(),  # else no range can be launched together with the verification
        owners=platform.owners,
        check_specs=report_check_specs("compliance_report"),
        description="One report a run, of all subjects and all accesses as of its time: how many, on which consent, "
        "until when, what was decided, who accessed the data, and what proves that. It names nobody. A page to print, "
        "its numbers as parquet and CSV, in `reports/<time>/` of the store; no report ever replaces another.",
    )
    def compliance_report(
        context: dg.AssetExecutionContext, store: StoreResource, key_ring: KeyRingResource
    ) -> dg.MaterializeResult:
        """Collect the numbers, verify what is new, write the report."""
        partitions = store.layout.partitions().get_partition_keys()
        with clear_failures():
            opened = store.open(key_ring)
            numbers = collect_numbers(
                opened,
                pending_days=platform.automation.consent_pending_days,
                known_notes=last_note(context.instance, _CHECKPOINT),
                history=verification_history(context.instance, _VERIFICATION, partitions),
            )
            vanished = vanished_by_dataset(context.instance, opened.catalog.names())
            report = write_compliance_report(opened, replace(numbers, vanished=vanished))
        context.log.info("wrote %s", report.stored.key("report.html"))
        return dg.MaterializeResult(
            metadata={**report_metadata(report), **provenance(opened)}, check_results=report_checks(report.numbers)
        )

    return dg.Definitions(assets=placed([compliance_report], platform.store))
