import glob
import os
import re
from collections.abc import Callable
from pathlib import Path

import obstore
import pytest
from obstore.store import MemoryStore

from subject_pipeline.candidates import source_files
from subject_pipeline.candidates.source_files import SourceFiles, find_source_files
from subject_pipeline.errors import SourceError
from subject_pipeline.objects.location import StoreLocation

Tree = Callable[..., str]


@pytest.fixture(params=["local", "url", "bucket"])
def tree(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """Writes files with one byte each; hands out what their common folder is called: path, file URL, bucket."""
    root = tmp_path / "files"
    root.mkdir()
    backend = MemoryStore()

    def open_backend(location: StoreLocation) -> MemoryStore:
        assert location.url == "s3://bucket"
        return backend

    monkeypatch.setattr(source_files, "open_backend", open_backend)

    def write(*names: str) -> str:
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(b"x")
            obstore.put(backend, f"files/{name}", b"x")
        return {"local": str(root), "url": root.as_uri(), "bucket": "s3://bucket/files"}[request.param]

    return write


def _names(source: SourceFiles) -> list[str]:
    return [file.uri.partition("/files/")[2] for file in source.files]


def test_a_file_is_a_source_of_one(tree: Tree) -> None:
    """A file is taken whatever it is called, and nothing beside it."""
    folder = tree("people.parquet", "people.parquet.bak", "other.parquet")
    source = find_source_files(f"{folder}/people.parquet")
    assert _names(source) == ["people.parquet"]
    assert source.files[0].size == 1
    assert source.uri == f"{folder}/people.parquet"


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_folder_is_every_parquet_file_below_it(tree: Tree, slash: str) -> None:
    """A folder stands for its *.parquet and *.pq files at every depth, sorted by name, and for no other file."""
    folder = tree("b.parquet", "a.pq", "sub/c.parquet", "sub/deep/d.parquet", "notes.txt", "parquet")
    assert _names(find_source_files(folder + slash)) == ["a.pq", "b.parquet", "sub/c.parquet", "sub/deep/d.parquet"]


def test_markers_and_unfinished_files_are_ignored(tree: Tree) -> None:
    """What other engines leave under names that start with `_` or `.`, files and folders, is no data."""
    folder = tree("a.parquet", "_SUCCESS", ".a.parquet.crc", ".b.parquet", "_c.parquet", "_temporary/0/d.parquet")
    tree(".hidden/e.parquet", "x=1/f.parquet")
    assert _names(find_source_files(folder)) == ["a.parquet", "x=1/f.parquet"]


def test_a_hidden_folder_may_be_named_itself(tree: Tree) -> None:
    """The rule on names counts below the folder that was asked for, not above it."""
    folder = tree("_raw/a.parquet")
    assert _names(find_source_files(f"{folder}/_raw")) == ["_raw/a.parquet"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.parquet", ["a1.parquet", "a2.parquet", "b1.parquet"]),
        ("a*", ["a1.parquet", "a2.parquet"]),
        ("[ab]1.parquet", ["a1.parquet", "b1.parquet"]),
        ("a?.parquet", ["a1.parquet", "a2.parquet"]),
        ("*/c.parquet", ["sub/c.parquet"]),
        ("**/*.parquet", ["a1.parquet", "a2.parquet", "b1.parquet", "sub/c.parquet", "sub/deep/d.parquet"]),
        ("s*/**/d.parquet", ["sub/deep/d.parquet"]),
    ],
)
def test_a_pattern_is_the_files_that_match_it(tree: Tree, pattern: str, names: list[str]) -> None:
    """A glob means the same on a disk and in a bucket: `*` stays within a folder, `**` goes to any depth."""
    folder = tree("a1.parquet", "a2.parquet", "b1.parquet", "sub/c.parquet", "sub/deep/d.parquet")
    assert _names(find_source_files(f"{folder}/{pattern}")) == names


def test_a_pattern_passes_over_hidden_files(tree: Tree) -> None:
    """A wildcard does not match a leading dot, on a disk and in a bucket."""
    folder = tree("a.parquet", ".b.parquet")
    assert _names(find_source_files(f"{folder}/*.parquet")) == ["a.parquet"]


@pytest.mark.parametrize("name", ["gone.parquet", "gone", "gone/*.parquet", "*.csv", "empty"])
def test_a_source_without_parquet_is_refused(tree: Tree, tmp_path: Path, name: str) -> None:
    """A missing file, a folder without parquet and a pattern without a match are named."""
    folder = tree("a.parquet", "empty/notes.txt")
    assert (tmp_path / "files" / "empty").is_dir()
    with pytest.raises(SourceError, match=r"does not exist|no parquet file is|no file matches") as raised:
        find_source_files(f"{folder}/{name}")
    assert f"files/{name}" in str(raised.value)


