"""Several images beside each other on a report's first page."""

from dataclasses import replace

import numpy as np
import pytest

from agcnn_clinic.domain import Geometry, ReasonCode
from agcnn_clinic.errors import ImageError
from agcnn_clinic.picture import picture_of
from agcnn_clinic.reporting.embedding import MARK
from agcnn_clinic.reporting.findings import NOT_EXCLUDED
from agcnn_clinic.reporting.paper import MARGIN, Frame

DPI = 72


@pytest.fixture
def images_of(clinic, composed):
    """The content of a report of so many images."""

    def images_of(count):
        study = clinic.add_study()
        for _ in range(count):
            clinic.add_file(study)
        return composed(study)

    return images_of


def test_each_of_many_images_stands_above_its_own_numbers(images_of, settings, pixels_of, text_of, render) -> None:
    """Five beside each other, and those that follow in a second row, each with its own film and its own numbers."""
    content = images_of(7)
    greys = {number: 30 * number for number in range(1, 8)}
    images = [
        replace(
            image,
            findings=tuple(
                replace(row, probability=image.number / 10, threshold=None, positive=None) for row in image.findings
            ),
        )
        for image in content.images
    ]
    data = render(
        replace(content, images=tuple(images)),
        lambda image: picture_of(np.full((300, 300), greys[image.number] / 255, np.float32), Geometry(300, 300)),
        settings,
    )
    pages, room = text_of(data), Frame.of(settings.page_size).width - 112
    for numbers in ((1, 2, 3, 4, 5), (6, 7)):
        told = " ".join(f"{number / 10:.2f}" for number in numbers)
        (page,) = (page for page, text in enumerate(pages) if text.count(f" {told} ") == 14)
        shown, column = pixels_of(data, page, DPI).astype(int), min(room / len(numbers), 132)
        for position, number in enumerate(numbers):
            middle = shown[:, int(MARGIN + 112 + (position + 0.5) * column)]
            assert (abs(middle - greys[number]) < 4).all(axis=1).sum() > 60


@pytest.mark.parametrize("highest_in", [0, 1, 5])
def test_labels_stand_by_their_highest_probability_in_any_image(
    images_of, picture, settings, text_of, render, highest_in
) -> None:
    """What is high in one image alone stands above what is middling in all, in each row of images."""
    content = images_of(max(highest_in + 1, 2))
    high, others = {"Mass": 0.9, "Hernia": 0.5}, {"Mass": 0.1, "Hernia": 0.6}
    probabilities = [high if number == highest_in else others for number in range(len(content.images))]
    images = [
        replace(
            image,
            findings=tuple(replace(row, probability=said.get(row.label, 0), positive=False) for row in image.findings),
        )
        for image, said in zip(content.images, probabilities, strict=True)
    ]
    pages = " ".join(text_of(render(replace(content, images=tuple(images)), picture, settings)))
    for row in (probabilities[:5], probabilities[5:]):
        mass, hernia = (" ".join(f"{said[label]:.2f}" for said in row) for label in ("Mass", "Hernia"))
        assert not row or f" Mass {mass} Hernia {hernia} " in pages


def test_a_label_is_called_not_assessed_of_the_image_whose_model_says_so(
    images_of, picture, settings, text_of, render
) -> None:
    """Beside the other model's number; where a model does not say so there is a gap, and no word for it."""
    content = images_of(2)
    first, second = content.images
    without = replace(second, findings=tuple(row for row in second.findings if row.label != "Mass"))
    stating = replace(without, model=replace(without.model, not_assessed=("Mass",)))
    for image, told in (
        (stating, f"Mass {MARK} 0.81 not assessed Effusion"),
        (without, f"Mass {MARK} 0.81 Effusion"),
    ):
        page = text_of(render(replace(content, images=(first, image)), picture, settings))[0]
        assert told in page
        assert (page.count("Mass"), page.count("No Finding")) == (1, 1)
    alone = tuple(replace(image, no_finding=None) for image in content.images)
    assert "No Finding" not in text_of(render(replace(content, images=alone), picture, settings))[0]


def test_the_mark_stands_at_the_numbers_that_are_positive(images_of, picture, settings, text_of, render) -> None:
    """In the text, too, beside its own number, and once where it is explained."""
    content = images_of(2)
    image = content.images[1]
    negative = replace(image, findings=tuple(replace(row, positive=False) for row in image.findings))
    first = text_of(render(replace(content, images=(content.images[0], negative)), picture, settings))[0]
    assert f"Mass {MARK} 0.81 0.81 Effusion {MARK} 0.55 0.55 " in first
    assert f"{MARK} at or above its threshold" in first
    assert first.count(MARK) == 3


def test_the_comparison_says_what_its_numbers_and_boxes_are(images_of, picture, settings, text_of, render) -> None:
    """A number without a name could be taken for a score, and a box for a lesion; the legend stands once, below."""
    pages = text_of(render(images_of(7), picture, settings))
    told = "Numbers: the probability of each label. Box: the region that the model attended to. " + NOT_EXCLUDED
    assert [told in page for page in pages[:2]] == [False, True]

    def lost(_image):
        raise ImageError(ReasonCode.UNREADABLE_PIXELS)

    first = text_of(render(images_of(2), lost, settings))[0]
    assert "Numbers: the probability of each label. A label" in first


def test_films_in_narrow_columns_leave_no_gap_above_them(images_of, picture, settings, pixels_of, render) -> None:
    """Five beside each other are smaller than two, and begin as close below the heading."""

    def first_row(count):
        shown = pixels_of(render(images_of(count), picture, settings), 0, DPI)[:, int(MARGIN + 112) :].astype(int)
        grey = (abs(shown - 128) < 100).all(axis=2) & (np.ptp(shown, axis=2) < 4)
        return int(np.flatnonzero(grey.sum(axis=1) > 60)[0])

    assert first_row(5) == pytest.approx(first_row(2), abs=2)
