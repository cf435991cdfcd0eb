"""Whole reports, opened and read back: their text, their pages, their pictures, their bytes."""

import subprocess
import sys
import unicodedata
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pypdf
import pytest

from agcnn_clinic.domain import WARNINGS, ReasonCode, StudyDescription, Warn
from agcnn_clinic.errors import ImageError
from agcnn_clinic.prints import Edges, prints_of
from agcnn_clinic.reporting.content import BranchFigures, SeenArea
from agcnn_clinic.reporting.findings import NOT_EXCLUDED
from agcnn_clinic.reporting.paper import print_size
from agcnn_clinic.sections import Reporting

FOOTER = "Research use only. Not reviewed by a physician."
NAMES = (
    "Müller^Jürgen",
    "Παπαδόπουλος^Νίκος",
    "Иванов^Иван",
    "محمد^عبد الله",
    "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "Hong^Gildong=洪^吉洞=홍^길동",
    "Zhang^Wei=张^伟",
    "Nguyễn^Thị Ánh",
)


@pytest.fixture
def content(clinic, composed):
    """The content of a report of one image."""
    study = clinic.add_study(patient_name="Berg^Anna", institution_name="Clinic")
    clinic.add_file(study)
    return composed(study)


@pytest.fixture
def several(clinic, composed):
    """The content of a report of three images and two that were not read."""
    study = clinic.add_study()
    for _ in range(3):
        clinic.add_file(study)
    clinic.add_file(study, ReasonCode.WRONG_VIEW, name="lateral.dcm")
    clinic.add_file(study, ReasonCode.UID_CONFLICT, name="conflict.dcm")
    return composed(study)


def test_the_first_page_says_it_all(content, picture, settings, text_of, render) -> None:
    """Patient, study, verdict, findings, size of the region: what a reader looks for is on page 1."""
    first, last = text_of(render(content, picture, settings))
    for told in (
        "Berg, Anna",
        "P-17",
        "Clinic",
        "Report version 1",
        "2026-03-01 14:00 UTC",
        "2 of 14 labels reached their thresholds: Mass 0.81, Effusion 0.55.",
        "No remarks.",
        "60 \u00d7 50 mm at the detector",
        "Pleural Thickening",
        "No Finding",
    ):
        assert told in first
    image = content.images[0]
    for told in (image.sop_instance_uid, "ab" * 32, "Films of the training list.", "0.729 to 0.767", "Signature"):
        assert told in last


def test_the_patient_stands_in_labelled_fields(content, picture, settings, text_of, render) -> None:
    """The age is in years, the sex a word and the time to the minute; what is not known is a dash, or said to be."""
    told = {"patient_birth_date": "1957-08-30", "patient_sex": "F", "study_time": "13:45:10", "accession_number": "A-1"}
    study = replace(content.study, **told, study_description="Thorax", referring_physician_name="Doe^Jane")
    first, last = text_of(render(replace(content, study=study), picture, settings))
    fields = "Born 1957-08-30 (68 y) Sex female Study date 2026-03-01 13:45 Accession number A-1 "
    assert f"Berg, Anna Patient ID P-17 {fields}Study description Thorax Referring physician Doe, Jane Image 1" in first
    assert "Berg, Anna \u00b7 P-17 \u00b7 2026-03-01 How" in last
    bare = StudyDescription(study_instance_uid="1.2", patient_birth_date="1957-08-30", patient_sex="U")
    first, last = text_of(render(replace(content, study=bare), picture, settings))
    unknown = "Study date _ Accession number _ Study description _ Referring physician _".replace("_", "\u2013")
    assert f"Name not given Patient ID \u2013 Born 1957-08-30 Sex U {unknown} Image 1" in first
    assert "Name not given How" in last


def test_the_institution_of_the_settings_comes_first(content, picture, text_of, render) -> None:
    """A clinic that reads for others may have its own name on each report; the file's stands where it has none."""
    for institution, told in (("Ward 3", "Ward 3"), ("", "Clinic")):
        first = text_of(render(content, picture, Reporting(institution=institution)))[0]
        assert f"2026-03-01 14:00 UTC {told} Chest radiograph" in first


