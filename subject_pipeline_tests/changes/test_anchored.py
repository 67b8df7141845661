"""What the last checkpoint has of people: read once for many chunks, and believed only where it holds."""

import pytest

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.changes.anchored import LastCheckpoint
from subject_pipeline.changes.replaying import NOTHING_ANCHORED
from subject_pipeline.errors import AuditLogError
from subject_pipeline.manifests.frames import to_rows
from subject_pipeline.manifests.hashes import document_hash
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline_tests.helpers.audit_stores import LAYOUT, Place, manifest, people
from subject_pipeline_tests.helpers.recorded import table_of

SOMEBODY = [people(chunk, 1)[0] for chunk in range(LAYOUT.count)]


@pytest.fixture
def anchored(place: Place) -> Place:
    """Somebody in each chunk, registered without a row, and anchored."""
    ManifestTable(place.store).snapshot_or_create().insert(to_rows([manifest(one) for one in SOMEBODY], LAYOUT))
    assert write_checkpoint(place.store).written
    return place


def test_it_is_read_once_for_all_chunks(anchored: Place) -> None:
    """Each subject has the hash of its manifest and no row; of nobody else is anything known."""
    last, table = LastCheckpoint(anchored.store), table_of(anchored.store)
    anchored.objects.calls.clear()
    for chunk, one in zip(LAYOUT.names, SOMEBODY, strict=True):
        states = last.states(chunk)
        assert (states(one).seq, states(one).sha256) == (-1, document_hash(table[one]))
        assert states("nobody") == NOTHING_ANCHORED
    assert anchored.objects.counted("list", "checkpoints/") == 1


def test_without_a_checkpoint_nothing_is_known(place: Place) -> None:
    """As in a store of the first day."""
    assert LastCheckpoint(place.store).states(LAYOUT.names[0])(SOMEBODY[0]) == NOTHING_ANCHORED


def test_one_that_does_not_hold_is_not_believed(anchored: Place) -> None:
    """An edited roster is an error of its chunk, and the others are told as before."""
    last = LastCheckpoint(anchored.store)
    (roster,) = (anchored.folder / "checkpoints" / "rosters" / LAYOUT.names[0]).iterdir()
    roster.write_bytes(roster.read_bytes() + b"{}\n")
    with pytest.raises(AuditLogError, match=f"nobody in {LAYOUT.names[0]} can be changed"):
        last.states(LAYOUT.names[0])
    assert last.states(LAYOUT.names[1])(SOMEBODY[1]).sha256
