"""Lists of what runs found: written, read, searched for traces, and gone after thirty days."""

import datetime as dt

import pytest

from subject_pipeline.errors import UnknownFindingsError
from subject_pipeline.lifecycle.erasure.traces import look
from subject_pipeline.lifecycle.stored_findings import read_findings, remove_old_findings, store_findings
from subject_pipeline.objects.protocol import ObjectStore

RUN = "0d5f3a52-6f0e-4a3b-8d4e-0b6c3d1f2a77"
FOUND: list[dict[str, str | int]] = [
    {"check": "chains_intact", "candidate_id": "PERSON-1", "kind": "bad_mac", "seq": 3},
    {"check": "nothing_rejected", "file": "inbox/caf\udce9.jsonl", "line": 2, "reason": "no event"},
]


def test_what_an_asset_found_is_one_list_a_run(objects: ObjectStore) -> None:
    """A finding has the columns that it came with; a retried step replaces its list; nothing found is no list."""
    assert store_findings(objects, RUN, "audit_log", []) is None
    key = store_findings(objects, RUN, "people/subject_manifests", FOUND)
    assert key == f"findings/{RUN}/people/subject_manifests.parquet"
    assert read_findings(objects, key) == [FOUND[0], {**FOUND[1], "file": "inbox/caf\\udce9.jsonl"}]
    assert store_findings(objects, RUN, "people/subject_manifests", FOUND[:1]) == key
    assert read_findings(objects, f"{RUN}/people/subject_manifests.parquet") == FOUND[:1]
    assert [item.key for item in objects.list("findings/")] == [key]


def test_a_certificate_lists_what_a_list_says_of_somebody(objects: ObjectStore) -> None:
    """An id in a list may remain for a time, so it keeps no certificate back, and is named in it."""
    key = store_findings(objects, RUN, "audit_verification", [{"detail": "no manifest of 'PERSON-1'"}, FOUND[0]])
    assert look(objects, ["PERSON-1", "PERSON-2"]).remaining("PERSON-1") == [key]
    assert look(objects, ["PERSON-1", "PERSON-2"]).remaining("PERSON-2") == []


def test_lists_go_after_thirty_days(objects: ObjectStore) -> None:
    """Whatever found them and anyone who they name; who asks for one later is told so."""
    key = store_findings(objects, RUN, "audit_verification", FOUND) or ""
    objects.create("findings/20260101T000000Z-01234567.jsonl", b"{}\n")
    now = dt.datetime.now(dt.UTC)
    assert remove_old_findings(objects, now + dt.timedelta(days=29)) == 0
    assert remove_old_findings(objects, now + dt.timedelta(days=31)) == 2
    assert not list(objects.list("findings/"))
    with pytest.raises(UnknownFindingsError, match="removed after 30 days"):
        read_findings(objects, key)
