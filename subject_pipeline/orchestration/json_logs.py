"""Logs of Dagster runs as one JSON object a line, by the `python_logs` part of an instance's dagster.yaml."""

import datetime as dt
import json
import logging
from typing import Any


class JsonLines(logging.Formatter):
    """One object a line: `ts` (UTC), `level`, `message`, and where there is a run `run_id`, `job`, `step`, `event`."""

    def format(self, record: logging.LogRecord) -> str:
        """A record as a line, without what Dagster keeps for itself."""
        meta: dict[str, Any] = getattr(record, "dagster_meta", None) or {}
        event = meta.get("dagster_event")
        line = {
            "ts": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": meta.get("orig_message") or record.getMessage(),
            "run_id": meta.get("run_id"),
            "job": meta.get("job_name"),
            "step": meta.get("step_key"),
            "event": event.event_type.name if event else None,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps({name: value for name, value in line.items() if value is not None}, ensure_ascii=False)
