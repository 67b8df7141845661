import json
from pathlib import Path
from typing import Any

import pytest

from subject_pipeline.checkpoints.signed_notes import verifier_line
from subject_pipeline.ingestion.line_files import LineFile
from subject_pipeline.keys.ring import SigningKey
from subject_pipeline_tests.cli.conftest import Run
from subject_pipeline_tests.helpers.audit_samples import canonical, leaf_of
from subject_pipeline_tests.helpers.scripts import run_script

EVENT = {"event_id": "e-1", "candidate_id": "P-1", "ts": "2026-06-30T12:00:00Z", "actor": "agent", "action": "view"}
VERIFY_KEYS = {
    "mode", "subjects", "chains", "rows", "intact", "broken", "unreadable", "broken_chains", "broken_logs",
    "broken_manifests", "pending", "unregistered", "checkpoint", "results", "elapsed_s", "trust", "unanchored",
    "unanchored_manifests", "questionable",
}  # fmt: skip


@pytest.fixture
def ring(run: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A key ring that the environment names."""
    path = workplace / "ring.json"
    assert run("keys", "new", path).status == 0
    monkeypatch.setenv("SUBJECT_KEY_RING", str(path))
    return path


@pytest.mark.usefixtures("ring")
def test_an_append_tells_seq_hash_and_mac_and_is_idempotent_by_event_id(run: Run) -> None:
    """The same event again is not appended, and the row that is there is told."""
    first = run("audit", "append", "P-1", "--action", "view", "--actor", "a", "--event-id", "e", "--json").json
    assert (first["candidate_id"], first["first_seq"], first["last_seq"], first["appended"]) == ("P-1", 0, 0, 1)
    (row,) = run("audit", "show", "P-1", "--json").json["rows"]
    assert (first["row_sha256"], first["mac"]) == (leaf_of(canonical(row["row"])), row["mac"])
    again = run("audit", "append", "P-1", "--action", "view", "--actor", "a", "--event-id", "e", "--json").json
    assert again == {**first, "appended": 0}
    assert run("audit", "append", "P-1", "--action", "view", "--json").json["last_seq"] == 1


@pytest.mark.usefixtures("ring")
def test_an_append_of_other_content_under_an_id_fails(run: Run) -> None:
    """The first row stands and is named, exit 1; a time that is given counts, one that is made up does not."""
    base = ("audit", "append", "P-1", "--action", "view", "--actor", "a", "--event-id", "e")
    assert run(*base, "--ts", "2026-06-30T12:00:00Z").status == 0
    for more in (["--ts", "2026-06-30T12:00:01Z"], ["--ts", "2026-06-30T12:00:00Z", "--purpose", "p"]):
        ran = run(*base, *more, "--json")
        assert ran.status == 1
        assert (ran.json["appended"], ran.json["conflicting"], ran.json["last_seq"]) == (0, 1, 0)
    assert "row 0 has the event id 'e' and other content" in run(*base, "--ts", "2026-06-30T12:00:01Z").out
    again = run(*base, "--ts", "2026-06-30T14:00:00+02:00", "--json")
    assert (again.status, again.json["appended"], again.json["conflicting"]) == (0, 0, 0)
    assert len(run("audit", "show", "P-1", "--json").json["rows"]) == 1


@pytest.mark.usefixtures("ring")
def test_a_payload_with_a_key_twice_is_refused(run: Run, workplace: Path) -> None:
    """Which of the two was answered nobody knows."""
    (workplace / "payload.json").write_text('{"status": 200, "status": 403}', encoding="utf-8")
    ran = run("audit", "append", "P-1", "--action", "view", "--payload", "payload.json")
    assert ran.status == 2
    assert "an object has a key twice" in ran.err


@pytest.mark.usefixtures("ring")
def test_an_ingestion_names_what_conflicts(run: Run, workplace: Path) -> None:
    """Exit 1, the count, the line in rejections and dead letters; what stood first stands."""
    lines = [EVENT, {**EVENT, "actor": "somebody else"}, {**EVENT, "event_id": "e-2"}]
    (workplace / "e.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    ran = run("audit", "ingest", "e.jsonl", "--json")
    assert ran.status == 1
    counts = {name: ran.json[name] for name in ("events", "appended", "already_present", "conflicting", "rejected")}
    assert counts == {"events": 3, "appended": 2, "already_present": 0, "conflicting": 1, "rejected": 0}
    (named,) = ran.json["rejections"]
    assert (named["file"], named["line"], named["reason"].partition(":")[0]) == ("e.jsonl", 2, "conflicting")
    (letters,) = (workplace / "data" / "dead_letters").iterdir()
    assert json.loads(letters.read_text(encoding="utf-8"))["rejections"][0]["line"] == 2
    assert "somebody else" not in letters.read_text(encoding="utf-8")
    assert "e.jsonl:2: conflicting" in run("audit", "ingest", "e.jsonl").out
    assert [row["row"]["actor"] for row in run("audit", "show", "P-1", "--json").json["rows"]] == ["agent"] * 2


@pytest.mark.usefixtures("ring")
def test_an_interrupted_ingestion_tells_what_it_did(run: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 130 and the counts of the files before; the same command again goes on."""
    for name in ("a", "b"):
        (workplace / f"{name}.jsonl").write_text(json.dumps({**EVENT, "event_id": name}), encoding="utf-8")
    lines = LineFile.lines

    def interrupted(file: LineFile, read: Any) -> Any:
        if file.name == "b.jsonl":
            raise KeyboardInterrupt
        return lines(file, read)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LineFile, "lines", interrupted)
        ran = run("audit", "ingest", "a.jsonl", "b.jsonl", "--json")
    assert (ran.status, ran.json["files"], ran.json["appended"]) == (130, 1, 1)
    assert "interrupted: what is counted above is done; run the same command again to continue" in ran.err
    again = run("audit", "ingest", "a.jsonl", "b.jsonl", "--json")
    assert (again.json["appended"], again.json["already_present"]) == (1, 1)


