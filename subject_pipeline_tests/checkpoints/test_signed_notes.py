import base64
import json
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.checkpoints.signed_notes import (
    MAX_NOTE_BYTES,
    is_named_in,
    open_note,
    opened_by,
    parse_verifier_line,
    sign_note,
    verifier_line,
)
from subject_pipeline.errors import CheckpointError

VECTORS = Path(__file__).parent.parent / "vectors"
GO = json.loads((VECTORS / "signed_note.json").read_text(encoding="utf-8"))
GO_SEED = base64.b64decode(GO["signer"].split("+", 4)[4])[1:]
GO_PUBLIC = Ed25519PrivateKey.from_private_bytes(GO_SEED).public_key().public_bytes_raw()

SEED, NAME, TEXT = bytes(range(32)), "subject-pipeline/" + "0" * 32, "one\n\ntwo\n"
PUBLIC = Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()
NOTE = sign_note(TEXT, NAME, SEED)

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.just("\n"), max_size=40).map(
    lambda text: text + "\n"
)
names = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=20).filter(lambda name: "+" not in name)
seeds = st.binary(min_size=32, max_size=32)


def _public_of(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def test_the_reference_note_is_read_and_written() -> None:
    """Go's example opens with Go's verifier line, and signing its text makes the same bytes."""
    assert parse_verifier_line(GO["verifier"]) == (GO["name"], GO_PUBLIC)
    assert verifier_line(GO["name"], GO_PUBLIC) == GO["verifier"]
    assert open_note(GO["note"], GO["name"], GO_PUBLIC) == GO["text"]
    assert sign_note(GO["text"], GO["name"], GO_SEED) == GO["note"]


@given(texts, names, seeds)
def test_what_is_signed_opens(text: str, name: str, seed: bytes) -> None:
    """Opening what was signed gives the text, whatever blank lines it holds; the verifier line goes there and back."""
    assert open_note(sign_note(text, name, seed), name, _public_of(seed)) == text
    assert parse_verifier_line(verifier_line(name, _public_of(seed))) == (name, _public_of(seed))


@given(st.data())
def test_any_changed_character_is_noticed(data: st.DataObject) -> None:
    """A note with one character changed, dropped or put in does not open."""
    at = data.draw(st.integers(0, len(NOTE) - 1))
    new = data.draw(st.sampled_from(["", "x", "\n", "A", "+", " ", "\u2014", "="]) | st.characters())
    tampered = NOTE[:at] + new + NOTE[at + data.draw(st.integers(0, 1)) :]
    if tampered != NOTE:
        with pytest.raises(CheckpointError):
            open_note(tampered, NAME, PUBLIC)


def test_signatures_of_others_are_ignored_wherever_they_stand() -> None:
    """Other keys' lines before and after do no harm, even under the same name, and do not help."""
    text, ours = NOTE[: len(TEXT)], NOTE[len(TEXT) + 1 :]
    other_name = sign_note(TEXT, "witness.example/w", bytes(32))[len(TEXT) + 1 :]
    other_key = sign_note("else\n", NAME, bytes(32))[6:]
    assert open_note(f"{text}\n{other_name}{ours}{other_key}", NAME, PUBLIC) == TEXT
    with pytest.raises(CheckpointError, match="is not signed by the key"):
        open_note(f"{text}\n{other_name}{other_key}", NAME, PUBLIC)


def test_every_signature_of_our_key_must_be_right() -> None:
    """A wrong signature under our name and key id refuses the note, though a right one stands beside it."""
    wrong = sign_note("else\n", NAME, SEED)[6:]
    for lines in (wrong + NOTE[len(TEXT) + 1 :], NOTE[len(TEXT) + 1 :] + wrong):
        with pytest.raises(CheckpointError, match="is not its text's"):
            open_note(f"{TEXT}\n{lines}", NAME, PUBLIC)


def test_a_signature_does_not_open_under_another_name_or_key() -> None:
    """Name and key both select the signature."""
    with pytest.raises(CheckpointError, match="is not signed by the key"):
        open_note(NOTE, "other", PUBLIC)
    with pytest.raises(CheckpointError, match="is not signed by the key"):
        open_note(NOTE, NAME, GO_PUBLIC)


def test_a_hundred_signatures_are_read_and_a_flood_is_not() -> None:
    """A note may have many signatures, but not any number of them."""
    ours = NOTE[len(TEXT) + 1 :]
    others = "".join(sign_note(TEXT, f"witness{index}", bytes(32))[len(TEXT) + 1 :] for index in range(100))
    for count in (15, 99):
        fewer = "".join(others.splitlines(keepends=True)[:count])
        assert open_note(f"{TEXT}\n{fewer}{ours}", NAME, PUBLIC) == TEXT
    with pytest.raises(CheckpointError, match="more than 100"):
        open_note(f"{TEXT}\n{others}{ours}", NAME, PUBLIC)


LINE = NOTE[len(TEXT) + 1 :]


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        "\n\n",
        TEXT,
        f"{TEXT}\n",
        f"{TEXT}{LINE}",
        NOTE.rstrip("\n"),
        NOTE + "\n",
        NOTE.replace("\n", "\r\n"),
        NOTE.replace("one", "o\tne"),
        NOTE.replace("one", "o\x00ne"),
        NOTE.replace("one", "\ud800"),
        f"{TEXT}\n{LINE}no signature\n",
        f"{TEXT}\n{LINE}\u2014 name\n",
        f"{TEXT}\n{LINE}\u2014 name !!!!\n",
        f"{TEXT}\n{LINE}\u2014 name AAAAAA==\n",
        f"{TEXT}\n{LINE}\u2014  AAAAAAAA\n",
        f"{TEXT}\n{LINE}\u2014 a+b AAAAAAAA\n",
        f"{TEXT}\n{LINE}\u2014 a\u3000b AAAAAAAA\n",
        f"{TEXT}\n{LINE.replace(chr(0x2014), '-')}",
        f"{TEXT}\n{LINE.replace(chr(0x2014), chr(0x2013))}",
        f"{TEXT}\n{LINE[:-2]}\n",
        f"{TEXT}\n{LINE[:-1]} \n",
    ],
)
def test_what_is_no_signed_note_is_refused(note: str) -> None:
    """Whatever is malformed is our error, also where it stands beside a good signature."""
    with pytest.raises(CheckpointError):
        open_note(note, NAME, PUBLIC)


def test_a_note_has_a_text() -> None:
    """A signature of nothing, without the blank line that parts a text from signatures, opens nothing."""
    key_id = base64.b64decode(LINE.split()[2])[:4]
    of_nothing = base64.b64encode(key_id + Ed25519PrivateKey.from_private_bytes(SEED).sign(b"")).decode()
    with pytest.raises(CheckpointError, match="no blank line parts text and signatures"):
        open_note(f"\n\u2014 {NAME} {of_nothing}\n", NAME, PUBLIC)


def test_a_signature_has_one_spelling() -> None:
    """Base64 whose unused bits are not zero is refused, so that a note's bytes cannot vary."""
    stem, last = LINE.rstrip("=\n")[:-1], LINE.rstrip("=\n")[-1]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    varied = f"{stem}{alphabet[alphabet.index(last) ^ 1]}=\n"
    assert base64.b64decode(varied.split()[2]) == base64.b64decode(LINE.split()[2])
    with pytest.raises(CheckpointError):
        open_note(f"{TEXT}\n{varied}", NAME, PUBLIC)


@pytest.mark.parametrize("text", ["", "no newline", "a\tb\n", "a\r\n", "\x00\n", "\ud800\n"])
def test_a_text_that_no_note_can_hold_is_not_signed(text: str) -> None:
    """Signing refuses what opening would refuse."""
    with pytest.raises(CheckpointError):
        sign_note(text, NAME, SEED)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u00a0b", "a\u2028b", "\ud800"])
def test_a_name_that_no_key_can_have_is_refused(name: str) -> None:
    """Spaces of any kind and plus would make lines that read otherwise."""
    with pytest.raises(CheckpointError, match="cannot name a key"):
        verifier_line(name, PUBLIC)
    with pytest.raises(CheckpointError, match="cannot name a key"):
        sign_note(TEXT, name, SEED)


