"""The labels and what must not be imported to read them."""

import subprocess
import sys

import pytest

from agcnn_models.labels import LABELS, NO_FINDING, PATHOLOGIES, display_name


def test_the_labels_are_the_fourteen_of_table_one_and_no_finding_last():
    """Table I's abbreviations, in its order, are the beginnings of the names."""
    beginnings = "Atel Card Effu Infi Mass Nodu Pneu Pneu Cons Edem Emph Fibr Pleu Hern"
    assert " ".join(label[:4] for label in PATHOLOGIES) == beginnings
    assert PATHOLOGIES[6:8] == ("Pneumonia", "Pneumothorax")
    assert (*PATHOLOGIES, NO_FINDING) == LABELS


def test_a_display_name_is_for_people():
    """Underscores are NIH's spelling, not a reader's."""
    assert display_name("Pleural_Thickening") == "Pleural Thickening"
    assert display_name(NO_FINDING) == "No Finding"


def test_an_unknown_label_has_no_display_name():
    """A label of another data set is refused by name."""
    with pytest.raises(ValueError, match="Infiltrate"):
        display_name("Infiltrate")


def test_labels_settings_and_manifest_do_not_import_torch():
    """Commands that only read tables must not wait seconds for torch."""
    code = (
        "import sys, agcnn_models.labels, agcnn_models.settings, agcnn_models.manifest_file\n"
        "sys.exit(any(name.split('.')[0] in ('torch', 'torchvision') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
