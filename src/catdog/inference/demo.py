"""Local demo page: a net's answers to photos, with the places in them that speak for each class."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any, cast

import gradio as gr
import torch
from fastapi import Depends, HTTPException, Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import ExifTags, Image
from torchvision.transforms.functional import to_pil_image

from catdog.data import SyntheticSource, to_images
from catdog.data.photos import FORMATS, FileSource, UnreadablePhotoError
from catdog.errors import InputError
from catdog.inference.attribution import occlusion, overlay
from catdog.inference.novelty import NoveltyDetector
from catdog.inference.predict import Prediction
from catdog.inference.predictor import Predictor
from catdog.inference.runs import FinishedRun
from catdog.names import measured, net_title, shown
from catdog.plots import data_url

HOST = "127.0.0.1"
MAX_MB = 20  # of a photo; phone photos have up to 12
MAX_PHOTOS = 50  # at once
MAX_TOTAL_MB = 200  # of an upload's photos together
LIFETIME = 300  # seconds until generated files are deleted; uploads are deleted once read
THUMBNAIL = 320  # pixels: longer side of the original as shown
EXAMPLES = SyntheticSource(6, seed=60_411)  # not a seed that anybody trains with


class Demo:
    """One net's answers to photos as HTML: `gallery` of any photos, `head` and `examples` of the page.

    `run` is the run that wrote the checkpoint, None if unknown; `folder` is where the examples are drawn, at `paths`.
    """

    def __init__(self, checkpoint: Path, run: FinishedRun | None, folder: Path) -> None:
        self.detector: NoveltyDetector | None = None
        drawn, reason = False, "" if run else "the run that it comes from is unknown"
        try:
            if run:
                data = run.data()
                drawn = isinstance(data.source, SyntheticSource)
                self.detector = NoveltyDetector(data)
        except InputError as error:
            reason = str(error)
        self.model = Predictor.load(checkpoint)
        self.names = [shown(name) for name in self.model.class_names]
        templates = Environment(loader=PackageLoader(__package__, "."), autoescape=True, undefined=StrictUndefined)
        self.template = cast(Any, templates.get_template("page.demo.html.j2").module)
        net = f"{net_title(self.model.classifier.hparams)} · {shown(str(checkpoint))}"
        tested = run if run and run.checkpoint.resolve() == checkpoint.resolve() else None  # a run has two checkpoints
        self.head: str = self.template.head(self.names, net, tested and measured(tested.record), reason)
        self.paths = [folder / f"drawn {name.replace('s/', ' ')}.png" for name in EXAMPLES.names]
        for index, path in enumerate(self.paths):
            Image.fromarray(EXAMPLES.read(index, self.model.image_size if drawn else 256)).save(path)
        pictures = {path.name: _data_url(Image.open(path)) for path in self.paths}
        self.examples: str = self.template.examples(pictures, self.detector, drawn)

    def gallery(self, paths: Sequence[str | Path]) -> str:
        """Answer the first MAX_PHOTOS photos, or say why one cannot be read."""
        answers, left_out = [self.answer(str(path)) for path in paths[:MAX_PHOTOS]], len(paths[MAX_PHOTOS:])
        return str(self.template.gallery(self.names, answers, left_out, self.detector))

    def answer(self, path: str) -> dict[str, Any]:
        """Predict a photo; return its name, prediction, warning, and captioned pictures as data URLs."""
        model, result = self.model, {"name": shown(Path(path).name), "pictures": {}}
        source = FileSource(Path(), model.class_names, [(path, 0)])
        try:
            photo, original = source.read(0, model.image_size), source.read(0, THUMBNAIL)
        except (InputError, UnreadablePhotoError) as error:
            return result | {"one": Prediction(path, str(error))}
        pixels = torch.from_numpy(photo.transpose(2, 0, 1).copy())[None]
        one = Prediction.of(path, model.logits(pixels)[:, 0].double().sigmoid().tolist(), model.class_names)
        evidence = occlusion(model.classifier.network, to_images(pixels.float())).mean(0)[0]
        pictures = {
            "the photo": _data_url(Image.fromarray(original).resize(_thumbnail_size(path)), lossless=False),
            "what the net sees": _data_url(Image.fromarray(photo)),
            "where the evidence is": _data_url(to_pil_image(overlay(pixels[0], evidence))),
        }
        unlike = self.detector is not None and bool(self.detector.unlike(pixels))
        return result | {"one": one, "unlike": unlike, "pictures": pictures}


def _thumbnail_size(path: str) -> list[int]:
    """Compute the width and height of a readable photo's thumbnail, upright by its EXIF data."""
    with Image.open(path, formats=FORMATS) as photo:
        sides = photo.size
        with suppress(Exception):  # EXIF data may be damaged
            sides = sides[::-1] if photo.getexif().get(ExifTags.Base.Orientation, 1) > 4 else sides
    return [max(1, round(side * THUMBNAIL / max(sides))) for side in sides]


