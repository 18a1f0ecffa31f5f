"""Photos that are odd, damaged or made to do harm: each gives the right pixels or a reason."""

import csv
import errno
import io
import os
import resource
import socket
import struct
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, ImageOps

from catdog.data import FileSource, FolderSource, PixelStore, UnreadablePhotoError, photos
from catdog.data.photos import LONGEST_REASON, MOST_BYTES
from catdog.errors import InputError
from catdog.study.settings import collect
from conftest import MakeData, Train

SIZE = 12  # of the decoded photos
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (18, 24, 4), dtype=np.uint8)
PHOTO = Image.fromarray(NOISE[..., :3])
GREY = PHOTO.convert("L")
ORIENTATION = 0x0112

Write = Callable[[Path], object]


def saved(format: str, photo: Image.Image = PHOTO, **options: object) -> bytes:
    file = io.BytesIO()
    photo.save(file, format, **options)
    return file.getvalue()


def holds(content: bytes) -> Write:
    return lambda path: path.write_bytes(content)


def png(width: int, height: int, depth: int, color: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file made by hand, because Pillow writes not all that it reads."""
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    whole = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in whole
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def deep_png(levels: NDArray[np.uint16], color: int, *chunks: tuple[bytes, bytes]) -> bytes:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    return png(levels.shape[1], levels.shape[0], 16, color, rows, *chunks)


def palette(colors: int = 256) -> Image.Image:
    return PHOTO.quantize(colors)


def oriented(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return saved("JPEG", exif=exif)


def with_exif(exif: bytes) -> bytes:
    return saved("JPEG", exif=b"Exif\0\0" + exif)


def listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(path))  # which must be short


def grow(path: Path) -> None:
    path.touch()
    os.truncate(path, MOST_BYTES + 1)  # without taking up the disk


DEEP = np.arange(18 * 24, dtype=np.uint16).reshape(18, 24) * 151  # 16-bit grey levels, 0 to 65081
TRANSPARENT = Image.fromarray(NOISE)
FRAMES = [Image.fromarray(RNG.integers(0, 256, (18, 24, 3), dtype=np.uint8)) for _ in range(3)]

READABLE: dict[str, tuple[str, bytes]] = {
    "RGB JPEG": ("1.jpg", saved("JPEG")),
    "progressive JPEG": ("1.jpg", saved("JPEG", progressive=True)),
    "grey JPEG": ("1.jpg", saved("JPEG", GREY)),
    "CMYK JPEG": ("1.jpg", saved("JPEG", PHOTO.convert("CMYK"))),
    "JPEG of two pictures": ("1.jpg", saved("MPO", save_all=True, append_images=FRAMES[:1])),
    "JPEG with a colour profile": (
        "1.jpg",
        saved("JPEG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()),
    ),
    "JPEG with a damaged colour profile": ("1.jpg", saved("JPEG", icc_profile=b"no profile")),
    "JPEG with bytes after its end": ("1.jpg", saved("JPEG") + b"more" * 1000),
    "JPEG named .png": ("1.png", saved("JPEG")),
    "PNG named .jpg": ("1.jpg", saved("PNG")),
    "GIF named .jpg": ("1.jpg", saved("GIF")),
    "black and white PNG": ("1.png", saved("PNG", PHOTO.convert("1"))),
    "grey PNG": ("1.png", saved("PNG", GREY)),
    "palette PNG": ("1.png", saved("PNG", palette())),
    "palette PNG with a transparent colour": ("1.png", saved("PNG", palette(), transparency=3)),
    "palette PNG with half-transparent colours": (
        "1.png",
        saved("PNG", palette(16), transparency=bytes(range(0, 256, 16))),
    ),
    "grey PNG with a transparent level": ("1.png", saved("PNG", GREY, transparency=GREY.getpixel((5, 5)))),
    "RGB PNG with a transparent colour": ("1.png", saved("PNG", transparency=PHOTO.getpixel((5, 5)))),
    "RGBA PNG": ("1.png", saved("PNG", TRANSPARENT)),
    "grey PNG with transparency": ("1.png", saved("PNG", TRANSPARENT.convert("LA"))),
    "animated PNG": ("1.png", saved("PNG", save_all=True, append_images=FRAMES)),
    "one pixel": ("1.png", saved("PNG", PHOTO.crop((0, 0, 1, 1)))),
    "one row of 20,000 pixels": ("1.png", saved("PNG", PHOTO.resize((20_000, 1)))),
    "one column of 20,000 pixels": ("1.jpg", saved("JPEG", PHOTO.resize((1, 20_000)))),
    "GIF": ("1.gif", saved("GIF")),
    "animated GIF": ("1.gif", saved("GIF", FRAMES[0], save_all=True, append_images=FRAMES[1:])),
    "animated GIF with transparency": (
        "1.gif",
        saved("GIF", palette(), save_all=True, append_images=FRAMES[1:], transparency=7),
    ),
    "WebP": ("1.webp", saved("WEBP")),
    "RGBA WebP": ("1.webp", saved("WEBP", TRANSPARENT, lossless=True)),
    "animated WebP": ("1.webp", saved("WEBP", FRAMES[0], save_all=True, append_images=FRAMES[1:])),
    "BMP": ("1.BMP", saved("BMP")),
    "palette BMP": ("1.bmp", saved("BMP", palette())),
    **{f"EXIF orientation {number}": ("1.jpg", oriented(number)) for number in range(1, 9)},
    "PNG with EXIF orientation": ("1.png", saved("PNG", exif=Image.open(io.BytesIO(oriented(6))).getexif())),
    "WebP with EXIF orientation": ("1.webp", saved("WEBP", exif=Image.open(io.BytesIO(oriented(8))).getexif())),
    "EXIF orientation out of range": ("1.jpg", oriented(77)),
}  # fmt: skip

JPEG_PIXELS = np.asarray(Image.open(io.BytesIO(saved("JPEG"))))

# Those that Pillow's own ways do not give the right pixels of, with the pixels.
BY_HAND: dict[str, tuple[bytes, NDArray[np.uint8]]] = {
    "16-bit grey PNG": (deep_png(DEEP, 0), (DEEP >> 8).astype(np.uint8)),
    "16-bit grey PNG with a transparent level": (
        deep_png(DEEP, 0, (b"tRNS", struct.pack(">H", int(DEEP[3, 4])))),
        np.where(DEEP[3, 4] == DEEP, 255, DEEP >> 8).astype(np.uint8),
    ),
    "16-bit RGB PNG": (
        deep_png(np.stack([DEEP, DEEP[::-1], DEEP[:, ::-1]], 2), 2),
        np.stack([DEEP >> 8, DEEP[::-1] >> 8, DEEP[:, ::-1] >> 8], 2).astype(np.uint8),
    ),
    "EXIF that is no EXIF": (with_exif(b"MM\0*garbage" * 9), JPEG_PIXELS),
    "EXIF in no byte order": (saved("PNG", exif=b"Exif\0\0XX*\0\x08\0\0\0"), NOISE[..., :3]),
    "EXIF cut short": (with_exif(b"II*\0\x08\0\0\0\xff\xff\x12\x01"), JPEG_PIXELS),
}  # fmt: skip

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n9 9 scale showpage\n"
UNREADABLE: dict[str, tuple[Write, str]] = {
    "empty": (holds(b""), "0 bytes; a photo has 1 to"),
    "text": (holds(b"no photo at all"), "no JPEG, PNG, WEBP, GIF or BMP image"),
    "zeros": (holds(bytes(5000)), "no JPEG"),
    "a program that other software would run": (holds(EPS), "no JPEG"),
    "only a JPEG's head": (holds(saved("JPEG")[:2]), "no JPEG"),
    "half a JPEG": (holds(saved("JPEG")[:600]), "Truncated|truncated"),
    "half a PNG": (holds(saved("PNG")[:600]), "truncated|not enough"),
    "PNG with damaged data": (holds(saved("PNG").replace(b"IDAT", b"IDAT\xff\xff")), "broken"),
    "PNG that unpacks to more than Pillow takes": (
        holds(png(1, 1, 8, 0, b"\0\0", (b"iCCP", b"x\0\0" + zlib.compress(bytes(2**21))))),
        "too large",
    ),
    "400 million pixels in a PNG": (holds(png(20_000, 20_000, 1, 0, bytes(5000))), "exceeds limit"),
    "110 million pixels in a PNG": (holds(png(11_000, 10_000, 1, 0, bytes(5000))), "pixels"),
    "65535×65535 pixels in a JPEG": (
        holds(saved("JPEG").replace(struct.pack(">HH", 18, 24), b"\xff\xff\xff\xff")),
        "exceeds limit",
    ),
    "65535×65535 pixels in a GIF": (holds(saved("GIF").replace(struct.pack("<HH", 24, 18), b"\xff" * 4, 1)), "exceeds"),
    "65535×65535 pixels in a BMP": (
        holds(saved("BMP").replace(struct.pack("<ii", 24, 18), struct.pack("<ii", 65535, 65535))),
        "exceeds",
    ),
    "16384×16384 pixels in a WebP": (
        holds(
            b"RIFF\x24\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0\xff\x3f\0\xff\x3f\0ANIM\x06\0\0\0\xff\xff\xff\xff\0\0"
        ),
        "exceeds|could not create decoder object",
    ),
    "larger than any photo": (grow, "bytes; a photo has"),
    "broken link": (lambda path: path.symlink_to("nowhere"), "No such file"),
    "circular link": (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
    "pipe": (lambda path: os.mkfifo(path), "not a regular file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "socket": (listen, "not a regular file"),
    "deleted after listing": (lambda path: None, "No such file"),
}  # fmt: skip

NAMES = [
    "plain.jpg", "UPPER.JPG", "with space .jpg", " .jpg", "line\nbreak.jpg", "\r.jpg", 'quote".jpg', "'.jpg", "a,b.jpg",
    "😺.jpg", "ä.jpg", "a\u0308.jpg", os.fsdecode(b"\xff\xfe.jpg"), "%s%d{}.jpg", "-rf.jpg", "~.jpg",
    "x" * 251 + ".jpg",
]  # fmt: skip
IGNORED = [
    ".hidden.jpg", "._1.jpg", ".jpg", "Thumbs.db", "desktop.ini", "notes.txt", "jpg",
    "__MACOSX/1.jpg", ".git/1.jpg", "@eaDir/1.jpg",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _warn_as_in_a_build() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


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


def read(folder: Path, name: str, size: int = SIZE) -> NDArray[np.uint8]:
    return FileSource(folder, ("cats", "dogs"), [(name, 0)]).read(0, size)


def by_pillow(content: bytes) -> NDArray[np.uint8]:
    """Pillow's own full decode, turned by Pillow, laid on white by arithmetic."""
    photo: Image.Image = Image.open(io.BytesIO(content))
    photo.load()
    with suppress(Exception):  # damaged EXIF data
        photo = ImageOps.exif_transpose(photo)
    layers = np.asarray(photo.convert("RGBA")).astype(float)
    alpha = layers[..., 3:] / 255
    return np.rint(alpha * layers[..., :3] + (1 - alpha) * 255).astype(np.uint8)


def resized(pixels: NDArray[np.uint8], size: int = SIZE) -> NDArray[np.int16]:
    photo = Image.fromarray(pixels).convert("RGB")
    return np.asarray(photo.resize((size, size), Image.Resampling.BILINEAR)).astype(np.int16)


@pytest.mark.parametrize(("name", "content"), READABLE.values(), ids=READABLE)
def test_an_odd_photo_gives_the_pixels_of_pillows_full_decode(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    pixels = read(tmp_path, name)
    assert np.abs(pixels - resized(by_pillow(content))).max() <= 1  # rounding, where it is half transparent


@pytest.mark.parametrize(("content", "expected"), BY_HAND.values(), ids=BY_HAND)
def test_a_photo_that_pillow_alone_gets_wrong(tmp_path: Path, content: bytes, expected: NDArray[np.uint8]) -> None:
    (tmp_path / "1.jpg").write_bytes(content)
    np.testing.assert_array_equal(read(tmp_path, "1.jpg"), resized(expected))


def test_orientations_turn_one_photo_upright_in_eight_ways(tmp_path: Path) -> None:
    results = set()
    for number in range(1, 9):
        (tmp_path / "1.jpg").write_bytes(oriented(number))
        results.add(read(tmp_path, "1.jpg").tobytes())
    assert len(results) == 8


@pytest.mark.parametrize(("write", "why"), UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_photo_has_a_reason(
    tmp_path: Path, write: Write, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "1.jpg")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnreadablePhotoError, match=why) as caught:
        read(tmp_path, "1.jpg")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 50_000  # KiB
    assert str(tmp_path) not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", [name for name in UNREADABLE if "pixels in a" in name])
def test_a_bomb_is_refused_before_its_pixels_are_allocated(
    tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda photo: pytest.fail("pixels are allocated"))
    UNREADABLE[case][0](tmp_path / "1.jpg")
    with pytest.raises(UnreadablePhotoError):
        read(tmp_path, "1.jpg")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_a_photo_cut_short_anywhere_gives_its_pixels_or_a_reason(tmp_path: Path, format: str) -> None:
    content = saved(format)
    whole = resized(by_pillow(content))
    unreadable = 0
    for length in range(0, len(content), 7):
        (tmp_path / "1.jpg").write_bytes(content[:length])
        try:
            np.testing.assert_array_equal(read(tmp_path, "1.jpg"), whole)
        except UnreadablePhotoError:
            unreadable += 1
    assert unreadable > 0.9 * length / 7


@pytest.mark.parametrize(
    ("lack", "why"),
    [(MemoryError(), "Cannot allocate memory"), (OSError(errno.EMFILE, "Too many"), "Too many open files")],
)
def test_what_the_machine_lacks_is_not_kept_as_a_fault_of_the_photo(
    tmp_path: Path, lack: Exception, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("cats", "dogs"):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        PHOTO.save(tmp_path / "photos" / folder / "1.png")
    source = FolderSource(tmp_path / "photos")
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", Mock(side_effect=lack))
        with pytest.raises(InputError, match=rf"'cats/1.png' could not be read \({why}\)"):
            PixelStore.of(source, SIZE, tmp_path / "cache")
    assert not PixelStore.of(source, SIZE, tmp_path / "cache").unreadable


def test_large_photos_are_decoded_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "LARGE", 100)
    at_once, most, load = [0], [0], ImageFile.ImageFile.load

    def slow_load(photo: ImageFile.ImageFile) -> object:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        time.sleep(0.02)
        at_once[0] -= 1
        return load(photo)

    monkeypatch.setattr(ImageFile.ImageFile, "load", slow_load)
    (tmp_path / "1.png").write_bytes(saved("BMP"))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: read(tmp_path, "1.png"), range(4)))
    assert most == [1]


