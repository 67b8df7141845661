"""What certificates name as remaining is removed after thirty days, and nothing else."""

import datetime as dt

import pytest

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.ingestion.inbox import ingest_inbox
from subject_pipeline.lifecycle.erasure.certificates import Certificates
from subject_pipeline.lifecycle.erasure.expiring import remove_remaining
from subject_pipeline.registry.maintenance import compact
from subject_pipeline_tests.conftest import Declared
from subject_pipeline_tests.helpers.audit_stores import JUNE, Place
from subject_pipeline_tests.lifecycle.erasure.conftest import OTHER, P, People


def _event(candidate_id: str, name: str) -> bytes:
    return (
        f'{{"candidate_id":"{candidate_id}","event_id":"{name}","ts":"{JUNE}","actor":"ada","action":"read",'
        '"result":"success"}\n'
    ).encode()


@pytest.mark.long
def test_what_remains_goes_after_thirty_days(three: People) -> None:
    """An ingested file with its receipt and a report go; what waits, what came later, and what is of others stays."""
    place = three.place
    place.objects.replace("inbox/old.jsonl", _event(P, "1"))
    place.objects.replace("inbox/other.jsonl", _event(OTHER, "2"))
    log = place.log()
    assert ingest_inbox(log).appended == 2
    log.close()
    place.objects.replace("inbox/waits.jsonl", _event(P, "3"))
    place.objects.replace("inbox/notes.txt", P.encode())
    place.objects.replace("reports/then/page.html", f"<td>{P}</td>".encode())
    place.objects.replace("reports/then/again.html", f"<td>{P}</td>".encode())
    three.erase(P)
    compact(place.store, place.evidence())
    write_checkpoint(place.store)
    assert Certificates(place.store).issue().certificates == 1
    (certificate,) = Certificates(place.store).stored()
    looked = dt.datetime.fromisoformat(certificate.document["looked"]["at"])
    place.objects.replace("reports/then/again.html", b"written again since")

    assert remove_remaining(place.store, looked + dt.timedelta(days=29)) == 0
    assert remove_remaining(place.store, looked + dt.timedelta(days=31)) == 3

    left = [item.key for prefix in ("inbox/", "reports/") for item in place.objects.list(prefix)]
    assert left == ["inbox/notes.txt", "inbox/other.jsonl", "inbox/waits.jsonl", "reports/then/again.html"]


def test_a_file_named_after_the_person_and_its_receipt_are_named_and_go(place: Place, declared: Declared) -> None:
    """The receipt says which file was taken, so it holds the id too; of another file, it stays."""
    worker, files = "WORKER-17", ("inbox/WORKER-17.jsonl", "inbox/WORKER-178.jsonl")
    three = People(place, declared([worker]))
    place.store.register(three.dataset)
    three.backfill()
    for name in files:
        place.objects.replace(name, _event("somebody else", name))
    log = place.log()
    ingest_inbox(log)
    log.close()
    receipts = [item.key for item in place.objects.list("catalog/ingested/")]
    three.erase(worker)
    compact(place.store, place.evidence())
    write_checkpoint(place.store)

    assert Certificates(place.store).issue().certificates == 1
    (certificate,) = Certificates(place.store).stored()
    assert certificate.document["remaining_objects"] == 2
    assert worker not in certificate.line().decode()
    looked = dt.datetime.fromisoformat(certificate.document["looked"]["at"])
    assert remove_remaining(place.store, looked + dt.timedelta(days=31)) == 2
    assert [item.key for item in place.objects.list("inbox/")] == ["inbox/WORKER-178.jsonl"]
    (left,) = place.objects.list("catalog/ingested/")
    assert left.key in receipts
    assert b"WORKER-178" in (place.objects.get(left.key) or b"")
    assert ingest_inbox(place.log()).files == 0


def test_the_receipt_of_a_file_that_goes_goes_with_it(three: People) -> None:
    """Also where it names the file in a way that no certificate lists: an id so short may be in it by chance."""
    place = three.place
    place.objects.replace(f"inbox/{P}.jsonl", _event(P, "1"))
    log = place.log()
    ingest_inbox(log)
    log.close()
    three.erase(P)
    compact(place.store, place.evidence())
    write_checkpoint(place.store)
    assert Certificates(place.store).issue().certificates == 1

    assert remove_remaining(place.store, dt.datetime.now(dt.UTC) + dt.timedelta(days=31)) == 2
    assert not [*place.objects.list("inbox/"), *place.objects.list("catalog/ingested/")]
