"""The whole story on embedded data: see a latent space, sample from it, change one thing in a picture."""

from pathlib import Path

from .data import Dataset, open_data
from .errors import UsageError
from .files import write_text
from .finish import finish
from .fitting import Watcher, fit
from .planning import start
from .recipes import cook
from .report import Section, write_page
from .report.figures import Picture, Sight, beside, decoded_plane, edits, latent_space, latents, reconstructions, samples
from .report.story import facts, keep
from .run import Run

DIGITS_SECONDS, FACES_SECONDS = 25.0, 180.0
FACES = {"latent": 64, "flip": False, "batch_size": 32}  # what else is said to the recipe
SMILES = ("edit-Smiling", "edit-Eyeglasses", "edit-Wearing_Hat", "edit-Blond_Hair")


def demo(out: Path, watcher: Watcher, seed: int = 0, share: float = 1.0) -> Path:
    """Train three small models into `out`, and write one page about them. Returns its path.

    `share` scales the training times. Raises UsageError where `out` holds something else.
    """
    if out.exists() and not (out / "digits-vae").exists() and (out.is_file() or any(out.iterdir())):
        raise UsageError(f"{out} holds other things. Give another place: vaekit demo --out DIR")
    digits, faces = open_data("digits"), open_data("drawn-faces")
    vae = trained(out / "digits-vae", digits, "digits-2d", watcher, minutes=share * DIGITS_SECONDS / 60, seed=seed)
    plain = trained(
        out / "digits-autoencoder",
        digits,
        "autoencoder",
        watcher,
        latent=2,
        minutes=share * DIGITS_SECONDS / 60,
        seed=seed,
    )
    portraits = trained(
        out / "faces",
        faces,
        "faces",
        watcher,
        **FACES,
        minutes=share * FACES_SECONDS / 60,
        seed=seed,
    )
    return write_story(out / "report.html", (vae, digits), plain, (portraits, faces), seed)


def trained(path: Path, data: Dataset, recipe: str, watcher: Watcher, **options) -> Run:
    """A finished run with its metrics, vectors and own report; goes on where an earlier demo was stopped."""
    run = start(path, data, cook(recipe, data.image, options), command="vaekit demo")
    fit(run, data, watcher)
    finish(run, data)
    return run


def write_story(path: Path, vae: tuple[Run, Dataset], plain: Run, faces: tuple[Run, Dataset], seed: int) -> Path:
    """One page about the three runs."""
    digit, other, face = Sight(*vae, seed), Sight(plain, vae[1], seed), Sight(*faces, seed)

    def of(sight: Sight, *pictures: list[Picture]) -> list:
        return [figure for drawn in pictures for figure in keep(sight.run, drawn)]

    vectors = [picture for picture in edits(face) if picture.name in SMILES]
    sections = [
        Section(
            "A space of digits",
            "An encoder turns each 8 x 8 digit into two numbers, and training asks that those of all digits together look "
            "like a bell curve. Each point is a digit that training never saw.",
            of(digit, list(latent_space(digit))[:1], list(decoded_plane(digit))),
        ),
        Section(
            "Why variational",
            "A plain autoencoder has two numbers as well, but no such request: its codes lie anywhere, with gaps between them.",
            of(digit, list(beside(digit, other))),
        ),
        Section(
            "Faces that were never drawn",
            "The second model learned from 64 x 64 faces drawn by code. It rebuilds faces it has not seen, and makes new ones.",
            of(face, list(reconstructions(face)), list(samples(face))),
        ),
        Section(
            "Add a smile",
            "The mean code of smiling faces minus that of the others is a direction; added to the code of any face, it smiles.",
            of(face, vectors),
        ),
        Section("What each number does", "One latent at a time, the most informative first.", of(face, list(latents(face))[1:])),
    ]
    numbers = [fact._replace(name=f"Digits: {fact.name}") for fact in facts(vae[0].metrics) if "neighbour" in fact.name]
    numbers += [fact._replace(name=f"Faces: {fact.name}") for fact in facts(faces[0].metrics)]
    reports = ", ".join(str(run.report.relative_to(path.parent)) for run in (vae[0], plain, faces[0]))
    page = write_page(
        "A walk through latent space",
        "Three small models on data that come with vaekit, trained on this machine in a few minutes.",
        numbers,
        sections,
        command="vaekit demo",
        versions=vae[0].description["versions"],
        notes=[f"Each run has a report of its own: {reports}."],
    )
    write_text(path, page)
    return path
