"""Evaluation of trained networks on labelled photos: a run's test set, or a folder."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from catdog.data import CatDogDataModule, FolderSource, PhotoSource, PixelStore
from catdog.errors import InputError
from catdog.files import write_atomically
from catdog.inference.evaluation_figure import draw_evaluation
from catdog.inference.measures import NUMBERS, measure_all, with_interval
from catdog.inference.predictor import Predictor
from catdog.inference.runs import FinishedRun, locate
from catdog.model.metrics import mean_logits
from catdog.names import net_title, shown
from catdog.plots import SIDE, mistakes
from catdog.training.record import environment


class Sample(NamedTuple):
    """Labelled photos: rows of a store."""

    origin: str  # description, for the title
    source: PhotoSource
    store: PixelStore
    rows: Tensor  # of the photos that are evaluated, int64 (photos,)
    labels: Tensor  # 0 or 1, by the checkpoint's classes, float32 (photos,)
    run_data: CatDogDataModule | None  # photos of the checkpoint's run, if they are still there


def evaluate(
    model: str | Path, data: str | Path | None = None, out: str | Path | None = None
) -> tuple[dict[str, Any], Path]:
    """Evaluate a model, write evaluation.json and two figures, and return the former's content and their folder.

    `model` is a finished run's folder or a checkpoint; `data` is a folder with two class sub-folders, by default the
    run's test set. `out` is by default a folder `evaluation` in the run's, or beside the checkpoint; its name is
    extended by that of `data` and that of a checkpoint other than the tested one. InputError if either is unusable.
    """
    checkpoint, run = locate(model)
    networks = Predictor.load(checkpoint)
    if data is not None:
        sample = _folder(networks, data, run)
    elif run is not None:
        sample = _test_part(networks, run)
    else:
        raise InputError(f"{str(checkpoint)!r} lies in no finished run's folder; name photos with --data FOLDER")
    logits = networks.logits(sample.store.pixels[sample.rows]).double()
    record = _describe(checkpoint, networks, sample) | measure_all(logits, sample.labels, networks.classifier.seeds)
    names = ["evaluation"] + [checkpoint.stem] * (run is None or checkpoint.resolve() != run.checkpoint.resolve())
    names += [] if data is None else [Path(data).resolve().name]
    folder = Path(out) if out is not None else (run.folder if run else checkpoint.parent) / "-".join(names)
    folder.mkdir(parents=True, exist_ok=True)
    draw_evaluation(record, logits, sample.labels).savefig(folder / "evaluation.png", dpi=110)
    probabilities, rows = mean_logits(logits, dim=0).sigmoid(), sample.rows.tolist()
    names, classes = [sample.store.names[row] for row in rows], networks.class_names
    sheet = mistakes(lambda n: sample.source.read(rows[n], SIDE), names, sample.labels, probabilities, classes)
    sheet.save(folder / "mistakes.png")
    write_atomically(folder / "evaluation.json", json.dumps(record, indent=2))  # last, to mark completion
    return record, folder


def _test_part(networks: Predictor, run: FinishedRun) -> Sample:
    data = run.data()
    if (networks.image_size, networks.class_names) != (data.image_size, tuple(data.class_names)):
        raise InputError(f"the checkpoint is not of the run in {str(run.folder)!r}; name photos with --data FOLDER")
    return Sample(f"the test set of '{run.folder}'", data.source, data.store, data.test.rows, data.test.labels, data)


def _folder(networks: Predictor, data: str | Path, run: FinishedRun | None) -> Sample:
    """Read all photos of a folder; match its classes to the checkpoint's, ignoring case and a plural s."""
    try:
        source = FolderSource(data)
    except InputError as error:
        raise InputError(str(error).replace("data.root", "--data", 1)) from error
    both = source.class_names, networks.class_names
    found, known = ([name.casefold().removesuffix("s") for name in names] for names in both)
    if sorted(found) != sorted(known):
        wrong, right = (" and ".join(map(repr, names)) for names in both)
        raise InputError(f"--data: its class folders {wrong} are not the checkpoint's classes {right}; rename them")
    run_data, cache_dir = None, "outputs/cache"
    if run is not None:
        cache_dir = run.record["config"].get("data", {}).get("cache_dir", cache_dir)
        with suppress(InputError):
            run_data = run.data()
    store = PixelStore.of(source, networks.image_size, cache_dir)
    if len(store.unreadable) == len(store.names):
        name, reason = next(iter(store.unreadable.items()))
        raise InputError(f"--data: none of {len(store.names)} photos can be read; the first is {name!r} ({reason})")
    rows = torch.tensor([row for row, name in enumerate(store.names) if name not in store.unreadable])
    labels = store.labels[rows] if found == known else 1 - store.labels[rows]
    return Sample(f"'{data}'", source, store, rows, labels, run_data)


def _describe(checkpoint: Path, networks: Predictor, sample: Sample) -> dict[str, Any]:
    """Describe checkpoint, photos and environment, as JSON values."""
    count, ones = len(sample.labels), int(sample.labels.sum())
    trained_on, title = None, f"{net_title(networks.classifier.hparams)}, {checkpoint.name}, {count:,} photos of "
    if (data := sample.run_data) is not None:
        seen = {data.store.digests[row] for part in (data.train, data.val) for row in part.rows.tolist()}
        trained_on = sum(sample.store.digests[row] in seen for row in sample.rows.tolist())
    of_class = dict(zip(networks.class_names, (count - ones, ones), strict=True))
    photos = {"count": count, "of_class": of_class, "trained_on": trained_on, "unreadable": sample.store.unreadable}
    head = {"title": shown(title + sample.origin), "checkpoint": str(checkpoint)}
    return head | {"class_names": list(networks.class_names), "photos": photos, **environment()}


def summarize(record: dict[str, Any]) -> str:
    """Format the content of evaluation.json for a terminal."""
    photos, names = record["photos"], [shown(name) for name in record["class_names"]]
    counts = list(photos["of_class"].values())
    lines = [record["title"]]
    if photos["unreadable"]:
        lines.append(f"  {len(photos['unreadable']):,} of all photos are unreadable and left out; see evaluation.json")
    if photos["trained_on"]:
        seen = f"{photos['trained_on']:,} of the photos are ones that the run trained on or chose its epoch by"
        lines.append(f"  {seen}, so the numbers are better than on new photos")
    elif photos["trained_on"] is None:
        lines.append("  its run's photos are unknown, gone or changed: it may have been trained on some of these")
    majority = names[counts.index(max(counts))]
    lines.append(f"  always naming {majority} would be right for {100 * max(counts) / sum(counts):.1f} %")
    nets, ensemble = record["nets"], record["ensemble"]
    if ensemble:
        lines.append(f"  {'':28}{f'mean of {len(nets)} nets':24}{'sd':13}ensemble")
    for name, title in NUMBERS.items():
        cells = f"{with_interval(record['mean'], name):24}"
        cells += f"{with_interval(record['sd'], name):13}{with_interval(ensemble, name)}" if ensemble else ""
        lines.append(f"  {title:28}{cells}".rstrip())
    width = max(len("of the ensemble"), *map(len, names))
    lines.append(f"  {'of the ensemble' if ensemble else 'class':{width}}  precision  recall     F1  photos")
    for name, count, *scores in zip(names, counts, *(ensemble or nets[0])["per_class"].values(), strict=True):
        lines.append(f"  {name:{width}}  {scores[0]:9.3f}  {scores[1]:6.3f}  {scores[2]:5.3f}  {count:6,}")
    return "\n".join(lines)
