"""Files that are whole or not there."""

import csv
import io
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

OUTCOME = "outcome.json"  # of a run without a result
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "'")  # in a spreadsheet; the last marks text


def write_atomically(path: Path, content: str | bytes | memoryview) -> None:
    """Write beside the place and rename, so that a file with the right name is always whole."""
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogateescape")  # names of photos may hold any bytes
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")  # several processes may write at once
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None if there is no whole one."""
    try:
        content = json.loads(path.read_text())
        return content if isinstance(content, dict) else None
    except (OSError, ValueError, RecursionError):  # the last from JSON that is nested without end
        return None


def csv_text(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Format rows as CSV; text that a spreadsheet would take for a formula gets a leading apostrophe.

    A reader that wants the names as they are removes one apostrophe from the start of each.
    """
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *(map(_no_formula, row) for row in rows)])
    return text.getvalue()


def _no_formula(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell
