"""From a run's folder to a page and a picture of what its network has learnt."""

from pathlib import Path

from catdog.errors import InputError
from catdog.files import write_atomically
from catdog.inference import Predictor
from catdog.inspection.measures import inspect
from catdog.inspection.page import page
from catdog.inspection.poster import poster
from catdog.inspection.telling import tell
from catdog.runs import FinishedRun

PAGE, POSTER = "inspection.html", "inspection.png"


def inspect_run(folder: str | Path, out: str | Path | None = None, seed: int | None = None) -> list[Path]:
    """Look into a network of a finished run; returns the files written: inspection.html and inspection.png.

    Args:
        folder: the run's.
        out: where the files go; None: the run's folder.
        seed: of the replica to look into; None: the first one's.

    Raises:
        InputError: no run has finished there, its photos have changed, it has no such seed, or `out` cannot be
            written to.
    """
    run = FinishedRun.open(folder)
    replica = _replica(run, seed)
    model, data = Predictor.load(run.checkpoint), run.data()
    test = data.test
    inspection = inspect(model, replica, test.names, data.store.pixels[test.rows], test.labels)
    exhibition = tell(inspection, run.record, replica, model.classifier.hparams)
    html, picture = page(exhibition), poster(exhibition)
    place = run.folder if out is None else Path(out)
    try:
        place.mkdir(parents=True, exist_ok=True)
        write_atomically(place / PAGE, html)
        picture.save(place / POSTER)
    except OSError as error:
        raise InputError(f"{str(place)!r} cannot be written to: {error.strerror}") from error
    return [place / PAGE, place / POSTER]


def _replica(run: FinishedRun, seed: int | None) -> int:
    seeds = [replica["seed"] for replica in run.record["replicas"]]
    if seed is None:
        return 0
    if seed not in seeds:
        raise InputError(f"the run in {str(run.folder)!r} has no seed {seed}; it has {', '.join(map(str, seeds))}")
    return seeds.index(seed)
