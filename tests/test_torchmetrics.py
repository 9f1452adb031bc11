"""Our figures beside those of a second implementation, torchmetrics, on the same pictures and the same features."""

import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

import tiny
from vaekit.latent import reconstruct
from vaekit.metrics import evaluate
from vaekit.metrics.quality import frechet_distance, kernel_distance
from vaekit.objectives import ELBO

IMAGE = (3, 24, 20)


class Pooled(nn.Module):
    """Features of pictures: means over their blocks."""

    num_features = 3 * 6 * 5

    def forward(self, x):
        return nn.functional.avg_pool2d(x.float(), 4).flatten(1)


def heaps(count: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 60, (count, *IMAGE)).astype(np.uint8)
    return torch.from_numpy(tiny.pictures(count, IMAGE)), torch.from_numpy(tiny.pictures(count, IMAGE, seed=1) // 2 + noise)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save all extracted features")
def test_frechet_and_kernel_distance():
    real, drawn = heaps()
    features = [Pooled()(heap).double().numpy() for heap in (real, drawn)]
    frechet = FrechetInceptionDistance(feature=Pooled())
    kernel = KernelInceptionDistance(feature=Pooled(), subsets=1, subset_size=len(real))
    for metric in (frechet, kernel):
        metric.update(real, real=True)
        metric.update(drawn, real=False)
    assert frechet_distance(*features) == pytest.approx(frechet.compute().item(), rel=1e-3)
    assert kernel_distance(*features) == pytest.approx(kernel.compute()[0].item(), rel=1e-3)


def test_errors_of_reconstructions():
    data = tiny.dataset(60, IMAGE)
    model = tiny.model(IMAGE).eval()
    metrics = evaluate(model, ELBO(), data)
    true = data.take(data.splits["test"])
    x, rebuilt = torch.from_numpy(true / np.float32(255)), torch.from_numpy(reconstruct(model, true))
    psnr = peak_signal_noise_ratio(rebuilt, x, data_range=1.0, reduction="none", dim=(1, 2, 3)).mean()
    _, everywhere = structural_similarity_index_measure(rebuilt, x, data_range=1.0, return_full_image=True)
    ssim = everywhere[..., 5:-5, 5:-5].mean()  # where the window lies inside, as Wang et al. have it; there the border counts too
    assert metrics["psnr"]["value"] == pytest.approx(psnr.item(), abs=1e-3)
    assert metrics["ssim"]["value"] == pytest.approx(ssim.item(), abs=1e-4)
    assert metrics["rmse"]["value"] == pytest.approx((x - rebuilt).square().mean().sqrt().item(), abs=1e-5)