def test_the_memory_of_large_photos_is_given_back(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(png(6000, 6000, 1, 0, bytes(6000 * 751)))

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    before = resident()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: read(tmp_path, "1.png"), range(4)))
        assert resident() - before < 50e6  # one of them takes 180 MB


def test_a_photo_without_permission_has_a_reason_until_it_is_given(unprivileged: Path) -> None:
    for folder in ("cats", "dogs"):
        (unprivileged / "photos" / folder).mkdir(parents=True)
        PHOTO.save(unprivileged / "photos" / folder / "1.png")
    photo = unprivileged / "photos/cats/1.png"
    photo.chmod(0)
    store = PixelStore.of(FolderSource(unprivileged / "photos"), SIZE, unprivileged / "cache")
    assert store.unreadable == {"cats/1.png": "Permission denied"}
    photo.chmod(0o600)
    assert not PixelStore.of(FolderSource(unprivileged / "photos"), SIZE, unprivileged / "cache").unreadable


@pytest.mark.parametrize("closed", ["", "/cats", "/cats/sub"])
def test_a_folder_that_cannot_be_listed_is_refused(unprivileged: Path, closed: str) -> None:
    for folder in ("cats/sub", "dogs"):
        (unprivileged / "photos" / folder).mkdir(parents=True)
        PHOTO.save(unprivileged / "photos" / folder / "1.png")
    (unprivileged / f"photos{closed}").chmod(0o300)
    with pytest.raises(InputError, match=rf"the folder '.*photos{closed}' cannot be listed: Permission"):
        FolderSource(unprivileged / "photos")
    (unprivileged / f"photos{closed}").chmod(0o700)


