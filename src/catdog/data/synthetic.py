"""Synthetic cats and dogs, for trying everything without a download.

The classes differ in ears, eyes, muzzle, nose, whiskers and tongue; all else has the same distribution in both, also
light fur on dark ground and dark fur on light ground, so the mean cat and the mean dog are nearly the same image.
"""

import cmath
import colorsys
import math
from collections.abc import Iterator

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from catdog.errors import check_whole_number

VERSION = 1  # increase it when any pixel changes, so that stores are rebuilt

Color = tuple[int, ...]
Points = list[tuple[float, float]]  # in units of the head's radius, from its centre
Shape = tuple[Points, Color, float]  # the last is the line width; 0 means a filled polygon


class SyntheticSource:
    """`count` synthetic photos, the first half cats; each depends only on `seed` and its index."""

    class_names = ("cats", "dogs")

    def __init__(self, count: int = 2000, seed: int = 0) -> None:
        check_whole_number("data.source.count", count, least=2, most=10_000_000)
        check_whole_number("data.source.seed", seed, least=0)
        self.seed = seed
        self.labels = [int(position >= (count + 1) // 2) for position in range(count)]
        self.names = [f"{self.class_names[label]}/{position:06d}" for position, label in enumerate(self.labels)]

    def fingerprint(self) -> Iterator[str]:
        """Yield the seed, the number of photos and the version of the drawing code."""
        yield f"{self.seed}\0{len(self.names)}\0{VERSION}"

    def read(self, index: int, image_size: int) -> NDArray[np.uint8]:
        """Draw one photo; see `PhotoSource.read`."""
        rng = np.random.default_rng([self.seed, index])
        photo = draw_photo(rng, is_dog=bool(self.labels[index]), image_size=2 * image_size)  # resized like real photos
        pixels = np.asarray(photo.resize((image_size, image_size), Image.Resampling.BILINEAR))
        noise = rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(rng.uniform(4, 16))  # grey levels
        return (pixels + noise).clip(0, 255).astype(np.uint8)


def draw_photo(rng: Generator, is_dog: bool, image_size: int) -> Image.Image:
    """Draw one RGB image, (image_size, image_size), without noise."""
    light_fur = rng.random() < 0.5
    photo = _background(rng, image_size, (0.08, 0.4) if light_fur else (0.6, 0.92))
    draw = ImageDraw.Draw(photo)
    left, top = image_size * rng.uniform(0.3, 0.7), image_size * rng.uniform(0.32, 0.64)
    radius, angle = image_size * rng.uniform(0.15, 0.31), rng.normal(0, math.radians(15))
    cos, sin = math.cos(angle) * radius, math.sin(angle) * radius
    fur = _color(rng, (0.62, 0.88) if light_fur else (0.12, 0.38))
    detail = _color(rng, (0.02, 0.12) if light_fur else (0.82, 0.95), saturation=(0, 0.3))
    pairs = list(zip(fur, detail, strict=True))
    shade, inner = (tuple(round(share * a + (1 - share) * b) for a, b in pairs) for share in (0.8, 0.62))
    body = _ellipse(rng.uniform(-0.5, 0.5), 1.9, rng.uniform(0.9, 1.25), rng.uniform(1.2, 1.6)), shade, 0.0
    for points, color, width in [body, *(_dog if is_dog else _cat)(rng, fur, detail, inner, shade)]:  # back to front
        placed = [(left + x * cos - y * sin, top + x * sin + y * cos) for x, y in points]
        if width:
            draw.line(placed, fill=color, width=max(1, round(width * radius)))
        else:
            draw.polygon(placed, fill=color)
    for _ in range(rng.integers(0, 4)):  # occluders
        color = _color(rng, (0.1, 0.9))
        start = rng.uniform(0, image_size, 2)
        if rng.random() < 0.5:
            end = rng.uniform(0, image_size, 2)
            draw.line((*start, *end), fill=color, width=round(image_size * rng.uniform(0.02, 0.07)))
        else:
            draw.circle(tuple(start), image_size * rng.uniform(0.04, 0.13), fill=color)
    return photo


def _background(rng: Generator, image_size: int, lightness: tuple[float, float]) -> Image.Image:
    """Draw a linear gradient in a random direction, with ellipses and stripes."""
    left, right = np.array([_color(rng, lightness), _color(rng, lightness)])
    turn = rng.uniform(0, 2 * math.pi)
    steps = np.linspace(-0.5, 0.5, 16)  # drawn small and enlarged, which is much faster
    ramp = np.clip(0.5 + steps[:, None] * math.sin(turn) + steps * math.cos(turn), 0, 1)[..., None]
    photo = Image.fromarray((left * ramp + right * (1 - ramp)).astype(np.uint8))
    photo = photo.resize((image_size, image_size), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(photo)
    for _ in range(rng.integers(2, 8)):
        x, y = rng.uniform(0, image_size, 2)
        a, b = rng.uniform(0.03, 0.25, 2) * image_size
        if rng.random() < 0.5:
            draw.ellipse((x - a, y - b, x + a, y + b), fill=_color(rng, lightness))
        else:
            draw.line((x, y, *rng.uniform(0, image_size, 2)), fill=_color(rng, lightness), width=max(1, round(a / 3)))
    return photo


def _color(rng: Generator, lightness: tuple[float, float], saturation: tuple[float, float] = (0.1, 0.6)) -> Color:
    red, green, blue = colorsys.hls_to_rgb(rng.random(), rng.uniform(*lightness), rng.uniform(*saturation))
    return round(red * 255), round(green * 255), round(blue * 255)


def _ellipse(x: float, y: float, a: float, b: float, tilt: float = 0) -> Points:
    """Compute the outline of an ellipse at (x, y) with semi-axes a and b, rotated clockwise by `tilt` radians."""
    turns = np.linspace(0, 2 * math.pi, 28, endpoint=False)
    outline = complex(x, y) + (a * np.cos(turns) + 1j * b * np.sin(turns)) * cmath.rect(1, tilt)
    return [(point.real, point.imag) for point in outline.tolist()]


def _cat(rng: Generator, fur: Color, detail: Color, inner: Color, shade: Color) -> Iterator[Shape]:
    """Yield pointed ears, slit pupils, a small nose and whiskers, back to front."""
    tip = rng.uniform(1.35, 1.7)  # the ears' height
    for side in (-1, 1):
        spread = rng.uniform(0.72, 0.95)
        yield [(side * 0.95, -0.25), (side * spread, -tip), (side * 0.15, -0.85)], shade, 0
        yield [(side * 0.8, -0.5), (side * spread * 0.95, -tip * 0.88), (side * 0.33, -0.85)], inner, 0
    yield _ellipse(0, 0, 1.05, 0.92), fur, 0
    iris = _color(rng, (0.5, 0.7), saturation=(0.5, 0.9))
    opening = rng.uniform(0.15, 0.24)
    for side in (-1, 1):
        yield _ellipse(side * 0.42, -0.12, 0.24, opening, tilt=-side * 0.25), iris, 0
        yield _ellipse(side * 0.42, -0.12, 0.06, opening), detail, 0
        yield [(0, 0.4), (side * 0.1, 0.54), (side * 0.27, 0.55)], detail, 0.045
        for rise in (-0.16, 0.02, 0.2):
            reach = rng.uniform(1.25, 1.6)
            yield [(side * 0.28, 0.42 + rise * 0.4), (side * reach, 0.4 + rise * 1.6)], detail, 0.035
    yield [(-0.12, 0.25), (0.12, 0.25), (0, 0.4)], detail, 0


def _dog(rng: Generator, fur: Color, detail: Color, inner: Color, _: Color) -> Iterator[Shape]:
    """Yield floppy ears, round pupils, a long muzzle with a large nose and often a tongue, back to front."""
    yield _ellipse(0, -0.05, 0.92, 1.0), fur, 0
    for side in (-1, 1):
        yield _ellipse(side * rng.uniform(0.9, 1.05), 0.1, 0.3, rng.uniform(0.7, 0.95), -side * 0.25), inner, 0
    iris = _color(rng, (0.5, 0.7))
    for x in (-0.36, 0.36):
        yield _ellipse(x, -0.3, 0.15, 0.16), iris, 0
        yield _ellipse(x, -0.3, 0.1, 0.11), detail, 0
    if rng.random() < 0.7:
        yield _ellipse(rng.uniform(-0.1, 0.1), 1.0, 0.17, rng.uniform(0.25, 0.42)), (214, 92, 108), 0
    yield _ellipse(0, 0.5, 0.5, rng.uniform(0.45, 0.6)), inner, 0
    yield _ellipse(0, 0.26, 0.24, 0.17), detail, 0
    yield [(0, 0.4), (0, 0.66)], detail, 0.05
    yield [(-0.3, 0.68), (0, 0.76), (0.3, 0.68)], detail, 0.05
