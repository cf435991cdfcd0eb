"""What is refused before the network, and what passes with a remark."""

from dataclasses import replace

import numpy as np
import pytest
from pydicom import uid as uids

from agcnn_clinic.analysis.gate import check_header, check_pixels, measure
from agcnn_clinic.dicom.facts import ImageFacts
from agcnn_clinic.dicom.orientation import Orientation
from agcnn_clinic.dicom.views import StatedView, View
from agcnn_clinic.dicom.words import words
from agcnn_clinic.domain import REASONS, Geometry, Outcome, ReasonCode, Warn
from agcnn_clinic.errors import ImageError
from agcnn_clinic.picture import picture_of
from agcnn_clinic.sections import Gate

GATE = Gate()


def _views(*views):
    return tuple(StatedView(view, f"attribute {number}") for number, view in enumerate(views, start=1))


GOOD = ImageFacts(
    modality="DX",
    sop_class_uid=uids.DigitalXRayImageStorageForPresentation,
    views=_views(View.PA),
    body_parts=("CHEST",),
    rows=2000,
    columns=2000,
)


def _refusal(gate=GATE, **changes):
    with pytest.raises(ImageError) as caught:
        check_header(replace(GOOD, **changes), gate)
    assert REASONS[ReasonCode(caught.value.code)].outcome is Outcome.REFUSED
    return caught.value


def _refused(gate=GATE, **changes):
    return _refusal(gate, **changes).code


def _but(**settings):
    return GATE.model_copy(update=settings)


def _picture(pixels):
    pixels = np.asarray(pixels, dtype=np.float32)
    return picture_of(pixels, Geometry(*pixels.shape, spacing_mm=0.2))


def _blocked(pixels, gate=GATE):
    with pytest.raises(ImageError) as caught:
        check_pixels(_picture(pixels), gate)
    return caught.value.code


def test_a_frontal_chest_film_passes_without_remarks():
    """PA and AP films of all accepted modalities pass."""
    for modality, sop_class in (("DX", GOOD.sop_class_uid), ("CR", uids.ComputedRadiographyImageStorage), ("OT", "")):
        for view in (View.PA, View.AP, View.FRONTAL):
            facts = replace(GOOD, modality=modality, sop_class_uid=sop_class, views=_views(view))
            assert check_header(facts, GATE) == ()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"modality": "CT"}, ReasonCode.WRONG_MODALITY),
        ({"modality": ""}, ReasonCode.WRONG_MODALITY),
        ({"modality": "Doe^Jane 1970"}, ReasonCode.WRONG_MODALITY),
        ({"sop_class_uid": uids.CTImageStorage}, ReasonCode.WRONG_MODALITY),
        ({"has_image": False}, ReasonCode.NO_PIXELS),
        ({"number_of_frames": 2}, ReasonCode.MULTI_FRAME),
        ({"photometric_interpretation": "PALETTE COLOR"}, ReasonCode.COLOUR),
        ({"views": _views(View.LEFT_LATERAL)}, ReasonCode.WRONG_VIEW),
        ({"views": _views(View.LATERAL)}, ReasonCode.WRONG_VIEW),
        ({"views": _views(View.LORDOTIC)}, ReasonCode.WRONG_VIEW),
        ({"views": _views(View.OTHER)}, ReasonCode.WRONG_VIEW),
        ({"views": _views(View.PA, View.LATERAL)}, ReasonCode.WRONG_VIEW),
        ({"body_parts": ("RIBCAGE",)}, ReasonCode.WRONG_BODY_PART),
        ({"body_parts": ("HAND",)}, ReasonCode.WRONG_BODY_PART),
        ({"for_processing": True}, ReasonCode.FOR_PROCESSING),
        ({"rows": 223}, ReasonCode.TOO_SMALL),
    ],
)
def test_what_the_model_was_not_made_for_is_refused(changes, code):
    """Each kind of wrong image has its own reason."""
    assert _refused(**changes) == code


def test_a_refusal_never_quotes_a_field_that_may_hold_anything():
    """A modality or a view that is longer than a code is not repeated."""
    assert _refusal(modality="CT").detail.startswith("the modality is CT; ")
    for name in ("Doe^Jane", "DOEJANEANN"):
        assert _refusal(modality=name).detail.startswith("the modality is none that is known; ")
    for name in ("Doe Jane born 1970", "山田太郎"):
        refusal = _refusal(views=(StatedView(View.OTHER, "View Position", name),))
        assert refusal.detail.startswith("View Position says something else, no view that is known")


