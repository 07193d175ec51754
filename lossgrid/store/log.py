"""The record of what happened to a job: one JSON line an event, beside the results file."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class RunLog:
    """Appends events to `<output>.log.jsonl`; a full disk costs the event, never the job."""

    def __init__(self, output: Path) -> None:
        self.path = output.with_name(output.name + ".log.jsonl")

    def event(self, kind: str, **facts: Any) -> None:
        """Record that `kind` happened now."""
        line = json.dumps({"time": round(time.time(), 3), "event": kind, **facts})
        try:
            with self.path.open("a") as file:
                file.write(line + "\n")
        except OSError:
            pass

    def events(self) -> Iterator[dict[str, Any]]:
        """All events in order; lines that a crash has cut short are passed over."""
        try:
            lines = self.path.read_text(errors="replace").splitlines()
        except OSError:
            return
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                yield event
