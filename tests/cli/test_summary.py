"""What `process` ends with."""

import pytest

from agcnn_clinic.cli.clinic import make_clinic
from agcnn_clinic.cli.summary import print_summary
from agcnn_clinic.config import Config
from agcnn_clinic.database.summary import Summary
from agcnn_clinic.domain import ReasonCode


@pytest.mark.parametrize(
    ("files", "reports", "said"),
    [
        ((), (), "Nothing new was decided.\n"),
        ((), (("abc", "reports/abc-v2.pdf"),), "report of abc: {reports}/abc-v2.pdf\n"),
        ((), tuple((f"{n}", f"reports/{n}-v2.pdf") for n in range(13)), "13 reports are in {reports}\n"),
        (((ReasonCode.READ, 1),), (), "1  analysed    The image was read by the model.\n"),
    ],
    ids=["nothing", "a report", "many reports", "a film"],
)
def test_reports_are_named_whether_or_not_a_file_was_decided(capsys, files, reports, said):
    """After a reanalysis, or once a full disk has room, there are reports of files that were decided before."""
    config = Config()
    print_summary(Summary(files, reports, pending=0), config)
    assert capsys.readouterr().out == said.format(reports=config.reports)


@pytest.mark.parametrize("count", [1, 13])
def test_what_stands_in_brackets_is_printed(capsys, tmp_path, count):
    """The section of config.toml that a reason names, and a folder: neither is a style of the terminal's."""
    reports = tuple((f"{n}", f"reports/{n}-v1.pdf") for n in range(count))
    config = make_clinic(tmp_path / "ward [3] [/old]")
    print_summary(Summary(((ReasonCode.ZIP_LIMIT, 1),), reports, pending=0), config)
    printed = capsys.readouterr().out
    assert "The zip exceeds a limit of [zip]; raise it" in printed
    assert str(config.reports) in printed
