"""Encoder and decoder as ONNX, compared with torch before anybody gets them.

Shapes: n pictures (n, C, H, W) in [0, 1], D latents.
"""

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import CheckFailed, UsageError
from ..files import write_atomic, write_text
from ..latent.encode import likeliest_of
from ..model import Model
from ..run import Run

CLOSE = 1e-3  # that mu, log_var and pixels may differ from torch's, relative to their size
TRIED = (1, 3)  # pictures at once, in the comparison


class Encoder(nn.Module):
    """x (n, C, H, W) to mu, of categories to the likeliest ones, and log_var, (n, D) both."""

    def __init__(self, model: Model):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        q = self.model.encode(x)
        return likeliest_of(self.model, q.mean), q.variance.log()


class Decoder(nn.Module):
    """z (n, D) to the mean picture, (n, C, H, W) in [0, 1]."""

    def __init__(self, model: Model):
        super().__init__()
        self.model = model

    def forward(self, z: Tensor) -> Tensor:
        return self.model.decode(z[None]).mean[0].clamp(0, 1)


def networks(model: Model) -> dict[str, bytes]:
    """{"encoder": ..., "decoder": ...}, ONNX files. Raises UsageError where the model has something that ONNX has not, and where
    a package is missing, CheckFailed where ONNX Runtime computes something else than torch."""
    model = model.cpu().eval()
    seeded = torch.Generator().manual_seed(0)
    pictures, z = (
        torch.rand(max(TRIED), *model.image, generator=seeded),
        2 * torch.randn(max(TRIED), model.latent, generator=seeded),
    )
    found = {
        "encoder": as_onnx(Encoder(model), pictures[:2], "x", ["mu", "log_var"], "encoder"),
        "decoder": as_onnx(Decoder(model), z[:2], "z", ["picture"], "decoder"),
    }
    compare(Encoder(model), found["encoder"], pictures, "encoder")
    compare(Decoder(model), found["decoder"], z, "decoder")
    return found


def as_onnx(part: nn.Module, example: Tensor, given: str, outputs: list[str], name: str) -> bytes:
    try:
        import onnxscript  # noqa: F401  (torch's exporter needs it)
    except ImportError as error:
        raise UsageError("ONNX files need a package more: pip install onnx onnxruntime onnxscript") from error
    chatter = logging.getLogger("torch.onnx")
    before = chatter.level
    chatter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's exporter warns of its own code
            program = torch.onnx.export(
                part,
                (example,),
                dynamo=True,
                dynamic_shapes={given: {0: torch.export.Dim("n")}},
                input_names=[given],
                output_names=outputs,
                verbose=False,
            )
            assert program is not None
            return program.model_proto.SerializeToString()
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(f"The {name} of this model cannot be written as ONNX: {type(error).__name__}: {reason}") from error
    finally:
        chatter.setLevel(before)


def opened(file: bytes) -> Any:
    """An ONNX file as ONNX Runtime computes it. Raises UsageError where that is missing."""
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError("To compare with torch, one more package: pip install onnx onnxruntime onnxscript") from error
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])


def computed(file: bytes, given: np.ndarray) -> np.ndarray:
    """The first output of an ONNX file: codes (n, D) of pictures (n, C, H, W), or the other way round."""
    session = opened(file)
    return session.run(None, {session.get_inputs()[0].name: given})[0]


def compare(part: nn.Module, file: bytes, examples: Tensor, name: str) -> None:
    """Raises CheckFailed unless ONNX Runtime computes what torch does, for several numbers of pictures."""
    session = opened(file)
    for count in TRIED:
        given = examples[:count]
        with torch.no_grad():
            expected = part(given)
        theirs = session.run(None, {session.get_inputs()[0].name: given.numpy()})
        for mine, their in zip(expected if isinstance(expected, tuple) else (expected,), theirs, strict=True):
            ours, their = mine.numpy(), np.asarray(their)  # noqa: PLW2901
            finite = np.isfinite(ours)  # a plain autoencoder's log_var is minus infinity
            gap = np.abs(np.where(finite, ours - np.where(finite, their, 0), 0)).max()
            if gap > CLOSE * max(1.0, np.abs(ours[finite]).max(initial=0)) or not (np.isfinite(their) == finite).all():
                raise CheckFailed(f"The {name} in ONNX Runtime differs from torch by {gap:.2g}. It was not written.")


README = """# {name}

Made by vaekit {version} from the run {name}, trained on {data}.

| file | takes | gives |
|---|---|---|
| encoder.onnx | x, float32 (n, {c}, {h}, {w}) in [0, 1] | mu and log_var, float32 (n, {latent}): q(z given x) |
| decoder.onnx | z, float32 (n, {latent}) | picture, float32 (n, {c}, {h}, {w}) in [0, 1] |
{told}
Both were compared with torch in ONNX Runtime. Without torch:

```python
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

image = ImageOps.exif_transpose(Image.open("PICTURE")).convert("RGBA")
{laid}image = {fit}
x = (np.asarray(image, np.float32) / 255).reshape({h}, {w}, {c}).transpose(2, 0, 1)[None]
mu, log_var = onnxruntime.InferenceSession("encoder.onnx").run(None, {{"x": x}})
(picture,) = onnxruntime.InferenceSession("decoder.onnx").run(None, {{"z": mu}})
```
"""


def write_networks(run: Run, folder: Path) -> list[Path]:
    """encoder.onnx, decoder.onnx and a README that says how to run them. Raises as `networks`."""
    from .. import __version__

    found, model = networks(run.load_model("cpu")), run.build("model")
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, file in found.items():
        paths.append(folder / f"{name}.onnx")
        write_atomic(paths[-1], lambda out, file=file: out.write(file))
    channels, height, width = model.image
    mode, crop = {1: "L", 3: "RGB", 4: "RGBA"}[channels], run.description["data"]["open"].get("crop") or "center"
    size = f"({width}, {height}), Image.Resampling.LANCZOS"  # as data/decode.py prepares pictures, transparency on white too
    fits = {
        "center": f"ImageOps.fit(image, {size})",
        "stretch": f"image.resize({size})",
        "pad": f"ImageOps.pad(image, {size}, color=0)",
    }
    laid = f'image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("{mode}")\n'
    about = {"c": channels, "h": height, "w": width, "latent": model.latent, "fit": fits[crop]}
    about["laid"] = "" if mode == "RGBA" else laid
    about["told"] = (
        "\nIt was trained to be told something of its pictures; here it is told nothing.\n" if hasattr(model, "condition") else ""
    )
    told = README.format(name=run.path.resolve().name, version=__version__, data=run.description["data"]["name"], **about)
    write_text(folder / "README.md", told)
    return [*paths, folder / "README.md"]
