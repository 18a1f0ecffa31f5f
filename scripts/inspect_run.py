"""Inspect a run's networks: `python scripts/inspect_run.py RUN` writes inspection.html there."""

import argparse
from pathlib import Path

from catdog.cli import one_line_errors


def main() -> None:
    """Read the command line, write the page, print its path."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", metavar="RUN", type=Path, help="folder of a finished run, or latest")
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="folder of the page; the run's by default")
    arguments = parser.parse_args()
    with one_line_errors():
        from catdog.inference.inspect import inspect_run  # here, because --help need not wait for PyTorch

        print(inspect_run(arguments.run, arguments.out))


if __name__ == "__main__":
    main()
