"""Names of objects: only the key that would be written is taken for the object, whatever else Unicode calls a digit."""

import datetime as dt
import re
from pathlib import Path

import pytest

import subject_pipeline
from subject_pipeline.anchoring.forgetting import forget
from subject_pipeline.audit.stored_segments import AuditSegments
from subject_pipeline.errors import ManifestError
from subject_pipeline.manifests.manifest import SubjectManifest
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.store.layout import note_key
from subject_pipeline_tests.helpers.forging import Forger

CHUNK = "chunk-0"
FULL_WIDTH = str.maketrans("0123456789", "".join(chr(0xFF10 + digit) for digit in range(10)))
ARABIC = str.maketrans("0123456789", "".join(chr(0x0660 + digit) for digit in range(10)))


@pytest.mark.parametrize("digits", [FULL_WIDTH, ARABIC], ids=["full-width", "arabic"])
@pytest.mark.parametrize("whole", [False, True])
def test_a_twin_of_a_segment_is_foreign_and_takes_no_place(
    objects: ObjectStore, digits: dict[int, int], whole: bool
) -> None:
    """A key whose number is written in other digits is not the segment, which keeps its place in the listing."""
    segments = AuditSegments(objects)
    key = AuditSegments.key(CHUNK, 0)
    twin = f"audit/{CHUNK}/{Path(key).name.translate(digits)}"
    segments.create(CHUNK, 0, b"real")
    objects.create(twin, b"the twin, of another size")
    found = segments.list([CHUNK], whole=whole)
    assert {number: item.key for number, item in found.segments[CHUNK].items()} == {0: key}
    assert [item.key for item in found.foreign] == [twin]
    assert list(segments.tail(CHUNK, -1)) == [(0, b"real")]


def test_a_twin_does_not_lengthen_a_log(objects: ObjectStore) -> None:
    """A later number in other digits is no later segment, so that appending goes on."""
    segments = AuditSegments(objects)
    segments.create(CHUNK, 0, b"real")
    objects.create(f"audit/{CHUNK}/{'000000000007'.translate(FULL_WIDTH)}.jsonl", b"twin")
    assert list(segments.tail(CHUNK, -1)) == [(0, b"real")]


@pytest.mark.parametrize(
    "key",
    [
        "checkpoints/²/x",
        f"checkpoints/{'1'.translate(ARABIC)}/x",
        "checkpoints/0/x",
        "checkpoints/x",
        "checkpoints/000000000000/x/y",
        "checkpoints/000000000000/kept by hand.jsonl",
        f"checkpoints/{'0' * 13}/{'ab' * 32}/checkpoint.json",
        f"checkpoints/{'0' * 12}/{('12' * 32).translate(FULL_WIDTH)}/checkpoint.json",
        f"checkpoints/leaves/{('12' * 32).translate(FULL_WIDTH)}",
        f"checkpoints/rosters/chunk-{'0'.translate(ARABIC)}/{'12' * 32}",
        f"checkpoints/{note_key(1).split('/')[1].translate(FULL_WIDTH)}/note",
        f"checkpoints/{note_key(9).split('/')[1].translate(FULL_WIDTH)}/note",
    ],
)
def test_a_stray_object_below_checkpoints_is_neither_read_nor_deleted(objects: ObjectStore, key: str) -> None:
    """It stands for nothing and stands in nobody's way; what was not written here is not removed here."""
    objects.create(key, b"stray")
    forger = Forger(objects)
    forger.write(4)
    latest = forger.latest()
    assert latest.number == 3
    forget(objects, forger.store(), latest, dt.datetime.now(dt.UTC) + dt.timedelta(days=2))
    assert objects.get(key) == b"stray"


def test_no_stored_name_is_parsed_with_unicode_digits() -> None:
    r"""`\d`, `isdigit` and their kin take any script's digits, so where they stand ASCII is asked for beside them."""
    package = Path(subject_pipeline.__file__).parent
    careless = [
        f"{path.relative_to(package)}: {line.strip()}"
        for path in sorted(package.rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\\d|\.isdigit\(|\.isdecimal\(|\.isnumeric\(", line)
        and not re.search(r"re\.ASCII|isascii\(", line)
    ]
    assert careless == []


def test_other_digits_in_a_manifests_schema_are_refused() -> None:
    """The version of a manifest's schema is written in ASCII."""
    time = "2026-01-02T03:04:05.000000Z"
    value = {"candidate_id": "P", "created_at": time, "updated_at": time, "retention": {"general_pii_until": time}}
    SubjectManifest.parse({**value, "schema": "subject_manifest.v1"})
    with pytest.raises(ManifestError):
        SubjectManifest.parse({**value, "schema": f"subject_manifest.v{'1'.translate(FULL_WIDTH)}"})
