"""Compare runs: `python scripts/compare.py FOLDER…` writes table, figure and verdicts of all runs below the folders."""

import argparse
from pathlib import Path

from catdog.cli import one_line_errors
from catdog.study import report


def main() -> None:
    """Read the command line, write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", metavar="FOLDER", nargs="+", type=Path, help="a folder with runs below it")
    parser.add_argument("--out", type=Path, help="where comparison.csv, .md and .png go; the first folder by default")
    arguments = parser.parse_args()
    with one_line_errors():
        comparison = report.compare(arguments.folders)
        comparison.save(arguments.out or arguments.folders[0])
        print(comparison.summary())


if __name__ == "__main__":
    main()
