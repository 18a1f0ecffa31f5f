"""See what a run's net has learnt: `python scripts/inspect_run.py RUN` makes inspection.html there."""

import argparse
from pathlib import Path

from catdog.cli import one_line_errors


def main() -> None:
    """Read the command line, write the page, print where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", metavar="RUN", type=Path, help="the folder of a finished run")
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="folder of the page; the run's by default")
    parser.add_argument("--seed", metavar="S", type=int, help="which of several nets is shown; the first by default")
    arguments = parser.parse_args()
    with one_line_errors():
        from catdog.inference.inspection_page import (
            inspect_run,  # here, because PyTorch takes seconds that --help need not wait for
        )

        print(inspect_run(arguments.run, arguments.out, arguments.seed))


if __name__ == "__main__":
    main()
