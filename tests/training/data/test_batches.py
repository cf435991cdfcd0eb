"""Batches depend on seed, epoch and step alone, and their columns are where the loss looks for them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from agcnn_models.labels import LABELS
from agcnn_models.settings import Preprocessing
from agcnn_training.data.batches import Batches, Joint
from agcnn_training.data.films import Films
from agcnn_training.recipe import Auxiliary, JointRecipe, Loss, PhaseRecipe

PREPROCESSING = Preprocessing(resize=40, crop=32)
PHASE = PhaseRecipe(batch_size=8, epochs=2)


def some_films(count: int, columns: int, auxiliary: int) -> Films:
    """Films whose grey value is their number."""
    pixels = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 40, 40).contiguous()
    targets = torch.zeros(count, columns)
    targets[torch.arange(count), torch.arange(count) % columns] = 1
    return Films(pixels, targets, torch.ones(count, auxiliary))


def joint() -> Joint:
    """A quarter of each batch from six further films of two classes."""
    recipe = JointRecipe(
        auxiliary=(Auxiliary.VIEW,), auxiliary_weight=0.5, pretraining_share=0.25, pretraining_weight=0.5
    )
    return Joint(recipe, some_films(6, 2, 0))


def test_a_batch_does_not_depend_on_what_was_drawn_before() -> None:
    """The third batch is the same whether or not the first two were asked for."""
    films = some_films(40, 15, 1)
    walked, jumped = (Batches(films, np.arange(40), PHASE, PREPROCESSING, (1, 2, 3)) for _ in range(2))
    batches = [walked.batch(1, step) for step in range(len(walked))]
    assert torch.equal(batches[2].images, jumped.batch(1, 2).images)
    assert torch.equal(batches[2].targets, jumped.batch(1, 2).targets)
    assert not torch.equal(batches[2].images, jumped.batch(0, 2).images)


def test_an_epoch_sees_every_film_once() -> None:
    """Forty films in batches of eight are five batches without a repetition."""
    batches = Batches(
        some_films(40, 15, 0),
        np.arange(40),
        PHASE.model_copy(update={"augmentation": PHASE.augmentation.model_copy(update={"scale": (1, 1)})}),
        PREPROCESSING,
        (0,),
    )
    seen = [
        round(float(value))
        for step in range(len(batches))
        for value in (batches.batch(0, step).images[:, 0].mean(dim=(1, 2)) * 0.229 + 0.485) * 255
    ]
    assert sorted(seen) == list(range(40))


def test_a_film_keeps_its_own_labels() -> None:
    """Of films chosen here and there each comes with its own targets, and each pretraining film with its class."""
    whole = PHASE.model_copy(
        update={"augmentation": PHASE.augmentation.model_copy(update={"scale": (1, 1), "aspect": (1, 1)})}
    )
    films, chosen = some_films(40, 15, 1), np.array([37, 3, 12, 29, 8, 21, 5, 33, 14, 26, 30, 1, 19])
    films = replace(films, auxiliary=(torch.arange(40.0) / 40)[:, None])
    further = joint()
    others = some_films(6, 2, 0)
    further = further._replace(films=replace(others, pixels=others.pixels + 100))
    batches = Batches(films, chosen, whole, PREPROCESSING, (0,), further)
    assert len(batches) == 2  # of thirteen films six a batch; the last one waits for another epoch
    seen, met = [], []
    for epoch in range(4):
        for step in range(2):
            images, targets = batches.batch(epoch, step)
            greys = ((images[:, 0].mean(dim=(1, 2)) * 0.229 + 0.485) * 255).round().long()
            own, other = greys[:6], greys[6:] - 100
            assert torch.equal(targets[:6, :15], films.targets[own])
            assert torch.equal(targets[:6, 15:16], films.auxiliary[own])
            assert torch.equal(targets[6:, 16:], others.targets[other])
            seen.append(own.tolist())
            met.append(other.tolist())
    for first, second in zip(seen[::2], seen[1::2], strict=True):
        assert len({*first, *second}) == 12  # no film twice in an epoch
    assert {film for part in seen for film in part} == set(chosen.tolist())
    assert seen[:2] != seen[2:4]
    assert {film for part in met for film in part} == set(range(6))
    assert met[0] != met[1]


def test_smoothing_moves_what_is_known() -> None:
    """0 and 1 become .1 and .9 in a batch; what is unknown stays so."""
    films = some_films(8, 15, 0)
    films.targets[:, 3] = torch.nan
    phase = PHASE.model_copy(update={"label_smoothing": 0.1})
    targets = Batches(films, np.arange(8), phase, PREPROCESSING, (0,)).batch(0, 0).targets
    assert torch.isnan(targets[:, 3]).all()
    assert targets[~torch.isnan(targets)].unique().tolist() == pytest.approx([0.1, 0.9])


def test_joint_batches_know_what_is_unknown() -> None:
    """A film of the table has no class, a pretraining film no labels: NaN stands there, and only there."""
    batches = Batches(some_films(40, 15, 1), np.arange(40), PHASE, PREPROCESSING, (0,), joint())
    targets = batches.batch(0, 0).targets
    own, other = targets[:6], targets[6:]
    labels = len(LABELS)
    assert targets.shape == (8, labels + 1 + 2)
    assert not torch.isnan(own[:, : labels + 1]).any()
    assert torch.isnan(own[:, labels + 1 :]).all()
    assert torch.isnan(other[:, : labels + 1]).all()
    assert (other[:, labels + 1 :].sum(dim=1) == 1).all()
    # Six further films for twelve places of an epoch: they come again.
    assert [len(batches.batch(0, step).targets) for step in range(len(batches))] == [8] * 6


def test_the_joint_loss_is_the_weighted_sum_of_its_parts() -> None:
    """At logits of zero each part costs ln 2, so that the whole costs (1 + 0.5 + 0.5) ln 2."""
    batches = Batches(some_films(40, 15, 1), np.arange(40), PHASE, PREPROCESSING, (0,), joint())
    loss = batches.loss(torch.zeros(8, 18), batches.batch(0, 0).targets)
    assert torch.isclose(loss, 2 * torch.log(torch.tensor(2.0)))


def test_smaller_phases_see_the_same_field() -> None:
    """At half the size the films are shrunk, not cut: of black and white pixels in turn grey is left."""
    phase = PHASE.model_copy(update={"size": 32})
    turns = ((torch.arange(80)[:, None] + torch.arange(80)) % 2 * 255).to(torch.uint8)
    films = replace(some_films(8, 15, 0), pixels=turns.expand(8, 1, 80, 80).contiguous())
    images = Batches(films, np.arange(8), phase, Preprocessing(resize=80, crop=64), (0,)).batch(0, 0).images
    assert images.shape == (8, 3, 32, 32)
    greys = images[:, 0] * 0.229 + 0.485
    assert (greys - 0.5).abs().max() < 0.05


def test_films_fewer_than_a_batch_are_one_batch() -> None:
    """Five films where eight are asked for: an epoch is a step with all of them."""
    batches = Batches(some_films(5, 15, 0), np.arange(5), PHASE, PREPROCESSING, (0,))
    assert (len(batches), batches.films_per_batch) == (1, 5)
    assert batches.batch(0, 0).images.shape == (5, 3, 32, 32)


def test_mixup_stays_within_a_source() -> None:
    """Mixed films of the table are shares of films with their labels, pretraining films of films with their class."""
    phase = PHASE.model_copy(update={"mixup": 0.4})
    batches = Batches(some_films(40, 15, 1), np.arange(40), phase, PREPROCESSING, (0,), joint())
    drawn = [batches.batch(0, step).targets for step in range(len(batches))]
    for known in ([targets[:6, : len(LABELS)] for targets in drawn], [targets[6:, -2:] for targets in drawn]):
        shares = torch.cat(known)
        assert ((shares > 0) & (shares < 1)).any()
        assert torch.allclose(shares.sum(dim=1), torch.ones(len(shares)))


def test_the_loss_of_several_outputs_counts_each() -> None:
    """Three branches at logits of zero cost 3 ln 2, and the heads stand behind all of them."""
    batches = Batches(some_films(40, 15, 1), np.arange(40), PHASE, PREPROCESSING, (0,), joint(), outputs=3)
    loss = batches.loss(torch.zeros(8, 3 * 15 + 3), batches.batch(0, 0).targets)
    assert torch.isclose(loss, 4 * torch.log(torch.tensor(2.0)))


def test_finer_images_show_the_same_field() -> None:
    """With a detail of 2 a phase of 16 pixels is drawn at 32, from films that are as fine."""
    phase = PHASE.model_copy(update={"size": 16})
    batches = Batches(
        some_films(40, 15, 0), np.arange(40), phase, Preprocessing(resize=40, crop=36), (0,), outputs=1, detail=2
    )
    assert batches.size == 32
    assert batches.batch(0, 0).images.shape == (8, 3, 32, 32)


def test_a_phase_has_the_loss_that_its_recipe_names() -> None:
    """W-CEL at logits of zero is ln 2 for each side that occurs."""
    phase = PHASE.model_copy(update={"loss": Loss.CLASS_BALANCED})
    batches = Batches(some_films(40, 15, 0), np.arange(40), phase, PREPROCESSING, (0,))
    loss = batches.loss(torch.zeros(8, 15), batches.batch(0, 0).targets)
    assert torch.isclose(loss, 2 * torch.log(torch.tensor(2.0)))


def test_large_images_are_only_a_matter_of_size() -> None:
    """585 and 512 pixels keep the paper's ratio of 256 to 224."""
    films = Films(torch.zeros(4, 1, 585, 585, dtype=torch.uint8), torch.zeros(4, 15), torch.empty(4, 0))
    phase = PHASE.model_copy(update={"batch_size": 2})
    batches = Batches(films, np.arange(4), phase, Preprocessing(resize=585, crop=512), (0,))
    assert batches.batch(0, 0).images.shape == (2, 3, 512, 512)