def test_a_file_of_zero_bytes_is_refused(tmp_path: Path) -> None:
    """An empty file is named, also as one of many."""
    (tmp_path / "a.parquet").write_bytes(b"x")
    (tmp_path / "b.parquet").touch()
    for uri in (tmp_path, tmp_path / "b.parquet", tmp_path / "*.parquet"):
        with pytest.raises(SourceError, match=r"b\.parquet: it is empty \(0 bytes\)"):
            find_source_files(str(uri))


@pytest.mark.parametrize(
    "name", ["a[1].parquet", "with space.parquet", "per%20cent.parquet", "é#1.parquet", "w?.parquet"]
)
def test_a_file_is_found_under_its_own_name(tmp_path: Path, name: str) -> None:
    """A file whose name looks like a pattern or an escape is itself."""
    (tmp_path / name).write_bytes(b"x")
    assert [file.uri for file in find_source_files(str(tmp_path / name)).files] == [str(tmp_path / name)]
    assert [file.uri for file in find_source_files((tmp_path / name).as_uri()).files] == [str(tmp_path / name)]


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` means the user's home; the home of nobody is our own error."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.parquet").write_bytes(b"x")
    assert [file.uri for file in find_source_files("~/a.parquet").files] == [str(tmp_path / "a.parquet")]
    with pytest.raises(SourceError):
        find_source_files("~nobody-by-this-name/a.parquet")


def test_a_broken_link_is_our_own_error(tmp_path: Path) -> None:
    """A link that points nowhere is named."""
    (tmp_path / "a.parquet").symlink_to(tmp_path / "gone")
    with pytest.raises(SourceError, match=r"a\.parquet"):
        find_source_files(str(tmp_path))


def test_an_unknown_scheme_is_our_own_error() -> None:
    """A source that no store can hold is refused as a wrong call, not with a traceback."""
    with pytest.raises(Exception, match="its scheme must be one of") as raised:
        find_source_files("https://host/people.parquet")
    assert type(raised.value).__module__ == "subject_pipeline.errors"


def test_the_version_changes_with_any_file(tmp_path: Path) -> None:
    """A source's version is stable while nothing changes, another after a file came, grew, changed or moved."""
    first, second = tmp_path / "a.parquet", tmp_path / "b.parquet"

    def version() -> str:
        return find_source_files(str(tmp_path)).version

    first.write_bytes(b"1")
    seen = [version()]
    assert version() == seen[0]
    assert len(seen[0]) == 16
    second.write_bytes(b"1")
    seen.append(version())
    second.write_bytes(b"22")
    seen.append(version())
    os.utime(second, ns=(1, 1))
    seen.append(version())
    second.rename(tmp_path / "c.parquet")
    seen.append(version())
    assert len(set(seen)) == 5


def test_the_version_of_a_bucket_changes_with_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a bucket the e_tag tells that an object of the same name and size was rewritten."""
    backend = MemoryStore()
    monkeypatch.setattr(source_files, "open_backend", lambda _: backend)
    obstore.put(backend, "a.parquet", b"1")
    before = find_source_files("s3://bucket/a.parquet").version
    assert find_source_files("s3://bucket/a.parquet").version == before
    obstore.put(backend, "a.parquet", b"2")
    assert find_source_files("s3://bucket/a.parquet").version != before


@pytest.mark.parametrize(
    "pattern",
    ["*.parquet", "**/*.parquet", "**", "?.parquet", "[ab].parquet", "[!a].parquet", "sub/*", "s?b/*.parquet"],
)
def test_a_pattern_means_the_same_in_a_bucket_as_on_a_disk(tmp_path: Path, pattern: str) -> None:
    """The regular expression that a bucket's names are held to finds what `glob` finds."""
    names = [
        "a.parquet",
        "b.parquet",
        ".c.parquet",
        "sub/a.parquet",
        "sub/.d.parquet",
        ".h/a.parquet",
        "sub/s/e.parquet",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    local = {
        found
        for found in glob.glob(pattern, root_dir=tmp_path, recursive=True)  # noqa: PTH207 - what is compared with
        if (tmp_path / found).is_file()
    }
    assert {name for name in names if re.fullmatch(source_files._pattern(pattern), name)} == local


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """People in a folder without permission are not left out in silence."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "a.parquet").write_bytes(b"x")
    (tmp_path / "shut").mkdir()
    real = os.scandir

    def scandir(folder: str) -> object:
        if str(folder).endswith("shut"):
            raise PermissionError(13, "Permission denied", str(folder))
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(SourceError, match="shut: Permission denied"):
        find_source_files(str(tmp_path))


@pytest.mark.parametrize("uri", ["s3://user:not-shown@bucket/x", "az://box/x.parquet?sv=1&sig=not-shown"])
def test_credentials_in_a_source_are_refused_and_not_repeated(uri: str) -> None:
    """A source is stored, and named by every message about it."""
    with pytest.raises(SourceError, match="credentials through the environment") as refused:
        find_source_files(uri)
    assert "not-shown" not in str(refused.value)
