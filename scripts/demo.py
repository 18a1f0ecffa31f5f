"""Show a trained net: `python scripts/demo.py RUN` serves a local page that takes photos."""

import argparse
from pathlib import Path

from catdog.cli import one_line_errors
from catdog.errors import check_packages


def main() -> None:
    """Read the command line, serve the page until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT|RUN", type=Path, help="a checkpoint, a finished run's folder, or latest"
    )
    parser.add_argument("--port", type=int, help="the first free one from 7860 on by default")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    arguments = parser.parse_args()
    with one_line_errors():
        check_packages("the demo", "demo", ["gradio"])
        from catdog.inference.demo import serve
        from catdog.inference.runs import locate

        serve(*locate(arguments.checkpoint), arguments.port or None, arguments.open)


if __name__ == "__main__":
    main()
