"""What objectives ask of whole models, and weigh as their papers do."""

from dataclasses import replace

import pytest
import torch

import tiny
from conformance import LABELS, conditional, ladder, neighbours, plain, vae
from vaekit.errors import UsageError
from vaekit.objectives import (
    AAE,
    PIWAE,
    RAEGP,
    RAEL2,
    STL,
    VAEGAN,
    WAEMMD,
    Classic,
    Consistency,
    DReG,
    FactorVAE,
    SemiSupervised,
)
from vaekit.state import State
from vaekit.trace import At

NOW = At(0)


def test_what_is_black_and_white_stays_so_when_it_is_moved():
    torch.manual_seed(0)
    model, _ = vae("bernoulli")()
    grey = torch.rand(9, 1, 8, 8)
    for x, two in ((grey.round(), True), (grey, False)):
        moved = Consistency().look(model, x).moved.x
        assert not torch.equal(moved, x)
        assert torch.equal(moved, moved.round()) == two


def test_a_regularised_autoencoder_pays_for_its_decoders_weights():
    """Ghosh et al. (2020), eq. 11 with the L2 of their section 3."""
    model, _ = plain()()
    objective, x = RAEL2(shrink=0.5), torch.rand(3, 1, 8, 8)
    terms = objective(objective.look(model, x), NOW)
    squares = sum(p.square().sum() for p in model.decoder.parameters())
    torch.testing.assert_close(terms["weights"], (0.5 * squares).expand(3))
    assert "weights" not in RAEGP()(RAEGP().look(model, x), NOW)


@pytest.mark.parametrize(
    "objective", [STL(), DReG(), PIWAE(), WAEMMD(), AAE(latent=8), FactorVAE(latent=8), RAEGP(), VAEGAN(image=(1, 8, 8))]
)
def test_what_asks_for_one_group_of_latents_says_so_of_a_hierarchy(objective):
    model, _ = ladder()()
    with pytest.raises(UsageError, match=r"one group of latents|one diagonal Gaussian"):
        objective(objective.look(model, torch.rand(2, 1, 8, 8)), NOW)


def test_a_label_that_few_images_have_counts_for_all_that_have_none():
    """Kingma et al. (2014), eq. 9: alpha is 0.1 times the number of images, times the mean over those with a label."""
    model, objective = conditional(LABELS, objective="semi")()
    t = objective.look(model, torch.rand(2, 1, 8, 8), torch.tensor([[1.0, 0.0], [torch.nan, torch.nan]]))
    few = SemiSupervised(image=(1, 8, 8), labels=2, shown=50)
    for its, epoch, weight in ((objective, 1000, 1.0), (few, 1000, 20.0), (few, 0, 1.0)):
        found = its(t, At(0, epoch))["classification"]
        torch.testing.assert_close(found, torch.stack([-weight * t.log_q[0, 0], torch.zeros(())]))


def test_validation_knows_every_label_and_counts_each_image_as_often_as_training_has_its_kind():
    """Of 1,000 training images 50 are shown: a twentieth of the loss is that of images with a label, and each counts once."""
    model, _ = conditional(LABELS, objective="semi")()
    few = SemiSupervised(image=(1, 8, 8), labels=2, shown=50, weight=3.0)
    x, nobody = torch.rand(2, 1, 8, 8), torch.full((2, 2), torch.nan)
    t = few.look(model, x, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    with_label, without = (few(its, At(0, 1000)) for its in (t, replace(t, c=nobody)))
    with torch.no_grad():
        validated = few(t, At(0, 1000))
    torch.testing.assert_close(validated["bound"], with_label["bound"] / 20 + without["bound"] * 19 / 20)
    torch.testing.assert_close(validated["classification"], -3.0 * t.log_q.diagonal())


def test_pictures_drawn_pixel_by_pixel_pass_no_gradient_and_it_is_said():
    model, _ = neighbours((1, 8, 8))()
    with pytest.raises(UsageError, match="pixel after pixel"):
        State.start(model, Classic(), tiny.training(images=8), torch.device("cpu"))
