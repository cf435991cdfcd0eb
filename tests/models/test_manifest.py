"""manifest.toml: what is written is read back, and what is wrong is named."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from agcnn_models.errors import ModelError
from agcnn_models.labels import LABELS, PATHOLOGIES
from agcnn_models.manifest import (
    MANIFEST_FILE,
    CalibrationSet,
    Draft,
    Platt,
    Weights,
    WeightsDtype,
    bind,
    digest,
    limits,
)
from agcnn_models.manifest_file import read_manifest, to_toml
from agcnn_models.settings import Region

STARTER = Path(__file__).parents[2] / "models" / "bundles" / "starter"
HASH = "0123456789ab" + 52 * "c"


@pytest.fixture
def manifest(draft):
    """Return the draft bound to weights."""
    return bind(draft, Weights(sha256=HASH, dtype=WeightsDtype.FLOAT16))


def _read(folder, text):
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")
    return read_manifest(folder)


def test_a_manifest_is_read_back_as_it_was_written(manifest, tmp_path):
    """Every part survives TOML, enums and tuples included."""
    assert _read(tmp_path, to_toml(manifest)) == manifest


def test_a_manifest_without_metrics_is_read_back(manifest, tmp_path):
    """Weights that nobody has measured say so by silence."""
    unmeasured = manifest.model_copy(update={"metrics": None})
    assert _read(tmp_path, to_toml(unmeasured)).metrics is None


def test_thresholds_and_calibration_are_bound_to_the_weights(manifest):
    """Once the weights have a hash, both name it."""
    assert manifest.thresholds.weights_sha256 == HASH
    assert manifest.calibration.weights_sha256 == HASH


@pytest.mark.parametrize(
    ("pattern", "replacement", "named"),
    [
        (r"format_version = 1", "format_version = 3", "format version 3, expected 2 or older"),
        (r"format_version = 1\n", "", "format version None"),
        (r'backbone = "densenet121"', 'backbone = "vgg16"', "backbone: .*resnet50"),
        (r"tau = 0.6", "tau = 1.5", "attention: .*tau must be"),
        (r"tau = 0.6", "tow = 0.6", r"attention\.tow"),
        (r"crop = 224", "crop = 512", "preprocessing: .*crop 512"),
        (r"detail = 1", "detail = 3", "detail 3 does not divide crop 224"),
        (r'region = "attended"', 'region = "left"', "attention.region: .*'attended', 'whole', 'centre' or 'random'"),
        (r"\bseed = 3\n", "", "training.seed: Field required"),
        (r'name = "sample"', 'name = "../sample"', "name: .*pattern"),
        (r'name = "sample"', 'name = "sample"\nnickname = "x"', "nickname: Extra"),
        (r'\bversion = "1.2.0"', 'version = ""', "version: "),
        (r'    "Hernia",\n', "", "the labels differ: number 14 is No Finding, expected Hernia"),
        (r'    "No Finding",\n', "", "the labels differ: number 15 is None, expected No Finding"),
        (r"Hernia = 0\.75", "Hernie = 0.75", "Hernie: not among the labels"),
        (r"Hernia = 0\.75\d*", "", "no value for Hernia"),
        (r"mean_auc = 0.75", "mean_auc = nan", r"metrics\.branches\.global\.mean_auc"),
        (r'sha256 = "0123456789ab', 'sha256 = "xyz', r"sha256: .*pattern"),
        (r"\[weights\]", "[weights", "not valid TOML"),
    ],
)
def test_a_wrong_manifest_is_refused_by_what_is_wrong(manifest, tmp_path, pattern, replacement, named):
    """One spoilt line, one sentence that names it."""
    text = to_toml(manifest)
    spoilt = re.sub(pattern, replacement, text)
    assert spoilt != text
    with pytest.raises(ModelError, match=named):
        _read(tmp_path, spoilt)


def test_a_manifest_from_before_there_were_regions_still_reads(manifest, tmp_path):
    """Without region, share and detail it means what it always meant."""
    text, count = re.subn(r"(?m)^(region|share|detail) = .*\n", "", to_toml(manifest))
    assert count == 3
    attention = _read(tmp_path, text).attention
    assert (attention.region, attention.detail) == (Region.ATTENDED, 1)
    assert attention == manifest.attention


@pytest.mark.parametrize("part", ["thresholds", "calibration"])
def test_what_was_fitted_to_other_weights_is_refused(manifest, tmp_path, part):
    """Thresholds and calibration never apply to weights of another hash."""
    foreign = getattr(manifest, part).model_copy(update={"weights_sha256": "f" * 64})
    text = to_toml(manifest.model_copy(update={part: foreign}))
    with pytest.raises(ModelError, match=f"{part} belong to other weights: expected 0123456789ab, found f{{12}}"):
        _read(tmp_path, text)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path):
    """The sentence says which file is missing."""
    with pytest.raises(ModelError, match=r"is not a bundle: manifest\.toml is missing"):
        read_manifest(tmp_path)


def test_a_manifest_that_is_no_text_is_refused(tmp_path):
    """A binary file under that name ends in a sentence as well."""
    (tmp_path / MANIFEST_FILE).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match="not valid TOML"):
        read_manifest(tmp_path)


def _without(values, *labels):
    return {label: value for label, value in values.items() if label not in labels}


@pytest.fixture
def partial(draft):
    """Return what is said of a draft's weights that never learnt Hernia and have no threshold for Mass."""
    draft = draft.model_dump()
    draft["not_assessed"] = ("No Finding", "Hernia")
    for part in (draft["thresholds"], *draft["further_thresholds"]):
        part["values"] = _without(part["values"], "Mass", "Hernia", "No Finding")
    platt = {label: {"a": 2.0, "b": 1.0} for label in LABELS}
    draft["calibration"] = {"method": "platt", "coefficients": _without(platt, "Mass", "Hernia", "No Finding")}
    return draft


