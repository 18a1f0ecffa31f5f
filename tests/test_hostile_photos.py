"""Photos that are odd, damaged or made to do harm: each gives the right pixels or a reason."""

import csv
import errno
import io
import os
import struct
import tempfile
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, ImageOps

from catdog.data import FolderSource, PixelStore
from catdog.data.photos import MAX_FILE_BYTES, FileSource, UnreadablePhotoError
from catdog.errors import InputError
from catdog.study.settings import collect
from conftest import Train

pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.")  # as in a build

SIZE = 12  # of the decoded photos
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (18, 24, 4), dtype=np.uint8)
DEEP = np.arange(18 * 24, dtype=np.uint16).reshape(18, 24) * 151  # 16-bit grey levels, 0 to 65081
TRANSPARENT, PHOTO = Image.fromarray(NOISE), Image.fromarray(NOISE[..., :3])
GREY, PALETTE = PHOTO.convert("L"), PHOTO.quantize(256)
MORE: dict[str, Any] = {"save_all": True, "append_images": [PHOTO.rotate(angle) for angle in (90, 180)]}  # frames

Content = bytes | Callable[[Path], object]


def saved(format: str, photo: Image.Image = PHOTO, **options: object) -> bytes:
    file = io.BytesIO()
    photo.save(file, format, **options)
    return file.getvalue()


def png(width: int, height: int, depth: int, color: int, rows: bytes) -> bytes:
    """A PNG file made by hand, because Pillow refuses to write some."""
    content, head = b"\x89PNG\r\n\x1a\n", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    for kind, data in ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        content += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return content


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def grow(path: Path) -> None:
    path.touch()
    os.truncate(path, MAX_FILE_BYTES + 1)  # without taking up the disk


