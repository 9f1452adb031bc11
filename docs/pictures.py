"""The picture on the README's head, from the figures of a demo: python docs/pictures.py demo"""

import sys
from pathlib import Path

from PIL import Image

WIDTH, GAP, PAPER = 1800, 36, "white"


def fitted(path: Path, width: int) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB").resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)


def main(demo: Path) -> None:
    half = (WIDTH - 3 * GAP) // 2
    columns = (
        [fitted(demo / "digits-vae/figures/latent-label.png", half), fitted(demo / "faces/figures/edit-Eyeglasses.png", half)],
        [fitted(demo / "faces/figures/samples-fitted.png", half), fitted(demo / "faces/figures/edit-Smiling.png", half)],
    )
    height = max(sum(picture.height + GAP for picture in column) for column in columns) + GAP
    sheet = Image.new("RGB", (WIDTH, height), PAPER)
    for i, column in enumerate(columns):
        top = GAP
        for picture in column:
            sheet.paste(picture, (GAP + i * (half + GAP), top))
            top += picture.height + GAP
    out = Path(__file__).parent / "pictures" / "demo.png"
    out.parent.mkdir(exist_ok=True)
    sheet.quantize(256).save(out, optimize=True)
    print(out, out.stat().st_size)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
