"""decoders: what doctor finds out of the libraries that decode films."""

from agcnn_clinic.cli import decoders


def test_every_transfer_syntax_is_tried():
    """What can be written here is decoded to the values that were written; for the rest a decoder is registered."""
    tried = list(decoders.try_decoders())
    assert [one.error for one in tried] == [""] * len(tried)
    assert sum(one.decoded for one in tried) == len(decoders.LOSSLESS) + 1
    assert len({one.name for one in tried}) == len(decoders.LOSSLESS) + 1 + len(decoders.NOT_WRITTEN)


def test_a_decoder_that_fails_is_a_problem():
    """A library that raises and one that decodes to something else are both told apart from a good one."""

    def broken() -> float:
        raise RuntimeError("no library")

    syntax = decoders.LOSSLESS[0]
    assert decoders._tried(syntax, broken).error == "RuntimeError: no library"
    assert "other values" in decoders._tried(syntax, lambda: 3.0).error
    assert decoders._tried(syntax, lambda: 0.0).decoded
