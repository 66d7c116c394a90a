"""The studio's addresses: pages, the JSON that the page speaks, and downloads from a closed list. Errors are sentences.

Every body is JSON or a verdict's bytes and is held against a form before anything is done. What is not here: who may
send one (`access.py`), what becomes of it (`bench.py`, `verdicts.py`).
"""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs

from anyio import to_thread
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from medillus_pipeline.errors import InputError, MedillusError
from medillus_pipeline.illustration.answer import IllustrationRefused
from medillus_pipeline.illustration.provenance import media_type
from medillus_pipeline.studio import answers, wording
from medillus_pipeline.studio.access import LARGEST_BODY, SESSION_SECONDS, Access, Guard
from medillus_pipeline.studio.asked import Asked, Look, Note, Sentence, parsed
from medillus_pipeline.studio.bench import Bench, Busy, Gone
from medillus_pipeline.studio.verdicts import Desk

HERE = Path(__file__).parent
SCRIPTS = ("studio.js", "canvas.js", "asking.js", "result.js", "words.js")
ENDINGS = {
    "svg": ".svg",
    "png": ".png",
    "pdf": ".pdf",
    "dicom": ".dcm",
    "html": ".html",
    "answers": ".answers.svg",
    "json": ".json",
    "manifest": ".manifest.json",
}
"""What can be downloaded → the ending of its file."""


class TooLarge(InputError):
    """The body is longer than a request may be."""


def build_app(bench: Bench, desk: Desk, access: Access) -> Starlette:
    """The studio as an ASGI application."""
    room = _Room(bench, desk, access)
    scripts = [Route(f"/{name}", partial(_static, name, "text/javascript")) for name in SCRIPTS]
    return Starlette(
        routes=[
            Route("/", room.page),
            Route("/enter", room.enter, methods=["POST"]),
            Route("/studio.css", partial(_static, "studio.css", "text/css")),
            *scripts,
            Route("/api/start", room.start),
            Route("/api/state", room.state),
            Route("/api/understand", room.understand, methods=["POST"]),
            Route("/api/figures", room.make, methods=["POST"]),
            Route("/api/figures/{name}/look", room.look, methods=["POST"]),
            Route("/api/figures/{name}/labels", room.labels),
            Route("/api/figures/{name}/note", room.note, methods=["POST"]),
            Route("/api/verdict", room.verdict, methods=["POST"]),
            Route("/sheet", room.sheet),
            Route("/figures/{name}/shown", room.shown),
            Route("/figures/{name}/{kind}", room.download),
        ],
        middleware=[Middleware(Guard, access=access)],
        exception_handlers={
            Busy: _sentence(409),
            TooLarge: _sentence(413),
            MedillusError: _said,
            IllustrationRefused: _refused,
            Gone: _gone,
            404: _nowhere,
            405: _nowhere,
            Exception: _broken,
        },
    )


