import json
import stat
import threading
from pathlib import Path

import pytest

from subject_pipeline.errors import KeyRingError
from subject_pipeline.keys.marks import Mark, check_writable, marks_path, raise_mark, read_marks

LOG, OTHER_LOG = "1" * 32, "2" * 32
TIME = "2026-06-30T12:00:00.000000Z"


def mark(size: int) -> Mark:
    """A mark of so many checkpoints."""
    return Mark(size, f"{size:064x}", TIME, "ab" * 32)


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    """Where a ring would be: marks look at its name alone."""
    return tmp_path / "ring.json"


def test_a_mark_only_rises_and_each_log_has_its_own(ring: Path) -> None:
    """A lower one changes nothing; one ring may sign several logs."""
    assert read_marks(ring) == {}
    assert raise_mark(ring, LOG, mark(2)) == {LOG: mark(2)}
    assert raise_mark(ring, LOG, mark(1)) == {LOG: mark(2)}
    assert raise_mark(ring, OTHER_LOG, mark(1)) == {LOG: mark(2), OTHER_LOG: mark(1)}
    raise_mark(ring, LOG, mark(3))
    assert read_marks(ring) == {LOG: mark(3), OTHER_LOG: mark(1)}


def test_the_file_is_beside_the_ring_and_its_owners_alone(ring: Path, tmp_path: Path) -> None:
    """Whole or not at all, and a link to the ring has none of its own."""
    raise_mark(ring, LOG, mark(1))
    assert [path.name for path in tmp_path.iterdir()] == ["ring.json.mark"]
    assert stat.S_IMODE((tmp_path / "ring.json.mark").stat().st_mode) == 0o600
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.json"
    link.symlink_to(ring)
    assert marks_path(link) == marks_path(ring)
    assert json.loads(marks_path(ring).read_bytes()) == {
        "schema": "subject_signing_marks.v1",
        "logs": {LOG: {"size": 1, "root": f"{1:064x}", "time": TIME, "signer": "ab" * 32}},
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "junk",
        '{"schema":"subject_signing_marks.v1"}',
        '{"schema":"subject_signing_marks.v2","logs":{}}',
        '{"schema":"subject_signing_marks.v1","logs":{},"more":1}',
        '{"schema":"subject_signing_marks.v1","logs":{"x":{}}}',
        '{"schema":"subject_signing_marks.v1","logs":[]}',
        f'{{"schema":"subject_signing_marks.v1","logs":{{"{LOG}":{{"size":1,"root":"x","time":"","signer":"x"}}}}}}',
        f'{{"schema":"subject_signing_marks.v1","logs":{{"{LOG}":1}}}}',
    ],
)
def test_a_damaged_mark_is_an_error_and_stays(ring: Path, text: str) -> None:
    """What was signed last is then not known, so nothing is signed over it."""
    marks_path(ring).write_text(text)
    with pytest.raises(KeyRingError, match="is damaged"):
        read_marks(ring)
    with pytest.raises(KeyRingError, match="is damaged"):
        raise_mark(ring, LOG, mark(1))
    assert marks_path(ring).read_text() == text


def test_what_the_system_refuses_is_named(ring: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in its place, and a ring in a folder that cannot be written to."""
    marks_path(ring).mkdir()
    with pytest.raises(KeyRingError, match="cannot read the high-water mark"):
        read_marks(ring)
    with pytest.raises(KeyRingError, match="cannot write the high-water mark"):
        raise_mark(tmp_path / "none" / "ring.json", LOG, mark(1))
    check_writable(ring)
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(KeyRingError, match="in a folder that its owner can write to"):
        check_writable(ring)


def test_concurrent_marks_lose_none(ring: Path) -> None:
    """Each log's highest is there in the end."""
    logs = [f"{at:032x}" for at in range(4)]

    def work(log: str) -> None:
        for size in range(1, 10):
            raise_mark(ring, log, mark(size))

    threads = [threading.Thread(target=work, args=[log]) for log in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_marks(ring) == dict.fromkeys(logs, mark(9))
