"""`make demo`: the main Dagster jobs over 100,000 sample people, end to end, in the demo's own store.

People are registered twice (the second run finds everybody there), access events are ingested twice, all chains are
verified and a checkpoint is signed. Then a copy of the store is tampered with, and verifying it turns a check red;
somebody is erased, with a certificate, and not registered again; and an agent is refused somebody who withdrew consent,
with a proof.
The demo's store, key ring and Dagster history live below `.demo/` and are made again each time; your own store in
`./data` is not touched.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / ".demo"
PEOPLE, EVENTS = 100_000, 50_000


def prepare() -> None:
    """Empty folders, a key ring, and the environment that Dagster reads when it is imported."""
    shutil.rmtree(DEMO, ignore_errors=True)
    (DEMO / "dagster_home").mkdir(parents=True)
    shutil.copy(ROOT / "dagster.yaml", DEMO / "dagster_home")
    os.environ["DAGSTER_HOME"] = str(DEMO / "dagster_home")
    os.environ["SUBJECT_STORE_URL"] = str(DEMO / "store")
    os.environ["SUBJECT_KEY_RING"] = str(DEMO / "key_ring.json")
    os.environ.pop("SUBJECT_CHUNKS", None)

    from subject_pipeline.keys.ring import KeyRing  # noqa: PLC0415
    from subject_pipeline.keys.ring_file import create_ring  # noqa: PLC0415

    create_ring(DEMO / "key_ring.json", KeyRing.new(secrets.token_bytes(32), secrets.token_bytes(32)))


prepare()

import dagster as dg  # noqa: E402
import polars as pl  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from subject_pipeline.definitions import defs  # noqa: E402
from subject_pipeline.gate import DeniedError, SubjectGate  # noqa: E402
from subject_pipeline.lifecycle.stored_findings import read_findings  # noqa: E402
from subject_pipeline.registry.subjects import SubjectRegistry  # noqa: E402
from subject_pipeline.samples.events import sample_events  # noqa: E402
from subject_pipeline.samples.people import sample_workers  # noqa: E402
from subject_pipeline.store.opened import SubjectStore  # noqa: E402

CONSOLE = Console(width=110)
ALL_PARTITIONS = {"dagster/asset_partition_range_start": "chunk-00", "dagster/asset_partition_range_end": "chunk-3f"}


def run(instance: dg.DagsterInstance, job: str, tags: dict[str, str] | None = None) -> Any:  # noqa: ANN401 - Dagster's
    """One run of a job, quietly."""
    return (
        defs()
        .resolve_job_def(job)
        .execute_in_process(
            instance=instance,
            tags=tags or {},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=True,
        )
    )


def numbers(result: Any, asset: str, *names: str) -> list[str]:  # noqa: ANN401 - Dagster's
    """Sums over an asset's partitions of what its page shows."""
    found = [
        event.materialization.metadata
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey.from_user_string(asset)
    ]
    return [f"{sum(int(str(one[name].value)) for one in found):,}" for name in names]


def checks(result: Any) -> str:  # noqa: ANN401 - Dagster's
    """How many checks are green."""
    found = result.get_asset_check_evaluations()
    return f"{sum(one.passed for one in found)} of {len(found)} green"


def twice(
    instance: dg.DagsterInstance, job: str, asset: str, names: tuple[str, ...], tags: dict[str, str] | None = None
) -> None:
    """A job run twice, in a table."""
    table = Table("run", *names, "checks", "seconds")
    for name in ("first", "again"):
        started = time.perf_counter()
        result = run(instance, job, tags)
        table.add_row(name, *numbers(result, asset, *names), checks(result), f"{time.perf_counter() - started:.1f}")
    CONSOLE.print(table)


def tampered_copy() -> str:
    """Change one row in a copy of the store, as somebody without the keys might; returns whose."""
    shutil.copytree(DEMO / "store", DEMO / "tampered")
    segment = min((DEMO / "tampered" / "audit").glob("*/000000000000.jsonl"))
    text = segment.read_text(encoding="utf-8")
    at = text.index('"result":"denied"')
    segment.write_text(text[:at] + '"result":"success"' + text[at + len('"result":"denied"') :], encoding="utf-8")
    line = text.count("\n", 0, at)
    return text.splitlines()[line].partition('"candidate_id":"')[2].partition('"')[0]


