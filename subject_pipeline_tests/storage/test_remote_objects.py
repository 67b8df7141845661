import os
from collections.abc import Callable
from typing import Any

import obstore
import pytest
from obstore.exceptions import AlreadyExistsError, GenericError

from subject_pipeline.errors import ConfigurationError, OutcomeUnknownError, StoreError
from subject_pipeline.storage.local_objects import LocalObjects
from subject_pipeline.storage.location import StoreLocation
from subject_pipeline.storage.opening import open_objects
from subject_pipeline.storage.remote_objects import RemoteObjects, open_backend, reason

KEY = "audit/chunk-00/000000000000.jsonl"
Put = Callable[..., Any]


@pytest.fixture
def objects() -> RemoteObjects:
    """An empty store in memory."""
    return RemoteObjects.in_memory()


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> Callable[[Put], list[str]]:
    """Puts a backend that misbehaves in place of obstore's put; hands out the keys that it was called with."""

    def install(fake: Put) -> list[str]:
        calls: list[str] = []

        def wrapped(backend: Any, key: str, data: bytes, **options: Any) -> Any:
            calls.append(key)
            return fake(len(calls), lambda: real(backend, key, data, **options))

        monkeypatch.setattr(obstore, "put", wrapped)
        return calls

    real = obstore.put
    return install


def _fail_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(*_: Any, **__: Any) -> None:
        raise GenericError("the store does not answer\nDebug source: secret headers")

    monkeypatch.setattr(obstore, "get", get)


def test_a_create_that_landed_and_then_failed_is_a_success(
    objects: RemoteObjects, put: Callable[[Put], list[str]]
) -> None:
    """Written, then a timeout: the object is there with our bytes, so it is ours."""

    def fake(_: int, write: Put) -> None:
        write()
        raise GenericError("timeout")

    calls = put(fake)
    assert objects.create(KEY, b"ours") is True
    assert calls == [KEY]
    assert objects.get(KEY) == b"ours"


def test_a_create_that_finds_its_own_bytes_is_a_success(
    objects: RemoteObjects, put: Callable[[Put], list[str]]
) -> None:
    """Written, then a 503 that the client retried: what already exists is our own object."""

    def fake(_: int, write: Put) -> None:
        write()
        write()

    put(fake)
    assert objects.create(KEY, b"ours") is True


def test_a_create_that_fails_while_another_writes_has_lost(
    objects: RemoteObjects, put: Callable[[Put], list[str]]
) -> None:
    """An error with other bytes in place means that somebody else won."""
    objects.replace(KEY, b"theirs")

    def fake(_: int, __: Put) -> None:
        raise GenericError("timeout")

    put(fake)
    assert objects.create(KEY, b"ours") is False
    assert objects.get(KEY) == b"theirs"


def test_an_already_exists_without_an_object_is_tried_again(
    objects: RemoteObjects, put: Callable[[Put], list[str]]
) -> None:
    """A 409 of a store in conflict with itself comes as `AlreadyExistsError` with no object: put again."""

    def fake(call: int, write: Put) -> None:
        if call <= 2:
            raise AlreadyExistsError("conflict")
        write()

    calls = put(fake)
    assert objects.create(KEY, b"ours") is True
    assert calls == [KEY] * 3
    assert objects.get(KEY) == b"ours"


def test_a_create_that_never_lands_stays_unknown(objects: RemoteObjects, put: Callable[[Put], list[str]]) -> None:
    """A put that keeps failing ends after a bounded number of attempts; a request may still be under way then."""

    def fake(_: int, __: Put) -> None:
        raise GenericError("out of order\nDebug source: secret headers")

    calls = put(fake)
    with pytest.raises(OutcomeUnknownError, match=r"whether the object .* was created: .*out of order") as raised:
        objects.create(KEY, b"ours")
    assert "secret" not in str(raised.value)
    assert 1 < len(calls) < 10


def test_a_create_that_cannot_be_settled_stays_unknown(
    objects: RemoteObjects, put: Callable[[Put], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where neither the put nor the read after it succeeds, neither success nor failure is claimed."""

    def fake(_: int, write: Put) -> None:
        write()
        raise GenericError("timeout")

    calls = put(fake)
    _fail_reads(monkeypatch)
    with pytest.raises(OutcomeUnknownError, match=r"cannot tell whether .* was created: .*timeout.*does not answer"):
        objects.create(KEY, b"ours")
    assert calls == [KEY]


def test_a_store_that_does_not_answer_is_our_own_error(
    objects: RemoteObjects, put: Callable[[Put], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every operation names itself, the object and the first line of the reason."""

    def fail(*_: Any, **__: Any) -> None:
        raise GenericError("the store does not answer\nDebug source: secret headers")

    put(fail)
    for name in ("get", "delete", "list"):
        monkeypatch.setattr(obstore, name, fail)
    for doing, operation in (
        ("read", lambda: objects.get(KEY)),
        ("write", lambda: objects.replace(KEY, b"1")),
        ("delete", lambda: objects.delete(KEY)),
        ("list", lambda: objects.list("audit/")),
    ):
        with pytest.raises(StoreError, match=rf"cannot {doing} .*does not answer") as raised:
            operation()
        assert "secret" not in str(raised.value)


def test_a_store_is_refused_in_another_process(objects: RemoteObjects, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a fork obstore would hang, so a store refuses every call where the process id has changed."""
    objects.create(KEY, b"1")
    mine = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: mine + 1)
    for operation in (
        lambda: objects.get(KEY),
        lambda: objects.create(KEY, b"1"),
        lambda: objects.replace(KEY, b"1"),
        lambda: objects.delete(KEY),
        lambda: objects.list(""),
    ):
        with pytest.raises(StoreError, match="opened in another process"):
            operation()
    monkeypatch.setattr(os, "getpid", lambda: mine)
    assert objects.get(KEY) == b"1"


def test_a_location_opens_the_store_that_it_means() -> None:
    """A folder is opened as local files, a bucket through obstore, and neither is contacted."""
    assert isinstance(open_objects(StoreLocation.parse("/nowhere/at/all")), LocalObjects)
    assert isinstance(open_objects(StoreLocation.parse("s3://bucket/prefix")), RemoteObjects)


def test_options_that_do_not_fit_are_a_configuration_error() -> None:
    """An option that the provider does not know is refused when the store is opened, without its value."""
    with pytest.raises(ConfigurationError, match="cannot open the store 's3://bucket'") as raised:
        open_backend(StoreLocation("s3://bucket", {"no_such_option": "hidden-value"}))
    assert "hidden-value" not in str(raised.value)


def test_a_reason_is_the_first_line() -> None:
    """What follows the first line is a library's debug output; an error without words has its type's name."""
    assert reason(ValueError("one\ntwo")) == "one"
    assert reason(ValueError()) == "ValueError"
    assert reason(ValueError("no answer from http://u:p@host/x?sig=s")) == "no answer from http://***@host/x?***"
