"""A clinic is opened before its loops begin."""

from agcnn_clinic.clinic import at_work


def test_what_lies_in_the_inbox_settles_while_the_model_loads(new_clinic, small_bundle, film, write_film, tmp_path):
    """The first sweep takes it, without a wait that would begin only then."""
    config = new_clinic(tmp_path / "clinic")
    analysis = config.analysis.model_copy(update={"model": str(small_bundle), "threads": 1, "decode_workers": 1})
    intake = config.intake.model_copy(update={"settle_seconds": 0.01})  # no model loads within that
    write_film(config.inbox / "film.dcm", film)
    with at_work(config.model_copy(update={"analysis": analysis, "intake": intake})) as clinic:
        assert clinic.inbox.sweep() == (1, None)
