import hashlib
from pathlib import Path
from typing import Any, get_args

import pytest

from subject_pipeline.errors import PolicyError
from subject_pipeline.gate import policy
from subject_pipeline.gate.policy_file import read_policy
from subject_pipeline.manifests.manifest import VOCABULARY
from subject_pipeline_tests.helpers.gated import POLICY

DESIGN = """\
purposes:
  scheduling: {consent: {general_pii: [given]}, verticals: [general], statuses: [active], others: drop}   # or withhold
ids: {worker_id: WORKER-, candidate_id: ""}
max_age: 5s
timeout: 10s
deny_opaque: true
"""


def read(folder: Path, text: str | bytes) -> Any:
    """The policy that a file with this content holds."""
    path = folder / "gate.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_policy(path)


def test_a_policy_says_what_its_file_says(tmp_path: Path) -> None:
    """With the hash that `sha256sum` gives of the file."""
    made, sha256 = read(tmp_path, DESIGN)
    assert made.model_dump() == {
        "purposes": {
            "scheduling": {
                "consent": {"general_pii": ("given",), "biometric": None},
                "verticals": ("general",),
                "statuses": ("active",),
                "others": "drop",
            }
        },
        "ids": {"worker_id": "WORKER-", "candidate_id": ""},
        "max_age": 5,
        "timeout": 10,
        "deny_opaque": True,
    }
    assert sha256 == hashlib.sha256(DESIGN.encode()).hexdigest()


def test_what_is_not_said_denies(tmp_path: Path) -> None:
    """Consent must be given, nobody restricted is shown, and an answer about others is withheld."""
    made, _ = read(tmp_path, "purposes: {scheduling: {verticals: [general]}}")
    (purpose,) = made.purposes.values()
    assert purpose.model_dump() == {
        "consent": {"general_pii": ("given",), "biometric": None},
        "verticals": ("general",),
        "statuses": ("active",),
        "others": "withhold",
    }
    assert (made.max_age, made.timeout, made.deny_opaque) == (5, 10, True)
    assert made.ids == {"candidate_id": "", "subject_id": ""}


def one(text: str) -> str:
    """A policy file of one purpose, on its third line."""
    return f"purposes:\n  scheduling:\n    {text}\n"


WRONG = {
    "an unknown key": ("purpose: {}\n" + POLICY, 1, "purpose: unknown key"),
    "an unknown key of a purpose": (one("verticals: [general]\n    other: drop"), 4, "other: unknown key"),
    "an unknown consent status": (
        one("verticals: [general]\n    consent: {general_pii: [granted]}"),
        4,
        "general_pii.0: input should be",
    ),
    "another scope's status": (
        one("verticals: [general]\n    consent: {biometric: [pending_backfill_review]}"),
        4,
        "biometric.0: input",
    ),
    "an unknown scope": (one("verticals: [general]\n    consent: {health: [given]}"), 4, "health: unknown key"),
    "no consent status": (
        one("verticals: [general]\n    consent: {general_pii: []}"),
        4,
        "general_pii: tuple should have at least 1 item",
    ),
    "an unknown status": (one("verticals: [general]\n    statuses: [active, erased]"), 4, "statuses.1: input should"),
    "nobody active": (one("verticals: [general]\n    statuses: [restricted]"), 4, "statuses: must hold active"),
    "no vertical": (one("others: drop"), 2, "verticals: field required"),
    "an empty list of verticals": (one("verticals: []"), 3, "verticals: tuple should have at least 1 item"),
    "a malformed vertical": (one("verticals: [general, 'he alth']"), 3, "verticals.1: string should match"),
    "a vertical that is no text": (one("verticals: [7]"), 3, "verticals.0: input should be a valid string"),
    "a vertical in no list": (one("verticals: general"), 3, "verticals: input should be"),
    "the unknown vertical": (one("verticals: [unknown]"), 3, "verticals.0: unknown is what nobody has classified"),
    "another fate of others": (one("verticals: [general]\n    others: release"), 4, "others: input should be"),
    "no purposes": ("ids: {a: b}\n", 1, "purposes: field required"),
    "empty purposes": ("purposes: {}\n", 1, "purposes: dictionary should have at least 1"),
    "nothing": ("", 1, "purposes: field required"),
    "no mapping": ("- a\n", 1, "the file: input should be"),
    "a purpose that is none": ("purposes:\n  scheduling: yes\n", 2, "purposes.scheduling: input should be"),
    "a max_age of over a minute": (POLICY + "max_age: 61s\n", 5, "max_age: input should be less than or equal to 60"),
    "a max_age that is not whole": (POLICY + "max_age: 2.5s\n", 5, "max_age: must be whole seconds"),
    "a max_age without unit": (POLICY + "max_age: 5\n", 5, "max_age: must be whole seconds, such as 5s"),
    "a max_age below nothing": (POLICY + "max_age: -1s\n", 5, "max_age: must be whole seconds"),
    "no time": (POLICY + "timeout: 0s\n", 5, "timeout: input should be greater than or equal to 1"),
    "a word for yes": (POLICY + "deny_opaque: 'yes'\n", 5, "deny_opaque: input should be a valid boolean"),
    "no id fields": ("ids: {}\n" + POLICY.partition("ids")[0], 1, "ids: dictionary should have at least 1"),
    "a field twice, in another case style": (
        "ids: {worker_id: W-, WorkerID: X-}\n" + POLICY.partition("ids")[0],
        1,
        "ids: two of these are one field",
    ),
    "a prefix that is no text": ("ids: {worker_id: 7}\n" + POLICY.partition("ids")[0], 1, "ids.worker_id: input"),
    "a key twice": (POLICY + "max_age: 5s\nmax_age: 60s\n", 6, "'max_age' is there twice"),
    "a key twice, deep down": (
        one("verticals: [general]\n    verticals: [healthcare]"),
        4,
        "'verticals' is there twice",
    ),
    "no YAML": ("purposes: [\n  a: {\n", 3, "not YAML"),
    "an object of Python": ("purposes: !!python/object:os.system {}\n", 1, "not YAML"),
}


@pytest.mark.parametrize(("text", "line", "said"), WRONG.values(), ids=WRONG)
def test_what_no_policy_can_say_is_refused_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    """With the file, the line and the key that is wrong."""
    with pytest.raises(PolicyError) as refused:
        read(tmp_path, text)
    message = str(refused.value)
    assert message.startswith(f"{tmp_path}/gate.yaml:{line}: ")
    assert said in message


@pytest.mark.parametrize("text", [b"\xff\xfe", b"a" * ((1 << 20) + 1)], ids=["no UTF-8", "too large"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: bytes) -> None:
    """Its name is said."""
    with pytest.raises(PolicyError, match=r"gate\.yaml"):
        read(tmp_path, text)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """As is a folder."""
    for path in (tmp_path / "gate.yaml", tmp_path):
        with pytest.raises(PolicyError, match=f"from {path}"):
            read_policy(path)


def test_the_words_are_those_of_manifests() -> None:
    """Said a second time, so that types and the schema know them."""
    assert get_args(policy.GeneralPii) == VOCABULARY["consent.general_pii.status"]
    assert get_args(policy.Biometric) == VOCABULARY["consent.biometric.status"]
    assert get_args(policy.Status) == VOCABULARY["status"]
