import base64
import hashlib
import json
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from subject_pipeline.cli.commands import keys as module
from subject_pipeline.errors import KeyRingError
from subject_pipeline.keys.ring_file import read_ring
from subject_pipeline_tests.cli.conftest import Ran, Run


@pytest.fixture
def ring(run: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ring that the environment names."""
    path = workplace / "ring.json"
    assert run("keys", "new", path).status == 0
    monkeypatch.setenv("SUBJECT_KEY_RING", str(path))
    return path


def _shows_no_key(ran: Ran, *rings: Path) -> bool:
    secrets = [digits for path in rings for digits in re.findall(r"[0-9a-f]{64}", path.read_text())]
    assert secrets
    return not any(digits in ran.out + ran.err for digits in secrets)


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_new_ring_and_its_copy(run: Run, workplace: Path, options: tuple[str, ...]) -> None:
    """Both files are made, for their owner alone, the copy without the private signing key; no key is printed."""
    ring, copy = workplace / "keys/ring.json", workplace / "writers/copy.json"

    ran = run("keys", "new", "keys/ring.json", "--writer-copy", "writers/copy.json", *options)

    assert ran.status == 0
    made = read_ring(ring)
    assert made.signing is not None
    assert made.signing.private is not None
    assert read_ring(copy) == made.writer_copy()
    assert {stat.S_IMODE(path.stat().st_mode) for path in (ring, copy)} == {0o600}
    assert {stat.S_IMODE(path.parent.stat().st_mode) for path in (ring, copy)} == {0o700}
    assert _shows_no_key(ran, ring, copy)
    if options:
        assert ran.json == {
            "file": "keys/ring.json",
            "key_id": made.active,
            "writer_copy": "writers/copy.json",
        }
    else:
        assert f"SUBJECT_KEY_RING={ring}" in ran.out
    assert "nothing can be recorded or signed, and no MAC verified" in ran.err
    assert sorted(path.name for path in workplace.rglob("*")) == ["copy.json", "keys", "ring.json", "writers"]


def test_a_ring_without_a_copy(run: Run, workplace: Path) -> None:
    """Without the option no copy is made, and the JSON says null; two rings have different keys."""
    first, second = run("keys", "new", "a", "--json").json, run("keys", "new", "b", "--json").json

    assert first["writer_copy"] is None
    assert first["key_id"] != second["key_id"]
    assert sorted(path.name for path in workplace.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("there", ["ring", "copy", "both"])
def test_an_existing_file_is_refused_before_anything_is_written(run: Run, workplace: Path, there: str) -> None:
    """Whichever of the two exists, neither is written, status 2."""
    taken = ("ring", "copy") if there == "both" else (there,)
    for name in taken:
        (workplace / name).write_text("mine")

    ran = run("keys", "new", "ring", "--writer-copy", "copy")

    assert (ran.status, ran.out) == (2, "")
    assert f"cannot create {taken[0]}: it exists" in ran.err
    assert {path.name: path.read_text() for path in workplace.iterdir()} == dict.fromkeys(taken, "mine")


def test_a_copy_in_the_rings_own_place_is_refused(run: Run, workplace: Path) -> None:
    """The same file under another spelling would lose the private signing key."""
    ran = run("keys", "new", "ring", "--writer-copy", f"../{workplace.name}/ring")

    assert (ran.status, ran.out) == (2, "")
    assert "cannot both be" in ran.err
    assert list(workplace.iterdir()) == []


@pytest.mark.parametrize("call", [("keys", "new", "file/ring"), ("keys", "new", "ring", "--writer-copy", "file/copy")])
def test_a_ring_that_cannot_be_written_leaves_nothing(run: Run, workplace: Path, call: tuple[str, ...]) -> None:
    """A file in the way of a folder is status 2, and no half of what was asked for stays."""
    (workplace / "file").write_text("in the way")

    ran = run(*call)

    assert (ran.status, ran.out) == (2, "")
    assert "Not a directory" in ran.err
    assert [path.name for path in workplace.iterdir()] == ["file"]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_rotating_adds_a_key(run: Run, ring: Path, options: tuple[str, ...]) -> None:
    """The new key is active, the old one is kept, the signing key stays; no key is printed."""
    before = read_ring(ring)

    ran = run("keys", "rotate", *options)

    after = read_ring(ring)
    assert ran.status == 0
    assert after.active != before.active
    assert list(after.keys) == [before.active, after.active]
    assert after.signing == before.signing
    assert _shows_no_key(ran, ring)
    if options:
        assert ran.json == {
            "file": str(ring),
            "key_id": after.active,
            "keys": [before.active, after.active],
            "writer_copy": None,
        }
    else:
        assert after.active in ran.out


def test_rotating_renews_the_writers_copy(run: Run, ring: Path) -> None:
    """The copy is written where there is none, and replaced where there is one."""
    copy = ring.with_name("copy.json")
    for _ in range(2):
        ran = run("keys", "rotate", "--writer-copy", copy, "--json")
        assert ran.status == 0
        assert ran.json["writer_copy"] == str(copy)
        assert read_ring(copy) == read_ring(ring).writer_copy()
        assert _shows_no_key(ran, ring, copy)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert len(read_ring(copy).keys) == 3


def test_rotating_replaces_nothing_but_a_copy(run: Run, ring: Path) -> None:
    """The ring itself or another file as the copy is refused before the ring is rotated."""
    (ring.parent / "notes").write_text("mine")
    (ring.parent / "notes").chmod(0o600)
    before = ring.read_bytes()

    for name in ("ring.json", "notes"):
        ran = run("keys", "rotate", "--writer-copy", name)
        assert (ran.status, ran.out) == (2, "")
        assert name in ran.err

    assert ring.read_bytes() == before
    assert (ring.parent / "notes").read_text() == "mine"


def test_a_copy_that_fails_after_the_rotation_is_told(run: Run, ring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ring is rotated, so the status is 1, with what to do; the JSON names no copy."""

    def fails(*_: object) -> None:
        raise KeyRingError("cannot write the key ring copy.json: No space left on device")

    monkeypatch.setattr(module, "write_copy", fails)

    ran = run("keys", "rotate", "--writer-copy", "copy.json", "--json")

    assert ran.status == 1
    assert (ran.json["writer_copy"], ran.json["key_id"]) == (None, read_ring(ring).active)
    assert len(ran.json["keys"]) == 2
    assert "No space left" in ran.err
    assert "rotate again" in ran.err


def test_the_public_key_is_a_verifier_line(run: Run, ring: Path, workplace: Path) -> None:
    """The line is C2SP's: name, the first bytes of the hash of name and key, and the key with its algorithm."""
    words, as_json = run("keys", "public"), run("keys", "public", "--json")

    log_id = json.loads((workplace / "data/catalog/layout.json").read_text())["log_id"]
    signing = read_ring(ring).signing
    assert signing is not None
    name, encoded = f"subject-pipeline/{log_id}", b"\x01" + signing.public
    short = hashlib.sha256(name.encode() + b"\n" + encoded).hexdigest()[:8]
    expected = f"{name}+{short}+{base64.b64encode(encoded).decode()}"
    assert (words.status, words.out) == (0, expected + "\n")
    assert as_json.json == {"verifier": expected, "older": []}
    assert f"new store at {(workplace / 'data').as_uri()}; its 64 chunks" in words.err, "the line names the log"
    assert as_json.err == ""


def test_a_signing_key_is_rotated_and_named_first(run: Run, ring: Path) -> None:
    """`public` prints the current line first, then older ones; a second rotation waits for a checkpoint."""
    old = run("keys", "public").out.strip()
    before = read_ring(ring)
    ran = run("keys", "rotate", "--signing", "--writer-copy", "copy.json", "--json")
    after = read_ring(ring)
    assert (ran.status, ran.json["key_id"], after.keys) == (0, before.active, before.keys)
    assert after.signing != before.signing
    assert _shows_no_key(ran, ring, ring.with_name("copy.json"))
    new, former = run("keys", "public").out.split()
    assert former == old != new
    assert run("keys", "public", "--json").json == {"verifier": new, "older": [old]}
    again = run("keys", "rotate", "--signing")
    assert (again.status, "write a checkpoint" in again.err) == (2, True)
    assert run("audit", "append", "P-1", "--action", "view").status == 0
    assert run("audit", "checkpoint").status == 0
    assert run("audit", "verify").status == 0
    assert run("keys", "rotate", "--signing").status == 0
    assert run("audit", "checkpoint").status == 0
    assert len(run("keys", "public").out.split()) == 3


def test_a_key_is_retired_by_a_checkpoint(run: Run, ring: Path, workplace: Path) -> None:
    """Never the active one, nor one that nobody has; where a chunk would be carried it is not, exit 1, and said."""
    old = read_ring(ring).active
    assert run("audit", "append", "P-1", "--action", "view").status == 0
    active = run("keys", "retire", old)
    assert (active.status, "it is the active one" in active.err) == (2, True)
    unknown = run("keys", "retire", "0" * 16)
    assert (unknown.status, "does not have it" in unknown.err) == (2, True)
    assert run("keys", "rotate").status == 0
    (segment,) = (workplace / "data" / "audit").rglob("*.jsonl")
    data = segment.read_bytes()
    segment.write_bytes(data.replace(b'"success"', b'"denied"'))
    carried = run("keys", "retire", old, "--json")
    assert (carried.status, carried.json) == (1, {"key_id": old, "number": None, "carried": [segment.parent.name]})
    segment.write_bytes(data)
    done = run("keys", "retire", old, "--json")
    assert (done.status, done.json) == (0, {"key_id": old, "number": 0, "carried": []})
    again = run("keys", "retire", old)
    assert (again.status, "retired already, since checkpoint 0" in again.err) == (2, True)
    assert run("audit", "append", "P-1", "--action", "view").status == 0
    assert run("audit", "verify").status == 0


def test_a_writers_copy_has_the_public_key_and_does_not_rotate(
    run: Run, ring: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line of a copy is the ring's; rotating it is refused, status 2."""
    whole = run("keys", "public").out
    run("keys", "rotate", "--writer-copy", "copy.json")
    copy = ring.with_name("copy.json")
    monkeypatch.setenv("SUBJECT_KEY_RING", str(copy))
    before = copy.read_bytes()

    assert run("keys", "public").out == whole
    ran = run("keys", "rotate")
    assert (ran.status, ran.out) == (2, "")
    assert "rotate the original" in ran.err
    assert copy.read_bytes() == before


def test_a_ring_without_a_signing_key_has_no_public_one(run: Run, ring: Path, workplace: Path) -> None:
    """It is told so, status 2, and the store stays unused."""
    document = json.loads(ring.read_text())
    del document["signing"]
    ring.write_text(json.dumps(document))

    ran = run("keys", "public")

    assert (ran.status, ran.out) == (2, "")
    assert "no signing key" in ran.err
    assert not (workplace / "data").exists()


@pytest.mark.parametrize("variable", [None, "", " ", "missing.json"])
@pytest.mark.parametrize(
    "call",
    [("rotate",), ("rotate", "--signing"), ("rotate", "--writer-copy", "copy.json"), ("public",), ("retire", "x")],
)
def test_without_a_ring_it_says_how_to_make_one(
    run: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None, call: tuple[str, ...]
) -> None:
    """Unset, empty, or the name of no file: status 2 with the command that makes a ring, and nothing is written."""
    if variable is not None:
        monkeypatch.setenv("SUBJECT_KEY_RING", variable)

    ran = run("keys", *call)

    assert (ran.status, ran.out) == (2, "")
    assert "subject-pipeline keys new FILE" in ran.err
    assert "SUBJECT_KEY_RING" in ran.err
    assert list(workplace.iterdir()) == []


def _readable(ring: Path) -> None:
    ring.chmod(0o644)


def _damaged(ring: Path) -> None:
    ring.write_text("{}")


@pytest.mark.parametrize("spoil", [_readable, _damaged])
@pytest.mark.parametrize("command", ["rotate", "public"])
def test_a_ring_that_cannot_be_used_is_named(run: Run, ring: Path, spoil: Callable[[Path], Any], command: str) -> None:
    """One that others can read or that is damaged is status 2 with its name, and it is left as it is."""
    spoil(ring)
    before = ring.read_bytes()

    ran = run("keys", command)

    assert (ran.status, ran.out) == (2, "")
    assert str(ring) in ran.err
    assert ring.read_bytes() == before
