"""`oneshot page`: a page in the browser that compares pictures and names them. It is for this machine alone.

The server keeps nothing: the page holds the pictures, and the vectors that it got for them, as hexadecimal digits.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import logging
import re
import socket
import tempfile
import threading
import webbrowser
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from oneshot.common.errors import UserError, printable
from oneshot.recognizer.cli import told
from oneshot.recognizer.gallery import Gallery
from oneshot.recognizer.recognizer import Recognizer
from oneshot.sources.pictures import MOST_BYTES

HOST = "127.0.0.1"
HTML = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
NEAREST = 3  # enrolled pictures that are shown beside a name
KINDS = ("different", "alike")  # pairs of which the page draws how many there are
AXIS = np.linspace(-1, 1, 81)  # similarities between which it does


def serve(options: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    try:
        listener = socket.create_server((HOST, options.port))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--port: found {options.port} ({reason}); take another, or none for a free one") from None
    with listener:
        recognizer, port = Recognizer(options.model), listener.getsockname()[1]
        print(f"http://{HOST}:{port}/ (Ctrl-C ends it)", flush=True)
        if options.browser:
            threading.Thread(target=webbrowser.open, args=[f"http://{HOST}:{port}/"], daemon=True).start()
        config = uvicorn.Config(
            _Guard(_app(recognizer), port), headers=_headers(), server_header=False, proxy_headers=False, ws="none",
            lifespan="off", log_config=None, log_level=logging.CRITICAL + 1, timeout_graceful_shutdown=1,
        )  # fmt: skip
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])
    return 0


class _Guard:
    """Refuses requests that another site's page has made, be it under a name that it let point to this machine."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self.app = app
        self.hosts = [name + (f":{port}" if port != 80 else "") for name in (HOST, "localhost")]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host"), headers.get("origin")
        allowed = host in self.hosts and (scope["method"] in ("GET", "HEAD") or origin == f"http://{host}")
        await (self.app if allowed else PlainTextResponse("not from this page", 403))(scope, receive, send)


def _headers() -> list[tuple[str, str]]:
    """What each answer says: nothing is loaded from elsewhere, nothing is run but this script, nothing is kept."""
    script, style = (
        "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"
        for tag in ("script", "style")
        for text in re.findall(f"<{tag}>(.*)</{tag}>", HTML, re.DOTALL)
    )
    policy = (
        f"default-src 'none'; script-src {script}; style-src {style}; img-src blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return [
        ("Content-Security-Policy", policy),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("X-Content-Type-Options", "nosniff"),
        ("Cache-Control", "no-store"),
    ]


def _app(recognizer: Recognizer) -> Starlette:
    async def page(request: Request) -> Response:
        return HTMLResponse(HTML)

    async def embed(request: Request) -> Response:
        """The vector of the picture that is sent, which `name` in the address names for messages."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "picture")
            with open(path, "wb") as file:
                async for part in request.stream():
                    if file.tell() <= MOST_BYTES:  # the rest is read: a browser shows no answer before
                        file.write(part)
            try:
                (vector,) = await run_in_threadpool(recognizer.embed, [path])
            except UserError as error:
                raise UserError(str(error).replace(str(path), request.query_params["name"])) from None
        return JSONResponse({"vector": vector.tobytes().hex()})

    async def verify(request: Request) -> Response:
        """What `Recognizer.verify` says of two vectors, in the words of the command line."""
        verdict = recognizer.compare(*_vectors(await request.json()))
        curves = {
            kind: np.interp(AXIS, recognizer.roc[0], rates).tolist()
            for kind, rates in zip(KINDS, recognizer.roc[1:], strict=True)
        }
        return JSONResponse(asdict(verdict) | curves | {"told": told(verdict), "axis": AXIS.tolist()})

    async def classify(request: Request) -> Response:
        """For each of `pictures` its match among those `enrolled` as `names`, and the rows that it is most like."""
        asked = await request.json()
        pictures, enrolled = _vectors(asked["pictures"]), _vectors(asked["enrolled"])
        matches = Gallery.of(asked["names"], enrolled, recognizer.name).match(pictures, recognizer.threshold)
        answers: list[dict[str, Any]] = []
        for match, cosines in zip(matches, pictures @ enrolled.T, strict=True):
            rows = np.argsort(-cosines, kind="stable")[:NEAREST]
            answers.append(asdict(match) | {"rows": rows.tolist(), "cosines": cosines[rows].tolist()})
        return JSONResponse(answers)

    def _vectors(texts: list[str]) -> np.ndarray:
        values = np.frombuffer(bytes.fromhex("".join(texts)), dtype=np.float32)
        return values.reshape(len(texts), recognizer.network.dimensions)

    def refusal(request: Request, error: Exception) -> Response:
        words = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        return PlainTextResponse(printable(words), 400)

    routes = [
        Route("/", page),
        Route("/embed", embed, methods=["POST"], max_body_size=16 * MOST_BYTES),
        Route("/verify", verify, methods=["POST"]),
        Route("/classify", classify, methods=["POST"]),
    ]
    return Starlette(
        routes=routes, exception_handlers={UserError: refusal, Exception: refusal}, max_body_size=MOST_BYTES
    )