def test_a_label_may_lack_a_threshold_or_not_be_assessed(partial, tmp_path):
    """It survives TOML in the second format, and is told in sentences."""
    manifest = bind(Draft.model_validate(partial), Weights(sha256=HASH, dtype=WeightsDtype.FLOAT16))
    assert manifest.format_version == 2
    assert _read(tmp_path, to_toml(manifest)) == manifest
    assert (manifest.not_assessed, len(manifest.assessed)) == (("Hernia", "No Finding"), 13)
    assert limits(manifest) == [
        "Not assessed, since the model never learnt them: Hernia, No Finding.",
        "Without a threshold, so never called positive: Mass.",
    ]


def test_a_manifest_that_decides_every_label_is_what_it_was_before_there_were_others(manifest):
    """It is of the first format, says no word of what is assessed, and the starter's hash is the one it had."""
    assert manifest.format_version == 1
    assert "not_assessed" not in to_toml(manifest) + str(manifest.model_dump())
    assert digest(read_manifest(STARTER)) == "7785cb2e37289b86f4ed5d9a72825971eb7c80c80d4ad1bab13b35f38a0add23"


@pytest.mark.parametrize("part", ["thresholds", "calibration"])
def test_what_is_not_assessed_is_not_decided(partial, part):
    """A threshold or a calibration of a label that was never learnt would make a finding of noise."""
    key, value = ("values", 0.5) if part == "thresholds" else ("coefficients", {"a": 1.0, "b": 0.0})
    partial[part][key] = {**partial[part][key], "Hernia": value}
    with pytest.raises(ValidationError, match="Hernia: not assessed, so without a"):
        Draft.model_validate(partial)


def test_a_misspelt_label_is_no_label_that_is_not_assessed(partial):
    """Left out without a word, the label that was meant would count as learnt."""
    with pytest.raises(ValidationError, match="Hernie: not among the labels"):
        Draft.model_validate({**partial, "not_assessed": ("No Finding", "Hernie")})


def test_a_model_assesses_something(partial):
    """Weights that never learnt a finding are no model."""
    nothing = {**partial, "not_assessed": PATHOLOGIES, "calibration": {}, "further_thresholds": ()}
    nothing["thresholds"] = {**partial["thresholds"], "values": {}}
    with pytest.raises(ValidationError, match="assesses no finding"):
        Draft.model_validate(nothing)


def test_coefficients_stand_only_where_the_method_takes_them():
    """No calibration takes none."""
    with pytest.raises(ValidationError, match="takes no coefficients"):
        CalibrationSet(coefficients=dict.fromkeys(LABELS, Platt(a=1, b=0)))
