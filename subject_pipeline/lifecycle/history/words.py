"""Events in plain words, for anyone who reads a history or a dossier without knowing how either is made."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from types import MappingProxyType

from subject_pipeline.formats.shown_text import shown
from subject_pipeline.lifecycle.history.events import ACCESS, Event

SCOPES = MappingProxyType({"general_pii": "general personal data", "biometric": "biometric data"})
"""The scopes of a consent as people would name them."""

RESULTS = MappingProxyType({"success": "answered", "denied": "denied", "not_found": "nothing found", "error": "failed"})
"""The results of an access likewise."""


def event_words(event: Event) -> str:
    """One sentence, without its time and without who did it."""
    words = _WORDS.get(event["what"])
    return words(event) if words is not None else shown(event["what"])


def _access(event: Event) -> str:
    action = shown(event["action"])
    if "count" in event:
        results = ", ".join(f"{count:,} {RESULTS.get(name, name)}" for name, count in sorted(event["results"].items()))
        return f"{action}: {event['count']:,} {'access' if event['count'] == 1 else 'accesses'} ({results})"
    purpose = f", for {shown(event['purpose'])}" if "purpose" in event else ""
    return f"{action}: one access ({RESULTS.get(event['result'], event['result'])}){purpose}"


def _scope(event: Event) -> str:
    return SCOPES.get(str(event.get("scope")), shown(str(event.get("scope"))))


def _with_reason(words: str) -> Callable[[Event], str]:
    def told(event: Event) -> str:
        named = defaultdict(lambda: "?", {name: shown(str(value)) for name, value in event.items()})
        reason = f" Reason: {named['reason']}" if "reason" in named else ""
        named["scope"] = _scope(event)
        return words.format_map(named) + reason

    return told


def _registered(event: Event) -> str:
    return f"Registered from the dataset {shown(event['dataset'])}." if "dataset" in event else "Registered."


_WORDS: Mapping[str, Callable[[Event], str]] = MappingProxyType(
    {
        ACCESS: _access,
        "registered": _registered,
        "linked": _with_reason("Found in another dataset, which is noted now."),
        "replaced": _with_reason("The record was replaced as a whole."),
        "deleted": _with_reason("The record was deleted."),
        "erased": _with_reason("Erased."),
        "readmitted": _with_reason("May be registered again."),
        "consent_given": _with_reason("Consent to hold {scope} was given, version {version}."),
        "consent_refused": _with_reason("Consent to hold {scope} was refused."),
        "consent_withdrawn": _with_reason("Consent to hold {scope} was withdrawn."),
        "biometric_destroyed": _with_reason("The biometric data were destroyed."),
        "classified": _with_reason("Assigned to the area {vertical}."),
        "retention_set": _with_reason("Kept under the retention policy {policy}."),
        "interaction": _with_reason("Had dealings with us."),
        "hold_placed": _with_reason("A legal hold was placed: {hold_id}."),
        "hold_released": _with_reason("A legal hold was released: {hold_id}."),
        "restricted": _with_reason("Use of the data was restricted."),
        "unrestricted": _with_reason("The restriction was lifted."),
        "erasure_ordered": _with_reason("Erasure was ordered."),
        "erasure_cancelled": _with_reason("The order to erase was cancelled."),
    }
)
