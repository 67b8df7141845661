import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import obstore
import pytest
from obstore.exceptions import AlreadyExistsError, GenericError, PermissionDeniedError, PreconditionError
from obstore.store import MemoryStore

from subject_pipeline.errors import ConfigurationError, OutcomeUnknownError, StoreError
from subject_pipeline.objects.backends import open_backend, reason
from subject_pipeline.objects.local import LocalObjects
from subject_pipeline.objects.location import StoreLocation
from subject_pipeline.objects.opening import open_objects
from subject_pipeline.objects.remote import RemoteObjects
from subject_pipeline_tests.helpers.scripted_s3 import RESET, ScriptedS3, scripted_s3

KEY = "audit/chunk-00/000000000000.jsonl"
Put = Callable[..., Any]


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was to be waited between attempts; nobody waits here."""
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found


@pytest.fixture
def s3() -> Iterator[ScriptedS3]:
    """A server whose answers a test says."""
    with scripted_s3() as server:
        yield server


@pytest.fixture
def objects() -> RemoteObjects:
    """An empty store in memory."""
    return RemoteObjects(MemoryStore())


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
    for words, operation in (
        ("cannot read the object", lambda: objects.get(KEY)),
        ("cannot tell whether the object .* was written", lambda: objects.replace(KEY, b"1")),
        ("cannot tell whether the object .* was deleted", lambda: objects.delete(KEY)),
        ("cannot list the objects", lambda: objects.list("audit/")),
    ):
        with pytest.raises(StoreError, match=rf"{words}.*does not answer") as raised:
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


def _raises(*errors: Exception) -> Put:
    """A put that fails so, the last way over and over; None in the place of an error does it."""

    def fake(call: int, _: Put) -> None:
        raise errors[min(call, len(errors)) - 1]

    return fake


_RESET = GenericError("error sending request")
_CONFLICT = AlreadyExistsError("409 Conflict")
_DENIED = PermissionDeniedError("403 Forbidden")


@pytest.mark.parametrize(
    "errors",
    [
        (_RESET, _CONFLICT),
        (_CONFLICT, _RESET, _CONFLICT),
        (_RESET, PreconditionError("412 Precondition Failed")),
        (_RESET, _DENIED),
        (_CONFLICT, _CONFLICT, _RESET, _DENIED),
    ],
)
def test_an_outcome_that_was_unknown_once_stays_unknown(
    objects: RemoteObjects, put: Callable[[Put], list[str]], errors: tuple[Exception, ...]
) -> None:
    """A refusal of a later attempt, and nothing there to read, say nothing about the one before."""
    put(_raises(*errors))
    with pytest.raises(OutcomeUnknownError, match=r"whether the object .* was created: .*error sending request"):
        objects.create(KEY, b"ours")


@pytest.mark.parametrize("errors", [(_CONFLICT,), (_DENIED,), (_CONFLICT, _DENIED)])
def test_nothing_was_written_where_every_attempt_was_refused(
    objects: RemoteObjects, put: Callable[[Put], list[str]], errors: tuple[Exception, ...]
) -> None:
    """Only then is it said, and one that would be refused again is not sent again."""
    calls = put(_raises(*errors))
    with pytest.raises(StoreError, match=r"could not be created, and was not: .*40[39]") as caught:
        objects.create(KEY, b"ours")
    assert not isinstance(caught.value, OutcomeUnknownError)
    assert len(calls) == (len(errors) if _DENIED in errors else 7)


def test_a_refusal_whose_reason_cannot_be_read_is_a_refusal(
    objects: RemoteObjects, put: Callable[[Put], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another object may stand there; ours does not."""
    put(_raises(_CONFLICT))
    _fail_reads(monkeypatch)
    with pytest.raises(StoreError, match=r"was not: 409 Conflict; then .*does not answer") as caught:
        objects.create(KEY, b"ours")
    assert not isinstance(caught.value, OutcomeUnknownError)


@pytest.mark.parametrize("errors", [(_RESET,), (_RESET, _DENIED)])
def test_a_replace_that_may_have_landed_is_not_told_as_one_that_did_not(
    objects: RemoteObjects, put: Callable[[Put], list[str]], errors: tuple[Exception, ...]
) -> None:
    """What it is told as is an open outcome, whatever came after."""
    put(_raises(*errors))
    with pytest.raises(OutcomeUnknownError, match=r"whether the object .* was written"):
        objects.replace(KEY, b"ours")


