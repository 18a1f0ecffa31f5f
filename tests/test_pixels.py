import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from catdog.data import DrawnSource, FolderSource, PixelStore
from catdog.data.decoding import UnreadablePhotoError
from catdog.data.sources import Photo


class CountingSource(DrawnSource):
    """Four drawn photos that count how often they are read; some can be made to fail."""

    def __init__(self, broken: tuple[int, ...] = (), error: Exception | None = None) -> None:
        super().__init__(None, count=4, seed=0)
        self.reads = 0
        self.broken = broken
        self.error = error or UnreadablePhotoError("no photo")

    def read(self, index: int, image_size: int) -> Photo:
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
        np.testing.assert_array_equal(pixels.permute(1, 2, 0).numpy(), source.read(index, 16).pixels)


def test_photos_are_read_once(tmp_path: Path) -> None:
    first, second = CountingSource(), CountingSource()
    PixelStore.of(first, 16, tmp_path)
    PixelStore.of(second, 16, tmp_path)
    assert (first.reads, second.reads) == (4, 0)


def test_gathering_takes_any_rows_in_any_order(tmp_path: Path) -> None:
    store = PixelStore.of(DrawnSource(None, count=4, seed=0), 16, tmp_path)
    pixels, labels = store.gather(torch.tensor([3, 0, 3]))
    assert pixels.equal(torch.stack([store.pixels[3], store.pixels[0], store.pixels[3]]))
    assert labels.tolist() == [1, 0, 1]


def test_unreadable_photos_are_left_out_and_listed(tmp_path: Path) -> None:
    for _ in range(2):  # built, then opened
        store = PixelStore.of(CountingSource(broken=(1,)), 16, tmp_path)
        assert store.names == ["cats/000000", "dogs/000002", "dogs/000003"]
        assert store.labels.tolist() == [0, 1, 1]
        assert store.unreadable == {"cats/000001": "no photo"}
        assert len(store.pixels) == 3


def test_a_store_without_any_readable_photo_can_be_opened(tmp_path: Path) -> None:
    store = PixelStore.of(CountingSource(broken=(0, 1, 2, 3)), 16, tmp_path)
    assert store.pixels.shape == (0, 3, 16, 16)
    assert len(store.unreadable) == 4


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="machine on fire"):
        PixelStore.of(CountingSource(broken=(2,), error=RuntimeError("machine on fire")), 16, tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_several_that_start_at_once_read_the_photos_once(tmp_path: Path) -> None:
    sources = [CountingSource() for _ in range(6)]
    with ThreadPoolExecutor(len(sources)) as pool:
        stores = list(pool.map(lambda source: PixelStore.of(source, 16, tmp_path), sources))
    assert sum(source.reads for source in sources) == 4
    assert all(store.pixels.equal(stores[0].pixels) for store in stores)


@pytest.mark.parametrize("change", ["modification time", "size", "name", "image size"])
def test_a_change_makes_another_store(tmp_path: Path, change: str) -> None:
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
    else:
        image_size = 24
    PixelStore.of(FolderSource(root), image_size, tmp_path / "cache")
    assert len(list((tmp_path / "cache").glob("[!.]*"))) == 2
