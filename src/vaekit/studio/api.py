"""/api: what the page asks for, and any other program that has the token. Everything is computed by `shown.Shown`.

Codes are rows of D numbers, as JSON or as little-endian float32; pictures are (n, H, W, C) bytes, a PNG, or base64 in JSON.
"""

import json
import math
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..draw.animation import animate, animation
from ..errors import VaekitError
from .bundle import as_png
from .guard import RAW
from .lanes import Lane
from .shown import ANSWERS, FEW, MOST_BYTES, MOST_CODES, Shown
from .uploads import UPLOADS

FILMS = Lane("films", most=4)
PNGS = Lane("pngs", most=64)  # of the map, one by one: whoever looks around must not meet those who ask for a lot

Row = Annotated[list[float], Field(max_length=65_536)]
Rows = Annotated[list[Row], Field(min_length=1, max_length=MOST_CODES)]
Number = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]


Given = Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=1000)]  # "label=3", of a conditional model


Name = Annotated[str, Path(description="A run, as /api/runs names it", max_length=200)]
State = Annotated[
    str | None,
    Query(max_length=200, description="Of the manifest that the question belongs to; 409 where the weights are others now"),
]


class Question(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Codes(Question):
    """Codes z, each of D numbers."""

    z: Rows


class Edit(Question):
    """z + alpha * vector for every attribute; with `sigmas`, alpha in standard deviations of the codes along the vector."""

    z: Rows
    add: Annotated[dict[str, Number], Field(max_length=1000)]
    sigmas: bool = False


class Draw(Question):
    """New codes from "own", the model's prior, from "fitted", the best density fitted to its codes, or one of these by name."""

    n: Annotated[int, Field(ge=1, le=MOST_CODES)] = 16
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    temperature: Annotated[float, Field(ge=0, le=10)] = 1.0
    prior: Annotated[str, Field(max_length=100)] = "own"
    given: Given = []


class Morph(Question):
    """From each code to the next, in so many steps each."""

    z: Rows
    steps: Annotated[int, Field(ge=2, le=200)] = 9
    kind: Literal["lerp", "slerp"] = "lerp"


class Near(Question):
    """The k pictures of the map whose codes are nearest."""

    z: Rows
    k: Annotated[int, Field(ge=1, le=100)] = 6


class Film(Question):
    """Codes to decode into an animation."""

    z: Rows
    fps: Annotated[float, Field(ge=1, le=60)] = 12
    kind: Literal["gif", "webp"] = "gif"
    given: Given = []
    size: Annotated[int, Field(ge=16, le=512)] = 256


CODES_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": Codes.model_json_schema()},
            RAW: {"schema": {"type": "string", "format": "binary", "description": "float32 rows, little-endian"}},
        },
    }
}
FILE_BODY = {
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("image/*", RAW)},
    }
}
PICTURES: dict[int | str, dict[str, Any]] = {
    200: {"content": {RAW: {}, "image/png": {}, "application/json": {}}, "description": "n pictures"}
}
CODES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["z"],
                    "properties": {"z": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}},
                }
            }
        },
        "description": "n codes",
    }
}
NEIGHBOURS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"application/json": {"schema": {"type": "object", "required": ["neighbours"]}}},
        "description": "Of each code the nearest pictures: place on the map, distance, split",
    }
}
ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"description": about, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    for code, about in (
        (400, "It cannot be read"),
        (401, "The token is missing"),
        (403, "Another page asked"),
        (404, "There is no such thing"),
        (409, "There are no weights yet, or others than before"),
        (413, "It is too large"),
        (422, "It cannot be right"),
        (429, "Too many requests"),
    )
}


class Problem(BaseModel):
    """What was given, what was expected, what to do."""

    error: str