@pytest.mark.usefixtures("ring")
def test_a_file_that_must_be_corrected_is_not_just_to_be_read_again(run: Run, workplace: Path) -> None:
    """Reading it again as it is cannot go further."""
    (workplace / "a.jsonl").write_text(json.dumps(EVENT), encoding="utf-8")
    (workplace / "b.parquet").write_bytes(b"no parquet")
    ran = run("audit", "ingest", "a.jsonl", "b.parquet")
    assert ran.status == 1
    assert "run the same command again, once what it reads is corrected, to continue" in ran.err


@pytest.mark.long
@pytest.mark.usefixtures("ring")
def test_a_file_that_cannot_be_read_stops_no_other(run: Run, workplace: Path) -> None:
    """The files after it are ingested; exit 1, and it is named."""
    (workplace / "a.parquet").write_bytes(b"no parquet")
    (workplace / "b.jsonl").write_text(json.dumps(EVENT), encoding="utf-8")
    ran = run("audit", "ingest", "a.parquet", "b.jsonl", "--json")
    assert (ran.status, ran.json["files"], ran.json["appended"]) == (1, 1, 1)
    assert "a.parquet" in ran.err


@pytest.mark.usefixtures("ring")
def test_a_payload_is_reduced_to_result_and_hash(run: Run, workplace: Path) -> None:
    """Result and SHA-256 are in the row, its content nowhere in the store."""
    (workplace / "payload.json").write_text('{"denied": true, "ssn": "secret-078-05-1120"}', encoding="utf-8")
    assert run("audit", "append", "P-1", "--action", "view", "--payload", "payload.json").status == 0
    (row,) = run("audit", "show", "P-1", "--json").json["rows"]
    assert row["row"]["result"] == "denied"
    assert len(row["row"]["payload_sha256"]) == 64
    files = [path for path in (workplace / "data").rglob("*") if path.is_file()]
    assert files
    assert not any(b"secret-078" in path.read_bytes() for path in files)


