"""Write docs/variants.md from src/vaekit/catalogue.py: python docs/variants.py"""

from pathlib import Path

from vaekit.catalogue import catalogue, reached, reached_by

HEAD = """# Recipes and variants

Every line is a recipe: `vaekit train PICTURES --recipe NAME`. What a line does not name is the plain VAE's, so they combine with
`--net`, `--likelihood` and the rest. In Python each is one part or objective: [how-it-works.md](how-it-works.md). This page is
written by `python docs/variants.py`.
"""


def page() -> str:
    sets = list(reached())
    head = ["recipe", "paper", "what it is for", "beside the plain VAE a step costs", *(f"on {name}" for name in sets)]
    rows = [
        [f"`{name}`", f"[{its.paper}]({its.link})", its.purpose, its.cost, *(reached_by(name).get(data, "") for data in sets)]
        for name, its in catalogue().items()
    ]
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    budgets = "".join(f"\n{name}: {about['how']}\n" for name, about in reached().items())
    return f"{HEAD}{budgets}\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    (Path(__file__).parent / "variants.md").write_text(page())
