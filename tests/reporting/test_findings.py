"""The table of one image's findings: each number in its column, the bar, and the line that it has to reach."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pypdf
import pytest

from agcnn_clinic.reporting.embedding import MARK
from agcnn_clinic.reporting.findings import ROW
from agcnn_clinic.reporting.paper import MARGIN, Frame
from agcnn_clinic.sections import Reporting

DPI = 144


@pytest.fixture
def content(clinic, composed):
    """The content of a report of one image."""
    study = clinic.add_study()
    clinic.add_file(study)
    return composed(study)


@pytest.fixture
def printed(content, picture, settings, render):
    """Makes the PDF with these findings in the place of the image's own, and this of its model."""

    def printed(*findings, **of_model):
        (image,) = content.images
        shown = replace(image, findings=findings, model=replace(image.model, **of_model))
        return render(replace(content, images=(shown,)), picture, settings)

    return printed


@pytest.mark.parametrize(
    ("probability", "threshold", "told"),
    [
        (0.3999, 0.4004, "0.3999 0.4004"),
        (0.000301, 0.000304, "0.000301 0.000304"),
        (0.3999999, 0.4, "0.3999999 0.4000000"),
        (0.4 - 1e-9, 0.4, "<0.4000000 0.4000000"),
        (0.4 + 1e-9, 0.4, ">0.4000000 0.4000000"),
        (0.4, 0.4, "0.40 0.40"),
    ],
)
def test_a_probability_is_told_apart_from_its_threshold(
    content, printed, text_of, probability, threshold, told
) -> None:
    """Figures that would round to the same are printed with as many decimals as tell them apart, or with a sign."""
    mass = content.images[0].findings[0]
    near = replace(mass, probability=probability, threshold=threshold, positive=probability >= threshold)
    assert f"Mass {told} " in text_of(printed(near))[0]


def test_each_number_stands_in_its_column(content, printed) -> None:
    """Probability, threshold, the three branches and the AUC that was measured of this label."""
    mass, effusion = content.images[0].findings[:2]
    rows = [
        replace(
            row,
            label=label,
            probability=0.11,
            threshold=0.22,
            positive=False,
            probability_global=0.33,
            probability_local=0.44,
            probability_fusion=0.55,
        )
        for row, label in ((mass, "Mass"), (effusion, "Pleural_Thickening"))
    ]
    data = printed(*rows, auc_of_label={"Mass": 0.66, "Pleural_Thickening": 0.77})
    lines = pypdf.PdfReader(BytesIO(data)).pages[0].extract_text(extraction_mode="layout").splitlines()
    told = {line.split()[0]: line.split() for line in lines if line.split()[:1] in (["Label"], ["Mass"], ["Pleural"])}
    columns = ["Probability", "Threshold", "Global", "Local", "Fusion", "AUC"]
    assert [word for word in told["Label"] if word.isalpha()] == ["Label", *columns]
    assert told["Mass"] == ["Mass", "0.11", "0.22", "0.33", "0.44", "0.55", "0.66"]
    assert told["Pleural"] == ["Pleural", "Thickening", "0.11", "0.22", "0.33", "0.44", "0.55", "0.77"]


def test_what_is_positive_has_its_mark_in_the_text_and_in_print(content, printed, text_of, pixels_of) -> None:
    """Before its label, and once where the mark is explained; what is below its threshold has none."""
    mass = content.images[0].findings[0]

    def shown(*, positive):
        """How often the page says the mark, and how many dots are as dark where those of a label stand."""
        data = printed(replace(mass, positive=positive))
        dark = pixels_of(data, 0, DPI).astype(int)[:, int((MARGIN + 4) * DPI / 72) : int((MARGIN + 8) * DPI / 72)]
        text = text_of(data)[0]
        return f"{MARK} Mass 0.81" in text, text.count(MARK), (dark.sum(axis=2) < 240).sum()

    said, count, dots = shown(positive=True)
    without, count_without, dots_without = shown(positive=False)
    assert (said, count, without, count_without) == (True, 2, False, 1)
    assert dots - dots_without == pytest.approx(6 * 4.8 / 2 * (DPI / 72) ** 2, rel=0.4)


@pytest.mark.parametrize("count", [1, 2])
def test_what_is_positive_has_a_ground_and_bold_type(content, picture, settings, pixels_of, render, count) -> None:
    """So that no colour is needed; in the table of one image, and in the comparison of several where one of them is."""
    (image,) = content.images
    mass, *others = (replace(row, positive=False) for row in image.findings)
    right = int(Frame.of(settings.page_size).right) - 2

    def shown(*, positive):
        """The dots at the right edge of the table, and what stands in bold type of two labels and their numbers."""
        images = [
            replace(image, number=1, findings=(replace(mass, positive=positive), *others), no_finding=None),
            replace(image, number=2, findings=(mass, *others), no_finding=None),
        ]
        data = render(replace(content, images=tuple(images[:count])), picture, settings)
        bold = []

        def note(text, _, __, font, ___):
            if font and font.get("/BaseFont", "").endswith("Semibold"):
                bold.append(text.strip())

        pypdf.PdfReader(BytesIO(data)).pages[0].extract_text(visitor_text=note)
        told = [text for text in bold if text in ("Mass", "0.81", "Effusion", "0.55")]
        return pixels_of(data, 0)[:, right].astype(int), told

    (marked, bold), (plain, without) = shown(positive=True), shown(positive=False)
    assert (marked != plain).any(axis=1).sum() == pytest.approx(ROW, abs=1)
    assert (bold, without) == (["Mass", "0.81"], [])


@pytest.mark.parametrize("value", [0.0, 0.25, 0.8, 1.0])
def test_the_line_stands_where_the_bar_of_that_probability_ends(content, printed, pixels_of, value) -> None:
    """A threshold is drawn on the scale of the probabilities, which runs from 0 to 1."""
    mass = replace(content.images[0].findings[0], positive=False)
    frame = Frame.of(Reporting().page_size)
    left, right = MARGIN + 112, frame.right - 4 - 268
    across = np.s_[:, int(left * DPI / 72) - 3 : int(right * DPI / 72) + 4]

    def shown(probability, threshold):
        data = printed(replace(mass, probability=probability, threshold=threshold))
        return pixels_of(data, 0, DPI).astype(int)[across].sum(axis=2)

    def places(differ):
        """Where pages differ, in points from the left of the scale."""
        return (np.flatnonzero(differ.any(axis=0)) - 3) * 72 / DPI

    without_bar, with_bar, other_line = shown(0.0, value), shown(value, 0.5), shown(0.0, 0.5)
    black = 3 * 60
    line = places((without_bar < black) & (other_line >= black))
    assert line.mean() == pytest.approx(value * (right - left), abs=1.5)
    bar = places(with_bar != other_line)
    assert max(bar, default=0) == pytest.approx(value * (right - left), abs=1.5)
