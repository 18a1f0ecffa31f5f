"""Test photos and weights as the pictures that a page shows."""

from PIL import Image
from torch import Tensor

from catdog.figures import weight_pictures
from catdog.inspection.exhibits import Picture
from catdog.inspection.measures import Inspection
from catdog.names import shown

LARGEST = 128  # pixels: height and width of a picture


def photo_picture(
    inspection: Inspection, photo: int, names: tuple[str, str], remark: str, caption: bool = False
) -> Picture:
    """A photo, framed in its class's colour; the remark ends its tooltip, and may be its caption too."""
    label = int(inspection.labels[photo])
    tooltip = f"{shown(inspection.names[photo])}: {names[label]}, {remark}"
    (image,) = _images(inspection.pixels[photo : photo + 1])
    return Picture(image, tooltip, remark if caption else "", label)


def pictures(weights: Tensor) -> list[Image.Image]:
    """Weights as images, from float32 (units, 3 · image_size²); grey is 0."""
    size = round((weights.shape[1] / 3) ** 0.5)
    return _images((255 * weight_pictures(weights, size)).round().byte())


def _images(pixels: Tensor) -> list[Image.Image]:
    """Images of at most LARGEST pixels, from uint8 (images, 3, height, width)."""
    images = [Image.fromarray(pixel.permute(1, 2, 0).contiguous().numpy()) for pixel in pixels]
    size = min(LARGEST, pixels.shape[-1])
    return [image if image.width == size else image.resize((size, size), Image.Resampling.BOX) for image in images]
