"""Models that are told something: what they make of it, what data sets know, and few labels for many pictures."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
from conformance import BOTH, LABELS, conditional
from vaekit.batches import Batches
from vaekit.conditional import Condition, ConditionalNormal
from vaekit.data import open_data
from vaekit.errors import DataError, UsageError
from vaekit.execution import Execution
from vaekit.known import condition_of, known_of
from vaekit.latent import label_probabilities, sample
from vaekit.objectives import SemiSupervised
from vaekit.recipes import cook
from vaekit.state import State
from vaekit.trace import At
from vaekit.train import train, validate

AGES = Condition(labels=("cat", "dog"), attributes=("age",), centre=(10.0,), spread=(5.0,))


def halves(count: int = 60, labels: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Pictures that are bright on the side that their label names, a little different each; (N, 1, 8, 8), (N, 2) one-hot."""
    rng = np.random.default_rng(0)
    kinds = np.arange(count) % labels
    pixels = rng.integers(0, 60, (count, 1, 8, 8), np.uint8)
    for picture, kind in zip(pixels, kinds, strict=True):
        picture[:, :, 4 * kind : 4 * kind + 4] = rng.integers(190, 250)
    return pixels, np.eye(labels, dtype=np.float32)[kinds]


def trained(make, known: np.ndarray, images: int = 60 * 40):
    torch.manual_seed(0)
    pixels, _ = halves()
    settings = tiny.training(images=images, batch_size=20, learning_rate=1e-2)
    state = State.start(*make(), settings, tiny.CPU)
    list(train(state, Batches(pixels, np.arange(60), 20, 0, tiny.CPU, known=known), settings, Execution(tiny.CPU)))
    return state


def test_what_nets_are_told():
    told = AGES(torch.tensor([[1.0, 0.0, 20.0], [torch.nan, torch.nan, 5.0]]))
    assert told.tolist() == [[1, 0, 2, 0, 0, 0], [0, 0, -1, 1, 1, 0]]
    assert AGES().tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(AGES.of({"label": "dog", "age": "7"}), [0, 1, 7])
    np.testing.assert_array_equal(AGES.of({"age": "7"}), [np.nan, np.nan, 7])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"label": "dgo"}, "Did you mean 'dog'"),
        ({"Age": "7"}, "told nothing of 'Age'. Did you mean 'age'"),
        ({"age": "old"}, "no number"),
    ],
)
def test_words_it_was_never_told(words, told):
    with pytest.raises(UsageError, match=told):
        AGES.of(words)


def test_parts_that_do_not_fit():
    for given in ({}, {"attributes": ("a",)}, {"attributes": ("a",), "centre": (0.0,), "spread": (0.0,)}):
        with pytest.raises(UsageError, match=r"neither labels|one of each"):
            Condition(**given)
    model, _ = conditional(LABELS)()
    parts = {name: getattr(model, name) for name in ("encoder", "posterior", "decoder", "likelihood", "condition")}
    with pytest.raises(UsageError, match="told=3, and the condition says 4"):
        type(model)(**parts, prior=ConditionalNormal(latent=model.latent, told=3))
    with pytest.raises(UsageError, match="0 or more and below 1"):
        type(model)(**parts, prior=model.prior, withheld=1.0)
    with pytest.raises(UsageError, match="Give the decoder latent=5"):
        type(model)(**parts | {"condition": Condition(labels=("only",))}, prior=model.prior)


def test_columns_and_labels_that_do_not_fit():
    model, _ = conditional(LABELS)()
    x = torch.rand(2, 1, 8, 8)
    with pytest.raises(UsageError, match=r"c has 3 columns. This model is told of 2: .* Give a column for each"):
        model(x, 1, torch.zeros(2, 3))
    objective = SemiSupervised(image=(1, 8, 8), labels=5)
    with pytest.raises(UsageError, match="tells 5 labels apart, and the model is told 2"):
        objective.look(model, x, torch.eye(2))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"attributes": ("age",), "centre": (0.0,), "spread": (1.0,)}, "attributes alone"),
        ({"labels": ("cat", "dog"), "attributes": ("age",), "centre": (0.0,), "spread": (1.0,)}, "attributes beside them"),
    ],
)
def test_a_classifier_is_told_labels(given, words):
    with pytest.raises(UsageError, match=rf"'semi-supervised' is told labels, and got {words}\. .*--condition label"):
        cook("semi-supervised", (1, 8, 8), {"condition": Condition(**given)})


