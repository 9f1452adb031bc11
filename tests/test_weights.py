"""What objectives ask of whole models, and weigh as their papers do."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
from conformance import LABELS, conditional, ladder, neighbours, plain, vae
from vaekit.batches import Batches
from vaekit.errors import UsageError
from vaekit.known import revisited
from vaekit.objectives import (
    AAE,
    ELBO,
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


NOBODY = [torch.nan, torch.nan]


def test_images_with_a_label_count_as_often_as_there_are_some_however_many_a_batch_has():
    """Kingma et al. (2014), eq. 8 and 9: sums over both kinds, and alpha = 0.1 N times the mean over those with a label."""
    model, objective = conditional(LABELS, objective="semi")()
    objective.weight = 3.0
    t = objective.look(model, torch.rand(4, 1, 8, 8), torch.tensor([[1.0, 0.0], NOBODY, [0.0, 1.0], NOBODY]))
    plain, weighed = (objective(t, at) for at in (At(0), At(0, epoch=1000, known=50)))
    rare = 0.05 * (1 - model.withheld)
    for name in ("bound", "known"):
        torch.testing.assert_close(weighed[name][::2].mean(), plain[name][::2].mean() * rare / 0.5)  # half a batch here
        torch.testing.assert_close(weighed[name][1::2].mean(), plain[name][1::2].mean() * (1 - rare) / 0.5)
    told = -3.0 * torch.stack([t.log_q[0, 0], t.log_q[2, 1]]).mean()
    for found in (plain, weighed):
        torch.testing.assert_close(found["classification"].mean(), told)


def test_where_every_label_is_known_those_that_are_withheld_count_still():
    """Else the model would never learn to do without."""
    model, objective = conditional(LABELS, objective="semi")()
    c = torch.eye(2).repeat(5, 1)
    c[0] = torch.nan  # a tenth, as is withheld
    t = objective.look(model, torch.rand(10, 1, 8, 8), c)
    torch.testing.assert_close(objective(t, At(0, epoch=10, known=10)), objective(t, At(0)))


@pytest.mark.parametrize("label", [[0.0, 1.0], NOBODY])
def test_a_batch_of_one_kind_is_a_batch(label):
    model, objective = conditional(LABELS, objective="semi")()
    terms = objective(objective.look(model, torch.rand(3, 1, 8, 8), torch.tensor([label] * 3)), At(0, epoch=1000, known=50))
    torch.stack([term.mean() for term in terms.values()]).sum().backward()
    for term in (*terms.values(), *(p.grad for p in objective.parameters())):
        assert torch.isfinite(term).all()


def test_few_labels_are_a_quarter_of_each_batch():
    rows, known = np.arange(10, 1010), np.full((2000, 2), np.nan, np.float32)
    known[20:40], known[1500:] = (1, 0), (0, 1)
    seen = revisited(rows, known, SemiSupervised(image=(1, 8, 8), labels=2))
    assert np.isin(seen, np.arange(20, 40)).mean() == pytest.approx(0.25, abs=0.01)
    assert (np.diff(seen) >= 0).all()
    np.testing.assert_array_equal(np.unique(seen), rows)
    batches = Batches(np.zeros((2000, 1, 8, 8), np.uint8), seen, 100, 0, tiny.CPU, known=known)
    assert (batches.count, batches.told) == (1000, 20)
    for objective in (ELBO(), SemiSupervised(image=(1, 8, 8), labels=2, share=0)):
        np.testing.assert_array_equal(revisited(rows, known, objective), rows)
    everyone = np.zeros((2000, 2), np.float32)
    np.testing.assert_array_equal(revisited(rows, everyone, SemiSupervised(image=(1, 8, 8), labels=2)), rows)


def test_validation_knows_every_label_and_counts_each_image_as_often_as_training_has_its_kind():
    """Of 1,000 training images 50 are shown, but when they are withheld: so much of the loss is that of images with a label."""
    model, objective = conditional(LABELS, objective="semi")()
    t = objective.look(model, torch.rand(2, 1, 8, 8), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    with_label, without = (objective(its, At(0)) for its in (t, replace(t, c=torch.tensor([NOBODY] * 2))))
    with torch.no_grad():
        validated = objective(t, At(0, epoch=1000, known=50))
    rare = 0.05 * (1 - model.withheld)
    torch.testing.assert_close(validated["bound"], with_label["bound"] * rare + without["bound"] * (1 - rare))
    torch.testing.assert_close(validated["classification"], -objective.weight * t.log_q.diagonal())


def test_pictures_drawn_pixel_by_pixel_pass_no_gradient_and_it_is_said():
    model, _ = neighbours((1, 8, 8))()
    with pytest.raises(UsageError, match="pixel after pixel"):
        State.start(model, Classic(), tiny.training(images=8), torch.device("cpu"))
