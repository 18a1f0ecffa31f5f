"""Classify photos as cat or dog: `python scripts/predict.py RUN PHOTO…` prints a prediction for each photo.

The confidence is the probability of the predicted class, from 0.5 to 1; an answer below 0.6 is marked as undecided. The
probabilities of several replicas are averaged, and `sd` is their standard deviation. In the CSV, `probability` is
that of class 1, the second of the class names in alphabetical order, as in a run's predictions.csv. The total and the
net's measured accuracy go to standard error, so that standard output has a line per photo only.

Exit status: 0 all photos were read; 3 some were unreadable, see standard error; 1 all were unreadable, or other input
was invalid; 2 the command line was invalid.
"""

import argparse
import sys
from pathlib import Path

from catdog.cli import one_line_errors


def main() -> None:
    """Read the command line, print a prediction for every photo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="RUN|CHECKPOINT", help="a finished run's folder, or latest, or a checkpoint")
    parser.add_argument("photos", metavar="PHOTO|FOLDER", nargs="+", help="a folder is searched at any depth")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write all predictions there, as CSV")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="draw the first 100 photos there, .png or .jpg")
    arguments = parser.parse_args()
    with one_line_errors():
        from catdog.inference import predict  # here, because --help need not wait for PyTorch

        status = predict.print_predictions(arguments.model, arguments.photos, arguments.csv, arguments.sheet)
    sys.exit(status)


if __name__ == "__main__":
    main()
