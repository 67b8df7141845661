import csv
import datetime as dt
import io
import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.decisions.decision import Kind, candidate_check, is_undecided, parse_decision
from subject_pipeline.errors import DecisionError
from subject_pipeline.formats.times import format_time
from subject_pipeline.lifecycle.lists.drafts import DRAFT_SCHEMA, Export, ReviewKind, drafts
from subject_pipeline.lifecycle.lists.files import write_frames
from subject_pipeline.manifests.manifest import SubjectManifest
from subject_pipeline_tests.helpers.lives import NOW, days_ago, hold, life, rows_of

ODD_IDS = [
    "0017", "17", "=1+1", "-5", "+49 30", "@home", "'=1+1", "''=1", "'quoted'", "a;b", "a,b", 'say "no"', "ß/ü",
    " =x", "1e5", "TRUE", "12345678901234567890", "two\nlines", "tab\there",
]  # fmt: skip


def export(kind: ReviewKind, **fields: Any) -> Export:
    """An export at `NOW` whose decisions have ids that count up."""
    numbers = itertools.count()
    return Export(kind, "dpo", NOW, lambda: f"d-{next(numbers)}", **fields)


def drafted(kind: ReviewKind, *people: SubjectManifest, **fields: Any) -> list[dict[str, Any]]:
    """The drafts about some people."""
    found = drafts(rows_of(people), export(kind, **fields))
    assert found.schema == DRAFT_SCHEMA
    return found.to_dicts()


def test_a_draft_has_all_but_what_the_reviewer_decides() -> None:
    """Of a pending consent: the kind, and what it needs; the scope is known."""
    (draft,) = drafted(ReviewKind.PENDING_CONSENT, life(), life("W-2", consent={"general_pii": {"status": "given"}}))

    assert {name: value for name, value in draft.items() if not name.startswith("about_") and value is not None} == {
        "decision_id": "d-0",
        "candidate_id": "W-1",
        "candidate_check": candidate_check("W-1"),
        "ts": format_time(NOW),
        "actor": "dpo",
        "scope": "general_pii",
    }
    assert draft["about_consent"] == "pending_backfill_review"
    assert draft["about_datasets"] == "people"
    assert draft["about_since"] == draft["about_created_at"] == days_ago(100)
    assert is_undecided(draft)
    given = parse_decision({**draft, "kind": "consent_given", "version": "2"})
    assert (given.kind, given.scope, given.decision_id) == (Kind.CONSENT_GIVEN, "general_pii", "d-0")


def test_what_is_due_has_a_draft_for_each_scope() -> None:
    """General data leaves the choice; biometric data drafts its destruction, which needs evidence and no hold."""
    biometric = {"biometric": {"status": "withdrawn", "retention_until": days_ago(1)}}
    both = life("both", retention={"general_pii_until": days_ago(3)}, consent=biometric)
    held = life("held", consent=biometric, holds=[hold("H-1"), hold("H-2")])
    general, destroy, wait = drafted(ReviewKind.RETENTION_DUE, both, held, life("kept"))

    assert (general["candidate_id"], general["kind"], general["about_scope"]) == ("both", None, "general_pii")
    assert general["about_since"] == general["about_retention_until"] == days_ago(3)
    assert parse_decision({**general, "kind": "erasure_ordered"}).kind == Kind.ERASURE_ORDERED
    assert (destroy["candidate_id"], destroy["kind"], destroy["about_scope"]) == (
        "both",
        "biometric_destroyed",
        "biometric",
    )
    with pytest.raises(DecisionError, match="evidence: missing"):
        parse_decision(destroy)
    assert parse_decision({**destroy, "evidence": "file:///certificate.pdf"}).kind == Kind.BIOMETRIC_DESTROYED
    assert (wait["candidate_id"], wait["kind"], wait["about_holds"]) == ("held", None, "H-1, H-2")


def test_each_hold_has_a_draft_that_names_it() -> None:
    """Release takes the hold's id, which is there."""
    person = life(holds=[hold("H-1", reason="case 7"), hold("=H", placed_at=days_ago(50))])
    first, second = drafted(ReviewKind.HELD, life("free"), person)

    assert (first["hold_id"], first["about_hold_reason"], first["about_since"]) == ("H-1", "case 7", days_ago(10))
    assert (second["hold_id"], second["about_hold_reason"], second["about_since"]) == ("=H", None, days_ago(50))
    assert parse_decision({**second, "kind": "hold_released"}).hold_id == "=H"
    assert [one["hold_id"] for one in drafted(ReviewKind.HELD, person, older_than=dt.timedelta(days=30))] == ["=H"]


def test_orders_that_stand() -> None:
    """An order that an import knew by its word alone has waited since the manifest changed."""
    dated = life("dated", status="erasure_ordered", erasure_ordered_at=days_ago(40), restricted_at=days_ago(60))
    word = life("word", status="erasure_ordered", updated_at=days_ago(5))
    first, second = drafted(ReviewKind.ORDERED, dated, word, life("free"))

    assert (first["about_since"], first["about_restricted_at"]) == (days_ago(40), days_ago(60))
    assert second["about_since"] == days_ago(5)
    assert [one["candidate_id"] for one in drafted(ReviewKind.ORDERED, dated, word, older_than=dt.timedelta(30))] == [
        "dated"
    ]


def test_whoever_is_gone_from_a_source() -> None:
    """The rows given are the vanished; the draft says from where."""
    (draft,) = drafts(rows_of([life()]), export(ReviewKind.VANISHED), "people").to_dicts()
    assert (draft["kind"], draft["about_gone_from"]) == (None, "people")


