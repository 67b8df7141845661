from pathlib import Path

import pytest

from subject_pipeline.errors import ConfigurationError
from subject_pipeline.objects.location import StoreLocation


def test_a_path_counts_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path, and a relative file URL, lie below the working folder."""
    monkeypatch.chdir(tmp_path)
    for text in ("data", "./data", "file://data"):
        assert StoreLocation.parse(text).local_path == tmp_path / "data"


@pytest.mark.parametrize("name", ["plain", "with space", "é ü", "a#b", "a=b", "a?b", "[x]*"])
def test_a_local_path_survives_its_url(tmp_path: Path, name: str) -> None:
    """Whatever a folder is called, its path comes back from the location's URL."""
    location = StoreLocation.parse(str(tmp_path / name))
    assert location.url.startswith("file:///")
    assert location.local_path == tmp_path / name
    assert StoreLocation.parse(location.url) == location
    assert StoreLocation.parse(location.child("subjects")).local_path == tmp_path / name / "subjects"


@pytest.mark.parametrize("name", ["per%cent", "per%20cent"])
def test_a_folder_with_a_per_cent_sign_is_refused(tmp_path: Path, name: str) -> None:
    """delta-rs would look for another folder, so the location says at once that it cannot be."""
    with pytest.raises(ConfigurationError, match="no folder in it may have '%'"):
        StoreLocation.parse(str(tmp_path / name))


def test_a_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` means the user's home."""
    monkeypatch.setenv("HOME", "/home/somebody")
    assert StoreLocation.parse("~/store").local_path == Path("/home/somebody/store")


def test_a_home_of_nobody_is_refused() -> None:
    """The home of a user that there is not is a configuration error."""
    with pytest.raises(ConfigurationError):
        StoreLocation.parse("~nobody-by-this-name/store")


@pytest.mark.parametrize(
    ("text", "url", "child"),
    [
        ("s3://bucket/prefix/", "s3://bucket/prefix", "s3://bucket/prefix/subjects"),
        ("s3://bucket", "s3://bucket", "s3://bucket/subjects"),
        ("gs://bucket/a/b", "gs://bucket/a/b", "gs://bucket/a/b/subjects"),
        ("az://container/", "az://container", "az://container/subjects"),
    ],
)
def test_a_bucket_has_no_local_path(text: str, url: str, child: str) -> None:
    """A bucket's URL loses a slash at its end, and its children are URLs."""
    location = StoreLocation.parse(text)
    assert location.url == url
    assert location.local_path is None
    assert location.child("subjects") == child


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("ftp://host/x", "its scheme must be one of file://, s3://, gs://, az://"),
        ("https://host/x", "its scheme must be one of"),
        ("memory://", "its scheme must be one of"),
        ("s3://", "it names no bucket"),
        ("gs:///prefix", "it names no bucket"),
    ],
)
def test_a_url_that_names_no_store_is_refused(text: str, why: str) -> None:
    """What cannot be a store is a configuration error that says why."""
    with pytest.raises(ConfigurationError, match=why):
        StoreLocation.parse(text)


def test_options_are_never_printed() -> None:
    """Credentials travel with the location but do not show in it."""
    location = StoreLocation.parse("s3://bucket", {"aws_secret_access_key": "hidden"})
    assert location.options["aws_secret_access_key"] == "hidden"
    assert "hidden" not in repr(location)
    assert "hidden" not in str(location)


@pytest.mark.parametrize(
    "url",
    ["s3://user:not-shown@bucket/x", "https://u:not-shown@host/x", "az://box/x?sig=not-shown", "gs://not-shown@b/x"],
)
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    """A location's URL may be printed anywhere, so it never holds any."""
    with pytest.raises(ConfigurationError, match="credentials through the environment") as refused:
        StoreLocation.parse(url)
    assert "not-shown" not in str(refused.value)