def test_a_refused_view_is_told_with_where_it_stands():
    """Which attribute says what, that another one contradicts it, and how a view by another name may be read."""
    lateral = StatedView(View.LATERAL, "Patient Orientation")
    strange = StatedView(View.OTHER, "View Position", "AP_AXIAL")
    assert _refusal(views=(lateral,)).detail == "Patient Orientation says LATERAL; PA and AP are read"
    assert _refusal(views=(*GOOD.views, lateral)).detail == (
        "the header contradicts itself: attribute 1 says PA, Patient Orientation says LATERAL; PA and AP are read"
    )
    assert _refusal(views=(strange,)).detail == (
        "View Position says AP AXIAL, no view that is known; gate.views may list OTHER; PA and AP are read"
    )
    assert check_header(replace(GOOD, views=(strange,)), _but(views=("PA", "AP", "other"))) == (Warn.VIEW_UNKNOWN,)


def test_a_refusal_says_what_is_read_here_and_not_what_is_read_by_default():
    """An AP film at a gate for PA was told that PA and AP are read, one without a body part that it names another."""
    one_view, one_kind, one_part = _but(views=("PA",)), _but(modalities=("CR",)), _but(body_parts=("CHEST",))
    silent = _but(accept_unknown_view=False, accept_unknown_body_part=False)
    assert _refusal(one_view, views=_views(View.AP)).detail == "attribute 1 says AP; only PA is read"
    assert _refusal(one_kind).detail == "the modality is DX; only CR is read"
    assert _refusal(one_part, body_parts=("THORAX",)).detail == "THORAX; only CHEST is read"
    assert _refusal(silent, views=()).detail == "the view is not stated; PA and AP are read"
    assert _refusal(silent, body_parts=()).detail == (
        "the body part is not stated; CHEST, THORAX, LUNG and LUNGS are read"
    )
    for code in (ReasonCode.WRONG_MODALITY, ReasonCode.WRONG_VIEW, ReasonCode.WRONG_BODY_PART):
        assert not {"PA", "AP", "CR", "DX", "SC", "OT"} & set(words(REASONS[code].sentence))


def test_a_view_of_open_side_agrees_with_the_side_that_is_stated():
    """A gate for one side lets pass what says it twice, and not what leaves it open."""
    left = _but(views=("LL",))
    assert check_header(replace(GOOD, views=_views(View.LEFT_LATERAL, View.LATERAL)), left) == ()
    assert _refused(left, views=_views(View.LATERAL)) == ReasonCode.WRONG_VIEW
    assert _refused(_but(views=("PA",)), views=_views(View.FRONTAL)) == ReasonCode.WRONG_VIEW


def test_what_is_not_stated_is_remarked_on_or_refused_as_configured():
    """Unknown view and body part pass with a remark, unless the configuration says otherwise."""
    for nothing in ((), ("UNKNOWN",)):
        unknown = replace(GOOD, views=(), body_parts=nothing)
        assert check_header(unknown, GATE) == (Warn.VIEW_UNKNOWN, Warn.BODY_PART_UNKNOWN)
    assert _refused(_but(accept_unknown_view=False), views=()) == ReasonCode.WRONG_VIEW
    assert _refused(_but(accept_unknown_body_part=False), body_parts=("UNKNOWN",)) == ReasonCode.WRONG_BODY_PART
    assert check_header(GOOD, _but(accept_unknown_view=False, accept_unknown_body_part=False)) == ()


@pytest.mark.parametrize(
    "body_part",
    [
        "CHEST PA",
        "THORAX",
        "LUNGS",
        "TORAX",
        "chest",
        "T\u00d3RAX",
        "CHEST2V",
        "CHEST 2 VIEWS",
        "CHEST PA AND LAT",
        "CHEST 14X17",
        "NEONATAL CHEST",
        "RIGHT LUNG",
        "LUNG FIELDS",
        "PORT CHEST",
        "ADULT CHEST",
    ],
)
def test_a_chest_by_any_name_passes(body_part):
    """In other languages, and with words that say nothing of another part."""
    assert check_header(replace(GOOD, body_parts=(body_part,)), GATE) == ()
    assert check_header(replace(GOOD, body_parts=("CHEST", body_part)), GATE) == ()


@pytest.mark.parametrize(
    "body_part",
    [
        "THORACIC SPINE",
        "THORACIC_SPINE",
        "THORACIC",
        "CHEST WALL",
        "THORACIC INLET",
        "LUNG^SPINE",
        "CHEST_ABDOMEN",
        "T12 CHEST",
        "PA",
        "2 VIEWS",
        "PIE",
    ],
)
def test_a_part_that_is_not_the_chest_alone_is_refused(body_part):
    """Another part's word beside the chest's, and words of no part without it; in either attribute."""
    assert _refused(body_parts=(body_part,)) == ReasonCode.WRONG_BODY_PART
    assert _refused(body_parts=("CHEST", body_part)) == ReasonCode.WRONG_BODY_PART


@pytest.mark.parametrize("rows_and_columns", ["FR", "FL", "HR", "HL", "RH", "LH"])
def test_a_film_that_lies_on_its_side_or_head_is_refused_or_remarked_on(rows_and_columns):
    """Turned by 90 or 180 degrees, mirrored or not: never read without a word."""
    turned = Orientation(*rows_and_columns)
    assert _refused(orientation=turned) == ReasonCode.NOT_UPRIGHT
    assert check_header(replace(GOOD, orientation=turned), _but(accept_turned=True)) == (Warn.TURNED,)


