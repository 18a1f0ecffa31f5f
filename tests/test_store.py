import multiprocessing
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from lightning import Trainer
from numpy.typing import NDArray
from PIL import Image

from catdog import CatDogClassifier, CatDogDataModule
from catdog.data import FolderSource, PixelStore, SyntheticSource, UnreadablePhotoError, store
from catdog.data.store import INDEX, PIXELS, digest_pixels, is_whole, store_key
from catdog.errors import InputError


class CountingSource(SyntheticSource):
    """Drawn photos that count how often they are read; some can be made to fail."""

    def __init__(self, broken: tuple[int, ...] = (), error: Exception | None = None, count: int = 4) -> None:
        super().__init__(count)
        self.reads = 0
        self.broken = broken
        self.error = error or UnreadablePhotoError("no photo")

    def read(self, index: int, image_size: int) -> NDArray[np.uint8]:
        self.reads += 1
        if index in self.broken:
            raise self.error
        return super().read(index, image_size)

    def fingerprint(self) -> Iterator[str]:
        yield f"{self.broken}"


def test_the_store_holds_what_the_source_reads(tmp_path: Path, photo_root: Path) -> None:
    source = FolderSource(photo_root)
    store = PixelStore.of(source, 16, tmp_path)
    assert store.names == source.names
    assert store.labels.tolist() == source.labels
    assert store.pixels.dtype == torch.uint8
    for index, pixels in enumerate(store.pixels):
        np.testing.assert_array_equal(pixels.permute(1, 2, 0).numpy(), source.read(index, 16))
        assert store.digests[index] == digest_pixels(source.read(index, 16))
    assert len(set(store.digests)) == len(source.names)


def test_unreadable_photos_are_listed(tmp_path: Path) -> None:
    for reads in (4, 0):  # built, then opened
        source = CountingSource(broken=(1,))
        store = PixelStore.of(source, 16, tmp_path)
        assert source.reads == reads
        assert store.unreadable == {"cats/000001": "no photo"}
        assert store.digests[1] == store.names[1] == "cats/000001"
        assert [bool(pixels.any()) for pixels in store.pixels] == [True, False, True, True]
    assert len(PixelStore.of(CountingSource(broken=(0, 1, 2, 3)), 16, tmp_path).unreadable) == 4


