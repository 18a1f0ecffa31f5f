"""Compare runs: `python scripts/compare.py FOLDER…` makes table, figure and verdict of all runs below the folders."""

import argparse
import io
import sys
from pathlib import Path

from catdog import report
from catdog.errors import InputError


def main() -> None:
    """Read the command line, write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", metavar="FOLDER", nargs="+", type=Path, help="a folder with runs below it")
    parser.add_argument("--out", type=Path, help="where comparison.csv, .md and .png go; the first folder by default")
    arguments = parser.parse_args()
    try:
        comparison = report.compare(arguments.folders)
    except InputError as error:
        sys.exit(f"catdog: {error}")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for terminals that do not have all letters
    comparison.save(arguments.out or arguments.folders[0])
    print(comparison)


if __name__ == "__main__":
    main()