def test_a_key_of_another_length_is_refused() -> None:
    """Keys are 32 bytes, public and private."""
    with pytest.raises(CheckpointError, match="31 bytes"):
        verifier_line(NAME, PUBLIC[:31])
    with pytest.raises(CheckpointError, match="33 bytes"):
        sign_note(TEXT, NAME, SEED + b"\0")


GOOD = verifier_line(NAME, PUBLIC)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "name",
        "name+00000000",
        GOOD + "\n",
        " " + GOOD,
        GOOD.upper(),
        GOOD.replace("subject", "object"),
        GOOD[:-4],
        GOOD[:-1],
        GOOD.replace("+", "++", 1),
        verifier_line(GO["name"], GO_PUBLIC).replace(GO["name"], NAME),
        f"{NAME}+00000000+{base64.b64encode(b'x01' + PUBLIC).decode()}",
        f"{NAME}+00000000+{base64.b64encode(b'' + PUBLIC).decode()}",
        f"{NAME}+00000000+{base64.b64encode(bytes([2]) + PUBLIC).decode()}",
        f"{NAME}+00000000+{base64.b64encode(bytes([1]) + PUBLIC).decode()}",
        f"a b+00000000+{base64.b64encode(bytes([1]) + PUBLIC).decode()}",
    ],
)
def test_what_is_no_verifier_line_is_refused(line: str) -> None:
    """A damaged line, or one of another kind of key, is our error."""
    with pytest.raises(CheckpointError):
        parse_verifier_line(line)


def test_a_verifier_line_may_hold_a_plus_in_its_base64() -> None:
    """Only the first two pluses part the line."""
    publics = (_public_of(bytes([index]) * 32) for index in range(256))
    public = next(public for public in publics if b"+" in base64.b64encode(b"\x01" + public))
    assert parse_verifier_line(verifier_line(NAME, public)) == (NAME, public)


def test_a_note_is_signed_by_somebody() -> None:
    """Without a key nothing is made that looks like a note."""
    with pytest.raises(CheckpointError, match="no private key is given"):
        sign_note(TEXT, NAME)


def test_a_note_has_a_largest_size() -> None:
    """One character less than too many is read, and signed by nobody here."""
    for size, refusal in ((MAX_NOTE_BYTES, "no blank line"), (MAX_NOTE_BYTES + 1, "more than 1,048,576 characters")):
        with pytest.raises(CheckpointError, match=refusal):
            open_note("x" * (size - 1) + "\n", NAME, PUBLIC)


def test_a_refusal_names_every_key_that_was_looked_for() -> None:
    """With its id, since a rotated key has the name of the one before."""
    other = _public_of(bytes(32))
    ids = [verifier_line(NAME, key).split("+")[1] for key in (other, _public_of(b"x" * 32))]
    with pytest.raises(CheckpointError, match=re.escape(f"by the key {NAME}+{ids[0]}, {NAME}+{ids[1]}") + "$"):
        opened_by(NOTE, [(NAME, other), (NAME, _public_of(b"x" * 32))])


@pytest.mark.parametrize(
    ("note", "named"),
    [
        (NOTE.encode(), True),
        (NOTE.replace("one", "two").encode(), True),  # whether it holds is not asked
        (b"\xff\n" + NOTE.encode(), True),
        (sign_note(TEXT, NAME, bytes(32), SEED).encode(), True),
        (sign_note(TEXT, NAME, bytes(32)).encode(), False),
        (sign_note(TEXT, "another", SEED).encode(), False),
        (NOTE.replace("\u2014 ", "").encode(), False),
        (NOTE.replace("\u2014 ", "- ").encode(), False),
        (NOTE.encode()[:-8], False),
        (TEXT.encode(), False),
        (b"", False),
    ],
)
def test_a_note_names_a_key_by_name_and_id(note: bytes, named: bool) -> None:
    """Of any bytes it is said whether they have such a line."""
    assert is_named_in(note, verifier_line(NAME, PUBLIC)) is named
