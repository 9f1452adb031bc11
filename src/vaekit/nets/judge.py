"""Nets that look at pictures: what they see in two of them says how far these are apart, or how close two heaps of them are."""

from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import DataError, UsageError
from ..part import Part
from ..stored import load_part
from .conv import ConvEncoder
from .graph import Graph, read_onnx

Shape = tuple[int, int, int]  # (C, H, W)


class FeatureNet(Part):
    """Pictures (B, C, H, W) in [0, 1] to what is to be seen in them."""

    image: Shape

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures that it looks at, to which others are brought."""
        return self.image[1], self.image[2]

    def layers(self, x: Tensor) -> list[Tensor]:
        """Features at every place of several maps, (B, F, H', W') each."""
        raise NotImplementedError

    def maps(self, x: Tensor) -> list[Tensor]:
        """Those maps, every place's features of length 1."""
        return [F.normalize(h, dim=1) for h in self.layers(x)]

    def embed(self, x: Tensor) -> Tensor:
        """Features of the whole picture, (B, F)."""
        return self.layers(x)[-1].mean((2, 3))


class Judge(FeatureNet):
    """A convolutional net whose features say what matters in pictures, because it learned to tell kinds apart.

    Its features (B, features), and a logit for each of some kinds (B, kinds); or, where asked for, its maps.
    """

    features: int = 256
    width: int = 32
    kinds: int = 1

    def __post_init__(self):
        self.body = ConvEncoder(image=self.image, features=self.features, width=self.width)
        self.last = nn.Linear(self.features, self.kinds)

    def layers(self, x):
        h, found = 2 * x - 1, []
        for layer in self.body.body:
            h = layer(h)
            if not isinstance(layer, nn.Conv2d):
                found.append(h)
        return found

    def embed(self, x):
        return self.body(x)

    def forward(self, x, maps=False):
        if maps:
            return self.maps(x)
        h = self.body(x)
        return h, self.last(h)


class OnnxNet(FeatureNet):
    """A net out of an ONNX file, for images of another size than it was made for too; its outputs are the maps."""

    graph: Graph

    @property
    def size(self):
        return self.graph.size[1:]

    def layers(self, x):
        channels, height, width = self.graph.size
        if x.shape[1] != channels:
            x = x[:, : x.shape[1] - 1] if x.shape[1] in (2, 4) else x  # without transparency
            x = (x if x.shape[1] == channels else x.mean(1, keepdim=True)).expand(-1, channels, -1, -1)
        if (height, width) != tuple(x.shape[2:]):
            x = F.interpolate(x, (height, width), mode="bilinear", antialias=True)
        return [h if h.dim() == 4 else h.flatten(1)[..., None, None] for h in self.graph(x)]


def shape_for(file: Path) -> Shape | None:
    """The shape of images that a file's net is for; None where it takes any. Raises as `judge_from`."""
    return None if file.suffix.lower() == ".onnx" else found_in(file).image


def judge_from(file: str | Path, image: Shape) -> FeatureNet:
    """The net of a file that vaekit wrote (see `vaekit judge`), or of an .onnx file; in eval mode and without gradients.

    Raises DataError or UsageError where the file holds none, or one for images of another shape.
    """
    there(Path(file))
    if Path(file).suffix.lower() == ".onnx":
        net = OnnxNet(image=image, graph=read_onnx(Path(file), image))
        return net.eval().requires_grad_(False)
    found = found_in(Path(file))
    if tuple(found.image) != tuple(image):
        raise UsageError(
            f"The judge in {file} learned from images of shape {found.image}, these have {image}. Teach one on these."
        )
    return found


def found_in(file: Path) -> FeatureNet:
    there(file)
    found = load_part(file)
    if not isinstance(found, FeatureNet):
        raise UsageError(f"{file} holds a {type(found).__name__}. Give a judge's file: vaekit judge DATA --out judge.safetensors")
    return found


def there(file: Path) -> None:
    if not file.exists():
        raise DataError(f"There is no {file}. Check the path.")
