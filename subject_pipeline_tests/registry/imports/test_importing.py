import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.errors import SourceError
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.manifests.manifest import VOCABULARY, SubjectManifest, translations
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.manifests.usual_documents import usual_rows
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.registry.exporting import export
from subject_pipeline.registry.imports import importing, rows
from subject_pipeline.registry.imports.importing import import_manifests
from subject_pipeline.registry.outcomes import ImportReport
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.conftest import Declared
from subject_pipeline_tests.helpers.audit_stores import Place, manifest

Lines = Callable[..., Path]


def _document(candidate_id: str, **fields: Any) -> dict[str, Any]:
    return {
        "schema": "subject_manifest.v1",
        "candidate_id": candidate_id,
        "created_at": "2026-01-02T03:04:05.678901Z",
        "updated_at": "2026-01-02T03:04:05.678901Z",
        "status": "active",
        "vertical": "unknown",
        "consent": {
            "general_pii": {
                "status": "pending_backfill_review",
                "version": "",
                "given_at": None,
                "withdrawn_at": None,
            },
            "biometric": {"status": "never_collected", "retention_until": None},
        },
        "retention": {"general_pii_until": "2030-01-01T00:00:00.000000Z", "policy": "4_year_default"},
        "datasets": [{"name": "people", "key_column": "k", "key_value": candidate_id}],
        "safe_views": [],
        "audit_log_path": "",
        "audit_log_chain_root": "",
        **fields,
    }


@pytest.fixture
def lines(tmp_path: Path) -> Lines:
    """Writes a JSON lines file; text stands as it is given."""

    def write(*documents: dict[str, Any] | str, name: str = "in.jsonl") -> Path:
        path = tmp_path / name
        texts = [item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in documents]
        path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
        return path

    return write


def _counts(report: ImportReport) -> tuple[int, int, int, int]:
    assert report.manifests == report.inserted + report.replaced + report.unchanged + report.failed
    return report.inserted, report.replaced, report.unchanged, report.failed


@pytest.mark.long
def test_an_export_comes_back_identical(store: SubjectStore, declared: Declared, tmp_path: Path) -> None:
    """What was exported and imported into another store is exported there again, but for the time of the import."""
    backfill(store, declared(["A", "ß/1", 'quote"\n\\', "\x01", *map(str, range(50))], safe_views=("v",)))
    registry = SubjectRegistry(store)
    registry.put(registry.get("A").model_copy(update={"status": "restricted"}))
    there, back = tmp_path / "there.jsonl", tmp_path / "back.jsonl"
    export(store, there)
    other = SubjectStore.at(str(tmp_path / "other"))

    assert _counts(import_manifests(other, there)) == (54, 0, 0, 0)
    export(other, back)

    first, second = ([json.loads(line) for line in path.read_text().splitlines()] for path in (there, back))
    assert all(new.pop("updated_at") > old.pop("updated_at") for new, old in zip(second, first, strict=True))
    assert second == first
    assert _counts(import_manifests(other, there)) == (0, 0, 54, 0)
    assert _counts(import_manifests(store, there)) == (0, 0, 54, 0)


def test_unknown_fields_survive_at_every_depth(store: SubjectStore, lines: Lines, tmp_path: Path) -> None:
    """Fields that only a newer writer knows are kept where they stood, after ours, and a rewrite keeps them too."""
    document = _document("A", newer={"deep": [1, {"x": None}], "float": 2.5}, extra="not ours", chunk="not ours either")
    document["consent"]["purpose"] = "hiring"
    document["consent"]["general_pii"]["seen_by"] = ["HR"]
    document["consent"]["biometric"]["device"] = {"id": 7}
    document["retention"]["hold"] = True
    document["datasets"] = [
        {"name": "a", "key_column": "k", "key_value": "1"},
        {"name": "b", "key_column": "k", "key_value": "2", "region": "eu"},
    ]
    path = lines(document, _document("B"))
    out = tmp_path / "out.jsonl"

    import_manifests(store, path)
    export(store, out)

    found = {item["candidate_id"]: item for item in map(json.loads, out.read_text().splitlines())}
    document |= {name: found["A"][name] for name in ("audit_log_path", "updated_at")}
    assert found["A"] == document
    assert list(found["A"]) == list(document)
    assert list(found["A"]["consent"]) == ["general_pii", "biometric", "purpose"]
    assert _counts(import_manifests(store, path)) == (0, 0, 2, 0)

    registry = SubjectRegistry(store)
    registry.put(registry.get("A").model_copy(update={"status": "restricted"}))
    assert registry.get("A").as_json() == {**document, "status": "restricted"}


