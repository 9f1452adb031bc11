"""Write docs/variants.md from src/vaekit/catalogue.py: python docs/variants.py"""

from pathlib import Path

from vaekit.catalogue import catalogue, reached, reached_by

HEAD = """# Recipes and variants

Every line is a recipe: `vaekit train PICTURES --recipe NAME`. What a line does not name is the plain VAE's. Most take `--net`,
`--latent`, `--likelihood` and `--sigma`; `ladder` and `nvae` have nets of their own and no `--latent`, `density` and `pixel-vae`
take `--latent` alone, `book` no `--likelihood` and no `--sigma`, and `autoencoder` and recipes whose loss has no log p(x given z)
no `--sigma`. `--beta` and `--free-bits` belong to the plain ELBO: a recipe with an objective of its own refuses them (`nvae`
takes `--beta`), and `--set` changes its numbers (`--recipe beta-vae --set objective.beta=8`). `--spatial 8` gives most of them
latents at each of 8 x 8 places instead of latents of the whole picture, `--latent` of them at each.

In Python: `cook("factor-vae", data.image, {"latent": 10})`; each is one part or objective: [how-it-works.md](how-it-works.md).
This page is written by `python docs/variants.py`.
"""


def page() -> str:
    sets = list(reached())
    head = ["recipe", "paper", "what it is for", "beside the plain VAE a step costs", *(f"on {name}" for name in sets)]
    rows = [
        [f"`{name}`", f"[{its.paper}]({its.link})", its.purpose, its.cost, *(reached_by(name).get(data, "") for data in sets)]
        for name, its in catalogue().items()
    ]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (head, ["---"] * len(head), *rows)]
    budgets = "".join(f"\n{name}: {about['how']}\n" for name, about in reached().items())
    return f"{HEAD}{budgets}\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    (Path(__file__).parent / "variants.md").write_text(page())