def test_the_last_page_says_of_model_and_image_what_is_known(content, picture, settings, text_of, render) -> None:
    """What they were made by and from; of what a manifest or a header does not say, nothing is left half said."""
    (image,) = content.images
    made = replace(image, manufacturer="Roentgen Works", acquired="2026-03-01 08:15:00")
    told = replace(made, model=replace(image.model, pretraining="ImageNet."))
    last = text_of(render(replace(content, images=(told,)), picture, settings))[-1]
    assert "Training part: 2,540 films of 2,040 patients. Pretraining: ImageNet. Thresholds youden-1: Youden" in last
    assert ". DX PA, Roentgen Works, acquired 2026-03-01 08:15:00; read 2026-03-01 13:00 UTC on cpu by" in last
    silent = {"backbone": "", "training_counts": "", "pretraining": "none", "thresholds_method": ""}
    silent["branches"] = (BranchFigures("fusion", 0.748, None, None),)
    bare = replace(image, modality="", view_position="", model=replace(image.model, **silent))
    last = text_of(render(replace(content, images=(bare,)), picture, settings))[-1]
    assert "Model starter 1.0.0, weights abababababab" in last
    assert "Trained on Films of the training list. Thresholds youden-1 Measured on" in last
    assert "fusion branch 0.748 What it was made from" in last
    assert ". Kind not stated; read 2026-03-01 13:00 UTC on cpu by" in last


def test_every_page_carries_the_warning_its_number_and_its_study(several, picture, settings, text_of, render) -> None:
    """A page that comes apart from the others still says what it is."""
    pages = text_of(render(several, picture, settings))
    assert len(pages) == 5
    for number, text in enumerate(pages, start=1):
        assert FOOTER in text
        assert f"Page {number} of 5" in text
        assert several.study_key in text


@pytest.mark.parametrize("name", NAMES)
def test_names_print_as_themselves(content, picture, settings, text_of, name, render) -> None:
    """Each part of a name can be copied out of the PDF as it was written, in any script."""
    pages = text_of(render(replace(content, study=replace(content.study, patient_name=name)), picture, settings))
    for part in name.replace("=", "^").split("^"):
        assert unicodedata.normalize("NFC", part) in pages[0]


def test_a_writing_without_a_font_is_remarked_upon(content, picture, text_of, render) -> None:
    """Where boxes stand for letters, the first page says in which fields; nothing of the kind where all is printed."""
    study = replace(content.study, patient_name="כהן^דוד", referring_physician_name="สมชาย^ใจดี")
    manufacturer = replace(content.images[0], manufacturer="Gaiji \ue000")
    boxes = replace(content, study=study, images=(manufacturer,))
    settings = Reporting(institution="Հիվանդանոց")
    first = text_of(render(boxes, picture, settings))[0]
    assert "cannot print all characters of: patient name, referring physician, institution, manufacturer." in first
    assert "the text as it was received is in the database" in first
    covered = replace(content.study, patient_name="".join(NAMES), study_description="قفسه\u200cی سینه, 葛\U000e0100城")
    assert "cannot print" not in text_of(render(replace(content, study=covered), picture, Reporting()))[0]


def test_markup_prints_as_text(content, picture, settings, text_of, render) -> None:
    """What would be markup elsewhere is printed as it stands, and embeds nothing."""
    hostile = '<b>&</b><img src="file:///etc/passwd"/>'
    study = replace(content.study, patient_name="<b>&", patient_id=") Tj (", referring_physician_name="&amp;<i>x")
    data = render(replace(content, study=replace(study, study_description=hostile)), picture, settings)
    first = text_of(data)[0]
    for told in ("<b>&", ") Tj (", "&amp;<i>x", hostile):
        assert told in first
    assert b"root:" not in data


def test_controls_do_not_reach_the_page(content, picture, settings, text_of, render) -> None:
    """Overrides of direction and control characters are gone, the letters around them stay."""
    study = replace(content.study, patient_name="Be\u202erg\x07\x1b[31m^An\u2066na", patient_id="P\n17")
    first = text_of(render(replace(content, study=study), picture, settings))[0]
    assert "Berg[31m, Anna" in first
    assert "P 17" in first


def test_the_crop_is_not_called_what_the_network_saw(content, picture, settings, text_of, render) -> None:
    """The crop is cut from the film, and its caption says how small the film was that the network saw."""
    first = text_of(render(content, picture, settings))[0]
    assert "cut from the film; for the network the film was scaled to 256 \u00d7 256 pixels" in first
    image = content.images[0]
    unsaid = replace(image, model=replace(image.model, film_side=None))
    first = text_of(render(replace(content, images=(unsaid,)), picture, settings))[0]
    assert "the film was scaled to a size of its own" in first