def test_what_differs_is_replaced_and_the_rest_left(store: SubjectStore, lines: Lines) -> None:
    """New manifests are inserted, different ones replaced, equal ones left alone and counted as unchanged."""
    import_manifests(store, lines(_document("A"), _document("B"), _document("C")))
    version = ManifestTable(store).snapshot()
    assert version is not None

    same = import_manifests(store, lines(_document("A"), _document("B")))
    unchanged = ManifestTable(store).snapshot()
    assert unchanged is not None
    mixed = import_manifests(store, lines(_document("A"), _document("B", status="restricted"), _document("D")))

    assert _counts(same) == (0, 0, 2, 0)
    assert unchanged.version == version.version
    assert _counts(mixed) == (1, 1, 1, 0)
    registry = SubjectRegistry(store)
    assert [registry.get(candidate).status for candidate in "ABCD"] == ["active", "restricted", "active", "active"]


def test_the_same_moment_written_otherwise_is_unchanged(store: SubjectStore, lines: Lines) -> None:
    """Times are compared as moments, whatever offset or precision they were written with."""
    import_manifests(store, lines(_document("A", created_at="2026-01-02T03:00:00Z")))

    again = import_manifests(store, lines(_document("A", created_at="2026-01-02T05:00:00.000+02:00")))

    assert _counts(again) == (0, 0, 1, 0)
    assert SubjectRegistry(store).get("A").as_json()["created_at"] == "2026-01-02T03:00:00.000000Z"


