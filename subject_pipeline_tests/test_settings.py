import pytest

from subject_pipeline.errors import ConfigurationError
from subject_pipeline.settings import DEFAULT_STORE, Settings


@pytest.mark.parametrize("environment", [{}, {"SUBJECT_STORE_URL": "", "SUBJECT_CHUNKS": ""}, {"SUBJECT_CHUNKS": " "}])
def test_unset_and_empty_variables_are_the_same(environment: dict[str, str]) -> None:
    """Without settings the store is ./data, and its layout says how many chunks there are."""
    assert Settings.read(environment) == Settings(DEFAULT_STORE, None)


def test_settings_are_taken_from_the_environment() -> None:
    """Both variables are read."""
    settings = Settings.read({"SUBJECT_STORE_URL": "s3://bucket", "SUBJECT_CHUNKS": " 128 "})
    assert settings == Settings("s3://bucket", 128)


def test_partitions_per_run_are_taken_from_the_environment() -> None:
    """Unset and empty mean one run for any selection; a number means so many."""
    assert Settings.read({"SUBJECT_PARTITIONS_PER_RUN": " "}).partitions_per_run is None
    assert Settings.read({"SUBJECT_PARTITIONS_PER_RUN": "8"}).partitions_per_run == 8


@pytest.mark.parametrize(("variable", "field"), [("SUBJECT_KEY_RING", "key_ring"), ("SUBJECT_ACTOR", "actor")])
def test_key_ring_and_actor_are_taken_from_the_environment(variable: str, field: str) -> None:
    """Unset, empty and blank mean none; anything else is taken as it is, without the white space around it."""
    for unset in ({}, {variable: ""}, {variable: " "}):
        assert getattr(Settings.read(unset), field) is None
    assert getattr(Settings.read({variable: " /etc/a name "}), field) == "/etc/a name"


@pytest.mark.parametrize(("text", "on"), [("", False), (" ", False), ("off", False), ("on", True), (" ON ", True)])
def test_automation_is_off_unless_it_is_on(text: str, on: bool) -> None:
    """Nothing runs by itself unless somebody said so."""
    assert Settings.read({"SUBJECT_AUTOMATION": text}).automation is on


@pytest.mark.parametrize("text", ["yes", "1", "onn", "true"])
def test_automation_that_is_neither_on_nor_off_is_refused(text: str) -> None:
    """A misspelt switch is a configuration error that names the variable, not silence."""
    with pytest.raises(ConfigurationError, match="SUBJECT_AUTOMATION must be on or off"):
        Settings.read({"SUBJECT_AUTOMATION": text})


@pytest.mark.parametrize("text", ["0", "-1", "x", "1.5", "9" * 5000], ids=["zero", "negative", "word", "part", "huge"])
def test_a_number_of_partitions_that_is_none_is_refused(text: str) -> None:
    """What is no whole number from 1 is a configuration error that names the variable."""
    with pytest.raises(ConfigurationError, match="SUBJECT_PARTITIONS_PER_RUN"):
        Settings.read({"SUBJECT_PARTITIONS_PER_RUN": text})


@pytest.mark.parametrize(
    "text", ["x", "1.5", "-1", "+4", "1_000", "0x10", "٣", "²", "0", "9" * 5000], ids=lambda text: text[:8]
)
def test_a_chunk_count_that_is_none_is_refused(text: str) -> None:
    """What is no whole number between 1 and 1,048,576 is a configuration error that names the variable."""
    with pytest.raises(ConfigurationError, match="SUBJECT_CHUNKS"):
        Settings.read({"SUBJECT_CHUNKS": text})


def test_the_webhook_is_read_and_not_shown() -> None:
    """Where alerts go is a secret: no repr of the settings has it. Dagster's address has a default."""
    settings = Settings.read({"SUBJECT_ALERT_WEBHOOK": " https://example.com/secret-token\n"})
    assert settings.alert_webhook == "https://example.com/secret-token"
    assert "secret" not in repr(settings)
    assert settings.dagster_url == "http://127.0.0.1:3000"
    assert Settings.read({"SUBJECT_ALERT_WEBHOOK": " "}).alert_webhook is None
    assert Settings.read({"SUBJECT_DAGSTER_URL": "https://dagster.example.com/"}).dagster_url.endswith(".com")