def test_sizes_without_spacing_are_in_pixels(clinic, composed, picture, settings, text_of, render) -> None:
    """Where the spacing is unknown there is no millimetre on the page, and the remark says why."""
    clinic.spacing_mm = None
    study = clinic.add_study()
    clinic.add_file(study, warnings=[Warn.SPACING_UNKNOWN])
    first = text_of(render(composed(study), picture, settings))[0]
    assert "300 \u00d7 250 pixels spacing unknown" in first
    assert " mm" not in first
    assert WARNINGS[Warn.SPACING_UNKNOWN] in first


def test_images_not_read_are_on_the_first_page_of_several(several, picture, settings, text_of, render) -> None:
    """The summary names what was not read and why, and that the findings say nothing of it."""
    first = text_of(render(several, picture, settings))[0]
    assert "3 images read, 2 not read: see below" in first
    assert "lateral.dcm (PA)" in first
    assert "conflict.dcm (PA)" in first
    for count, told in (
        (2, "2 images; the findings say nothing about them"),
        (1, "1 image; the findings say nothing about it"),
    ):
        page = text_of(render(replace(several, unread=several.unread[:count]), picture, settings))[0]
        assert f"Images not read {told} " in page
    assert "not read" not in text_of(render(replace(several, unread=()), picture, settings))[0]
    assert "Not suited for the model. The view is not stated, or none that is read here" in first
    assert "Set aside. Another picture" in first
    assert "the findings say nothing about them" in first


def test_the_time_of_acquisition_is_in_the_title_and_under_the_small_picture(
    several, picture, settings, text_of, render
) -> None:
    """And whole in the provenance; where days differ the small picture's caption takes a second line."""
    times = ("2026-02-28 23:10", "2026-03-01 08:15", "")
    images = [
        replace(image, acquired=time and f"{time}:30", when=time)
        for image, time in zip(several.images, times, strict=True)
    ]
    pages = text_of(render(replace(several, images=tuple(images)), picture, settings))
    for page in pages[:2]:
        assert "Image 1, PA, 2026-02-28 23:10" in page
    assert "acquired 2026-02-28 23:10:30; read" in pages[-1]
    assert pages[-1].count("acquired") == 2


def test_remarks_are_on_the_first_page_of_several(several, picture, settings, text_of, render) -> None:
    """Who reads the summary alone must see which image was compressed with loss; of the others nothing is said."""

    def summary(*remarked):
        images = [
            replace(image, remarks=(WARNINGS[Warn.LOSSY],) if image.number in remarked else ())
            for image in several.images
        ]
        return text_of(render(replace(several, images=tuple(images)), picture, settings))[0]

    shown = summary(2)
    assert f"Input quality Image 2, PA {WARNINGS[Warn.LOSSY]}" in shown
    assert (shown.count("Input quality"), shown.count("Image 3, PA")) == (1, 1)
    assert "No remarks." not in shown
    assert "Input quality" not in summary()


def test_no_positive_label_is_not_called_normal(content, picture, settings, text_of, render) -> None:
    """Below all thresholds the verdict says that nothing is excluded; without thresholds it says so."""
    low = tuple(replace(row, probability=0.1, positive=False) for row in content.images[0].findings)
    none = tuple(replace(row, threshold=None, positive=None) for row in low)
    for rows, told in (
        (low, "None of the 14 labels reached its threshold."),
        (none, "The model has no thresholds: the probabilities stand for themselves."),
    ):
        image = replace(content.images[0], findings=rows)
        first = text_of(render(replace(content, images=(image,)), picture, settings))[0]
        assert f"{told} {NOT_EXCLUDED} Input quality" in first
    assert f"{NOT_EXCLUDED} Input quality" not in text_of(render(content, picture, settings))[0]


def test_findings_beside_no_finding_are_called_a_contradiction(content, picture, settings, text_of, render) -> None:
    """Where both reach their thresholds the verdict says so; with `No Finding` alone there is nothing to say."""
    (image,) = content.images
    none = replace(image.no_finding, probability=0.59, positive=True)
    low = tuple(replace(row, probability=0.1, positive=False) for row in image.findings)
    told = "No Finding reached its threshold, too (0.59): the two contradict."
    for findings, no_finding, is_told in (
        (image.findings, none, True),
        (image.findings, image.no_finding, False),
        (low, none, False),
    ):
        shown = replace(image, findings=findings, no_finding=no_finding)
        first = text_of(render(replace(content, images=(shown,)), picture, settings))[0]
        assert (told in first) is is_told


