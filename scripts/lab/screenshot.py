"""Take screenshots of a study in TensorBoard, or of an inspection page, for docs.

`python scripts/lab/screenshot.py STUDY --out docs` writes tensorboard-hparams.png and tensorboard-curves.png; with more
than 40 runs TensorBoard selects none, so `--runs` narrows them down. `python scripts/lab/screenshot.py
RUN/inspection.html --out docs` writes inspection.jpg. Needs Debian's chromium, or one named by `--browser`.
"""

import argparse
import contextlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from tensorboard import program

# Address, window and the part of it that is kept, in pixels. A headless browser leaves TIME SERIES without lines.
TABS = {
    "curves": (
        "scalars&tagFilter=(train%7Cval)/(loss%7Cacc)%24&_smoothingWeight=0",
        "1180,840",
        (0, 64, 1020, 722),
    ),
    "hparams": ("hparams", "1500,440", (302, 130, 1500, 412)),
}
STYLE = """main > :not(.net), .net > section:first-of-type { display: none } main { padding-top: 0 !important }
html { scrollbar-width: none } .net > section { margin-top: 1.2rem }"""  # of an inspection page
WAIT = 20  # seconds that the page gets to load its data and draw


def main() -> None:
    """Serve the dashboard on a free local port, or open the page, in a headless browser."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, metavar="STUDY|PAGE", help="folder of a study, or an inspection.html")
    parser.add_argument("--runs", default="*", help="which run folders, as a pattern such as 'fold-0_*'")
    parser.add_argument("--out", type=Path, default=Path("."), help="folder of the pictures")
    parser.add_argument("--browser", default="chromium")
    arguments = parser.parse_args()
    folders = sorted(path.parent.resolve() for path in arguments.source.glob(f"{arguments.runs}/metrics.json"))
    if not folders and not arguments.source.is_file():
        sys.exit(f"catdog: no runs '{arguments.runs}' below '{arguments.source}'; give the folder of a study")
    if shutil.which(arguments.browser) is None:
        sys.exit(f"catdog: no browser '{arguments.browser}' on this machine; give a Chromium with --browser")
    arguments.out.mkdir(parents=True, exist_ok=True)
    out = arguments.out.resolve()
    if arguments.source.is_file():
        _take_page(arguments.browser, arguments.source.read_text(), out)
        return
    with tempfile.TemporaryDirectory() as copies, contextlib.chdir(copies):
        for folder in folders:  # copied, so that TensorBoard finds these runs only
            shutil.copytree(folder, Path("runs", folder.name), ignore=shutil.ignore_patterns("checkpoints"))
        server = program.TensorBoard()
        server.configure(argv=["", "--logdir", "runs", "--port", "0"])  # 0: a free one
        address = server.launch()
        for name, (tab, window, kept) in TABS.items():
            picture = out / f"tensorboard-{name}.png"
            _take(arguments.browser, f"{address}#{tab}", window, picture)
            with Image.open(picture) as whole:
                whole.crop(kept).save(picture)
            print(picture)


def _take_page(browser: str, page: str, out: Path) -> None:
    """Take the first net's evidence, activity and units; a headless browser does not scroll, so the rest is hidden."""
    with tempfile.TemporaryDirectory() as folder:
        copy, picture = Path(folder, "page.html"), Path(folder, "page.png")
        copy.write_text(page.replace("</head>", f"<style>{STYLE}</style></head>"))
        _take(browser, copy.as_uri(), "1265,1535", picture)
        with Image.open(picture) as whole:
            whole.convert("RGB").resize((960, round(960 * whole.height / whole.width))).save(out / "inspection.jpg")
    print(out / "inspection.jpg")


def _take(browser: str, address: str, size: str, picture: Path) -> None:
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                "--no-first-run", f"--user-data-dir={profile}", f"--window-size={size}",
                f"--virtual-time-budget={WAIT * 1000}", f"--screenshot={picture.resolve()}", address,
            ],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120,
        )  # fmt: skip


if __name__ == "__main__":
    main()