def command(*arguments: str) -> str:
    """A command of ours, printed with what it says; returns the latter."""
    done = subprocess.run(
        [sys.executable, "-m", "subject_pipeline.cli.main", *arguments], capture_output=True, text=True, check=False
    )
    CONSOLE.print(f"   subject-pipeline {' '.join(arguments)}", highlight=False, soft_wrap=True, style="bold")
    said = "\n".join(filter(None, (done.stdout.strip(), done.stderr.strip())))
    CONSOLE.print(f"     {said.splitlines()[0] if said else ''}", highlight=False, soft_wrap=True)
    return done.stdout.strip()


GATE_POLICY = """\
purposes:
  scheduling: {consent: {general_pii: [given]}, verticals: [general], statuses: [active], others: drop}
ids: {worker_id: WORKER-, candidate_id: ""}
"""


def an_agents_call(worker: str) -> None:
    """A tool call about somebody who withdrew consent: refused, on record, and proved without the store."""
    CONSOLE.print(f"[bold]7.[/] An agent's tool call about {worker}, who withdrew consent")
    policy, proof = DEMO / "gate.yaml", DEMO / "proof.json"
    policy.write_text(GATE_POLICY, encoding="utf-8")
    called: list[str] = []
    with SubjectGate.open(policy=policy, actor="agent:7") as gate:
        try:
            gate.guard("read_worker", lambda: called.append(worker), subjects=[worker], purpose="scheduling")
        except DeniedError as denied:
            CONSOLE.print(f"   refused: {denied.reasons[worker]}; the tool was called {len(called)} times")
    command("audit", "checkpoint")
    command("audit", "prove", worker, "--rows", "--out", str(proof))
    row = json.loads(json.loads(proof.read_text(encoding="utf-8"))["rows"][-1])
    said = ", ".join(f"{name} {row[name]}" for name in ("actor", "action", "purpose", "result", "reason"))
    CONSOLE.print(f"   in the chain: {said}", highlight=False, soft_wrap=True)
    program, line = ROOT / "docs" / "verify_proof.py", command("keys", "public").splitlines()[0]
    checked = subprocess.run([sys.executable, program, proof, line], capture_output=True, text=True, check=True)
    CONSOLE.print(f"   {checked.stdout.splitlines()[0]}", highlight=False, soft_wrap=True)


def life_of_a_record(source: Path) -> str:
    """A withdrawal, a hold, an erasure with its certificate, and the re-run that brings nobody back; who withdrew."""
    CONSOLE.print("[bold]6.[/] The life of a record: a withdrawal, a hold, an erasure that is proved, and a re-run")
    withdrawing, erased = (f"WORKER-{key}" for key in pl.read_parquet(source, n_rows=2).to_series())
    command("subjects", "consent", withdrawing, "--give", "general_pii", "--version", "2026-01")
    command("subjects", "consent", withdrawing, "--withdraw", "general_pii", "--reason", "by letter")
    command("subjects", "hold", erased, "--hold-id", "case-7")
    command("subjects", "erase", erased, "--reason", "their request")
    command("subjects", "release", erased, "--hold-id", "case-7")
    command("subjects", "erase", "--ordered")
    command("subjects", "compact")
    command("audit", "checkpoint")
    certificate = DEMO / "certificate.jsonl"
    command("subjects", "certificate", erased, "--out", str(certificate))
    program, line = ROOT / "docs" / "verify_certificate.py", command("keys", "public").splitlines()[0]
    checked = subprocess.run([sys.executable, program, certificate, line], capture_output=True, text=True, check=True)
    CONSOLE.print(f"     {checked.stdout.splitlines()[0]}", highlight=False, soft_wrap=True)
    with dg.DagsterInstance.get() as instance:
        result = run(instance, "register_workers", ALL_PARTITIONS)
    inserted = numbers(result, "workers/subject_manifests", "inserted")[0]
    suppressed = numbers(result, "workers/candidate_chunks", "suppressed")[0]
    CONSOLE.print(
        f"   register_workers again: {inserted} inserted, {suppressed} suppressed, though the source has them"
    )
    return withdrawing


