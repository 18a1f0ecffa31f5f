"""A page on this machine that photos can be dropped on, for the answer of a trained net."""

import asyncio
import os
import signal
import socket
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EADDRINUSE
from tempfile import TemporaryDirectory

import gradio
import uvicorn
from fastapi import FastAPI
from fastapi.middleware.trustedhost import TrustedHostMiddleware

from catdog.data.photos import FORMATS
from catdog.errors import InputError
from catdog.inference.demo_answer import STYLE, answer, heading
from catdog.inference.predictor import Predictor

HOST, FIRST_PORT, PORTS = "127.0.0.1", 7860, 100
GOODBYE = 1  # seconds that open pages get when the server ends
# The page may load nothing from elsewhere, whatever a version of Gradio would like to.
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"


def page(model: Predictor, name: str) -> gradio.Blocks:
    """The page: a place to drop a photo, and the answer below."""
    with gradio.Blocks(title="catdog", analytics_enabled=False) as blocks:
        gradio.HTML(heading(model, name))
        # As a file, because Gradio's own decoding is not training's.
        drop = gradio.File(label=f"a photo: {', '.join(FORMATS[:-1])} or {FORMATS[-1]}", height=150)
        result = gradio.HTML()

        def judge(path: str) -> tuple[None, str]:
            return None, answer(model, path)

        # The place is empty again afterwards, for the next photo.
        drop.upload(judge, drop, [drop, result], show_progress="minimal", api_visibility="private")
    blocks.has_launched = True  # else, as it is mounted and not launched, Gradio would open any file that is asked for
    return blocks


@contextmanager
def listening(port: int | None) -> Iterator[socket.socket]:
    """A socket on this machine alone: on a port, or on the first free one from `FIRST_PORT` on.

    Raises:
        InputError: the port is taken or not allowed, or all are taken.
    """
    for candidate in range(FIRST_PORT, FIRST_PORT + PORTS) if port is None else (port,):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # else it stays taken for a minute
            try:
                listener.bind((HOST, candidate))
                listener.listen()
            except (OSError, OverflowError) as error:
                if port is None and getattr(error, "errno", None) == EADDRINUSE:
                    continue
                reason = getattr(error, "strerror", None) or str(error)
                raise InputError(f"--port {candidate} cannot be used: {reason}; leave it out for a free one") from error
            yield listener
            return
    raise InputError(f"the ports {FIRST_PORT} to {FIRST_PORT + PORTS - 1} are all taken; give another with --port")


def server(blocks: gradio.Blocks) -> uvicorn.Server:
    """Build the server of the page; it takes a listening socket."""
    app = FastAPI(openapi_url=None)
    theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    head = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    gradio.mount_gradio_app(
        app, blocks, path="/", theme=theme, css=STYLE, head=head, footer_links=[], run_history=False, show_error=False,
        ssr_mode=False, enable_monitoring=False, pwa=False, mcp_server=False,
    )  # fmt: skip
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])  # no other site's name leads here
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=GOODBYE))


def serve(model: Predictor, name: str, port: int | None, open_browser: bool) -> None:
    """Serve the page until Ctrl-C; its address is printed. Photos that were dropped are deleted at the end.

    Args:
        model: the networks.
        name: where they come from, for the heading.
        port: see `listening`.
        open_browser: show the page in the machine's browser.

    Raises:
        InputError: there is no such port to be had.
    """

    async def run(listener: socket.socket) -> None:
        ready = server(page(model, name))  # here, because outside of a loop Gradio opens some and forgets them
        address = f"http://{HOST}:{listener.getsockname()[1]}"
        print(f"{address} (Ctrl-C ends it)", flush=True)
        if open_browser:
            webbrowser.open(address)
        await ready.serve(sockets=[listener])

    with listening(port) as listener, TemporaryDirectory() as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` ends it like Ctrl-C
        try:
            asyncio.run(run(listener))
        except KeyboardInterrupt:  # which uvicorn raises again after an orderly end
            print()
        finally:
            signal.signal(signal.SIGTERM, before)
