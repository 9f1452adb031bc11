"""A part is a module and a dataclass at once; its description is all that is needed to make it again."""

import copy
import dataclasses
import json

import pytest
import torch
from torch import nn

import tiny
from vaekit.errors import UsageError
from vaekit.library import SHELVES
from vaekit.likelihoods import FixedGaussian
from vaekit.nets import ConvEncoder, MLPDecoder, MLPEncoder
from vaekit.objectives import ELBO
from vaekit.part import Part, build, describe, numbers_of
from vaekit.posteriors import Deterministic
from vaekit.priors import StandardNormal
from vaekit.schedules import Cyclical, Linear


class Chain(Part):
    """A test part with every kind of field."""

    first: Part
    rest: tuple[Part, ...] = ()
    sizes: tuple[int, ...] = (1, 2)
    name: str = "chain"
    scale: float | None = None

    def __post_init__(self):
        self.weight = nn.Parameter(torch.zeros(len(self.sizes)))


def test_fields_are_keyword_only_and_parts_register_as_modules():
    chain = Chain(first=FixedGaussian(), sizes=(4, 5, 6))
    assert dict(chain.named_children()) == {"first": chain.first}
    assert [name for name, _ in chain.named_parameters()] == ["weight"]
    assert chain.weight.shape == (3,)
    with pytest.raises(TypeError):
        Chain(FixedGaussian())  # type: ignore[misc]
    with pytest.raises(TypeError):
        Chain()  # type: ignore[call-arg]


def test_a_description_is_plain_data_and_builds_an_equal_part():
    chain = Chain(first=Chain(first=FixedGaussian(scale=0.5), name="inner"), rest=(Linear(images=3), FixedGaussian()), scale=0.25)
    description = json.loads(json.dumps(describe(chain)))
    assert description["part"] == "Chain"
    assert description["first"]["first"] == {"part": "FixedGaussian", "scale": 0.5}
    again = build(description)
    assert describe(again) == describe(chain)
    assert again.sizes == (1, 2)
    assert isinstance(again.rest[0], Linear)


def test_a_copy_is_independent():
    model = tiny.model()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        next(twin.parameters()).add_(1)
    assert describe(twin) == describe(model)
    assert not torch.equal(next(twin.parameters()), next(model.parameters()))


def test_every_shipped_part_is_documented_and_has_a_described_default():
    shipped = {name: kind for name, kind in Part.kinds.items() if kind.__module__.startswith("vaekit.")}
    assert len(shipped) > 20
    assert {shelf.__name__ for shelf in SHELVES} <= {".".join(kind.__module__.split(".")[:2]) for kind in shipped.values()}
    for kind in shipped.values():
        assert kind.__doc__
        for field in dataclasses.fields(kind):
            assert field.default is dataclasses.MISSING or json.dumps(describe(field.default), allow_nan=False)


def test_an_option_that_does_not_exist_is_an_error_with_the_nearest_name():
    description = describe(ELBO())
    with pytest.raises(UsageError, match=r"ELBO has no field 'betta'\. Did you mean 'beta'"):
        build(description | {"betta": 2})
    with pytest.raises(UsageError, match=r"No part is named 'ELBOW'\. Did you mean 'ELBO'"):
        build({"part": "ELBOW"})
    with pytest.raises(UsageError, match="without latent"):
        build({"part": "StandardNormal"})
    with pytest.raises(UsageError, match="No part is named None"):
        build({"latent": 3})


@pytest.mark.parametrize(
    "name", ["os.system", "builtins.eval", "torch.nn.Linear", "Module", "vaekit.model.VAE", "", 3, None, ["VAE"]]
)
def test_a_description_can_name_parts_and_nothing_else(name):
    with pytest.raises(UsageError, match="No part is named"):
        build({"part": name})


def test_the_value_checks_run_on_what_is_built_too():
    with pytest.raises(UsageError, match="above 0"):
        build({"part": "FixedGaussian", "scale": -1})


def test_two_parts_of_one_name_are_refused_and_a_redefinition_replaces_the_first():
    def define(module: str, size: int) -> type[Part]:
        return type("Twice", (Part,), {"__module__": module, "__annotations__": {"size": int}, "size": size})

    try:
        define(__name__, 1)
        newer = define(__name__, 2)
        assert type(build({"part": "Twice"})) is newer
        assert build({"part": "Twice"}).size == 2
        with pytest.raises(TypeError, match="Two parts are named Twice"):
            define("elsewhere", 3)
        assert Part.kinds["Twice"] is newer
    finally:
        del Part.kinds["Twice"]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"encoder": MLPEncoder(image=(1, 8, 8), features=17)}, "encoder has features=17 and the posterior features=16"),
        ({"decoder": MLPDecoder(image=(1, 8, 8), latent=4, width=16)}, "posterior has latent=3 and the decoder latent=4"),
        ({"prior": StandardNormal(latent=2)}, "posterior has latent=3 and the prior latent=2"),
        ({"encoder": ConvEncoder(image=(3, 8, 8), features=16, width=4)}, r"image=\(3, 8, 8\) and the decoder image=\(1, 8, 8\)"),
    ],
)
def test_parts_that_do_not_fit_are_refused_by_name(parts, words):
    with pytest.raises(UsageError, match=words):
        tiny.model(**parts)


def test_sampling_needs_a_prior_and_temperature_scales_it():
    plain = tiny.model(posterior=Deterministic(features=16, latent=3), prior=None)
    with pytest.raises(UsageError, match="no prior to sample from"):
        plain.sample(4)
    model = tiny.model()
    assert model.sample(5).shape == (5, 1, 8, 8)
    cold = model.sample(5, temperature=0.0)
    torch.testing.assert_close(cold, model.decode(torch.zeros(1, 5, 3)).mean[0])


def test_numbers_have_full_names():
    """A count is no number: another one makes another model."""
    assert numbers_of(ELBO(beta=4)) == {"beta": 4, "free_bits": 0}
    assert numbers_of(ELBO(beta=Cyclical(images=100, cycles=3))) == {
        "free_bits": 0,
        "beta.images": 100,
        "beta.start": 0,
        "beta.end": 1,
        "beta.share": 0.5,
    }
