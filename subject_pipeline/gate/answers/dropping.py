"""An answer without the records of some people."""

import json
from collections.abc import Collection, Mapping
from typing import Any, Final

from subject_pipeline.gate.answers.finding import Search, find_subjects

WITHHELD: Final = object()
"""In the place of an answer of which nothing may be shown."""


def without(answer: Any, denied: Collection[str], ids: Mapping[str, str]) -> Any:  # noqa: ANN401 - or `WITHHELD`
    """The answer without the innermost list element around each record that names one of the denied.

    A record that names several, in one id field or in two, is as much about one as about the other. JSON in a text is
    looked into, and written again where something was dropped. In sets and in objects nothing is dropped: what holds
    them is.

    Args:
        answer: of the caller's own; nothing in it is changed.
        denied: ids.
        ids: the fields that hold ids, and their prefixes.

    Raises:
        RecursionError: the answer is nested too deeply, or holds itself.
    """
    shown = _Dropping(denied, ids).of(answer)
    # Looked through once more: what was overlooked here must not go out.
    if shown is WITHHELD or not find_subjects(shown, ids).subjects.keys().isdisjoint(denied):
        return WITHHELD
    return shown


class _Dropping:
    def __init__(self, denied: Collection[str], ids: Mapping[str, str]) -> None:
        self._denied = frozenset(denied)
        self._ids = ids
        self._search = Search(ids)

    def of(self, value: Any) -> Any:  # noqa: ANN401 - as `without`
        """What may be shown of a value; `WITHHELD`: it names one of the denied, and no list in it can do without."""
        kind = type(value)
        if kind is list or kind is tuple:
            kept = [shown for item in value if (shown := self.of(item)) is not WITHHELD]
            return kept if kind is list else tuple(kept)
        if kind is dict:
            return self._of_record(value)
        if isinstance(value, str):
            return self._of_text(value)
        return value if self._denied.isdisjoint(find_subjects(value, self._ids).subjects) else WITHHELD

    def _of_record(self, record: dict[Any, Any]) -> Any:  # noqa: ANN401 - as `without`
        if not self._denied.isdisjoint(self._search.ids(record)):
            return WITHHELD
        shown = {}
        for name, value in record.items():
            shown[name] = self.of(value)
            if shown[name] is WITHHELD:
                return WITHHELD
        return shown

    def _of_text(self, text: str) -> Any:  # noqa: ANN401 - as `without`
        said = self._search.within(text)
        if not said:
            return text
        shown = self.of(said[0])
        if shown is WITHHELD or shown == said[0]:
            return WITHHELD if shown is WITHHELD else text
        # A text of a text is not written again: nobody relies on such.
        return WITHHELD if text.lstrip().startswith('"') else json.dumps(shown, ensure_ascii=False)
