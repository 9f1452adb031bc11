"""Nets that look at pictures while a model learns to make them: critics, and judges that learned labels."""

import pytest
import torch

from conformance import VARIANTS
from vaekit.errors import DataError, UsageError
from vaekit.nets.judge import Judge
from vaekit.objectives.perceptual import seen_apart
from vaekit.priors import StandardNormal
from vaekit.recipes import cook
from vaekit.stored import save_part
from vaekit.trace import At


def test_a_vae_gan_keeps_the_gradients_of_its_players_apart():
    """Encoder: rate and likeness. Decoder: likeness and fooling. Critic: its lesson alone."""
    torch.manual_seed(0)
    model, objective = VARIANTS["vae-gan"]()
    x = torch.rand(4, *model.image)

    def reached(*names: str) -> set[str]:
        terms = objective(objective.look(model, x), At(0))
        both = torch.nn.ModuleDict({"model": model, "objective": objective})
        both.zero_grad()
        sum(terms[name].sum() for name in names).backward()
        return {
            ".".join(name.split(".")[:2]) for name, p in both.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0
        }

    assert reached("rate") == {"model.encoder", "model.posterior"}
    assert reached("likeness") == {"model.encoder", "model.posterior", "model.decoder"}
    assert reached("fooling") == {"model.decoder"}
    assert reached("critic") == {"objective.judge"}


def test_the_critic_of_patches_and_the_autoencoder_do_not_teach_each_other():
    torch.manual_seed(0)
    model, objective = VARIANTS["kl-autoencoder"]()
    x = torch.rand(4, *model.image)
    early = objective(objective.look(model, x), At(0))
    assert early["critic"].abs().max() == early["fooling"].abs().max() == 0  # until `start`
    terms = objective(objective.look(model, x), At(8))
    critic, rest = ([p for p in part.parameters() if p.dim() > 1] for part in (objective.critic, model.decoder))
    lesson = terms.pop("critic").sum()
    assert all(g is None for g in torch.autograd.grad(lesson, rest, retain_graph=True, allow_unused=True))
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(lesson, critic, retain_graph=True))
    others = sum(term.sum() for term in terms.values())
    assert all(g is None for g in torch.autograd.grad(others, critic, retain_graph=True, allow_unused=True))
    for name in ("pixels", "fooling", "features"):
        found = torch.autograd.grad(terms[name].sum(), rest, retain_graph=True)
        assert all(g.abs().sum() > 0 for g in found), name


def test_a_judge_sees_nothing_between_a_picture_and_itself_and_more_the_more_it_is_blurred():
    torch.manual_seed(0)
    judge, x = Judge(image=(1, 16, 16), features=8, width=8), torch.rand(5, 1, 16, 16)
    blurred = [x.lerp(x.roll(1, -1), share) for share in (0.1, 0.3, 0.5)]
    assert seen_apart(judge, x, x).abs().max() == 0
    assert [seen_apart(judge, x, other).mean().item() for other in blurred] == sorted(
        seen_apart(judge, x, other).mean().item() for other in blurred
    )


def test_a_file_without_a_judge_is_refused(tmp_path):
    with pytest.raises(DataError, match="Check the path"):
        cook("perceptual", (1, 8, 8), {"features": tmp_path / "none.safetensors"})
    save_part(tmp_path / "prior.safetensors", StandardNormal(latent=2))
    with pytest.raises(UsageError, match="holds a StandardNormal"):
        cook("perceptual", (1, 8, 8), {"features": tmp_path / "prior.safetensors"})
    with pytest.raises(UsageError, match="no judge to ask"):
        cook("perceptual", (1, 8, 8), {})
    save_part(tmp_path / "judge.safetensors", Judge(image=(1, 16, 16)))
    with pytest.raises(UsageError, match=r"learned from images of shape \(1, 16, 16\), these have \(1, 8, 8\)"):
        cook("kl-autoencoder", (1, 8, 8), {"features": tmp_path / "judge.safetensors"})
