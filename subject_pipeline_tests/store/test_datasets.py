import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.errors import DatasetError
from subject_pipeline.store.datasets import DatasetDeclaration, check_dataset_name

DECLARED = DatasetDeclaration(
    name="workers",
    source="/data/workers.parquet",
    key_column="worker_id",
    candidate_id_prefix="WORKER-",
    safe_views=("public",),
)


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", fullmatch=True))
def test_letters_digits_underscores_and_dashes_name_a_dataset(name: str) -> None:
    """A good name is handed back as it is."""
    assert check_dataset_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "_a", "a/b", "../a", "a b", "a.b", "é", "a\n", "a" * 101, "a\0"])
def test_a_name_that_could_leave_its_folder_is_refused(name: str) -> None:
    """Whatever is not 1 to 100 safe characters is no dataset name, in a declaration neither."""
    with pytest.raises(DatasetError, match="is not a dataset name"):
        check_dataset_name(name)
    with pytest.raises(DatasetError, match="is not a dataset name"):
        DatasetDeclaration(name=name, source="s", key_column="k")


def test_a_declaration_survives_its_json() -> None:
    """Parse after serialize is identity, and the schema is named in the text."""
    text = DECLARED.model_dump_json(by_alias=True)
    assert '"schema":"subject_dataset.v1"' in text
    assert DatasetDeclaration.model_validate_json(text) == DECLARED


def test_a_call_that_gives_nothing_leaves_the_declaration() -> None:
    """What a call does not give stays as declared."""
    assert DECLARED.narrowed() == DECLARED


def test_a_call_may_name_another_source_and_other_views() -> None:
    """Source and safe views of a call replace the declared ones; saying what is declared changes nothing."""
    narrowed = DECLARED.narrowed(
        source="/other.parquet", safe_views=("a", "b"), key_column="worker_id", candidate_id_prefix="WORKER-"
    )
    assert (narrowed.source, narrowed.safe_views) == ("/other.parquet", ("a", "b"))
    assert (narrowed.name, narrowed.key_column, narrowed.candidate_id_prefix) == ("workers", "worker_id", "WORKER-")
    assert DECLARED.source == "/data/workers.parquet"


@pytest.mark.parametrize(
    ("given_key", "given_prefix", "named"),
    [
        ("email", None, "key column 'worker_id', but this call says 'email'"),
        (None, "CAND-", "prefix 'WORKER-', but this call says 'CAND-'"),
        (None, "", "prefix 'WORKER-', but this call says ''"),
    ],
)
def test_a_call_that_contradicts_the_declaration_is_refused(
    given_key: str | None, given_prefix: str | None, named: str
) -> None:
    """Another key column or prefix would give people other ids; both values are named."""
    with pytest.raises(DatasetError, match=named):
        DECLARED.narrowed(key_column=given_key, candidate_id_prefix=given_prefix)