def corpus(root: Path) -> tuple[set[str], set[str]]:
    """Write a folder of everything above; returns the names to be read and those to be listed."""
    for folder in ("cats", "dogs"):
        for number, (name, content) in enumerate(READABLE.values()):
            (root / folder / f"{number:02d}").mkdir(parents=True)
            (root / folder / f"{number:02d}" / name).write_bytes(content)
        for number, name in enumerate(NAMES):
            photo = Image.fromarray(np.random.default_rng([len(folder), number]).integers(0, 256, (8, 8, 3), "u1"))
            (root / folder / name).write_bytes(saved("JPEG", photo))
        for name in IGNORED:
            (root / folder / name).parent.mkdir(exist_ok=True)
            (root / folder / name).write_bytes(saved("JPEG"))
    (root / "__MACOSX").mkdir()
    (root / "cats" / "folder.jpg").mkdir()
    (root / "cats" / "folder.jpg" / "1.jpg").write_bytes(saved("JPEG"))
    (root / "cats" / "link.jpg").symlink_to("plain.jpg")
    (root / "cats" / "loop").symlink_to("..")
    for number, (write, _) in enumerate(UNREADABLE.values()):
        write(root / "dogs" / f"bad{number:02d}.jpg")
    os.link(root / "dogs" / "plain.jpg", root / "dogs" / "gone.jpg")
    readable = {f"{folder}/{name}" for folder in ("cats", "dogs") for name in NAMES} | {"cats/folder.jpg/1.jpg"}
    readable |= {f"{c}/{n:02d}/{name}" for c in ("cats", "dogs") for n, (name, _) in enumerate(READABLE.values())}
    bad = {f"dogs/bad{number:02d}.jpg" for number in range(len(UNREADABLE) - 1)}  # the last is deleted
    return readable | {"cats/link.jpg"}, bad | {"dogs/gone.jpg"}


