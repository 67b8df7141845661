import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from subject_pipeline.checkpoints.proofs import check_proof
from subject_pipeline.errors import CheckpointError
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.lifecycle.erasure.certificate import Certificate
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.public_keys import PublicKeys
from subject_pipeline.verification.whole_store import verify
from subject_pipeline_tests.helpers.scripts import DOCS, run_script

VECTORS = DOCS / "vectors"
LINES = {name: (VECTORS / f"{name}.txt").read_text(encoding="utf-8").strip() for name in ("line-1", "line-2")}
PROOFS = {"head": 3, "history": 3, "absence": None}
"""Each with the seq of the last row that it proves; None: nobody."""
CERTIFICATE, ROW, ERASED = VECTORS / "certificate.jsonl", VECTORS / "row.json", "PERSON-5"
REFUSED: dict[str, str] = json.loads((VECTORS / "refused_certificates.json").read_bytes())


def _run(script: str, *arguments: object) -> tuple[int, str]:
    status, out, err = run_script(script, *arguments)
    return status, out + err


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
@pytest.mark.parametrize("kind", PROOFS)
def test_the_proofs_hold_under_the_old_key_and_the_new(kind: str, line: str) -> None:
    """The note at which the key was handed over is signed by both; script and project say so."""
    proof = VECTORS / f"{kind}.json"
    status, said = _run("verify_proof.py", proof, line)
    assert (status, said[:6]) == (0, "HOLDS:")
    proven = check_proof(json.loads(proof.read_bytes()), line)
    assert (proven.entry and proven.entry.seq) == PROOFS[kind]


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_the_whole_store_holds_and_no_byte_of_it_can_change(line: str, tmp_path: Path) -> None:
    """Under either key; a byte of a note, a checkpoint, leaves, a roster, a segment or a manifest is found."""
    shutil.copytree(VECTORS, tmp_path / "v")
    store, export = tmp_path / "v/store", tmp_path / "v/manifests.jsonl"
    status, said = _run("verify_checkpoint.py", store, line, "--export", export)
    assert (status, "everything holds" in said) == (0, True), said
    last = max(one for one in (store / "checkpoints").iterdir() if one.name.isdigit())
    newest = json.loads(next(last.glob("*/checkpoint.json")).read_bytes())
    objects = [
        last / "note",
        next(last.glob("*/checkpoint.json")),
        store / "checkpoints/leaves" / newest["state_root"],
        store / "audit/chunk-0/000000000000.jsonl",
        export,
    ]
    for path in objects:
        data = path.read_bytes()
        path.write_bytes(data[:-20] + bytes([data[-20] ^ 1]) + data[-19:])
        assert _run("verify_checkpoint.py", store, line, "--export", export)[0] == 1, path
        path.write_bytes(data)


@pytest.mark.parametrize("ring", [[], [VECTORS / "ring.json"]], ids=["anybody", "with the ring"])
def test_the_logs_hold(ring: list[Path]) -> None:
    """With MACs and without."""
    for chunk in sorted((VECTORS / "store/audit").iterdir()):
        status, said = _run("verify_log.py", chunk, *ring)
        assert (status, "intact" in said) == (0, True), said


@pytest.mark.long
def test_the_project_finds_nothing_but_the_table_missing(tmp_path: Path) -> None:
    """Keyed and public: chains and logs hold, and every manifest that was anchored and not deleted is missed."""
    shutil.copytree(VECTORS, tmp_path / "v")
    (tmp_path / "v/ring.json").chmod(0o600)
    store = SubjectStore.at(str(tmp_path / "v/store"), ring=KeyRingFile(tmp_path / "v/ring.json"))
    for public in (None, *(PublicKeys.of([line]) for line in LINES.values())):
        report = verify(store, public=public)
        assert (report.rows, report.chains, report.broken_chains, report.broken_logs) == (15, 6, [], [])
        assert [one.kind for one in report.broken_manifests] == ["missing"] * 6


def test_the_certificate_holds_under_the_key_that_signed_it_and_the_row_says_whose_it_is() -> None:
    """Under no other key, and with no other row; the ring knows whom it names, and nothing in it does."""
    status, said = _run("verify_certificate.py", CERTIFICATE, LINES["line-2"], ROW)
    assert (status, said[:6], ERASED in said) == (0, "HOLDS:", True)
    assert _run("verify_certificate.py", CERTIFICATE, LINES["line-2"])[0] == 0
    assert _run("verify_certificate.py", CERTIFICATE, LINES["line-1"])[0] == 1
    assert _run("verify_certificate.py", CERTIFICATE, LINES["line-2"], VECTORS / "head.json")[0] == 1
    certificate = Certificate.parse(CERTIFICATE.read_bytes())
    ring = json.loads((VECTORS / "ring.json").read_bytes())
    assert certificate.signed_by([LINES["line-2"]])
    assert certificate.names(ERASED, lambda key_id: bytes.fromhex(ring["keys"][key_id]))
    assert ERASED not in CERTIFICATE.read_text()
    assert ROW.read_text().strip() in (VECTORS / "store/audit/chunk-1/000000000005.jsonl").read_text()


def _holds(data: bytes) -> bool:
    try:
        return Certificate.parse(data).signed_by([LINES["line-2"]])
    except CheckpointError:
        return False


@pytest.mark.parametrize("what", REFUSED)
def test_script_and_project_refuse_every_certificate_that_is_none(what: str, tmp_path: Path) -> None:
    """Also those that the signer's own key has signed."""
    (tmp_path / "c").write_bytes(REFUSED[what].encode())
    status, said = _run("verify_certificate.py", tmp_path / "c", LINES["line-2"])
    assert (status, said[:14]) == (1, "DOES NOT HOLD:"), said
    assert not _holds(REFUSED[what].encode())


@pytest.mark.long
def test_no_byte_of_the_certificate_or_its_row_can_change(tmp_path: Path) -> None:
    """Each of them, one after the other."""
    spec = importlib.util.spec_from_file_location("verify_certificate", DOCS / "verify_certificate.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    changed = {path: tmp_path / path.name for path in (CERTIFICATE, ROW)}
    for path, copy in changed.items():
        copy.write_bytes(path.read_bytes())
    call = [str(changed[CERTIFICATE]), LINES["line-2"], str(changed[ROW])]
    assert script.main(call) == 0
    for path, copy in changed.items():
        data = path.read_bytes()
        for at in range(len(data.rstrip(b"\n"))):
            copy.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            assert script.main(call) == 1, (path, at)
        copy.write_bytes(data)


def test_a_name_of_several_lines_is_a_name(tmp_path: Path) -> None:
    """Anyone who decides may be named by any text; what holds for the project holds for the script."""
    document = json.loads(CERTIFICATE.read_bytes())["certificate"]
    names = {"by": "a\nb", "approved_by": "c\nd"}
    seed = bytes.fromhex(json.loads((VECTORS / "ring.json").read_bytes())["signing"]["private"])
    made = Certificate.signed({**document, "ordered": {**document["ordered"], **names}}, seed)
    (tmp_path / "c").write_bytes(made.line())
    assert _run("verify_certificate.py", tmp_path / "c", LINES["line-2"])[0] == 0