def main() -> None:
    """Run the demo."""
    source = ROOT / "sample_data" / "workers.parquet"
    sample_workers(PEOPLE, source)
    with dg.DagsterInstance.get() as instance:
        CONSOLE.print(f"[bold]1.[/] register_workers: {PEOPLE:,} people of a parquet file, 64 partitions in one run")
        names = ("attempted", "inserted", "skipped", "failed")
        twice(instance, "register_workers", "workers/subject_manifests", names, ALL_PARTITIONS)

        inbox = DEMO / "store" / "inbox"
        inbox.mkdir()
        sample_events(EVENTS, inbox / "events-1.jsonl")
        shutil.copy(inbox / "events-1.jsonl", inbox / "the-same-again.jsonl")
        CONSOLE.print(f"[bold]2.[/] ingest_access_events: two files of the same {EVENTS:,} events, then nothing new")
        counted = ("files", "appended", "already_present", "appended_denied", "appended_error", "rejected")
        table = Table("run", *counted, "checks")
        result = run(instance, "ingest_access_events")
        table.add_row("first", *numbers(result, "audit_log", *counted), checks(result))
        result = run(instance, "ingest_access_events")
        table.add_row("again", *numbers(result, "audit_log", *counted[:3]), "0", "0", "0", checks(result))
        CONSOLE.print(table)

        CONSOLE.print(
            "[bold]3.[/] verify_checkpoint_and_report: every chain, segment and manifest, a checkpoint, a report"
        )
        table = Table("run", "chains", "rows", "checkpoint", "subjects in it", "checks")
        result = run(instance, "verify_checkpoint_and_report", ALL_PARTITIONS)
        verified = numbers(result, "audit_verification", "chains", "rows")
        table.add_row("whole", *verified, *numbers(result, "audit_checkpoint", "number", "subjects"), checks(result))
        CONSOLE.print(table)

    whose = tampered_copy()
    CONSOLE.print(f"[bold]4.[/] One row of {whose} is changed from denied to success, in a copy of the store")
    # With a ring of its own: what is signed here must not count as what the demo's store was signed with last.
    shutil.copy(DEMO / "key_ring.json", DEMO / "other_ring.json")
    os.environ["SUBJECT_STORE_URL"] = str(DEMO / "tampered")
    os.environ["SUBJECT_KEY_RING"] = str(DEMO / "other_ring.json")
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(instance, "verify_checkpoint_and_report", ALL_PARTITIONS)
        for one in result.get_asset_check_evaluations():
            if one.passed or one.asset_key != dg.AssetKey("audit_verification"):
                continue
            CONSOLE.print(f"   check [bold red]{one.check_name} is red[/]: {one.description}")
            # Dagster counts and names a list in the store; who it is, only `subject-pipeline findings show` prints.
            tampered = SubjectStore.at(os.environ["SUBJECT_STORE_URL"])
            for row in read_findings(tampered.objects, str(one.metadata["listed"].value)):
                if row["check"] == one.check_name:
                    who = row["candidate_id"] or row["partition"]
                    CONSOLE.print(f"   {who}: {row['kind']}: {row['detail']}", highlight=False, soft_wrap=True)
    os.environ["SUBJECT_STORE_URL"] = str(DEMO / "store")
    os.environ["SUBJECT_KEY_RING"] = str(DEMO / "key_ring.json")

    registry = SubjectRegistry(SubjectStore.at(os.environ["SUBJECT_STORE_URL"]))
    CONSOLE.print(f"[bold]5.[/] One manifest of {registry.count():,}, that of {whose}")
    CONSOLE.print_json(registry.get(whose).to_json())

    an_agents_call(life_of_a_record(source))
    CONSOLE.print("[bold]8.[/] Where to look next")
    CONSOLE.print(
        "   make dev DEMO=1                these runs in the Dagster UI, on http://127.0.0.1:3000\n"
        "   make dev                       the UI on a store of its own, ./data\n"
        "   export SUBJECT_STORE_URL=.demo/store SUBJECT_KEY_RING=.demo/key_ring.json\n"
        f"   .venv/bin/subject-pipeline audit show {whose}\n"
        "   .venv/bin/subject-pipeline audit verify\n"
        f"   .venv/bin/subject-pipeline audit prove {whose} --out proof.json\n"
        '   .venv/bin/python docs/verify_proof.py proof.json "$(.venv/bin/subject-pipeline keys public | head -1)"\n'
        "   docs/gate.md                   what refused the agent, in ten minutes\n"
        "   docs/first_dataset.md          a dataset of your own is one YAML file",
        highlight=False,
    )


if __name__ == "__main__":
    main()