class _Room:
    """What the addresses share."""

    def __init__(self, bench: Bench, desk: Desk, access: Access) -> None:
        self.bench, self.desk, self.access = bench, desk, access

    async def page(self, request: Request) -> Response:
        """The page, or the form that asks for the token. A token in the address becomes a cookie and leaves it."""
        token = request.query_params.get("token")
        if token is not None:
            return self._entered(token)
        if not self.access.is_open(self.access.session_of(request.headers)):
            return self._door(None)
        return HTMLResponse(_templates().get_template("page.html.j2").render(words=wording.WORDS, both=wording.both))

    async def enter(self, request: Request) -> Response:
        """The token, from the form."""
        given = parse_qs((await _body(request, 4096)).decode("ascii", "replace"))
        return self._entered(given.get("token", [""])[0].strip())

    async def start(self, _request: Request) -> Response:
        """What the page needs to know of models, vocabulary and words."""
        return JSONResponse(answers.start(self.bench.models))

    async def state(self, _request: Request) -> Response:
        """Whether a figure is being made."""
        return JSONResponse({"busy": self.bench.busy})

    async def understand(self, request: Request) -> Response:
        """A sentence shown back."""
        asked = parsed(Sentence, await _body(request))
        return JSONResponse(await to_thread.run_sync(answers.understood, asked.text, self.bench.models))

    async def make(self, request: Request) -> Response:
        """A new figure, or why there is none (422)."""
        asked = parsed(Asked, await _body(request))
        return JSONResponse(answers.told(await to_thread.run_sync(self.bench.make, asked)))

    async def look(self, request: Request) -> Response:
        """The same image in another look."""
        look = parsed(Look, await _body(request))
        return JSONResponse(answers.told(await to_thread.run_sync(self.bench.changed, _name(request), look)))

    async def labels(self, request: Request) -> Response:
        """The figure's label map, for the canvas."""
        return JSONResponse(self.bench.label_bytes(_name(request)))

    async def note(self, request: Request) -> Response:
        """A note on a figure, which counts as no approval."""
        note = parsed(Note, await _body(request))
        await to_thread.run_sync(self.desk.note, note, self.bench.kept(_name(request)))
        return JSONResponse({"said": wording.NOTED._asdict()})

    async def verdict(self, request: Request) -> Response:
        """A signed verdict, saved by a blind sheet, as a batch of reviews."""
        found = await to_thread.run_sync(self.desk.verdict, await _body(request))
        said = {language: text.format(**found) for language, text in wording.LANDED._asdict().items()}
        return JSONResponse({"said": said})

    async def sheet(self, _request: Request) -> Response:
        """The newest blind sheet, to be opened from a file."""
        name, page = await to_thread.run_sync(self.desk.sheet)
        return _attachment(name, page, "text/html")

    async def shown(self, request: Request) -> Response:
        """The drawing as it is shown on the page, before it is signed."""
        return Response(self.bench.kept(_name(request)).figure.svg, media_type="image/svg+xml")

    async def download(self, request: Request) -> Response:
        """One of the figure's files, as an attachment."""
        ending = ENDINGS.get(request.path_params["kind"])
        done = await to_thread.run_sync(self.bench.finished, _name(request)) if ending else None
        if ending is None or done is None or done.name + ending not in done.files:
            return await _nowhere(request, InputError("no such file"))
        name = done.name + ending
        return _attachment(name, done.files[name], media_type(name))

    def _entered(self, token: str) -> Response:
        session = self.access.enter(token)
        if session is None:
            return self._door(wording.WRONG_TOKEN)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            self.access.cookie,
            session,
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=self.access.https,
        )
        return answer

    def _door(self, why: wording.Bilingual | None) -> Response:
        page = _templates().get_template("enter.html.j2").render(words=wording.WORDS, both=wording.both, why=why)
        return HTMLResponse(page, 401)


async def _body(request: Request, limit: int = LARGEST_BODY) -> bytes:
    """The request's body. Raises TooLarge while it is read, also where its length was not told, or told wrongly."""
    parts, held = [], 0
    async for part in request.stream():
        held += len(part)
        if held > limit:
            raise TooLarge(f"a request holds at most {limit >> 20} MB: send a smaller picture")
        parts.append(part)
    return b"".join(parts)


def _name(request: Request) -> str:
    return str(request.path_params["name"])


async def _static(name: str, kind: str, _request: Request) -> Response:
    return Response((HERE / name).read_bytes(), media_type=kind)


def _attachment(name: str, data: bytes, kind: str) -> Response:
    return Response(
        data,
        media_type=kind,
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "Content-Security-Policy": "sandbox; default-src 'none'",
        },
    )


def _sentence(status: int) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(_request: Request, error: Exception) -> Response:
        return JSONResponse({"error": answers.sentence(error)}, status)

    return answer


async def _said(_request: Request, error: Exception) -> Response:
    """An error that a person can act on."""
    return JSONResponse({"error": answers.sentence(error)}, 422)


async def _refused(_request: Request, error: Exception) -> Response:
    """No figure, with the reasons."""
    assert isinstance(error, IllustrationRefused)
    return JSONResponse({"refused": answers.refusal(error)}, 422)


async def _gone(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"error": wording.GONE._asdict()}, 404)


async def _nowhere(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"error": wording.NOWHERE._asdict()}, 404)


async def _broken(_request: Request, _error: Exception) -> Response:
    """Nothing of the error: it may quote what somebody typed. Its type stands in the terminal (`server.py`)."""
    return JSONResponse({"error": wording.BROKEN._asdict()}, 500)


def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("medillus_pipeline.studio", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