def test_a_replace_that_is_refused_was_not_written(objects: RemoteObjects, put: Callable[[Put], list[str]]) -> None:
    """And is not sent again."""
    calls = put(_raises(_DENIED))
    with pytest.raises(StoreError, match="could not be written, and was not: 403") as caught:
        objects.replace(KEY, b"ours")
    assert not isinstance(caught.value, OutcomeUnknownError)
    assert len(calls) == 1


def test_a_write_is_tried_again_with_longer_and_longer_waits(
    objects: RemoteObjects, put: Callable[[Put], list[str]], waits: list[float]
) -> None:
    """A store that is busy for some seconds fails no write."""

    def busy(call: int, write: Put) -> None:
        if call < 7:
            raise GenericError("503 Slow Down")
        write()

    put(busy)
    objects.replace(KEY, b"ours")
    assert objects.get(KEY) == b"ours"
    assert len(waits) == 6
    assert 3 <= sum(waits) <= 7
    assert max(waits) == waits[-1]


def test_a_write_that_lands_after_its_refusals_was_never_denied(s3: ScriptedS3) -> None:
    """A reset, then conflicts with that very request: unknown; and when it lands, the next create finds its bytes."""
    objects = RemoteObjects.at(s3.location)
    s3.script = [RESET, 409]
    with pytest.raises(OutcomeUnknownError):
        objects.create(KEY, b"ours")
    s3.land(0)
    assert objects.create(KEY, b"ours") is True


@pytest.mark.long
@pytest.mark.parametrize("hidden", [RESET, 500, 503, 408, 429])
@pytest.mark.parametrize("refusal", [403, 409, 412])
@pytest.mark.parametrize("operation", ["create", "replace", "delete"])
def test_the_client_hides_no_attempt_behind_a_refusal(
    s3: ScriptedS3, operation: str, hidden: int, refusal: int
) -> None:
    """What the client below would repeat by itself is seen here, attempt by attempt, and counts as unknown."""
    objects = RemoteObjects.at(s3.location)
    s3.script = [hidden, refusal]
    with pytest.raises(OutcomeUnknownError):
        getattr(objects, operation)(*([KEY] if operation == "delete" else [KEY, b"ours"]))


@pytest.mark.parametrize("operation", ["create", "replace", "delete"])
def test_a_refusal_by_a_server_is_sent_once(s3: ScriptedS3, operation: str) -> None:
    """403 at the first attempt: nothing was written."""
    objects = RemoteObjects.at(s3.location)
    s3.script = [403]
    with pytest.raises(StoreError, match="and was not: ") as caught:
        getattr(objects, operation)(*([KEY] if operation == "delete" else [KEY, b"ours"]))
    assert not isinstance(caught.value, OutcomeUnknownError)
    assert len(s3.writes) == 1


def test_an_object_that_is_too_large_is_not_fetched(s3: ScriptedS3) -> None:
    """Its size stands in the answer's head; the body is left where it is."""
    objects = RemoteObjects.at(s3.location)
    objects.create(KEY, b"x" * 1_000_001)
    with pytest.raises(StoreError, match="it has 1,000,001 bytes, more than the 1,000,000"):
        objects.get(KEY, limit=1_000_000)


def test_a_write_that_the_server_does_at_the_second_attempt_is_done(s3: ScriptedS3) -> None:
    """Each kind goes on after a reset."""
    objects = RemoteObjects.at(s3.location)
    s3.script = [RESET, 200]
    assert objects.create(KEY, b"1") is True
    s3.script = [503, 200]
    objects.replace(KEY, b"2")
    assert objects.get(KEY) == b"2"
    s3.script = [RESET, 200]
    objects.delete(KEY)
    assert objects.get(KEY) is None


def test_a_delete_that_is_denied_within_a_success_is_a_refusal(s3: ScriptedS3) -> None:
    """S3 answers 200 for the request, and AccessDenied for the object."""
    about = b"<Key>store/%b</Key><Code>AccessDenied</Code><Message>Access Denied</Message>" % KEY.encode()
    s3.deleted = b"<Error>%b</Error>" % about
    with pytest.raises(StoreError, match=r"could not be deleted, and was not: .*AccessDenied") as caught:
        RemoteObjects.at(s3.location).delete(KEY)
    assert not isinstance(caught.value, OutcomeUnknownError)
    assert len(s3.writes) == 1
