"""Times as options: what a person types, as the store writes it."""

import re

import click

from subject_pipeline.audit.events import event_time
from subject_pipeline.errors import EventError

_is_day = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII).fullmatch


class Moment(click.ParamType[str]):
    """RFC 3339 with an offset, or a day, which stands for its first moment, UTC."""

    name = "time"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The time in UTC with six decimals and `Z`."""
        try:
            return event_time(f"{value}T00:00:00Z" if _is_day(value) else value)
        except EventError as error:
            self.fail(f"{str(error).removeprefix('ts: ')}, or a day, like 2026-06-30", param, ctx)


MOMENT = Moment()