def routes(runs: dict[str, Shown]) -> APIRouter:
    """The routes for these runs."""
    api = APIRouter(prefix="/api", responses=ERRORS)

    def run_of(name: str) -> Shown:
        if name not in runs:
            raise HTTPException(404, f"There is no run {name!r}. Known: {', '.join(runs)}.")
        return runs[name]

    @api.get("/runs")
    def listed() -> list[dict[str, Any]]:
        """Every run and how far it is."""
        return [status_of(its) for its in runs.values()]

    @api.get("/runs/{run}")
    def status(run: Name) -> dict[str, Any]:
        """How far a run is."""
        return status_of(run_of(run))

    @api.get("/runs/{run}/log")
    def log(run: Name, after: Annotated[int, Query(ge=0, le=2**53)] = 0) -> dict[str, Any]:
        """Lines of its log from a byte on, the byte that they begin at, and the one to ask from the next time.

        Those from 0 on are all of the log, of a long one some, evenly spaced; so too where the byte begins no line.
        """
        return run_of(run).log.answer(after)

    @api.get("/runs/{run}/now", response_class=Response, responses={200: {"content": {RAW: {}}}})
    async def now(
        run: Name, n: Annotated[int, Query(ge=1, le=16)] = FEW[0], seed: Annotated[int, Query(ge=0, lt=2**31)] = FEW[1]
    ) -> Response:
        """Pictures of a few codes from the prior by the weights as they are now, and in x-images how many images these have seen.

        The same codes for the same seed; none where the model has no prior.
        """
        pictures, images = await run_of(run).now(n, seed)
        return raw(pictures, {"x-images": str(images)})

    @api.get("/runs/{run}/earlier", response_class=Response, responses={200: {"content": {RAW: {}}}})
    async def earlier(run: Name) -> Response:
        """What /now has answered so far where no n or seed was given, (t, n, H, W, C), and in x-images the t counts of images.

        Of many states of the weights some, evenly spaced, the first and the last among them.
        """
        images, pictures = run_of(run).columns.all
        return raw(pictures, {"x-images": ",".join(map(str, images))})

    @api.get("/runs/{run}/manifest")
    async def manifest(run: Name) -> Response:
        """What is known of its codes and vectors, as of now; made when it is first asked for, which may take a while."""
        made = await run_of(run).opened()
        now = {"state": made.stamp.weights, "parts": made.stamp.parts}
        return Response(as_json(made.bundle.manifest | now), media_type="application/json")

    @api.get("/runs/{run}/arrays/{name}", response_class=Response, responses={200: {"content": {RAW: {}}}})
    async def array(run: Name, name: Annotated[str, Path(max_length=100)], state: State = None) -> Response:
        """An array of the manifest as little-endian bytes, or thumbs, a WebP."""
        blobs = (await run_of(run).ready(state)).bundle.blobs
        if name not in blobs:
            raise HTTPException(404, f"There is no array {name!r}. Known: {', '.join(blobs)}.")
        return Response(blobs[name], media_type="image/webp" if name == "thumbs" else RAW)

    @api.get("/runs/{run}/pictures/{place}", response_class=Response, responses={200: {"content": {"image/png": {}}}})
    async def picture(
        run: Name,
        place: Annotated[int, Path(ge=0, le=2**31)],
        kind: Literal["original", "reconstruction"] = "original",
        state: State = None,
    ) -> Response:
        """The picture at a place of the map, or what the model makes of it."""
        its = run_of(run)
        if place >= len((await its.ready(state)).bundle.rows):
            raise HTTPException(404, f"There is no picture {place}.")
        return Response(await PNGS(as_png, await its.picture(place, kind, state)), media_type="image/png")

    computing(api, run_of)
    return api


def computing(api: APIRouter, run_of: Callable[[str], Shown]) -> None:
    """Those that ask a model."""

    @api.post("/runs/{run}/encode", openapi_extra=FILE_BODY)
    async def encode(run: Name, request: Request, state: State = None) -> dict[str, Any]:
        """mu and log_var of a picture file; null where log_var is minus infinity."""
        its = run_of(run)
        with UPLOADS.place():  # before the file is in memory
            mu, log_var = await its.encode(await request.body(), state)
        return {"mu": finite(mu), "log_var": finite(log_var)}

    @api.post("/runs/{run}/decode", openapi_extra=CODES_BODY, response_class=Response, responses=PICTURES)
    async def decode(
        run: Name,
        request: Request,
        form: Literal["raw", "png", "json"] = "raw",
        given: Annotated[Given, Query()] = [],  # noqa: B006 (FastAPI reads it, nobody writes it)
        state: State = None,
    ) -> Response:
        """The mean pictures of codes: (n, H, W, C) bytes with the shape in x-shape, one PNG below the other, or JSON."""
        its = run_of(run)
        pictures = await its.decode(await codes_in(request, its), given, state)
        if form == "raw":
            return raw(pictures)
        if form == "png":
            tall = pictures.reshape(-1, *pictures.shape[2:]).transpose(2, 0, 1)
            return Response(await ANSWERS(as_png, tall), media_type="image/png")
        return Response(await ANSWERS(pictures_as_json, pictures), media_type="application/json")

    @api.post("/runs/{run}/sample", response_class=Response, responses=CODES)
    async def sample(run: Name, asked: Draw, state: State = None) -> Response:
        """New codes."""
        z = await run_of(run).sample(**asked.model_dump(), version=state)
        return Response(await ANSWERS(codes_as_json, z), media_type="application/json")

    @api.post("/runs/{run}/edit", response_class=Response, responses=CODES)
    async def edit(run: Name, asked: Edit, state: State = None) -> Response:
        """Codes moved along attribute vectors."""
        return await moved(run_of(run), state, lambda its: its.edit(array_of(asked.z), asked.add, asked.sigmas, state))

    @api.post("/runs/{run}/morph", response_class=Response, responses=CODES)
    async def morph(run: Name, asked: Morph, state: State = None) -> Response:
        """Codes on the way."""
        return await moved(run_of(run), state, lambda its: its.morph(array_of(asked.z), asked.steps, asked.kind, state))

    @api.post("/runs/{run}/neighbours", response_class=Response, responses=NEIGHBOURS)
    async def neighbours(run: Name, asked: Near, state: State = None) -> Response:
        """The nearest pictures of the map."""
        found = await run_of(run).neighbours(array_of(asked.z), asked.k, state)
        return Response(await ANSWERS(as_json, {"neighbours": found}), media_type="application/json")

    @api.post("/runs/{run}/film", response_class=Response, responses={200: {"content": {"image/gif": {}, "image/webp": {}}}})
    async def film(run: Name, asked: Film, state: State = None) -> Response:
        """An animation of the pictures of codes."""
        if 3 * len(asked.z) * asked.size**2 > MOST_BYTES:
            raise HTTPException(422, f"{len(asked.z)} frames of {asked.size} pixels are too many. Ask for fewer or smaller ones.")
        with FILMS.place():  # before its pictures are in memory
            pictures = await run_of(run).decode(array_of(asked.z), asked.given, state)
            return Response(await FILMS.run(filmed, pictures, asked), media_type=f"image/{asked.kind}")