def test_a_film_is_upright_as_far_as_its_header_says():
    """Left and right exchanged is said in a remark; half an orientation says nothing."""
    assert check_header(replace(GOOD, orientation=Orientation("R", "F")), GATE) == (Warn.MIRRORED,)
    for upright in (
        Orientation("L", "F"),
        Orientation("LF", "FR"),
        Orientation("L", ""),
        Orientation("", "F"),
        Orientation(),
    ):
        assert check_header(replace(GOOD, orientation=upright), GATE) == ()


def test_raw_data_are_read_only_where_the_configuration_says_so():
    """And then with a remark."""
    raw = replace(GOOD, for_processing=True)
    assert check_header(raw, _but(accept_for_processing=True)) == (Warn.FOR_PROCESSING,)


def test_remarks_are_made_on_small_lossy_and_annotated_images():
    """Low resolution, loss and burned-in annotations are said, not refused."""
    facts = replace(GOOD, rows=400, lossy=True, burned_in=True)
    assert check_header(facts, GATE) == (Warn.LOW_RESOLUTION, Warn.LOSSY, Warn.BURNED_IN)


@pytest.mark.parametrize(
    ("side", "remarks"), [(224, (Warn.LOW_RESOLUTION,)), (511, (Warn.LOW_RESOLUTION,)), (512, ()), (0, ())]
)
def test_a_side_at_a_limit_is_long_enough(side, remarks):
    """The smallest side that is read, the one from which on nothing is remarked, and one that is not stated."""
    assert check_header(replace(GOOD, columns=side), GATE) == remarks


def test_the_limits_are_the_configurations():
    """Another gate lets other images through."""
    wide = Gate(modalities=("CT",), views=("LL",), body_parts=("RIBCAGE",), min_side=10, low_resolution_side=10)
    facts = replace(GOOD, modality="CT", views=_views(View.LEFT_LATERAL), body_parts=("RIBCAGE",), rows=20)
    assert check_header(facts, wide) == ()
    assert _refused(wide) == ReasonCode.WRONG_MODALITY


def test_a_film_is_measured(film):
    """Contrast and clipped fractions are those of the pixels."""
    quality = measure(_picture(film))
    low, high = np.quantile(film, [0.01, 0.99])
    assert quality.contrast == pytest.approx(high - low, abs=1e-3)
    assert quality.black + quality.white < 0.001
    assert (quality.rows, quality.columns, quality.spacing_mm) == (*film.shape, 0.2)
    assert set(quality.as_dict()) == {"contrast", "black", "white", "rows", "columns", "spacing_mm"}


def test_a_collimated_border_and_a_bright_marker_pass(film):
    """Two thirds of black border and a white letter do not make a film blank or saturated."""
    framed = np.zeros((560, 500))
    framed[120:440, 100:388] = film
    framed[10:40, 10:40] = 1
    assert check_pixels(_picture(framed), GATE).black > 0.6


def test_blank_and_saturated_images_are_refused(film):
    """A grey plate, a plate with a few marks, and a film that is clipped are no films."""
    grey = np.full((300, 300), 0.5)
    assert _blocked(grey) == ReasonCode.BLANK
    marked = grey + np.random.default_rng(0).normal(0, 0.002, grey.shape)
    marked[:10, :10] = 1
    assert _blocked(marked) == ReasonCode.BLANK
    assert _blocked(np.clip(film - np.quantile(film, 0.8), 0, 1)) == ReasonCode.SATURATED
    assert _blocked(np.clip(film + 1 - np.quantile(film, 0.2), 0, 1)) == ReasonCode.SATURATED
    assert _blocked(np.where(film > np.quantile(film, 0.5), 1.0, 0.0)) == ReasonCode.SATURATED


def test_a_strip_is_no_chest():
    """A picture far longer than wide is refused by its shape, whichever way it lies."""
    strip = np.random.default_rng(0).uniform(size=(1000, 300))
    assert _blocked(strip) == ReasonCode.ASPECT_RATIO
    assert _blocked(strip.T) == ReasonCode.ASPECT_RATIO


def test_a_picture_at_a_limit_passes(film):
    """Limits of shape, contrast and clipping are the last that is let in, and what is a little beyond is not."""
    picture = _picture(np.pad(film, ((40, 40), (0, 0))))
    found = measure(picture)
    limits = {
        "max_aspect_ratio": found.rows / found.columns,
        "min_contrast": found.contrast,
        "max_clipped": found.black + found.white,
    }
    assert check_pixels(picture, _but(**limits)) == found
    for name, limit in limits.items():
        narrower = limit * (1.01 if name == "min_contrast" else 0.99)
        with pytest.raises(ImageError):
            check_pixels(picture, _but(**limits | {name: narrower}))
