"""A webhook that takes JSON messages. Its URL is the credential, so no message, repr or error of ours holds it."""

import datetime as dt
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import IO, Literal

from subject_pipeline.errors import ConfigurationError

VARIABLE = "SUBJECT_ALERT_WEBHOOK"
TIMEOUT_S = 4.0
_OK = range(200, 300)
_LATER = {408, 425, 429}
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request.

    Attributes:
        outcome: `taken`; `refused`, which will not change on another try; or `not_now`.
        detail: in words that hold no part of the URL.
        after_s: the seconds after which the receiver asked to be tried again.
    """

    outcome: Literal["taken", "refused", "not_now"]
    detail: str
    after_s: float | None = None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the message to where nobody configured, and turn the POST into a GET."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> None:
        """Follow none."""


class Webhook:
    """Posts to one URL. Goes through the environment's proxies; follows no redirect; verifies TLS certificates."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """Take a URL without contacting it.

        Args:
            url: http or https; a secret.
            timeout_s: how long connecting, and each wait for the answer, may take.

        Raises:
            ConfigurationError: it is no URL to post to; the message does not repeat it.
        """
        try:
            parts = urllib.parse.urlsplit(url)
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable or not url.isascii() or not url.isprintable() or " " in url:
            raise ConfigurationError(f"{VARIABLE} must be an http:// or https:// URL") from None
        if parts.username is not None or parts.password is not None:
            raise ConfigurationError(f"{VARIABLE} must not hold a user or a password before its host: not supported")
        self._url = url
        self._timeout_s = timeout_s
        self._opener = urllib.request.build_opener(_NoRedirects())

    def post(self, message: Mapping[str, object]) -> Answer:
        """Post one message, once; nothing that the receiver or the network does is raised."""
        request = urllib.request.Request(  # noqa: S310 - the scheme was looked at above
            self._url,
            json.dumps(message, ensure_ascii=False).encode("utf-8", "replace"),
            {"Content-Type": "application/json; charset=utf-8", "User-Agent": "subject-pipeline"},
            method="POST",
        )
        try:
            with self._opener.open(request, timeout=self._timeout_s) as response:
                status = int(response.status)
            return _answer(status, None)
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error.code, error.headers.get("Retry-After"))
        except (OSError, http.client.HTTPException, ValueError) as error:
            # Their text may repeat the URL; their class says enough.
            cause = getattr(error, "reason", error)
            return Answer("not_now", type(cause if isinstance(cause, Exception) else error).__name__)


def _answer(status: int, retry_after: str | None) -> Answer:
    told = f"the receiver answered {status}"
    if status in _OK:
        return Answer("taken", told)
    if status in _LATER or status >= _SERVER_ERROR:
        return Answer("not_now", told, _seconds(retry_after))
    return Answer("refused", told)


def _seconds(retry_after: str | None) -> float | None:
    """RFC 9110, 10.2.3: whole seconds, or a date; None where it is neither."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        wanted = parsedate_to_datetime(text)
    except ValueError:
        return None
    if wanted.tzinfo is None:
        wanted = wanted.replace(tzinfo=dt.UTC)
    return max(0.0, (wanted - dt.datetime.now(dt.UTC)).total_seconds())