def test_a_run_on_all_of_them_reads_the_readable_and_lists_the_others(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    monkeypatch.chdir(root)
    readable, unreadable = corpus(root)
    source = FolderSource(root)
    assert set(source.names) == readable | unreadable
    (root / "dogs/gone.jpg").unlink()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    record = train(data={"source": source, "max_unreadable": 1, "cache_dir": tmp_path / "cache"})

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 300_000  # KiB, most of it for the training
    assert record["unreadable"] == len(unreadable)
    with open(tmp_path / "run/unreadable.csv", newline="", errors="surrogateescape") as file:
        assert {path for path, _ in list(csv.reader(file))[1:]} == unreadable
    assert "linked folders are not searched" in caplog.text
    store = PixelStore.of(source, 16, tmp_path / "cache")
    assert set(store.unreadable) == unreadable
    for name, pixels in zip(store.names, store.pixels, strict=True):
        if name in readable:
            np.testing.assert_array_equal(pixels.permute(1, 2, 0), read(root, name, 16))


def test_photos_are_listed_also_where_they_are_too_many(train: Train, tmp_path: Path) -> None:
    for folder in ("cats", "dogs"):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        (tmp_path / "photos" / folder / "1.jpg").touch()
    with pytest.raises(InputError, match="2 of 2 photos are unreadable"):
        train(data={"root": tmp_path / "photos"})
    assert [line.split(",")[0] for line in (tmp_path / "run/unreadable.csv").read_text().splitlines()[1:]] == [
        "cats/1.jpg", "dogs/1.jpg",
    ]  # fmt: skip


def test_names_survive_from_the_disk_to_the_report(
    train: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "photos"
    classes = [os.fsdecode(b"caf\xe9\n"), "\N{CAT}"]
    for folder in classes:
        (root / folder).mkdir(parents=True)
        for number, name in enumerate(NAMES):
            photo = Image.fromarray(np.random.default_rng([len(folder), number]).integers(0, 256, (8, 8, 3), "u1"))
            (root / folder / name).write_bytes(saved("JPEG", photo))
    config = {"seed": 0, "model": {"hidden": [4]}, "trainer": {"max_epochs": 2}}
    for seed in (0, 1):
        train(f"runs/{seed}", model={"hidden": [4], "seed": seed}, data={"root": root}, config=config)
    (setting,) = collect([tmp_path / "runs"])
    tested = set(setting.correct().columns)
    assert len(tested) == 4  # of 34
    assert tested < {f"{folder}/{name}" for folder in classes for name in NAMES}
    assert any(repr(classes[0]) in message for message in caplog.messages)
    assert all(message.isprintable() for message in caplog.messages)


def test_sentences_and_log_lines_show_names_in_printable_letters(
    make_data: MakeData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd = os.fsdecode(b"\xff\n")
    (tmp_path / odd / "sub").mkdir(parents=True)
    (tmp_path / odd / "sub" / odd).symlink_to("..")
    with pytest.raises(InputError) as caught:
        FolderSource(tmp_path)
    sentences = [str(caught.value)]
    for folder in (odd, "dogs"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{odd}.jpg").touch()
    with pytest.raises(InputError, match="2 of 2 photos are unreadable") as caught:
        make_data(root=tmp_path).setup()
    sentences += [str(caught.value), caplog.messages[0]]
    for sentence in sentences:
        assert r"\udcff\n" in sentence
        assert sentence.isprintable()


MUTATIONS = st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=6)), min_size=1, max_size=6)
SEEDS = [content for name, content in READABLE.values() if len(content) < 20_000]


@given(st.sampled_from(SEEDS), MUTATIONS, st.floats(0.2, 2))
@settings(deadline=None, max_examples=300)
def test_any_damaged_photo_gives_pixels_or_a_reason(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, mutations: list[tuple[float, bytes]], length: float
) -> None:
    damaged = bytearray(content)
    for place, replacement in mutations:
        start = int(place * len(damaged))
        damaged[start : start + len(replacement)] = replacement
    path = tmp_path_factory.getbasetemp() / "damaged.jpg"
    path.write_bytes(damaged[: int(length * len(damaged))])
    try:
        pixels = read(path.parent, path.name)
    except UnreadablePhotoError as error:
        why = str(error)
        assert why.isprintable() and len(why) <= LONGEST_REASON  # noqa: PT018
    else:
        assert np.abs(pixels - resized(by_pillow(path.read_bytes()))).max() <= 1


def test_a_build_loses_none_of_many_damaged_photos(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(300):
        damaged = np.frombuffer(SEEDS[number % len(SEEDS)], np.uint8).copy()
        damaged[rng.integers(0, len(damaged), 4)] = rng.integers(0, 256, 4)
        path = tmp_path / "photos" / ("cats", "dogs")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(damaged.tobytes())
    warnings.resetwarnings()
    warnings.simplefilter("error")  # in all threads
    source = FolderSource(tmp_path / "photos")
    store = PixelStore.of(source, SIZE, tmp_path / "cache")
    assert store.names == source.names
    assert len(store.pixels) == 300
    assert 50 < len(store.unreadable) < 250