@pytest.mark.parametrize("prior", ["normal", "label"])
def test_a_model_makes_pictures_of_what_it_is_told(prior):
    _, known = halves()
    model = trained(conditional(LABELS, prior=prior), known).average
    for kind in (0, 1):
        pictures = sample(model, 20, c=np.tile(np.eye(2, dtype=np.float32)[kind], (20, 1))).mean((0, 1, 2))
        bright, dark = pictures[4 * kind : 4 * kind + 4], pictures[4 - 4 * kind : 8 - 4 * kind]
        assert bright.min() > 0.6
        assert dark.max() < 0.3
    untold = sample(model, 200).mean((1, 2))
    left = untold[:, :4].mean(1) > untold[:, 4:].mean(1)
    assert 0.2 < left.mean() < 0.8  # told nothing, it makes some of both


def test_being_told_saves_the_latents_what_they_would_have_to_carry():
    pixels, known = halves()
    model = trained(conditional(LABELS), known).average
    images = torch.from_numpy(pixels)
    told = validate(model, tiny.ELBO(), lambda part: (images[part], torch.from_numpy(known[part])), 60)
    untold = validate(model, tiny.ELBO(), lambda part: images[part], 60)
    assert told["elbo"] > untold["elbo"] + 0.3  # the label is worth log 2 = 0.69 nats


def test_with_labels_that_are_sure_no_label_is_needed():
    """Where q(y | x) is one label's, an image without a label has the loss of one with it."""
    torch.manual_seed(0)
    model, objective = conditional(LABELS, objective="semi")()
    with torch.no_grad():
        objective.judge.last.bias.copy_(torch.tensor([-200.0, 200.0]))
    x = torch.rand(5, 1, 8, 8)
    found = []
    for c in (torch.tensor([[0.0, 1.0]]).expand(5, 2), torch.full((5, 2), torch.nan)):
        torch.manual_seed(1)
        found.append(objective(objective.look(model.eval(), x, c), At(0))["bound"])
    torch.testing.assert_close(*found)


def test_without_a_label_every_image_is_seen_with_every_label():
    torch.manual_seed(0)
    model, objective = conditional(LABELS, objective="semi")()
    for told in (model.mark, model.hint):
        torch.nn.init.normal_(told.weight)
    x, c = torch.rand(3, 1, 8, 8), torch.tensor([[0.0, 1.0], [torch.nan, torch.nan], [1.0, 0.0]])
    t = objective.look(model.eval(), x, c)
    for place, (image, label) in enumerate((image, label) for image in range(3) for label in range(2)):
        its, y = slice(place, place + 1), torch.eye(2)[[label]]
        torch.testing.assert_close(t.each.group.q.mean[its], model(x[[image]], 1, y).group.q.mean)
        torch.testing.assert_close(t.each.px.mean[:, its], model.decode(t.each.group.z[:, its], y).mean)
        assert torch.equal(t.each.x[place], x[image])
    torch.testing.assert_close(t.group.q.mean, model(x, 1, c).group.q.mean)
    torch.testing.assert_close(t.log_q.exp(), objective.judge(x)[1].softmax(1))
    assert t.labelled.tolist() == [True, False, True]
    assert t.share == model.withheld


def test_few_labels_teach_a_classifier():
    _, known = halves()
    few = known.copy()
    few[6:] = np.nan
    state = trained(conditional(LABELS, objective="semi"), few, images=60 * 30)
    pixels = torch.from_numpy(halves()[0])
    told = validate(state.average, state.objective, lambda part: (pixels[part], torch.from_numpy(known[part])), 60)
    assert told["label_accuracy"] == 1