def _data_url(picture: Image.Image, lossless: bool = True) -> str:
    return data_url("image/webp", picture.save, format="webp", lossless=lossless)


def page(demo: Demo) -> gr.Blocks:
    """Build the page."""
    with gr.Blocks(title="catdog", analytics_enabled=False, delete_cache=(LIFETIME, LIFETIME)) as blocks:
        gr.HTML(demo.head, elem_classes="catdog", js_on_load=None)
        # Not an image input, which would decode photos differently from training.
        upload = gr.File(label=f"Up to {MAX_PHOTOS} photos of up to {MAX_MB} MB", file_count="multiple", height=150)
        examples = gr.HTML(demo.examples, elem_classes="catdog", js_on_load=demo.template.on_click)
        gallery = gr.HTML(elem_classes="catdog", js_on_load=None)

        def show(paths: list[str]) -> tuple[None, str]:
            try:
                return None, demo.gallery(paths)
            finally:  # not before, because the same photo may be there twice
                for path in paths:
                    Path(path).unlink(missing_ok=True)

        def show_example(click: gr.EventData) -> str:
            return demo.gallery([demo.paths[int(click.number)]])

        upload.upload(show, upload, [upload, gallery], api_visibility="private")
        examples.click(show_example, None, gallery, api_visibility="private")
    return blocks


def local_only(request: Request) -> None:
    """Refuse requests with a foreign Host or Origin header, or a body of more than MAX_TOTAL_MB."""
    headers = request.headers
    same_origin = headers.get("origin", f"http://{request.url.netloc}") == f"http://{request.url.netloc}"
    if not same_origin or request.url.hostname not in (HOST, "localhost"):
        raise HTTPException(403, "this page is for this machine alone")
    if "transfer-encoding" in headers or int(headers.get("content-length", 0)) > (MAX_TOTAL_MB + 1) * 2**20:
        raise HTTPException(413, f"at most {MAX_TOTAL_MB} MB")


def serve(checkpoint: Path, run: FinishedRun | None, port: int | None, open_browser: bool) -> None:
    """Serve the page on this machine only, until Ctrl-C; without a port, at the first free one from 7860 on.

    InputError if the checkpoint cannot be read, or the port is taken or not allowed.
    """
    with TemporaryDirectory() as uploads, TemporaryDirectory() as drawn:
        os.environ |= {"GRADIO_TEMP_DIR": uploads, "no_proxy": HOST}  # Gradio requests its own page at startup
        blocks = page(Demo(checkpoint, run, Path(drawn)))
        try:
            _, address, _ = blocks.launch(
                prevent_thread_lock=True, server_name=HOST, server_port=port, share=False, inbrowser=open_browser,
                quiet=True, max_file_size=MAX_MB * 2**20, strict_cors=True, ssr_mode=False, footer_links=[],
                run_history=False, app_kwargs={"dependencies": [Depends(local_only)], "openapi_url": None},
                css_paths=Path(__file__).with_name("page.demo.css"),
                theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
            )  # fmt: skip
        except (OSError, OverflowError) as error:
            wanted = "every port from 7860 to 7959" if port is None else f"--port {port}"
            raise InputError(f"{wanted} is taken or not allowed") from error
        print(f"{address} (Ctrl-C ends it)", flush=True)
        with suppress(KeyboardInterrupt):
            Event().wait()
        blocks.close(verbose=False)