def test_an_image_that_cannot_be_read_again_leaves_its_findings(several, picture, settings, text_of, render) -> None:
    """When the archive has lost a film, the report is made all the same, and says what is missing."""

    def lost(image):
        if image.number == 2:
            raise ImageError(ReasonCode.UNREADABLE_PIXELS)
        return picture()

    pages = text_of(render(several, lost, settings))
    assert "cannot be read any more" in pages[2]
    assert "Mass 0.81" in pages[2]
    assert "cannot be read any more" not in pages[1]


def test_a_network_that_saw_the_whole_film_needs_no_dashes(content, picture, settings, text_of, render) -> None:
    """The outline of the seen part, and its words, are there only where a part was not seen."""
    image = content.images[0]
    whole = replace(image, model=replace(image.model, seen=SeenArea(0.0, 1.0)))
    assert "dashed" in text_of(render(content, picture, settings))[0]
    assert "dashed" not in text_of(render(replace(content, images=(whole,)), picture, settings))[0]


def test_what_the_file_says_of_itself_is_no_patient_data(content, picture, settings, render) -> None:
    """Title, author and time are set from the report, and name nobody; the outline does not either."""
    reader = pypdf.PdfReader(BytesIO(render(content, picture, settings)))
    described = " ".join(str(value) for value in reader.metadata.values())
    outline = " ".join(str(entry.title) for entry in reader.outline)
    for hidden in ("Berg", "Anna", "P-17"):
        assert hidden not in described + outline
    assert content.study_key in reader.metadata.title
    assert reader.metadata.creation_date == content.edition.created_at
    assert reader.metadata.producer == "agcnn-clinic"


def test_a_typical_report_is_small(content, picture, settings, render) -> None:
    """Fonts are subsets and pictures are reduced: far below 400 kB."""
    study = replace(content.study, patient_name="".join(NAMES))
    assert len(render(replace(content, study=study), picture, settings)) < 200_000


def test_fonts_are_embedded(content, picture, settings, render) -> None:
    """Every font that a page names is a subset inside the file, but that of the mark, which is drawn there itself."""
    page = pypdf.PdfReader(BytesIO(render(content, picture, settings))).pages[0]
    fonts = [font.get_object() for font in page["/Resources"]["/Font"].values()]
    assert sorted(font["/Subtype"] for font in fonts) == ["/Type0", "/Type0", "/Type3"]
    for font in (font for font in fonts if font["/Subtype"] == "/Type0"):
        descriptor = font["/DescendantFonts"][0].get_object()["/FontDescriptor"]
        assert len(descriptor["/FontFile2"].get_data()) < 60_000


def test_the_bytes_do_not_depend_on_what_was_printed_before(content, several, picture, settings, render) -> None:
    """The same report twice, with another one between, is the same file."""
    first = render(content, picture, settings)
    other = replace(several, study=replace(several.study, patient_name="محمد=山田"))
    render(other, picture, settings)
    assert render(content, picture, settings) == first


_IN_ANOTHER_PROCESS = """
import hashlib, pickle, sys
from agcnn_clinic.sections import Reporting
from agcnn_clinic.reporting.pdf import render
content, prints = pickle.load(open(sys.argv[1], "rb"))
print(hashlib.sha256(render(content, [prints], Reporting())).hexdigest())
"""


def test_the_bytes_are_the_same_in_every_process(content, picture, settings, tmp_path: Path, render) -> None:
    """Neither the hash seed nor the hour nor the time zone nor the environment changes a byte."""
    import hashlib
    import os
    import pickle

    stored = tmp_path / "content.pickle"
    region = content.images[0].region
    edges = Edges(region.x_min, region.y_min, region.x_max, region.y_max)
    stored.write_bytes(pickle.dumps((content, prints_of(picture(), edges, print_size(settings)))))
    expected = hashlib.sha256(render(content, picture, settings)).hexdigest()
    for seed, zone in (("1", "Asia/Tokyo"), ("2", "America/New_York")):
        environment = os.environ | {"PYTHONHASHSEED": seed, "TZ": zone, "SOURCE_DATE_EPOCH": "86400"}
        run = [sys.executable, "-c", _IN_ANOTHER_PROCESS, str(stored)]
        done = subprocess.run(run, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected
