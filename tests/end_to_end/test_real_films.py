"""`process` over films and files that were not made for it: each ends in one outcome."""


def test_real_films_end_as_the_hospital_would_expect(clinic, shared_data):
    """Nine DICOM films and twenty PNGs: one outcome each, and the shared UIDs are told apart from the copies."""
    done = clinic.run("process", shared_data / "dicom-cxr", shared_data / "nih-cxr-1024", check=False)
    assert done.returncode == 1, done.stderr
    found = clinic.outcomes()
    assert len(found) == 29
    expected = dict.fromkeys(found, ("analysed", "read"))
    expected["Fake_MONOHR1.dcm"] = ("quarantined", "uid_conflict")
    expected["udacity_test4.dcm"] = expected["udacity_test6.dcm"] = ("duplicate", "header_differs")
    assert found == expected


def test_a_refused_film_does_not_stand_in_the_way_of_a_sound_one(clinic, shared_data):
    """The film labelled RIBCAGE is refused; the same picture labelled CHEST is read after it."""
    clinic.run("process", shared_data / "dicom-cxr" / "udacity_test4.dcm")
    clinic.run("process", shared_data / "dicom-cxr" / "udacity_test1.dcm")
    assert clinic.outcomes() == {
        "udacity_test4.dcm": ("refused", "wrong_body_part"),
        "udacity_test1.dcm": ("analysed", "read"),
    }


def test_ct_slices_are_refused_and_malformed_files_end_without_harm(clinic, shared_data):
    """Sixteen CT slices in all syntaxes and two malformed files: refused or quarantined, each with its reason."""
    clinic.run("process", shared_data / "dicom-syntaxes", shared_data / "dicom-malformed", check=False)
    found = clinic.outcomes()
    assert len(found) == 18
    for name, (outcome, code) in found.items():
        if name.startswith("CTImage"):
            assert (outcome, code) in {("refused", "wrong_modality"), ("duplicate", "same_bytes")}, name
        else:
            assert outcome in {"refused", "quarantined"}, name
    assert clinic.select("SELECT * FROM report") == []
