"""classify."""

import csv
import io
from collections import Counter
from pathlib import Path

from ..errors import UsageError
from ..files import write_atomic
from ..latent.label import label_probabilities, told_labels
from ..run import Run
from .answer import Answer
from .places import writable
from .progress import doing
from .reading import opened


def classify(run: Path, data: str, /, *, out: Path) -> Answer:
    """The likeliest label of each picture and its probability, by a model that was told labels.

    By the classifier of `semi-supervised`; of other conditional models by how well a picture fits each label.

    Parameters
    ----------
    run
        The run folder.
    data
        What `vaekit train` takes: a folder, tars, files or a name.
    out
        A .csv file, a row for each picture: file, label, probability.
    """
    if out.suffix != ".csv":
        raise UsageError(f"--out {out} ends in {out.suffix or 'nothing'}; give a name that ends in .csv.")
    found, out = Run.open(run), writable(out)
    model = told_labels(found.load_model())
    about = found.description["data"]
    channels, height, width = about["image"]
    dataset = opened(data, size=(height, width), channels=channels, crop=about["open"].get("crop"))
    with doing("classifying"):
        probabilities = label_probabilities(model, found.load_objective(), dataset.pixels)
    names = found.description["model"]["condition"]["labels"]
    likeliest = [names[place] for place in probabilities.argmax(1)]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["file", "label", "probability"])
    shares = [f"{share:.4f}" for share in probabilities.max(1)]
    writer.writerows(zip(dataset.files, likeliest, shares, strict=True))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, lambda file: file.write(text.getvalue().encode(errors="surrogateescape")))
    counts = dict(Counter(likeliest).most_common())
    told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return Answer({"file": str(out), "pictures": len(likeliest), "labels": counts}, f"{out}  {told}")
