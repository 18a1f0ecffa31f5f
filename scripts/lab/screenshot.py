"""Take screenshots of a study in TensorBoard: `python scripts/lab/screenshot.py STUDY --out docs`.

Needs Debian's chromium, or another Chromium named by `--browser`. Writes tensorboard-hparams.png and
tensorboard-curves.png. With more than 40 runs TensorBoard selects none, so `--runs` narrows them down.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tensorboard import program

TABS = {"hparams": "hparams", "curves": "custom_scalars"}
WAIT = 20  # seconds that the page gets to load its data and draw


def main() -> None:
    """Serve the dashboard on a free local port, and take screenshots with a headless browser."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logdir", type=Path)
    parser.add_argument("--runs", default="*", help="which run folders, as a pattern such as 'fold-0_*'")
    parser.add_argument("--out", type=Path, default=Path("."), help="folder of the pictures")
    parser.add_argument("--browser", default="chromium")
    arguments = parser.parse_args()
    folders = sorted(path.parent for path in arguments.logdir.glob(f"{arguments.runs}/metrics.json"))
    runs = [f"{folder.name}:{folder}" for folder in folders]
    if not runs:
        sys.exit(f"catdog: no runs '{arguments.runs}' below '{arguments.logdir}'; give the folder of a study")
    if shutil.which(arguments.browser) is None:
        sys.exit(f"catdog: no browser '{arguments.browser}' on this machine; give a Chromium with --browser")
    server = program.TensorBoard()
    server.configure(argv=["", "--logdir_spec", ",".join(runs), "--port", "0"])  # 0: a free one
    address = server.launch()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, tab in TABS.items():
        _take(arguments.browser, f"{address}#{tab}", arguments.out / f"tensorboard-{name}.png")


def _take(browser: str, address: str, picture: Path) -> None:
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                "--no-first-run", f"--user-data-dir={profile}", "--window-size=1500,900",
                f"--virtual-time-budget={WAIT * 1000}", f"--screenshot={picture.resolve()}", address,
            ],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120,
        )  # fmt: skip
    print(picture)


if __name__ == "__main__":
    main()