def test_any_model_that_was_told_labels_names_them():
    pixels, known = halves()
    state = trained(conditional(LABELS), known, images=60 * 60)
    found = label_probabilities(state.average, state.objective, pixels)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    assert (found.argmax(1) == known.argmax(1)).mean() > 0.95
    with pytest.raises(UsageError, match=r"told no labels.*--condition label"):
        label_probabilities(tiny.model(), state.objective, pixels)


def test_semi_supervised_refuses_what_it_cannot_teach():
    for model in (tiny.model(), conditional(BOTH)()[0]):
        with pytest.raises(UsageError, match="told labels alone"):
            SemiSupervised(image=(1, 8, 8), labels=2).look(model, torch.rand(2, 1, 8, 8))
    with pytest.raises(UsageError, match="Give it a condition"):
        cook("semi-supervised", (1, 8, 8), {})


# What data sets know


def test_labels_and_attributes_of_a_data_set():
    rng = np.random.default_rng(0)
    told = {"labels": rng.integers(0, 3, 40), "label_names": ("a", "b", "c"), "attribute_names": ("size", "age")}
    data = replace(tiny.dataset(), **told, attributes=rng.random((40, 2)).astype(np.float32))
    condition = condition_of(data, ["label", *data.attribute_names[:1]])
    model = cook("vae", data.image, {"condition": condition}).model
    known = known_of(data, model)
    assert known.shape == (40, 4)
    np.testing.assert_array_equal(known[:, :-1].argmax(1), data.labels)
    np.testing.assert_array_equal(known[:, -1], data.attributes[:, 0])
    assert known_of(data, tiny.model()).shape == (40, 0)
    train = data.attributes[data.splits["train"], 0]
    assert condition.centre == pytest.approx([train.mean()])
    assert condition.spread == pytest.approx([train.std()])
    some = replace(data, labels=np.where(np.arange(40) < 10, -1, data.labels))
    assert np.isnan(known_of(some, model)[:, :3]).all(1).tolist() == [True] * 10 + [False] * 30


def test_some_labels_are_shown_evenly_and_always_the_same():
    data = open_data("digits")
    condition = condition_of(data, shown=50)
    known = known_of(data, cook("conditional", data.image, {"condition": condition}).model)
    rows = data.splits["train"]
    shown = rows[~np.isnan(known[rows]).any(1)]
    assert np.bincount(data.labels[shown]).tolist() == [5] * 10
    assert not np.isnan(known[data.splits["test"]]).any()
    np.testing.assert_array_equal(known, known_of(data, cook("conditional", data.image, {"condition": condition}).model))


def test_what_a_data_set_does_not_know():
    data = tiny.dataset()
    with pytest.raises(UsageError, match="no labels to condition on"):
        condition_of(data, ["label"])
    with pytest.raises(UsageError, match="no attributes to condition on"):
        condition_of(data, ["attributes"])
    with pytest.raises(UsageError, match="no attribute 'Hat'"):
        condition_of(data, ["Hat"])
    model, _ = conditional(LABELS)()
    with pytest.raises(DataError, match="does not know: the labels a, b"):
        known_of(data, model)


def test_the_residual_of_a_semi_supervised_model_is_that_of_its_labels():
    """Decodings under labels that an image has not say nothing of it."""
    torch.manual_seed(0)
    made = cook(
        "semi-supervised",
        (1, 8, 8),
        {"net": "mlp", "latent": 3, "likelihood": "gaussian", "condition": Condition(labels=LABELS.labels)},
    )
    pixels, known = halves(12)
    x, c = torch.from_numpy(pixels).float() / 255, torch.from_numpy(known)
    t = made.objective.look(made.model.train(), x, c)
    errors = (t.each.x - t.each.px.mean).square().mean((0, 2, 3, 4)).unflatten(0, c.shape)
    torch.testing.assert_close(t.each.px.log_var.exp(), (errors * c).sum(1).mean())
    made.model.train()(x, 1, c)
    unknown = made.objective.look(made.model, x, torch.full_like(c, torch.nan))
    errors = (unknown.each.x - unknown.each.px.mean).square().mean((0, 2, 3, 4)).unflatten(0, c.shape)
    torch.testing.assert_close(unknown.each.px.log_var.exp(), (errors * unknown.log_q.exp()).sum(1).mean())