async def moved(its: Shown, state: str | None, work: Callable[[Shown], Awaitable[np.ndarray]]) -> Response:
    """New codes of some that were given, which hold a place from before they are computed."""
    await its.ready(state)  # which takes long where it is opened for the first time
    with ANSWERS.place():
        return Response(await ANSWERS.run(codes_as_json, await work(its)), media_type="application/json")


def status_of(its: Shown) -> dict[str, Any]:
    """How far a run is, or why nobody can say: one that cannot be read leaves the others alone."""
    try:
        return its.status
    except (VaekitError, OSError) as error:
        known = {"name": its.name, "status": "unreadable", "error": str(error)}
        return known | {"findings": [], "metrics": {}, "state": None, "parts": None}


def codes_as_json(z: np.ndarray) -> str:
    return as_json({"z": finite(z)})


def pictures_as_json(pictures: np.ndarray) -> str:
    return as_json({"shape": pictures.shape, "pixels": b64encode(pictures.tobytes()).decode()})


def raw(pictures: np.ndarray, about: Mapping[str, str] = MappingProxyType({})) -> Response:
    return Response(pictures.tobytes(), media_type=RAW, headers={"x-shape": ",".join(map(str, pictures.shape)), **about})


def filmed(pictures: np.ndarray, asked: Film) -> bytes:
    return animation(animate(pictures.transpose(0, 3, 1, 2), size=asked.size), asked.kind.upper(), asked.fps)


def as_json(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


async def codes_in(request: Request, its: Shown) -> np.ndarray:
    """The codes of a body, (n, D)."""
    body = await request.body()
    if request.headers.get("content-type", "").partition(";")[0].strip() == RAW:
        latent = (await its.ready()).model.latent
        if not body or len(body) % (4 * latent):
            raise HTTPException(422, f"{len(body)} bytes were given. Expected rows of {latent} float32, {4 * latent} bytes each.")
        return np.frombuffer(body, "<f4").reshape(-1, latent)
    try:
        return array_of(Codes.model_validate_json(body).z)
    except ValidationError as error:
        raise HTTPException(
            422, first_problem(error.errors(include_url=False, include_input=False, include_context=False))
        ) from None


def array_of(rows: list[list[float]]) -> np.ndarray:
    """Rows of one length, float32. Raises HTTPException for others."""
    if len({len(row) for row in rows}) != 1:
        raise HTTPException(422, "Codes of several lengths were given. Expected as many numbers in each.")
    with np.errstate(over="ignore"):
        return np.asarray(rows, np.float64).astype(np.float32)


def first_problem(problems: Any) -> str:
    """The first problem of a validation, without what was given: that may be anything."""
    first = problems[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{where or 'the body'}: {first['msg']}{more}"


def finite(array: np.ndarray) -> Any:
    """As plain JSON, which knows no infinity: None for it."""
    plain = np.asarray(array, np.float64).tolist()

    def walk(value: Any) -> Any:
        return [walk(each) for each in value] if isinstance(value, list) else value if math.isfinite(value) else None

    return walk(plain)