@pytest.mark.parametrize(
    "arguments",
    [
        ("append", "P-1", "--action", "manifest_deleted"),
        ("append", "", "--action", "view"),
        ("append", "P-1", "--action", "view", "--ts", "yesterday"),
        ("append", "P-1", "--action", "view", "--payload", "nowhere.json"),
        ("ingest", "nowhere.jsonl"),
        ("ingest", "."),
        ("verify", "--known-note", "nowhere"),
        ("prove", "P-1"),
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("ring")
def test_a_wrong_call_writes_nothing(run: Run, workplace: Path, arguments: tuple[str, ...]) -> None:
    """Exit 2, a message, and no audit log."""
    ran = run("audit", *arguments)
    assert ran.status == 2
    assert ran.err
    assert not (workplace / "data" / "audit").exists()


@pytest.mark.parametrize("variable", [None, "", "no-such-file"])
def test_without_a_ring_appending_and_verifying_stop(
    run: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    """Exit 2 with a message that says how to make one, whether the variable is unset, empty or names nothing."""
    if variable is not None:
        monkeypatch.setenv("SUBJECT_KEY_RING", variable)
    (workplace / "e.jsonl").write_text(json.dumps(EVENT), encoding="utf-8")
    for arguments in (["append", "P-1", "--action", "view"], ["ingest", "e.jsonl"], ["verify"], ["checkpoint"]):
        ran = run("audit", *arguments, "--json")
        assert ran.status == 2
        assert "subject-pipeline keys new" in ran.json["error"]
    assert not (workplace / "data" / "audit").exists()


def test_a_ring_that_others_can_read_is_refused(run: Run, ring: Path) -> None:
    """The message says how to repair it."""
    ring.chmod(0o644)
    ran = run("audit", "verify")
    assert ran.status == 2
    assert "chmod 600" in ran.err


@pytest.mark.usefixtures("ring")
def test_an_ingestion_counts_everything_and_names_what_is_rejected(run: Run, workplace: Path) -> None:
    """Bad lines exit 1 with file, line and reason; the dead letters hold their hashes and not their content."""
    lines = [EVENT, {**EVENT, "event_id": "e-2", "payload": {"error": "boom"}}, EVENT, {"secret-content": 1}]
    text = "\r\n".join([json.dumps(line) for line in lines] + ["{broken secret-content", "", "  "])
    (workplace / "e.jsonl").write_text("\ufeff" + text, encoding="utf-8")
    ran = run("audit", "ingest", "e.jsonl", "--json")
    assert ran.status == 1
    found = ran.json
    counts = {name: found[name] for name in ("files", "events", "appended", "already_present", "rejected")}
    assert counts == {"files": 1, "events": 5, "appended": 2, "already_present": 1, "rejected": 2}
    assert found["unregistered"] == 3
    assert [(one["file"], one["line"]) for one in found["rejections"]] == [("e.jsonl", 4), ("e.jsonl", 5)]
    files = [path for path in (workplace / "data").rglob("*") if path.is_file()]
    assert [path.parent.name for path in files].count("dead_letters") == 1
    assert not any(b"secret-content" in path.read_bytes() for path in files)
    again = run("audit", "ingest", "e.jsonl", "--json").json
    assert (again["appended"], again["already_present"], again["rejected"]) == (0, 3, 2)
    assert len(list((workplace / "data" / "dead_letters").iterdir())) == 1, "the same report is not written twice"


@pytest.mark.usefixtures("ring")
def test_verification_exits_1_on_tampering_and_names_it(run: Run, workplace: Path) -> None:
    """Exit 0 and every field of the contract where all is well; exit 1, the chain and the log where it is not."""
    assert run("sample", "events", "--rows", 200, "--out", "e.jsonl").status == 0
    assert run("audit", "ingest", "e.jsonl").status == 0
    sound = run("audit", "verify", "--json")
    assert sound.status == 0
    assert set(sound.json) == VERIFY_KEYS
    assert (sound.json["rows"], sound.json["mode"], sound.json["checkpoint"]) == (200, "full", None)
    assert sum(sound.json["results"].values()) == 200
    path = min((workplace / "data" / "audit").glob("*/*.jsonl"))
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"actor":"', '"actor":"x', 1), encoding="utf-8")
    whose = text.splitlines()[1].partition('"candidate_id":"')[2].partition('"')[0]
    broken = run("audit", "verify", "--json")
    assert broken.status == 1
    (chain,) = broken.json["broken_chains"]
    assert (chain["candidate_id"], chain["storage_key"], chain["kind"], chain["seq"]) == (whose, whose, "bad_mac", 0)
    (log,) = broken.json["broken_logs"]
    assert (log["chunk"], log["segment"], log["kind"]) == (path.parent.name, 0, "bad_segment")
    assert whose in run("audit", "verify", whose).out
    assert run("audit", "append", whose, "--action", "view").status == 2, "nothing is appended to a damaged log"


@pytest.mark.usefixtures("ring")
def test_checkpoint_proof_and_incremental_verification(run: Run, workplace: Path) -> None:
    """A checkpoint is signed, compared with, and proves a chain's head to somebody without the store."""
    for number in range(3):
        assert run("audit", "append", "P-1", "--action", "view", "--event-id", f"e-{number}").status == 0
    assert run("audit", "prove", "P-1", "--out", "proof.json").status == 1
    written = run("audit", "checkpoint", "--json").json
    assert written["number"] == 0
    (workplace / "note").write_text(written["note"], encoding="utf-8")
    report = run("audit", "verify", "--incremental", "--known-note", "note", "--json")
    assert report.status == 0
    assert report.json["checkpoint"]["number"] == 0
    assert report.json["rows"] == 0
    proof = run("audit", "prove", "P-1", "--out", "proof.json", "--json").json
    assert (proof["seq"], proof["kind"], proof["checkpoint"], proof["state"]) == (2, "head", 0, "absent")
    assert json.loads((workplace / "proof.json").read_text(encoding="utf-8"))["candidate_id"] == "P-1"
    assert run("audit", "prove", "P-2", "--out", "other.json").status == 1
    absent = run("audit", "prove", "P-2", "--absent", "--out", "absent.json", "--json")
    assert (absent.status, absent.json["kind"], absent.json["checkpoint"]) == (0, "absence", 0)
    there = run("audit", "prove", "P-1", "--absent", "--out", "other.json")
    assert (there.status, "a head proof shows the state" in there.err) == (1, True)
    assert not (workplace / "other.json").exists()
    line = run("keys", "public", "--json").json["verifier"]
    for name in ("proof.json", "absent.json"):
        assert run_script("verify_proof.py", name, line)[1].startswith("HOLDS: checkpoint 0")
    assert run("rebuild", "--json").json["chunks"] == 1


@pytest.mark.usefixtures("ring")
def test_ids_are_compared_whole(run: Run) -> None:
    """`P_1` is unknown where `P/1` has rows, though they share a storage key."""
    assert run("audit", "append", "P/1", "--action", "view").status == 0
    assert len(run("audit", "show", "P/1", "--json").json["rows"]) == 1
    for command in ("show", "verify"):
        assert run("audit", command, "P_1").status == 1


@pytest.mark.usefixtures("ring")
def test_deleting_a_subject_is_announced_in_its_chain(run: Run, workplace: Path) -> None:
    """The chain stays, by duty; its last row says that the manifest was deleted, and by whom."""
    manifest = {"candidate_id": "P-1", "created_at": EVENT["ts"], "updated_at": EVENT["ts"]}
    document = {"schema": "subject_manifest.v1", **manifest, "retention": {"general_pii_until": EVENT["ts"]}}
    (workplace / "m.json").write_text(json.dumps(document), encoding="utf-8")
    assert run("subjects", "import", "m.json").status == 0
    assert run("audit", "append", "P-1", "--action", "view").status == 0
    assert run("subjects", "delete", "P-1").status == 0
    rows = run("audit", "show", "P-1", "--json").json["rows"]
    assert [row["row"]["action"] for row in rows] == ["view", "manifest_deleted"]
    assert run("audit", "verify").status == 0


@pytest.mark.usefixtures("ring")
def test_an_id_that_nobody_has_is_one_thing_said(run: Run) -> None:
    """An unknown id is exit 1 and says that alone, not that nothing was found; beside others it is named."""
    assert run("audit", "append", "P-1", "--action", "view").status == 0
    unknown = "no subject has the id 'NOPE'"
    words = run("audit", "verify", "NOPE")
    assert (words.status, words.out, words.err) == (1, "", f"error: {unknown}\n")
    ran = run("audit", "verify", "NOPE", "--json")
    assert (ran.status, ran.json) == (1, {"error": unknown})
    both = run("audit", "verify", "NOPE", "P-1")
    assert both.status == 1
    assert unknown in both.out
    assert "nothing found for the ids that are known" in both.out
    assert both.err == ""
    ran = run("audit", "verify", "NOPE", "P-1", "--json")
    assert (ran.status, ran.json["unknown"], ran.json["intact"]) == (1, ["NOPE"], 1)
    assert set(run("audit", "verify", "P-1", "--json").json) == VERIFY_KEYS


@pytest.mark.usefixtures("ring")
@pytest.mark.parametrize("options", [(), ("--incremental",)])
def test_a_store_without_a_log_has_nothing_to_verify_yet(run: Run, options: tuple[str, ...]) -> None:
    """A nightly run before the first row is exit 0 and does not claim to have looked at anything."""
    run("datasets", "register", "people", "--source", "/people.parquet", "--key-column", "id")
    ran = run("audit", "verify", *options)
    assert ran.status == 0
    assert "nothing to verify yet" in ran.out
    assert "nothing found" not in ran.out
    assert set(run("audit", "verify", *options, "--json").json) == VERIFY_KEYS


@pytest.fixture
def line(run: Run, ring: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The line of the key that signed this store's checkpoint; the ring is out of reach."""
    assert run("audit", "append", "P-1", "--action", "view").status == 0
    assert run("audit", "checkpoint").status == 0
    found: str = run("keys", "public", "--json").json["verifier"]
    monkeypatch.delenv("SUBJECT_KEY_RING")
    ring.rename(ring.with_name("elsewhere.json"))
    return found


def test_anybody_verifies_by_the_line_alone(run: Run, workplace: Path, line: str) -> None:
    """A line, or a file of lines; with blank ones among them."""
    (workplace / "lines").write_text(f"\n{line}\n\n", encoding="utf-8")
    for given in (line, f" {line}\n", "lines", workplace / "lines"):
        ran = run("audit", "verify", "--verifier-key", given, "--json")
        assert (ran.status, set(ran.json)) == (0, VERIFY_KEYS)
        told = {name: ran.json[name] for name in ("mode", "trust", "chains", "unanchored", "unanchored_manifests")}
        assert told == {"mode": "full", "trust": "public", "chains": 1, "unanchored": 0, "unanchored_manifests": 0}
    words = run("audit", "verify", "--verifier-key", line)
    assert "full public verification against checkpoint 0" in words.out
    assert run("audit", "verify", "P-1", "--verifier-key", line).status == 0
    assert run("audit", "verify", "P-nobody", "--verifier-key", line).status == 1


def test_an_older_line_serves_after_a_rotation(run: Run, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chain of signers leads on; both keys' lines in one file do too; and what is newer is counted."""
    monkeypatch.setenv("SUBJECT_KEY_RING", "elsewhere.json")
    assert run("keys", "rotate", "--signing").status == 0
    for _ in range(2):
        assert run("audit", "checkpoint").status == 0
    assert run("audit", "append", "P-1", "--action", "view").status == 0
    lines = run("keys", "public").out
    assert run("audit", "verify", "--json").json["trust"] == "keyed"
    monkeypatch.delenv("SUBJECT_KEY_RING")
    Path("lines").write_text("\n".join(one for one in lines.splitlines() if one.count("+") >= 2), encoding="utf-8")
    assert line in lines
    for given in (line, "lines"):
        ran = run("audit", "verify", "--verifier-key", given, "--json")
        assert (ran.status, ran.json["unanchored"], ran.json["checkpoint"]["number"]) == (0, 1, 2)


def test_public_verification_finds_tampering(run: Run, workplace: Path, line: str) -> None:
    """Exit 1, as with the ring; a lost layout is a finding, and the rest is verified."""
    layout = workplace / "data/catalog/layout.json"
    text = layout.read_bytes()
    layout.unlink()
    ran = run("audit", "verify", "--verifier-key", line, "--json")
    assert (ran.status, ran.json["intact"]) == (1, 1)
    assert [one["kind"] for one in ran.json["broken_logs"]] == ["unreadable"]
    layout.write_bytes(text)
    (segment,) = (workplace / "data/audit").glob("*/*")
    segment.write_bytes(segment.read_bytes().replace(b"success", b"denied", 1))
    ran = run("audit", "verify", "--verifier-key", line, "--json")
    assert (ran.status, ran.json["trust"]) == (1, "public")


def test_a_line_that_signed_nothing_here_is_a_wrong_call(run: Run, workplace: Path, line: str) -> None:
    """Exit 2: another store's line, no line, a file without one, none at all; and a store that is none."""
    assert run("keys", "new", "other.json").status == 0
    log_id = json.loads((workplace / "data/catalog/layout.json").read_bytes())["log_id"]
    stranger = SigningKey.of_seed(b"o" * 32).public
    for name in (log_id, "f" * 32):
        ran = run("audit", "verify", "--verifier-key", verifier_line(f"subject-pipeline/{name}", stranger))
        assert ran.status == 2
        assert "nothing here is signed by this key" in ran.err
    (workplace / "empty").write_text("\n", encoding="utf-8")
    for given in ("a+b+c", line[:-4], "nowhere", "empty", "", workplace):
        ran = run("audit", "verify", "--verifier-key", given)
        assert (ran.status, ran.out) == (2, "")
    assert "no subject store at" in run("--store", "none", "audit", "verify", "--verifier-key", line).err


def test_public_verification_is_always_full(run: Run, line: str) -> None:
    """With --incremental it is a usage error."""
    ran = run("audit", "verify", "--verifier-key", line, "--incremental")
    assert ran.status == 2
    assert "contradict each other" in ran.err