@pytest.mark.long
def test_of_the_same_id_twice_the_later_stands(
    store: SubjectStore, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last document of an id wins, within one batch and over two."""
    twice = [_document("A"), _document("B"), _document("A", status="restricted")]
    first = import_manifests(store, lines(*twice))
    assert (first.manifests, first.inserted, first.failed) == (3, 2, 0)
    assert SubjectRegistry(store).get("A").status == "restricted"

    monkeypatch.setattr(importing, "_BATCH", 1)
    import_manifests(store, lines(*twice, _document("A", status="erasure_ordered")))
    assert SubjectRegistry(store).get("A").status == "erasure_ordered"


def test_a_folder_of_one_file_a_subject(store: SubjectStore, tmp_path: Path) -> None:
    """A folder is read with all below it; the log of another system is noted beside the manifest, not taken over."""
    folder = tmp_path / "manifests"
    for number in range(5):
        path = folder / f"{number % 2}" / f"P{number}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        document = _document(
            f"P{number}", audit_log_path=f"subjects/P{number}/audit.jsonl", audit_log_chain_root="ab" * 32
        )
        path.write_text(json.dumps(document, indent=2))
    (folder / "README.txt").write_text("not a manifest")

    first = import_manifests(store, folder)
    again = import_manifests(store, folder)

    assert (_counts(first), _counts(again)) == ((5, 0, 0, 0), (0, 0, 5, 0))
    layout = store.layout_or_create().chunks
    manifest = SubjectRegistry(store).get("P3").as_json()
    assert manifest["audit_log_path"] == f"audit/{layout.chunk_of('P3')}"
    assert manifest["audit_log_chain_root"] == ""
    assert manifest["imported_audit_log"] == {"path": "subjects/P3/audit.jsonl", "chain_root": "ab" * 32}


def test_the_log_of_another_system_is_noted_through_a_second_move(
    store: SubjectStore, lines: Lines, tmp_path: Path
) -> None:
    """Moved on into a store of another layout, a manifest still names the foreign log that it came with."""
    import_manifests(store, lines(_document("A", audit_log_path="foreign/A.jsonl", audit_log_chain_root="cd" * 32)))
    out = tmp_path / "out.jsonl"
    export(store, out)
    other = SubjectStore.at(str(tmp_path / "other"), wanted_chunks=2)

    import_manifests(other, out)

    assert "foreign/A.jsonl" in SubjectRegistry(other).get("A").to_json()


@pytest.mark.parametrize(("path", "chain_root"), [("foreign/A.jsonl", ""), ("", "cd" * 32)])
def test_whichever_is_known_of_another_systems_log_is_noted(
    store: SubjectStore, lines: Lines, path: str, chain_root: str
) -> None:
    """A path without a chain root is kept, and a chain root without a path."""
    import_manifests(store, lines(_document("A", audit_log_path=path, audit_log_chain_root=chain_root)))

    manifest = SubjectRegistry(store).get("A").as_json()
    assert manifest["imported_audit_log"] == {"path": path, "chain_root": chain_root}
    assert manifest["audit_log_chain_root"] == ""


def test_a_manifest_without_a_log_gets_this_stores(store: SubjectStore, lines: Lines) -> None:
    """No foreign log is noted where the manifest names none."""
    import_manifests(store, lines(_document("A")))

    manifest = SubjectRegistry(store).get("A").as_json()
    assert manifest["audit_log_path"].startswith("audit/chunk-")
    assert "imported_audit_log" not in manifest


def test_one_json_file(store: SubjectStore, lines: Lines) -> None:
    """A single `.json` file is one manifest."""
    path = lines(json.dumps(_document("A"), indent=1), name="A.json")

    assert _counts(import_manifests(store, path)) == (1, 0, 0, 0)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("{", "not a subject manifest"),
        ("[]", "not a subject manifest"),
        ("null", "not a subject manifest"),
        ('{"candidate_id": "X"}', "not a subject manifest"),
        (json.dumps(_document("")), "candidate_id"),
        (json.dumps(_document("X", schema="something.v1")), "schema"),
        (json.dumps(_document("X", created_at="yesterday")), "created_at"),
        (json.dumps(_document("X", created_at="2026-01-02T03:04:05")), "created_at"),
        (json.dumps(_document("X", consent={"general_pii": 1})), "consent.general_pii"),
        (json.dumps(_document("X", datasets=[{"name": "a"}])), "datasets.0"),
        (json.dumps(_document("L" * 201)), "201 bytes"),
        (json.dumps(_document("\ud800")), "not a subject manifest"),
    ],
)
def test_a_bad_line_is_named_and_does_not_stop_the_others(
    store: SubjectStore, lines: Lines, bad: str, words: str
) -> None:
    """What is no manifest is named as file:line with the field that is wrong; all others are imported."""
    path = lines(_document("A"), "", bad, _document("B"))

    report = import_manifests(store, path)

    assert _counts(report) == (2, 0, 0, 1)
    (failure,) = report.failures
    assert failure.where == f"{path}:3"
    assert words in failure.reason
    assert SubjectRegistry(store).count() == 2


def test_bytes_that_are_no_text_are_named(store: SubjectStore, tmp_path: Path) -> None:
    """A line that is not UTF-8 is a bad line like any other."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"candidate_id": "\xff"}\n' + json.dumps(_document("A")).encode())

    report = import_manifests(store, path)

    assert _counts(report) == (1, 0, 0, 1)
    assert report.failures[0].where == f"{path}:1"


def test_a_bad_file_of_a_folder_is_named(store: SubjectStore, tmp_path: Path) -> None:
    """Of a folder, the file is named."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/good.json").write_text(json.dumps(_document("A")))
    (tmp_path / "in/bad.json").write_text("")

    report = import_manifests(store, tmp_path / "in")

    assert _counts(report) == (1, 0, 0, 1)
    assert report.failures[0].where == str(tmp_path / "in/bad.json")


@pytest.mark.long
def test_a_collision_is_named_with_both_ids(store: SubjectStore, declared: Declared, lines: Lines) -> None:
    """An import never overwrites another id, neither a stored one nor one that came before it in the file."""
    backfill(store, declared(["CAND/1"]))
    before = SubjectRegistry(store).get("CAND/1")
    path = lines(_document("CAND_1"), _document("X/1"), _document("X_1"), _document("Y"))

    for inserted, unchanged in ((2, 0), (0, 2)):
        report = import_manifests(store, path)

        assert _counts(report) == (inserted, 0, unchanged, 2)
        assert [(item.where, item.candidate_id) for item in report.failures] == [
            (f"{path}:1", "CAND_1"),
            (f"{path}:3", "X_1"),
        ]
        assert "'CAND/1'" in report.failures[0].reason
        assert "'X/1'" in report.failures[1].reason
    assert SubjectRegistry(store).get("CAND/1") == before
    assert SubjectRegistry(store).count() == 3


@pytest.mark.parametrize("name", ["missing", "missing.jsonl", "missing.json", "empty", "people.csv"])
def test_what_cannot_be_read_is_named(store: SubjectStore, tmp_path: Path, name: str) -> None:
    """A path without manifests is refused by name, and the store is not created."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "people.csv").write_text("id\n1\n")

    with pytest.raises(SourceError, match=name):
        import_manifests(store, tmp_path / name)
    assert not (tmp_path / "store").exists()


def test_an_empty_file_imports_nothing(store: SubjectStore, lines: Lines, tmp_path: Path) -> None:
    """No line, no manifest, no error; the store is not created."""
    assert _counts(import_manifests(store, lines())) == (0, 0, 0, 0)
    assert not (tmp_path / "store").exists()


_WORDS = {
    "status": "archived",
    "vertical": "retail",
    "consent.general_pii.status": "granted",
    "consent.biometric.status": "none",
    "retention.policy": "7_years",
}


@pytest.mark.parametrize(("field", "word"), _WORDS.items())
def test_a_word_of_no_vocabulary_is_refused_with_those_there_are(
    store: SubjectStore, lines: Lines, field: str, word: str
) -> None:
    """The document is named with field, word and words; the others are imported."""
    document = _document("A")
    place = document
    *parents, name = field.split(".")
    for parent in parents:
        place = place[parent]
    place[name] = word
    path = lines(document, _document("B"))

    report = import_manifests(store, path)

    assert _counts(report) == (1, 0, 0, 1)
    assert (report.failures[0].where, report.failures[0].candidate_id) == (f"{path}:1", "A")
    reason = report.failures[0].reason
    assert f"{field} is {word!r}" in reason
    assert all(known in reason for known in VOCABULARY[field])


@pytest.mark.long
@pytest.mark.parametrize("field", VOCABULARY)
def test_every_word_of_the_vocabulary_is_taken(store: SubjectStore, lines: Lines, field: str) -> None:
    """Each of them is imported, and another system's word is translated into it."""
    theirs = translations([f"their-{known}={known}" for known in VOCABULARY[field]])
    for prefix, words in (("", {}), ("their-", theirs)):
        documents = [
            SubjectManifest.parse(_document(prefix + known)).translated({field: {_default(field): prefix + known}})
            for known in VOCABULARY[field]
        ]
        read = import_manifests(store, lines(*(one.to_json() for one in documents)), words=words)
        assert _counts(read) == (len(documents), 0, 0, 0)
        for known in VOCABULARY[field]:
            assert SubjectRegistry(store).get(prefix + known).word(field) == known


def _default(field: str) -> str:
    return SubjectManifest.parse(_document("A")).word(field)


def test_a_stored_word_of_a_newer_writer_is_still_read(store: SubjectStore) -> None:
    """What a later version wrote does not break reading."""
    newer = SubjectManifest.parse(_document("A", status="frozen"))
    SubjectRegistry(store).put(newer)

    assert SubjectRegistry(store).get("A").status == "frozen"


def test_what_is_written_is_dated_and_what_is_unchanged_is_not(store: SubjectStore, lines: Lines) -> None:
    """`updated_at` is the import's time where a manifest is inserted or replaced, and is no difference."""
    before = dt.datetime.now(dt.UTC)
    import_manifests(store, lines(_document("A")))
    first = SubjectRegistry(store).get("A")
    again = import_manifests(store, lines(_document("A", updated_at="2001-01-01T00:00:00Z")))
    unchanged = SubjectRegistry(store).get("A")
    changed = import_manifests(store, lines(_document("A", vertical="general")))

    assert (_counts(again), _counts(changed)) == ((0, 0, 1, 0), (0, 1, 0, 0))
    assert unchanged == first
    assert before <= first.updated_at < SubjectRegistry(store).get("A").updated_at <= dt.datetime.now(dt.UTC)
    assert SubjectRegistry(store).get("A").created_at == first.created_at


_FOREIGN = "ab" * 32


@pytest.mark.parametrize("ring", [False, True])
@pytest.mark.parametrize(
    ("path", "root"), [("other/path", _FOREIGN), ("other/path", ""), ("", _FOREIGN), ("ours", _FOREIGN)]
)
def test_a_foreign_log_is_kept_whichever_half_is_there(
    store: SubjectStore, lines: Lines, tmp_path: Path, path: str, root: str, ring: bool
) -> None:
    """Path, root or both of another system's log are noted, also where its path is like ours."""
    path = f"audit/{store.intended_chunks().chunk_of('A')}" if path == "ours" else path
    if ring:
        create_ring(tmp_path / "ring.json", KeyRing.new(b"k" * 32, b"s" * 32))
    evidence = ManifestEvidence(store.with_ring(KeyRingFile(tmp_path / "ring.json" if ring else None)), actor="a")
    file = lines(_document("A", audit_log_path=path, audit_log_chain_root=root))

    assert _counts(import_manifests(store, file, evidence=evidence)) == (1, 0, 0, 0)
    assert _counts(import_manifests(store, file, evidence=evidence)) == (0, 0, 1, 0)

    found = SubjectRegistry(store).get("A").as_json()
    assert found["imported_audit_log"] == {"path": path, "chain_root": root}
    assert (found["audit_log_path"], found["audit_log_chain_root"]) == (
        f"audit/{store.intended_chunks().chunk_of('A')}",
        "",
    )


@pytest.mark.long
def test_the_log_of_this_store_is_not_foreign(place: Place, tmp_path: Path) -> None:
    """What this store exported comes back unchanged, also after a deletion, and points to no other system."""
    registry = place.registry()
    for status in ("active", "restricted", "active"):
        registry.put(
            manifest("A", status=status, audit_log_path=f"audit/{place.store.intended_chunks().chunk_of('A')}")
        )
    root = registry.get("A").audit_log_chain_root
    assert root
    out = tmp_path / "out.jsonl"
    export(place.store, out)

    assert _counts(import_manifests(place.store, out, evidence=place.evidence())) == (0, 0, 1, 0)
    registry.delete("A")
    assert _counts(import_manifests(place.store, out, evidence=place.evidence())) == (1, 0, 0, 0)

    again = registry.get("A").as_json()
    assert "imported_audit_log" not in again
    assert again["audit_log_chain_root"] == root


def test_updated_at_moves_on_even_where_the_stored_one_lies_ahead(store: SubjectStore, lines: Lines) -> None:
    """A manifest that a clock ahead of ours wrote is replaced by one that is later still."""
    ahead = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    import_manifests(store, lines(_document("A")))
    registry = SubjectRegistry(store)
    registry.put(registry.get("A").model_copy(update={"updated_at": ahead}))
    import_manifests(store, lines(_document("A", status="restricted")))
    after = registry.get("A")
    assert (after.status, after.updated_at) == ("restricted", ahead + dt.timedelta(microseconds=1))


def test_by_column_and_one_by_one_give_the_same(tmp_path: Path, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows, counts and failures in their order do not depend on which documents are read by column."""
    usual = [_document(f"P{number}", datasets=[], status=VOCABULARY["status"][number % 3]) for number in range(9)]
    path = lines(
        *usual,
        _document("P1", vertical="general"),
        "{",
        _document("P/2"),
        _document("P_2", vertical="retail"),
        _document("P3", audit_log_path="elsewhere", audit_log_chain_root="ab" * 32),
        _document("P4", newer={"a": [1.5, 2**70]}, imported_audit_log=None, audit_log_path="elsewhere"),
        json.dumps(_document("P5", created_at="2026-01-02T05:00:00+02:00"), indent=None),
        json.dumps(_document("P6"))[:-1] + ',"status":"restricted"}',
        _document("X" * 201),
        _document("P_2"),
    )

    found = []
    for name in ("by column", "one by one"):
        store = SubjectStore.at(str(tmp_path / name), wanted_chunks=4)
        reports = [import_manifests(store, path) for _ in range(2)]
        snapshot = ManifestTable(store).snapshot()
        assert snapshot is not None
        found.append((reports, snapshot.rows().drop("updated_at").sort("storage_key").rows()))
        monkeypatch.setattr(rows, "usual_rows", lambda _, layout, words: usual_rows([], layout, words))

    assert found[0] == found[1]
    assert found[0][0][0].failed == 4