def put(path: Path, content: Content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content(path) if callable(content) else path.write_bytes(content)


def put_pair(root: Path) -> FolderSource:
    """Write one photo of each class."""
    for folder in ("cats", "dogs"):
        put(root / folder / "1.jpg", saved("JPEG"))
    return FolderSource(root)


READABLE = {
    "JPEG": saved("JPEG"),
    "CMYK JPEG": saved("JPEG", PHOTO.convert("CMYK")),
    "JPEG of several pictures": saved("MPO", **MORE),
    "colour profile": saved("JPEG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()),
    "JPEG with bytes after its end": saved("JPEG") + b"more" * 1000,
    "oriented JPEG": saved("JPEG", exif=oriented(6)),
    "black and white PNG": saved("PNG", PHOTO.convert("1")),
    "palette PNG": saved("PNG", PALETTE),
    "palette PNG with a transparent colour": saved("PNG", PALETTE, transparency=3),
    "half-transparent palette PNG": saved("PNG", PHOTO.quantize(16), transparency=bytes(range(0, 256, 16))),
    "grey PNG with a transparent level": saved("PNG", GREY, transparency=GREY.getpixel((5, 5))),
    "RGB PNG with a transparent colour": saved("PNG", transparency=PHOTO.getpixel((5, 5))),
    "RGBA PNG": saved("PNG", TRANSPARENT),
    "grey PNG with transparency": saved("PNG", TRANSPARENT.convert("LA")),
    "animated PNG": saved("PNG", **MORE),
    "one pixel": saved("PNG", PHOTO.crop((0, 0, 1, 1))),
    "one row of 20,000 pixels": saved("PNG", PHOTO.resize((20_000, 1))),
    "animated GIF with transparency": saved("GIF", PALETTE, transparency=7, **MORE),
    "RGBA WebP": saved("WEBP", TRANSPARENT, lossless=True),
    "animated WebP": saved("WEBP", **MORE),
    "BMP": saved("BMP"),
}
TURNS = ((0, 1), (0, -1), (2, 1), (2, -1), (-1, -1), (-1, 1), (1, -1), (1, 1))  # quarters, and -1 where mirrored

# What Pillow's own ways do not give the right pixels of, or what they should not be trusted with.
BY_HAND: dict[str, tuple[bytes, NDArray[np.generic]]] = {
    f"orientation {number}": (saved("PNG", exif=oriented(number)), np.rot90(NOISE[..., :3], quarters)[:, ::mirror])
    for number, (quarters, mirror) in enumerate(TURNS, start=1)
} | {
    "16-bit grey PNG": (saved("PNG", Image.fromarray(DEEP)), DEEP >> 8),
    "16-bit grey PNG with a transparent level": (
        saved("PNG", Image.fromarray(DEEP), transparency=int(DEEP[3, 4])),
        np.where(DEEP[3, 4] == DEEP, 255, DEEP >> 8),
    ),
    "EXIF in no byte order": (saved("PNG", exif=b"Exif\0\0XX*\0\x08\0\0\0"), NOISE[..., :3]),
}

BOMB = "exceeds|too large|pixels are more than|could not create decoder"
UNREADABLE: dict[str, tuple[Content, str]] = {
    "empty": (b"", "0 bytes; a photo has 1 to"),
    "text": (b"no photo at all", "no JPEG, PNG, WEBP, GIF or BMP image"),
    "PostScript, a program": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "no JPEG"),
    "PNG bomb": (png(20_000, 20_000, 1, 0, bytes(5000)), BOMB),
    "PNG bomb that Pillow itself would take": (png(11_000, 10_000, 1, 0, bytes(5000)), BOMB),
    "PNG with a bomb for a profile": (saved("PNG", icc_profile=bytes(2**21)), BOMB),
    "JPEG bomb": (saved("JPEG").replace(struct.pack(">HH", 18, 24), b"\xff" * 4), BOMB),
    "GIF bomb": (saved("GIF").replace(struct.pack("<HH", 24, 18), b"\xff" * 4, 1), BOMB),
    "BMP bomb": (saved("BMP").replace(struct.pack("<ii", 24, 18), struct.pack("<ii", 65535, 65535)), BOMB),
    "WebP bomb": (
        b"RIFF\x24\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0\xff\x3f\0\xff\x3f\0ANIM\x06\0\0\0\xff\xff\xff\xff\0\0",
        BOMB,
    ),
    "larger than any photo": (grow, "bytes; a photo has"),
    "broken link": (lambda path: path.symlink_to("nowhere"), "No such file"),
    "pipe": (os.mkfifo, "0 bytes; a photo has"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "0 bytes; a photo has"),
}

NAMES = [
    os.fsdecode(b"\xff\n.jpg"), "UPPER.JPG", "with space .jpg", " .jpg", "line\nbreak.jpg", "\r.jpg", 'quote".jpg',
    "'.jpg", "a,b.jpg", "😺.jpg", "ä.jpg", "a\u0308.jpg", "plain.jpg", "%s%d{}.jpg", "-rf.jpg", "~.jpg",
    "x" * 251 + ".jpg",
]  # fmt: skip


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """An empty folder, and no longer root's rights."""
    with tempfile.TemporaryDirectory() as folder:  # below those of pytest, nobody else may go
        os.chmod(folder, 0o777)
        if (user := os.getuid()) == 0:
            os.setresuid(65534, 65534, user)
        try:
            yield Path(folder)
        finally:
            os.setresuid(user, user, user)


def read(path: Path) -> NDArray[np.uint8]:
    return FileSource(path.parent, ("cats", "dogs"), [(path.name, 0)]).read(0, SIZE)


def by_pillow(content: bytes) -> NDArray[np.generic]:
    """Pillow's own full decode, turned by Pillow, laid on white by arithmetic."""
    photo: Image.Image = Image.open(io.BytesIO(content))
    photo.load()
    with suppress(Exception):  # damaged EXIF data
        photo = ImageOps.exif_transpose(photo)
    layers = np.asarray(photo.convert("RGBA")).astype(float)
    alpha = layers[..., 3:] / 255
    return np.rint(alpha * layers[..., :3] + (1 - alpha) * 255)


def check_pixels(pixels: NDArray[np.uint8], expected: NDArray[np.generic]) -> None:
    photo = Image.fromarray(expected.astype(np.uint8)).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    assert np.abs(pixels - np.asarray(photo).astype(int)).max() <= 1  # rounding, where it is half transparent


PIXELS = BY_HAND | {name: (content, by_pillow(content)) for name, content in READABLE.items()}


@pytest.mark.parametrize(("content", "expected"), PIXELS.values(), ids=PIXELS)
def test_an_odd_photo_gives_the_right_pixels(tmp_path: Path, content: bytes, expected: NDArray[np.generic]) -> None:
    put(tmp_path / "1.jpg", content)  # which is not what most are
    check_pixels(read(tmp_path / "1.jpg"), expected)


@pytest.mark.parametrize(("content", "why"), UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_photo_has_a_reason_before_its_pixels_are_allocated(
    tmp_path: Path, content: Content, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda photo: pytest.fail("pixels are allocated"))
    put(tmp_path / "1.jpg", content)
    with pytest.raises(UnreadablePhotoError, match=why) as caught:
        read(tmp_path / "1.jpg")
    assert str(tmp_path) not in str(caught.value)


@given(
    content=st.sampled_from([content for content in READABLE.values() if len(content) < 20_000]),
    mutations=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=6)), max_size=6),
    length=st.floats(0, 2),
)
@settings(deadline=None, max_examples=300)
def test_a_photo_damaged_or_cut_short_anywhere_gives_its_pixels_or_a_reason(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, mutations: list[tuple[float, bytes]], length: float
) -> None:
    damaged = bytearray(content)
    for place, replacement in mutations:
        start = int(place * len(damaged))
        damaged[start : start + len(replacement)] = replacement
    path = tmp_path_factory.getbasetemp() / "damaged.jpg"
    put(path, bytes(damaged[: int(length * len(damaged))]))
    try:
        pixels = read(path)
    except UnreadablePhotoError as error:
        why = str(error)
        assert why.isprintable() and len(why) <= 200  # noqa: PT018
    else:
        check_pixels(pixels, by_pillow(path.read_bytes()))


