"""Local demo page: class probabilities of a photo, and the first-layer units with the largest contributions."""

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from statistics import mean, stdev
from string import punctuation
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

import gradio as gr
import numpy as np
import torch
from fastapi import Depends, HTTPException, Request
from numpy.typing import NDArray
from torch import Tensor

from catdog.data import FileSource, UnreadablePhotoError, to_images
from catdog.errors import InputError
from catdog.inference.attribution import contributions
from catdog.inference.predictor import Predictor
from catdog.names import net_title, shown
from catdog.plots import weight_pictures

HOST = "127.0.0.1"
MAX_MB = 20  # of an upload; phone photos have up to 12
LIFETIME = 300  # seconds until generated files are deleted; uploads are deleted once read
CSS = """
.gradio-container {width: 100%; max-width: 60rem !important; margin: auto}
.pixels img {width: 100%; height: 100%; object-fit: contain; image-rendering: pixelated}
.pixels .thumbnail-lg {height: auto; aspect-ratio: auto}
.pixels .caption-label {position: static; max-width: 100%; white-space: normal; text-align: center}
@media (max-width: 40rem) {.pixels .grid-container {grid-template-columns: repeat(2, 1fr)}}
"""


def largest_contributions(model: Predictor, pixels: Tensor, most: int = 8) -> list[Any]:
    """Find the first-layer units of all replicas with the largest contributions to the logit, the largest first.

    Pixels are uint8 (3, image_size, image_size). Without hidden layers a network is one unit, which gives the logit.
    Returns for each unit: replica, index, contribution (positive for class 1), weights as a picture (grey is 0).
    """
    images, network = to_images(pixels[None].float()), model.classifier.network
    layers = contributions(model.classifier, images)
    values = layers[0][1][:, 0] if layers else network(images)  # (replicas, units)
    chosen = values.abs().flatten().argsort(descending=True, stable=True)[:most].tolist()
    pictures = weight_pictures(network.input_weights.flatten(0, 1)[chosen], model.image_size)
    colours = pictures.mul(255).round().byte().permute(0, 2, 3, 1).numpy()
    flat, width = values.flatten().tolist(), values.shape[1]
    return [(n // width, n % width, flat[n], picture) for n, picture in zip(chosen, colours, strict=True)]


def plain(text: str) -> str:
    """Escape a text for Markdown; names with unprintable characters get Python's escapes first."""
    return re.sub(f"([{re.escape(punctuation)}])", r"\\\1", shown(text))


def explanation(options: Mapping[str, Any]) -> str:
    """Explain the pictures of the units of a network, from a classifier's hyperparameters."""
    unit = "first-layer unit" if options["hidden"] else "net's only unit (there is no hidden layer)"
    return (
        f"Each picture shows the weights of a {unit}: the photo raises its output where it has the picture's colours, "
        "grey is a weight of 0. The contribution is what the unit adds to its net's logit."
        + " HOG features are in the contributions, but not in the pictures." * bool(options["hog"])
        + " Class probabilities, unlike contributions, are means over ten views of the photo (ten-crop)."
        * bool(options["test_time_augmentation"])
    )


def answer(model: Predictor, path: str) -> tuple[str, NDArray[np.uint8], dict[str, float], list[Any]]:
    """Predict a photo; return a Markdown sentence, the resized photo, class probabilities, captioned unit pictures.

    Raises:
        InputError: the photo cannot be read.
    """
    try:
        photo = FileSource(Path(), ("", ""), [(path, 0)]).read(0, model.image_size)
    except UnreadablePhotoError as error:
        raise InputError(f"{shown(Path(path).name)} cannot be read as a photo: {error}") from error
    pixels, names = torch.from_numpy(photo.transpose(2, 0, 1).copy()), tuple(map(shown, model.class_names))
    probabilities = model.logits(pixels[None])[:, 0].sigmoid().tolist()
    average = mean(probabilities)
    sentence = f"Probability of {plain(names[1])}: {average:.3f}"
    if len(probabilities) > 1:
        spread = f"{min(probabilities):.3f} to {max(probabilities):.3f}, sd {stdev(probabilities):.3f}"
        sentence += f", the mean of {len(probabilities)} nets ({spread})"
    units = []
    for replica, unit, value, picture in largest_contributions(model, pixels):
        contribution = f"{abs(value):.3f} for {names[value > 0]}" if value else "no contribution"
        units.append((picture, f"{contribution} · net {replica + 1}, unit {unit + 1}"))
    return sentence, photo, dict(zip(names, (1 - average, average), strict=True)), units


def page(model: Predictor, name: str) -> gr.Blocks:
    """Build the page; `name` is the checkpoint or run in its heading."""
    first, second = map(plain, model.class_names)
    net = plain(f"{net_title(model.classifier.hparams)} · {shown(name)}")
    with gr.Blocks(title="catdog", analytics_enabled=False, delete_cache=(LIFETIME, LIFETIME)) as blocks:
        gr.Markdown(f"# {first} or {second}?\n{net}", latex_delimiters=[])
        # Not an image input, which would decode photos differently from training.
        upload = gr.File(label=f"Photo of up to {MAX_MB} MB", height=150)
        sentence = gr.Markdown(latex_delimiters=[])
        with gr.Column(visible=False) as result:
            with gr.Row():
                view = gr.Image(label="As the net sees it", format="png", height=240, elem_classes="pixels", buttons=[])
                label = gr.Label(label="Class probability")
            gr.Markdown(f"## Largest contributions\n{explanation(model.classifier.hparams)}")
            units = gr.Gallery(show_label=False, format="png", columns=4, elem_classes="pixels", buttons=[])

        def show(path: str) -> tuple[Any, ...]:
            try:
                return None, *answer(model, path), gr.Column(visible=True)
            except InputError as error:
                return None, plain(f"{str(error).rstrip('.')}."), None, None, None, gr.Column(visible=False)
            finally:
                Path(path).unlink(missing_ok=True)

        outputs = [upload, sentence, view, label, units, result]
        upload.upload(show, upload, outputs, show_progress="hidden", api_visibility="private")
    return blocks


def local_only(request: Request) -> None:
    """Refuse requests with a foreign Host or Origin header, or a body of more than MAX_MB."""
    headers = request.headers
    same_origin = headers.get("origin", f"http://{request.url.netloc}") == f"http://{request.url.netloc}"
    if not same_origin or request.url.hostname not in (HOST, "localhost"):
        raise HTTPException(403, "this page is for this machine alone")
    if "transfer-encoding" in headers or int(headers.get("content-length", 0)) > (MAX_MB + 1) * 2**20:
        raise HTTPException(413, f"at most {MAX_MB} MB")


def serve(model: Predictor, name: str, port: int | None, open_browser: bool) -> None:
    """Serve the page on this machine only, until Ctrl-C; without a port, at the first free one from 7860 on.

    Raises:
        InputError: the port is taken or not allowed.
    """
    with TemporaryDirectory() as uploads:
        os.environ |= {"GRADIO_TEMP_DIR": uploads, "no_proxy": HOST}  # Gradio requests its own page at startup
        blocks = page(model, name)
        try:
            _, address, _ = blocks.launch(
                prevent_thread_lock=True, server_name=HOST, server_port=port, share=False, inbrowser=open_browser,
                quiet=True, max_file_size=MAX_MB * 2**20, strict_cors=True, ssr_mode=False, footer_links=[],
                run_history=False, app_kwargs={"dependencies": [Depends(local_only)], "openapi_url": None}, css=CSS,
                theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
            )  # fmt: skip
        except (OSError, OverflowError) as error:
            wanted = "every port from 7860 to 7959" if port is None else f"--port {port}"
            raise InputError(f"{wanted} is taken or not allowed") from error
        print(f"{address} (Ctrl-C ends it)", flush=True)
        with suppress(KeyboardInterrupt):
            Event().wait()
        blocks.close(verbose=False)
