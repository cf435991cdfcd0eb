"""How a report's pages are laid out: what is whole, what gives way to what, and that nothing leaves the margins."""

import re
from dataclasses import replace
from io import BytesIO

import numpy as np
import pypdf
import pypdfium2
import pytest

from agcnn_clinic.domain import WARNINGS, Outcome
from agcnn_clinic.reporting.content import UnreadImage
from agcnn_clinic.reporting.paper import FILM_WIDTH, MARGIN, Frame, paper
from agcnn_clinic.reporting.pictures import MIN_HEIGHT
from agcnn_clinic.sections import Reporting


@pytest.fixture
def content(clinic, composed):
    """The content of a report of one image."""
    study = clinic.add_study(patient_name="Berg^Anna", institution_name="Clinic")
    clinic.add_file(study)
    return composed(study)


def collisions(data: bytes) -> list[tuple[int, list[float]]]:
    """Where two characters share more than a point both ways: page and box. Those of a ligature have one box."""
    found = []
    document = pypdfium2.PdfDocument(data)
    try:
        for page in range(len(document)):
            text = document[page].get_textpage()
            shown = [text.get_charbox(i) for i in range(text.count_chars()) if text.get_text_range(i, 1).strip()]
            boxes = np.unique(np.array(shown, np.float32), axis=0)  # [N, 4]: left, bottom, right, top
            low, high = np.maximum(boxes[:, None], boxes)[..., :2], np.minimum(boxes[:, None], boxes)[..., 2:]
            first, _ = np.nonzero(np.triu((high - low > 1).all(axis=-1), k=1))
            found += [(page, boxes[number].tolist()) for number in first]
    finally:
        document.close()
    return found


@pytest.mark.parametrize("page_size", ["A4", "Letter"])
def test_long_texts_stay_in_their_places(content, picture, pixels_of, page_size, render) -> None:
    """Nothing is printed in the margins, nor over anything else, however long everything is."""
    long = "Wolfeschlegelsteinhausen " * 40
    study = replace(
        content.study,
        **dict.fromkeys(
            ("patient_name", "patient_id", "study_description", "accession_number", "institution_name"), long
        ),
    )
    unread = UnreadImage(long, "1" * 64, "LATERAL", Outcome.REFUSED, "Refused.")
    image = replace(content.images[0], manufacturer=long, remarks=(long,), sop_instance_uid="1" * 400)
    settings = Reporting(page_size=page_size, institution=long)
    data = render(replace(content, study=study, images=(image,), unread=(unread, unread)), picture, settings)
    pages = len(pypdf.PdfReader(BytesIO(data)).pages)
    assert pages <= 3
    assert not collisions(data)
    for page in range(pages):
        shown = pixels_of(data, page)
        assert abs(shown.shape[1] - paper(page_size)[0]) < 1
        assert shown[:, : int(MARGIN) - 2].min() == 255
        assert shown[:, -int(MARGIN) + 3 :].min() == 255


def test_the_film_is_placed_where_the_page_says(content, picture, settings, pixels_of, render) -> None:
    """The film stands at the left margin in its own proportions, the overlay beside it, the box around the heat."""
    shown = pixels_of(render(content, picture, settings), 0, dpi=144).astype(int)
    colour = shown.max(axis=2) - shown.min(axis=2)
    dark = np.flatnonzero((shown[:, int(MARGIN * 2) + 2 : int(MARGIN * 2) + 32] < 30).all(axis=(1, 2)))  # its corner
    top, bottom = dark[0], dark[-1]
    height, width = 350 * 0.372 * 511 / 400 * 2, 0.372 * 511 * 2
    assert bottom - top == pytest.approx(height / 10, abs=4)
    film = np.s_[int(top) : int(top + height) - 2, int(MARGIN * 2) : int(MARGIN * 2 + width) - 2]
    assert colour[film].max() < 25
    overlay_left = int(MARGIN * 2 + width + 24)
    over = colour[int(top) : int(top + height), overlay_left : int(overlay_left + width)]
    hot_y, hot_x = np.unravel_index(over.argmax(), over.shape)
    assert (hot_y / height, hot_x / width) == pytest.approx((0.72, 0.75), abs=0.22)
    box_x = overlay_left + int(width * 450 / 800)
    edge = shown[int(top + height * 0.6) : int(top + height * 0.9), box_x - 3 : box_x + 4].mean(axis=(0, 2))
    assert edge.max() > 235
    assert edge.min() < 110


def test_the_scale_of_colours_stands_under_the_overlay(content, picture, settings, pixels_of, text_of, render) -> None:
    """A strip from bare grey to the map's brightest colour; its end says that it is this film's own highest."""
    data = render(content, picture, settings)
    shown = pixels_of(data, 0, dpi=144).astype(int)
    colour = shown.max(axis=2) - shown.min(axis=2)
    overlay_left = int((MARGIN + 0.372 * 511 + 12) * 2)
    strips = [row for row in colour[:, overlay_left : overlay_left + 380] if (row > 40).sum() > 100]
    assert len(strips) >= 8
    first, last = text_of(data)
    assert "heat 0 1, this film\u2019s highest" in first
    assert "the heat of two films cannot be compared" in last