@pytest.mark.parametrize("lack", [MemoryError(), OSError(errno.EMFILE, "Too many open files")], ids=repr)
def test_what_the_machine_lacks_is_not_kept_as_a_fault_of_the_photo(tmp_path: Path, lack: Exception) -> None:
    source = put_pair(tmp_path / "photos")
    sentence = r"'cats/1.jpg' could not be read \((Cannot allocate memory|Too many open files)\)"
    with patch.object(Image, "open", side_effect=lack), pytest.raises(InputError, match=sentence):
        PixelStore.of(source, SIZE, tmp_path / "cache")
    assert not PixelStore.of(source, SIZE, tmp_path / "cache").unreadable


def test_large_photos_are_decoded_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "1.jpg", png(6000, 6000, 1, 0, b""))
    barrier = threading.Barrier(2)

    def meet(photo: ImageFile.ImageFile) -> None:
        barrier.wait(timeout=0.3)
        raise OSError("two at once")

    monkeypatch.setattr(ImageFile.ImageFile, "load", meet)
    with ThreadPoolExecutor(2) as pool, pytest.raises(UnreadablePhotoError, match="BrokenBarrier"):
        list(pool.map(read, [tmp_path / "1.jpg"] * 2))


def test_what_may_not_be_read_is_listed_or_refused_until_it_may(unprivileged: Path) -> None:
    root, photo = unprivileged / "photos", unprivileged / "photos/cats/1.jpg"
    source = put_pair(root)
    photo.chmod(0)
    assert PixelStore.of(source, SIZE, unprivileged / "cache").unreadable == {"cats/1.jpg": "Permission denied"}
    photo.chmod(0o600)
    assert not PixelStore.of(source, SIZE, unprivileged / "cache").unreadable
    (root / "cats/sub").mkdir()
    for closed in (root, root / "cats", root / "cats/sub"):
        closed.chmod(0o300)
        with pytest.raises(InputError, match=f"the folder '{closed}' cannot be listed: Permission denied"):
            FolderSource(root)
        closed.chmod(0o700)


def test_a_run_on_all_of_them_lists_the_bad(train: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    warnings.filterwarnings("error", module=r"PIL\.")  # to be ignored by the build itself, in all threads
    classes, root = (os.fsdecode(b"caf\xe9\n"), "\N{CAT}"), tmp_path / "photos"
    good = [content for content, _ in PIXELS.values()]
    bad = [*(content for content, _ in UNREADABLE.values()), saved("JPEG")[:600]]
    photos = {
        f"{folder}/{number}/{NAMES[number % len(NAMES)]}": content
        for folder, contents in ((classes[0], good), (classes[1], good), (f"{classes[1]}/bad", bad))
        for number, content in enumerate(contents)
    }
    for name, content in photos.items():
        put(root / name, content)
    unreadable = {name for name in photos if "/bad/" in name}
    (root / classes[0] / "loop").symlink_to("..")
    with pytest.raises(InputError, match=rf"{len(bad)} of .* are unreadable.*/bad/0/\\udcff\\n.jpg'") as refused:
        train("refused", data={"root": root})
    assert str(refused.value).isprintable()
    config = {"seed": 0, "model": {"hidden": [4]}, "trainer": {"max_epochs": 2}}
    record = train("runs/0", model={"hidden": [4]}, data={"root": root, "max_unreadable": 1}, config=config)
    assert record["unreadable"] == len(unreadable)
    for folder in ("refused", "runs/0"):
        with open(tmp_path / folder / "unreadable.csv", newline="", errors="surrogateescape") as file:
            assert {path for path, _ in list(csv.reader(file))[1:]} == unreadable
    (setting,) = collect([tmp_path / "runs"])
    assert set() < set(setting.correct.columns) < photos.keys() - unreadable
    assert "linked folders are not searched" in caplog.text
    assert any(repr(classes[0]) in message for message in caplog.messages)
    assert all(message.isprintable() for message in caplog.messages)
