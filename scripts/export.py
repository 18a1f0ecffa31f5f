"""Export a trained net: `python scripts/export.py RUN` writes one ONNX file that needs no catdog.

It maps the pixels of resized photos to the probability of class 1. It is written only if its probabilities match the
checkpoint's.
"""

import argparse
from pathlib import Path

from catdog.cli import one_line_errors


def main() -> None:
    """Read the command line, write the file, print example code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT|RUN", type=Path, help="a checkpoint, a finished run's folder, or latest"
    )
    parser.add_argument("--out", type=Path, help="ends in .onnx; beside the checkpoint by default")
    arguments = parser.parse_args()
    with one_line_errors():
        from catdog.inference.export import export
        from catdog.inference.runs import locate

        print(export(locate(arguments.checkpoint)[0], arguments.out))


if __name__ == "__main__":
    main()
