"""The layout of CelebA (Liu et al. 2015): aligned faces in one folder, tables of attributes, partition and identity beside it.

https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html
"""

from pathlib import Path

PICTURES = ("img_align_celeba/img_align_celeba", "img_align_celeba", "Img/img_align_celeba", "images")
FOLDERS = ("", "Anno", "Eval")

INSTRUCTIONS = """CelebA may not be passed on, so vaekit cannot fetch it. Get it yourself (non-commercial research only):
  1. https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html -> "Align&Cropped Images" -> img_align_celeba.zip (1.4 GB),
     and from the same folders list_attr_celeba.txt, list_eval_partition.txt and identity_CelebA.txt.
  2. Unpack, so that a folder `celeba` holds img_align_celeba/000001.jpg ... and list_attr_celeba.txt (or .csv) beside it.
  3. Give its path instead of the name, or set VAEKIT_DATA to the folder that holds `celeba`."""


def table(root: Path, stem: str) -> Path | None:
    """One of CelebA's tables, .txt or .csv, beside the pictures or in Anno/ or Eval/."""
    ways = (root / folder / f"{stem}{suffix}" for folder in FOLDERS for suffix in (".txt", ".csv"))
    return next((path for path in ways if path.is_file()), None)


def pictures(root: Path) -> str | None:
    """The folder of the pictures inside `root`, None where `root` is no CelebA."""
    if table(root, "list_attr_celeba") is None:
        return None
    return next((folder for folder in PICTURES if (root / folder).is_dir()), None)