def test_a_build_that_fails_leaves_nothing_and_reads_no_further(tmp_path: Path) -> None:
    source = CountingSource(broken=(2,), error=RuntimeError("machine on fire"), count=1000)
    with pytest.raises(RuntimeError, match="machine on fire"):
        PixelStore.of(source, 16, tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    assert source.reads < 500


@pytest.mark.parametrize("change", ["modification time", "size", "name", "image size", "version"])
def test_a_change_makes_another_store(tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root, image_size = tmp_path / "photos", 16
    for name in ("a/1.png", "b/1.png"):
        (root / name).parent.mkdir(parents=True)
        Image.new("RGB", (8, 8), "red").save(root / name)
    PixelStore.of(FolderSource(root), image_size, tmp_path / "cache")
    photo = root / "a/1.png"
    if change == "modification time":
        os.utime(photo, ns=(0, 0))
    elif change == "size":
        times = photo.stat()
        photo.write_bytes(photo.read_bytes() + b"\0")
        os.utime(photo, ns=(times.st_atime_ns, times.st_mtime_ns))
    elif change == "name":
        photo.rename(root / "a/2.png")
    elif change == "version":
        monkeypatch.setattr(store, "VERSION", store.VERSION + 1)
    else:
        image_size = 24
    PixelStore.of(FolderSource(root), image_size, tmp_path / "cache")
    assert len(list((tmp_path / "cache").glob("[!.]*"))) == 2


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def swap(folder: Path) -> None:
    PixelStore.of(CountingSource(), 8, folder.parent / ".other")
    shutil.rmtree(folder)
    next((folder.parent / ".other").glob("[!.]*")).rename(folder)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "index cut short": lambda folder: os.truncate(folder / INDEX, 100),
    "index empty": lambda folder: os.truncate(folder / INDEX, 0),
    "index gone": lambda folder: (folder / INDEX).unlink(),
    "bit of the index flipped": lambda folder: flip(folder / INDEX, 40),
    "pixels cut short": lambda folder: os.truncate(folder / PIXELS, 1000),
    "pixels longer": lambda folder: os.truncate(folder / PIXELS, 4 * 768 + 1),
    "pixels gone": lambda folder: (folder / PIXELS).unlink(),
    "index no text": lambda folder: (folder / INDEX).write_bytes(b"\xff\xfe{"),
    "another whole store": swap,
    "empty folder": empty,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_store_is_built_anew(
    tmp_path: Path, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    pixels = PixelStore.of(CountingSource(), 16, tmp_path).pixels.clone()
    (folder,) = tmp_path.glob("[!.]*")
    damage(folder)
    source = CountingSource()
    assert PixelStore.of(source, 16, tmp_path).pixels.equal(pixels)
    assert source.reads == 4
    assert "is damaged; it is built anew" in caplog.text
    PixelStore.of(source, 16, tmp_path)
    assert source.reads == 4


def test_any_flipped_byte_of_the_index_is_noticed(tmp_path: Path) -> None:
    PixelStore.of(CountingSource(count=2), 16, tmp_path)
    (folder,) = tmp_path.glob("[!.]*")
    for place in range((folder / INDEX).stat().st_size):
        flip(folder / INDEX, place)
        assert not is_whole(folder)
        flip(folder / INDEX, place)
    assert is_whole(folder)


class ChangingSource(FolderSource):
    """Two photos, of which the second changes while the first is read, for the first `times` times."""

    def __init__(self, root: Path, times: int, change: Callable[[Path], object]) -> None:
        for name in ("a/1.png", "b/1.png"):
            (root / name).parent.mkdir(parents=True)
            Image.new("RGB", (8, 8), "red").save(root / name)
        super().__init__(root)
        self.times = times
        self.change = change

    def read(self, index: int, image_size: int) -> NDArray[np.uint8]:
        if index == 0 and self.times:
            self.times -= 1
            self.change(self.root / "b/1.png")
        return super().read(index, image_size)


def repaint(path: Path) -> None:
    Image.new("RGB", (8, 8), "blue").save(path)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def test_a_photo_that_is_deleted_while_others_are_read_is_listed(tmp_path: Path) -> None:
    source = ChangingSource(tmp_path / "photos", 1, Path.unlink)
    with pytest.raises(InputError, match="photos changed while they were read; repeat the command"):
        PixelStore.of(source, 2, tmp_path / "cache")
    store = PixelStore.of(source, 2, tmp_path / "cache")
    assert store.unreadable == {"b/1.png": "No such file or directory"}


def test_photos_that_change_while_they_are_read_are_refused_and_then_read_anew(tmp_path: Path) -> None:
    source = ChangingSource(tmp_path / "photos", 1, repaint)
    with pytest.raises(InputError, match="photos changed while they were read; repeat the command"):
        PixelStore.of(source, 2, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("[!.]*"))
    assert PixelStore.of(source, 2, tmp_path / "cache").pixels[1, :, 0, 0].tolist() == [0, 0, 255]


def test_who_waits_for_another_process_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    source = CountingSource()
    with ThreadPoolExecutor(1) as pool, FileLock(tmp_path / f".{store_key(source, 16)}.lock"):
        waiting = pool.submit(PixelStore.of, source, 16, tmp_path)
        while "another process is reading the photos" not in caplog.text:
            time.sleep(0.01)
        assert not waiting.done()
        assert not source.reads
    assert len(waiting.result().names) == 4


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("file systems may not be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_gives_a_sentence_and_no_partial_store(small_disk: Path) -> None:
    sentence = r"data.cache_dir: .*disk/cache' \(No space left on device\); it takes 0.2 MB$"
    with pytest.raises(InputError, match=sentence):
        PixelStore.of(CountingSource(count=200), 16, small_disk / "cache")
    assert [path.suffix for path in (small_disk / "cache").iterdir()] == [".lock"]


@pytest.mark.parametrize("limit", [0, 1000, 3071])
def test_a_file_that_may_not_grow_gives_a_sentence_and_no_partial_store(tmp_path: Path, limit: int) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(InputError, match=r"data.cache_dir: no store can be written .* \(File too large\)"):
            PixelStore.of(CountingSource(), 16, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    assert len(PixelStore.of(CountingSource(), 16, tmp_path).names) == 4


def test_a_cache_that_cannot_be_written_to_gives_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        InputError, match=r"data.cache_dir: no store can be written to '.*file/cache' \(Not a directory"
    ):
        PixelStore.of(CountingSource(), 16, tmp_path / "file" / "cache")


# Processes that a test may kill: they come from one that has imported everything and then only forks.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["pytest", "catdog.data"])


def test_a_build_killed_at_any_moment_leaves_a_whole_store_or_none(tmp_path: Path) -> None:
    source, rng = SyntheticSource(count=24), np.random.default_rng(0)
    pixels = PixelStore.of(source, 16, tmp_path / "whole").pixels
    whole, build_time = 0, 0.0
    for number in range(51):
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
        whole += any(cache_dir.glob("[!.]*"))
        assert PixelStore.of(source, 16, cache_dir).pixels.equal(pixels)
        assert not list(cache_dir.glob(".*.partial"))
    assert 1 <= whole < 51


class LoggingSource(SyntheticSource):
    """Drawn photos that write a line to a file whenever one is read."""

    def __init__(self, count: int, log: Path) -> None:
        super().__init__(count)
        self.log = log

    def read(self, index: int, image_size: int) -> NDArray[np.uint8]:
        with open(self.log, "a") as file:
            file.write(f"{index}\n")
        return super().read(index, image_size)


def build_and_train(folder: Path, number: int, start: Barrier) -> None:
    source = LoggingSource(100, folder / "reads")
    data = CatDogDataModule(source, image_size=16, batch_size=8, cache_dir=folder / "cache")
    model = CatDogClassifier([4], image_size=16, seed=number)
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(accelerator="cpu", max_epochs=1, num_sanity_val_steps=0, **quiet)
    start.wait()
    trainer.fit(model, data)
    (folder / f"trained-{number}").write_text(str(trainer.callback_metrics["val/acc"].item()))


def test_eight_processes_at_once_build_one_store_and_all_train(tmp_path: Path) -> None:
    start = PROCESSES.Barrier(8)
    processes = [PROCESSES.Process(target=build_and_train, args=(tmp_path, number, start)) for number in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 8
    assert sorted(map(int, (tmp_path / "reads").read_text().split())) == list(range(100))
    assert len(list(tmp_path.glob("trained-*"))) == 8


def test_who_dies_while_others_wait_holds_them_up_no_longer(tmp_path: Path) -> None:
    source = CountingSource()
    process = PROCESSES.Process(target=hold_lock, args=(tmp_path / f".{store_key(source, 16)}.lock",))
    process.start()
    with ThreadPoolExecutor(1) as pool:
        while not (tmp_path / "held").exists():
            time.sleep(0.01)
        waiting = pool.submit(PixelStore.of, source, 16, tmp_path)
        assert not wait([waiting], timeout=0.2).done
        process.kill()
        assert len(waiting.result(timeout=20).names) == 4
    process.join()


def hold_lock(path: Path) -> None:
    with FileLock(path):
        (path.parent / "held").touch()
        time.sleep(600)