def spreadsheet(text: str, *, delimiter: str, quoted: bool, numbers: bool) -> str:
    """What a spreadsheet program makes of a CSV file: it is read, and saved in another form.

    Args:
        text: the file.
        delimiter: between cells.
        quoted: around every cell.
        numbers: texts that look like numbers become numbers, as where a file is opened by a double click.
    """
    rows = [[number(value) if numbers else value for value in row] for row in csv.reader(io.StringIO(text, newline=""))]
    saved = io.StringIO(newline="")
    csv.writer(
        saved,
        delimiter=delimiter,
        quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL,
        lineterminator="\r\n",
    ).writerows(rows)
    return "\ufeff" + saved.getvalue()


def number(value: str) -> str:
    """A cell after a program took it for a number: without leading zeros, long ones in six digits."""
    try:
        found = float(value)
    except ValueError:
        return value
    if found != found or abs(found) == float("inf"):  # noqa: PLR0124 - not a number
        return value
    return str(int(found)) if found.is_integer() and abs(found) < 1e11 else f"{found:.5E}"


def read_back(text: str, delimiter: str) -> list[dict[str, str]]:
    """The rows by Python's own reader of CSV."""
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=delimiter))


@pytest.mark.parametrize("quoted", [True, False])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("numbers", [True, False])
def test_drafts_come_back_from_a_spreadsheet(tmp_path: Path, delimiter: str, quoted: bool, numbers: bool) -> None:
    """Every id comes back as it is or is refused; nothing is decided about somebody else."""
    path = tmp_path / "held.csv"
    people = [life(one, holds=[hold(f"-{one}")]) for one in ODD_IDS]
    write_frames(path, [drafts(rows_of(people), export(ReviewKind.HELD))], DRAFT_SCHEMA)
    written = path.read_bytes().decode()
    saved = spreadsheet(written, delimiter=delimiter, quoted=quoted, numbers=numbers)

    decided, refused = {}, {}
    for wanted, row in zip(ODD_IDS, read_back(saved, delimiter), strict=True):
        assert is_undecided(row)
        try:
            decision = parse_decision({**row, "kind": "hold_released"})
        except DecisionError as error:
            refused[wanted] = str(error).split()[0]
        else:
            decided[wanted] = (decision.candidate_id, decision.hold_id)
    assert decided == {one: (one, f"-{one}") for one in ODD_IDS if one not in refused}
    lost = ["0017", "1e5", "12345678901234567890"] if numbers else []
    assert refused == dict.fromkeys(lost, "candidate_check")


def test_no_cell_is_a_formula(tmp_path: Path) -> None:
    """Whatever ids and reasons hold."""
    path = tmp_path / "held.csv"
    people = [life(one, holds=[hold("@H", reason="=cmd()")]) for one in ODD_IDS]
    write_frames(path, [drafts(rows_of(people), export(ReviewKind.HELD))], DRAFT_SCHEMA)

    cells = [value for row in read_back(path.read_bytes().decode(), ",") for value in row.values()]
    assert not [value for value in cells if value.lstrip().startswith(("=", "+", "-", "@"))]
    assert "'=cmd()" in cells


@given(st.text(min_size=1).filter(lambda text: not text.isspace() and "\0" not in text), st.booleans())
def test_an_id_keeps_its_own_apostrophe(candidate_id: str, apostrophe: bool) -> None:
    """The check says whether an apostrophe is the id's or the export's."""
    try:
        candidate_id.encode()
    except UnicodeEncodeError:
        return
    draft = {
        "decision_id": "d",
        "candidate_id": candidate_id,
        "candidate_check": candidate_check(candidate_id),
        "kind": "interaction",
        "ts": days_ago(0),
        "actor": "dpo",
    }
    written = {**draft, "candidate_id": f"'{candidate_id}"} if apostrophe else draft
    if not apostrophe or candidate_id[0] in "=+-@":
        assert parse_decision(written).candidate_id == candidate_id


@pytest.mark.parametrize("candidate_id", ["W-1", "0017"])
@pytest.mark.parametrize("wrong", ["000000000000", "1", "1e999", "nan", "inf", "'", "é"])
def test_a_wrong_check_is_refused(candidate_id: str, wrong: str) -> None:
    """Also one that is a number."""
    draft = {"decision_id": "d", "candidate_id": candidate_id, "kind": "interaction", "ts": days_ago(0), "actor": "dpo"}
    with pytest.raises(DecisionError, match="candidate_check"):
        parse_decision({**draft, "candidate_check": wrong})


@pytest.mark.long
def test_a_check_that_a_spreadsheet_took_for_a_number_still_matches() -> None:
    """One of 150 checks looks like a number; its row must not be lost, and nobody else's must pass with it."""
    ids = [f"W-{number}" for number in range(20_000)]
    looks = [one for one in ids if number(candidate_check(one)) != candidate_check(one)]
    assert len(looks) > 50
    draft = {"decision_id": "d", "kind": "interaction", "ts": days_ago(0), "actor": "dpo"}
    for one in looks:
        shown = number(candidate_check(one))
        for check in (shown, shown.replace(".", ",")):
            assert parse_decision({**draft, "candidate_id": one, "candidate_check": check}).candidate_id == one
        for other in ids[:500]:
            if other != one:
                with pytest.raises(DecisionError, match="candidate_check"):
                    parse_decision({**draft, "candidate_id": other, "candidate_check": shown})
