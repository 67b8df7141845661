from pathlib import Path

import pytest

from subject_pipeline.errors import SourceError
from subject_pipeline.manifests.files import Document, read_documents
from subject_pipeline.objects.durability import whole_file


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson"])
def test_a_lines_file_is_a_document_a_line(tmp_path: Path, suffix: str) -> None:
    """Each line that is not blank is a document, and says its file and its line."""
    path = tmp_path / f"manifests{suffix}"
    path.write_bytes(b'{"a":1}\n\n  \r\n{"b":"\xc3\xa9"}\r\n{"c":3}')
    documents = list(read_documents(path))
    assert [item.where for item in documents] == [f"{path}:1", f"{path}:4", f"{path}:5"]
    assert [item.text.strip() for item in documents] == [b'{"a":1}', b'{"b":"\xc3\xa9"}', b'{"c":3}']


def test_a_json_file_is_one_document(tmp_path: Path) -> None:
    """A .json file is read whole."""
    path = tmp_path / "one.json"
    path.write_bytes(b'{\n"a": 1\n}\n')
    assert list(read_documents(path)) == [Document(str(path), b'{\n"a": 1\n}\n')]


def test_a_folder_is_its_json_files_sorted(tmp_path: Path) -> None:
    """Every *.json below a folder is a document, sorted by name; other files and folders are not."""
    for name in ("b.json", "a/z.json", "a.json", "notes.txt", "c.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "folder.json").mkdir()
    found = [Path(item.where).relative_to(tmp_path).as_posix() for item in read_documents(tmp_path)]
    assert found == ["a/z.json", "a.json", "b.json"]


def test_an_empty_lines_file_has_no_documents(tmp_path: Path) -> None:
    """A file without lines is no error."""
    (tmp_path / "none.jsonl").touch()
    assert list(read_documents(tmp_path / "none.jsonl")) == []


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("gone.jsonl", "No such file"),
        ("gone.json", "No such file"),
        ("gone", "there is no such file or folder"),
        ("notes.txt", "name it .jsonl, .ndjson or .json"),
        ("empty", r"no \*\.json file is in the folder"),
    ],
)
def test_what_cannot_be_imported_is_our_own_error(tmp_path: Path, name: str, why: str) -> None:
    """A missing file, a file of another name and a folder without JSON are refused with file and reason."""
    (tmp_path / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=f"{name}.*{why}|{why}.*{name}"):
        list(read_documents(tmp_path / name))


def test_a_written_file_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    """While it is written, the wanted name is not there; then it is, and nothing else."""
    path = tmp_path / "out.jsonl"
    with whole_file(path) as unfinished:
        unfinished.write_bytes(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    """What stood there before stands there after a failure, and nothing unfinished remains."""
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"old")

    def write() -> None:
        with whole_file(path) as unfinished:
            unfinished.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_our_own_error(tmp_path: Path) -> None:
    """Writing into a missing folder says so."""
    path = tmp_path / "missing" / "out.jsonl"
    with pytest.raises(SourceError, match=r"cannot write .*No such file"), whole_file(path) as unfinished:
        unfinished.write_bytes(b"1")


def test_a_full_disk_is_our_own_error(tmp_path: Path) -> None:
    """A disk that fills while writing is told with the wanted name, and leaves nothing."""
    path = tmp_path / "out.jsonl"

    def write() -> None:
        with whole_file(path) as unfinished:
            unfinished.write_bytes(b"1")
            raise OSError(28, "No space left on device")

    with pytest.raises(SourceError, match=rf"cannot write {path}: No space left"):
        write()
    assert list(tmp_path.iterdir()) == []
