import multiprocessing
import os
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from catdog.data import FolderSource, PixelStore, SyntheticSource, store
from catdog.data.store import INDEX, PIXELS, store_key
from catdog.errors import InputError

# Processes that a test may kill: they come from one that has imported everything and then only forks.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["pytest", "catdog.job", "catdog.training"])  # sweeps in this process use it, too


class LoggingSource(SyntheticSource):
    """Drawn photos that write down in a file which of them are read."""

    def __init__(self, log: Path, count: int = 4) -> None:
        super().__init__(count)
        self.log = log

    @property
    def reads(self) -> list[int]:
        return sorted(map(int, self.log.read_text().split()))

    def read(self, index: int, image_size: int) -> NDArray[np.uint8]:
        with open(self.log, "a") as file:
            file.write(f"{index}\n")
        return super().read(index, image_size)


def stores(cache_dir: Path) -> list[Path]:
    return list(cache_dir.glob("[!.]*"))


def paint(path: Path, color: str = "red", side: int = 8, time: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, 8), color).save(path)
    os.utime(path, ns=(time, time))


def two_photos(root: Path) -> FolderSource:
    paint(root / "a/1.png")
    paint(root / "b/1.png")
    return FolderSource(root)


def test_a_change_makes_another_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo, keys = tmp_path / "a/1.png", [store_key(two_photos(tmp_path), 16), store_key(FolderSource(tmp_path), 24)]
    changes: list[Callable[[], object]] = [
        lambda: paint(photo, time=1),
        lambda: paint(photo, side=80, time=1),  # its size
        lambda: photo.rename(tmp_path / "a/2.png"),
        lambda: (tmp_path / "a").rename(tmp_path / "c"),
        lambda: monkeypatch.setattr(store, "VERSION", store.VERSION + 1),
    ]
    for change in changes:
        change()
        keys.append(store_key(FolderSource(tmp_path), 16))
    assert len(set(keys)) == 7


def swap(folder: Path) -> None:
    PixelStore.of(SyntheticSource(4), 8, folder.parent / ".other")
    shutil.rmtree(folder)
    stores(folder.parent / ".other")[0].rename(folder)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "index no text": lambda folder: (folder / INDEX).write_bytes(b"\xff\xfe{"),
    "a digest changed": lambda folder: (folder / INDEX).write_text((folder / INDEX).read_text().replace('["', '["0')),
    "pixels cut short": lambda folder: os.truncate(folder / PIXELS, 1000),
    "pixels longer": lambda folder: os.truncate(folder / PIXELS, 4 * 768 + 1),
    "pixels gone": lambda folder: (folder / PIXELS).unlink(),
    "another whole store": swap,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_store_is_built_anew(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    source = LoggingSource(tmp_path / "log")
    pixels = PixelStore.of(source, 16, tmp_path / "cache").pixels.clone()
    damage(stores(tmp_path / "cache")[0])
    for _ in ("built anew", "opened"):
        assert PixelStore.of(source, 16, tmp_path / "cache").pixels.equal(pixels)
        assert source.reads == [0, 0, 1, 1, 2, 2, 3, 3]


def test_photos_that_change_while_they_are_read_are_refused_and_then_read_anew(tmp_path: Path) -> None:
    source = two_photos(tmp_path / "photos")

    def repaint_and_read(index: int, image_size: int) -> NDArray[np.uint8]:
        paint(tmp_path / "photos/b/1.png", "blue", time=1)
        return FolderSource.read(source, index, image_size)

    with (
        patch.object(source, "read", repaint_and_read),
        pytest.raises(InputError, match="photos changed while they were read; repeat the command"),
    ):
        PixelStore.of(source, 2, tmp_path / "cache")
    assert not stores(tmp_path / "cache")
    assert PixelStore.of(source, 2, tmp_path / "cache").pixels[1, :, 0, 0].tolist() == [0, 0, 255]


def test_a_disk_without_room_gives_a_sentence_and_no_partial_store(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(InputError, match=r"data.cache_dir: .*cache' \(File too large\); it takes 0.2 MB$"):
            PixelStore.of(SyntheticSource(200), 16, tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_a_build_killed_at_any_moment_leaves_a_whole_store_or_none(tmp_path: Path) -> None:
    source, rng = SyntheticSource(count=24), np.random.default_rng(0)
    pixels = PixelStore.of(source, 16, tmp_path / "whole").pixels
    whole, build_time = 0, 0.0
    for number in range(31):
        cache_dir = tmp_path / str(number)
        process = PROCESSES.Process(target=PixelStore.of, args=(source, 16, cache_dir))
        process.start()
        while not cache_dir.exists():
            time.sleep(0.0005)
        started = time.perf_counter()
        process.join(rng.uniform(0, build_time) if number else None)
        build_time = build_time or time.perf_counter() - started
        process.kill()
        process.join()
        whole += bool(stores(cache_dir))
        assert PixelStore.of(source, 16, cache_dir).pixels.equal(pixels)
        assert not list(cache_dir.glob(".*.partial"))
    assert 1 <= whole < 31


def test_eight_processes_at_once_read_every_photo_once_and_nobody_may_cut_the_pixels_short(tmp_path: Path) -> None:
    source = LoggingSource(tmp_path / "log", 100)
    processes = [PROCESSES.Process(target=PixelStore.of, args=(source, 16, tmp_path / "cache")) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 8
    assert source.reads == list(range(100))
    (folder,) = stores(tmp_path / "cache")
    assert (folder / PIXELS).stat().st_mode & 0o222 == 0
