"""Evaluate a run: `python scripts/evaluate.py RUN` measures its tested weights on its test set.

Writes evaluation.png (confusion matrix, ROC and precision-recall curves, calibration), mistakes.png (the photos of each
class with the largest losses) and evaluation.json (all measures, with the photos and versions behind them).
"""

import argparse
from pathlib import Path

from catdog.cli import one_line_errors


def main() -> None:
    """Read the command line, evaluate, print a summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="RUN|CHECKPOINT", help="a finished run's folder, or latest, or a checkpoint")
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", help="photos in two class sub-folders; the run's test set by default"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the files go; RUN/evaluation by default")
    arguments = parser.parse_args()
    with one_line_errors():
        from catdog.inference import evaluate  # here, because --help need not wait for PyTorch

        record, folder = evaluate.evaluate(arguments.model, arguments.data, arguments.out)
        print(f"{evaluate.summarize(record)}\n  files in {folder}")


if __name__ == "__main__":
    main()
