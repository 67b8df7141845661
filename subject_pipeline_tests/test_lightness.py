"""What is loaded when: importing Polars, deltalake or Dagster costs a second and a hundred MiB."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import create_ring
from subject_pipeline.store.opened import SubjectStore

HEAVY = {"polars", "polars_hash", "deltalake", "pyarrow", "dagster", "numpy"}
TERMINAL = {"click", "rich"}
ADAPTED = {"fastmcp", "mcp", "langchain", "langchain_core", "langgraph", "agents", "openai"}
_MIB = 1 << 20


def _loaded_by(code: str, **environment: str) -> set[str]:
    """The top-level modules that a fresh process has after running some code."""
    code += "\nimport json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True, timeout=60, env=environment
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "package", ["gate", "gate.adapters.gated_tools", "audit.log", "store.opened", "keys.rotation", "objects.opening"]
)
def test_recording_loads_nothing_heavy(package: str) -> None:
    """Neither Polars nor the table, Dagster or the terminal, nor any library that has an adapter, at import."""
    assert not _loaded_by(f"import subject_pipeline.{package}") & (HEAVY | TERMINAL | ADAPTED)


@pytest.mark.long
def test_the_command_line_needs_no_library_that_has_an_adapter() -> None:
    """Nor do the assets."""
    assert not _loaded_by("import subject_pipeline.cli.main, subject_pipeline.definitions") & ADAPTED


def test_the_command_line_loads_what_a_command_needs(tmp_path: Path) -> None:
    """Help and one append load nothing heavy, and help not even what opens a store."""
    run = (
        "import sys; from subject_pipeline.cli.main import main\n"
        "sys.argv = ['subject-pipeline', *{arguments}]\n"
        "try: main()\nexcept SystemExit as left: assert not left.code, left.code"
    )
    assert not _loaded_by(run.format(arguments=["--help"])) & {*HEAVY, "pydantic", "cryptography", "obstore"}
    create_ring(tmp_path / "ring.json", KeyRing.new(b"k" * 32, b"s" * 32))
    arguments = ["audit", "append", "P", "--action", "read", "--storage-root", str(tmp_path / "store")]
    loaded = _loaded_by(run.format(arguments=arguments), SUBJECT_KEY_RING=str(tmp_path / "ring.json"))
    assert not loaded & HEAVY
    assert (tmp_path / "store" / "audit").is_dir()


@pytest.mark.long
def test_a_first_append_takes_little_memory(tmp_path: Path) -> None:
    """Under 40 MiB more than Python with the client library that speaks to buckets."""
    create_ring(tmp_path / "ring.json", KeyRing.new(b"k" * 32, b"s" * 32))
    peak = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
    append = (
        "from subject_pipeline.gate import AuditedTools\n"
        f"with AuditedTools.open({str(tmp_path / 'store')!r}, key_ring={str(tmp_path / 'ring.json')!r}) as tools:\n"
        "    tools.after('read', {'candidate_id': 'P'})\n"
    )

    def measured(code: str) -> int:
        done = subprocess.run([sys.executable, "-c", code + peak], capture_output=True, check=True, timeout=60)
        return int(done.stdout)

    assert measured(append) - measured("import obstore\n") < 40 * _MIB
    assert (tmp_path / "store" / "audit").is_dir()


@pytest.mark.long
def test_the_gate_opens_and_records_light_and_reads_manifests_when_it_first_decides(tmp_path: Path) -> None:
    """What reads the table is loaded by the first decision, and not by opening, or by a purpose that is not allowed."""
    create_ring(tmp_path / "ring.json", KeyRing.new(b"k" * 32, b"s" * 32))
    store = SubjectStore.at(str(tmp_path / "store"))
    store.layout_or_create()
    (tmp_path / "gate.yaml").write_text("purposes: {p: {verticals: [general]}}")
    opened = (
        "from subject_pipeline.gate import DeniedError, SubjectGate\n"
        f"gate = SubjectGate.open({str(tmp_path / 'store')!r}, policy={str(tmp_path / 'gate.yaml')!r}, "
        f"key_ring={str(tmp_path / 'ring.json')!r}, actor='a')\n"
        "def ask(purpose):\n"
        "    try: gate.before('read', subjects=['P'], purpose=purpose)\n"
        "    except DeniedError as denied: return denied.reasons\n"
        "assert ask('q') == {'P': 'purpose_not_allowed'}\n"
    )
    assert not _loaded_by(opened) & (HEAVY | TERMINAL)
    loaded = _loaded_by(opened + "assert ask('p') == {'P': 'unknown_subject'}\n")
    assert {"polars", "deltalake"} <= loaded
    assert not loaded & {"dagster", *TERMINAL}
