"""Atomic file writing, JSON reading, CSV formatting."""

import csv
import io
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

METRICS = "metrics.json"  # the record of a finished run, written last
IDENTITY = "identity.json"  # everything that the result depends on: the configuration and the photos
OUTCOME = "outcome.json"  # written by a run without a result
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "'")  # in a spreadsheet; an apostrophe marks text


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a temporary file in the same folder and rename it, so that no reader sees a partial file."""
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogateescape")  # photo names may hold any bytes
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")  # several processes may write at once
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; return None if the file is missing or holds no valid one."""
    try:
        content = json.loads(path.read_text())
        return content if isinstance(content, dict) else None
    except (OSError, ValueError, RecursionError):  # RecursionError: JSON nested too deeply
        return None


def csv_text(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Format rows as CSV, with one apostrophe before text that a spreadsheet would take for a formula."""
    text, starts = io.StringIO(newline=""), FORMULA_STARTS
    escaped = ([f"'{x}" if isinstance(x, str) and x.startswith(starts) else x for x in row] for row in rows)
    csv.writer(text).writerows([header, *escaped])
    return text.getvalue()