@pytest.mark.parametrize("shape", [(400, 1000), (1000, 400), (300, 310)])
def test_films_of_any_shape_fit(content, picture, settings, pixels_of, shape, render) -> None:
    """Wide and tall films stay inside the margins, and the report stays two pages long."""
    tall = replace(picture(), pixels=np.full(shape, 0.5, np.float32))
    data = render(content, lambda _image: tall, settings)
    assert len(pypdf.PdfReader(BytesIO(data)).pages) == 2
    assert pixels_of(data, 0)[:, -int(MARGIN) + 3 :].min() == 255


@pytest.mark.parametrize("page_size", ["A4", "Letter"])
@pytest.mark.parametrize("identifier", ["16d7f894-55d7-4d95-8957-d18987f0e981", "W" * 64, "WWWWWW " * 9, "山" * 64])
def test_identifiers_and_names_are_whole(content, picture, text_of, page_size, identifier, render) -> None:
    """Nothing of what DICOM lets an identifier or a name hold is cut: two patients may differ at its end only."""
    study = replace(
        content.study,
        patient_id=identifier,
        accession_number=identifier,
        patient_name=f"{identifier[:63]}=={identifier[::-1]}",
        study_description=identifier,
        referring_physician_name=identifier,
    )
    data = render(replace(content, study=study), picture, Reporting(page_size=page_size))
    first = text_of(data)[0].replace(" ", "")
    printed = identifier.replace(" ", "")
    assert "\u2026" not in first
    for label in ("PatientID", "Accessionnumber", "Studydescription", "Referringphysician"):
        assert label + printed in first
    assert printed[:63] in first
    assert printed[::-1] in first


def test_the_identifier_is_whole_where_there_is_room_for_a_part_of_the_name(
    content, picture, settings, text_of, render
) -> None:
    """At the head of a further page a long name is cut before the identifier is."""
    identifier = "16d7f894-55d7-4d95-8957-d18987f0e981"
    study = replace(content.study, patient_id=identifier, patient_name="Wolfeschlegelsteinhausen^Anna Maria Johanna")
    head = text_of(render(replace(content, study=study), picture, settings))[1][:160]
    assert "Wolfeschlegel" in head
    assert f"{identifier} \u00b7 2026-03-01" in head


@pytest.mark.parametrize("page_size", ["A4", "Letter"])
def test_no_remark_and_no_label_is_dropped(content, picture, text_of, page_size, render) -> None:
    """All remarks at once, and all labels positive, are whole above the pictures; the report keeps its two pages."""
    positive = tuple(replace(row, positive=True) for row in content.images[0].findings)
    image = replace(content.images[0], remarks=tuple(WARNINGS.values()), findings=positive)
    pages = text_of(render(replace(content, images=(image,)), picture, Reporting(page_size=page_size)))
    assert " ".join(WARNINGS.values()) in pages[0]
    assert ", ".join(f"{row.name} {row.probability:.2f}" for row in positive) in pages[0]
    assert len(pages) == 2


@pytest.mark.parametrize("page_size", ["A4", "Letter"])
def test_captions_are_whole_under_a_narrow_film(content, picture, text_of, page_size, render) -> None:
    """The columns are as wide as their captions, however narrow the film is."""
    narrow = replace(picture(), pixels=np.full((1024, 420), 0.5, np.float32))
    first = text_of(render(content, lambda _image: narrow, Reporting(page_size=page_size)))[0]
    assert "box: attended; dashed: the network\u2019s view" in first
    assert "heat 0 1, this film\u2019s highest" in first
    assert "\u2026" not in first


@pytest.mark.parametrize("remarks", [0, 3, 6, 9])
def test_pictures_shrink_only_for_a_table_that_then_fits(content, picture, text_of, remarks, render) -> None:
    """Either the table stands below the pictures, or they keep their size and the report its two pages."""
    image = replace(content.images[0], remarks=("One more remark that takes a line of its own. " * 2,) * remarks)
    content = replace(content, images=(image,), requested_model="other 1")
    data = render(content, picture, Reporting(page_size="Letter"))
    drawn = pypdf.PdfReader(BytesIO(data)).pages[0].get_contents().get_data()
    height = float(re.search(rb"[\d.]+ 0 0 ([\d.]+) [\d.]+ [\d.]+ cm\s+/FormXob", drawn)[1])
    full = FILM_WIDTH * Frame.of("Letter").width * 700 / 800
    first, *others = text_of(data)
    together = "Pleural Thickening" in first
    assert together == (remarks < 6)
    assert MIN_HEIGHT <= height < full if together else height == pytest.approx(full, abs=0.1)
    assert len(others) == 1
