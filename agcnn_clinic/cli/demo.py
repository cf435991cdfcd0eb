"""demo: the main job on sample studies that the project draws itself."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from agcnn_clinic.cli.clinic import CONFIG_FILE, make_clinic, run_until_idle
from agcnn_clinic.cli.context import write_setting
from agcnn_clinic.cli.logs import start_logging
from agcnn_clinic.errors import UsageError

_MARK = ".agcnn-clinic-demo"


def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the demo's clinic is made.")] = Path("demo"),
) -> None:
    """Make a clinic, drop synthetic studies into its inbox, read them, and show the findings and the reports.

    A demo that is there already is made anew.
    """
    from rich.console import Console
    from rich.rule import Rule

    from agcnn_clinic.config import load_config
    from agcnn_clinic.demo.samples import write_samples
    from agcnn_clinic.intake.study_toml import STUDY_TOML

    console = Console(highlight=False, markup=False, soft_wrap=True)
    clear(folder)
    make_clinic(folder)
    (folder / _MARK).touch()
    # All samples are there, and none comes later: a study counts as complete at once.
    write_setting(folder / CONFIG_FILE, "intake", "study_quiet_seconds", 0.0)
    config = load_config(folder / CONFIG_FILE)
    samples = write_samples(config.inbox)
    films = sum(sample.name != STUDY_TOML for sample in samples)
    # A study.toml is part of the files that it speaks of: what became of it is not counted.
    console.print(f"{films} synthetic films, one of them with a study.toml, were dropped into {config.inbox}")
    start_logging(config.log, quiet=True)

    console.print(Rule("agcnn-clinic process", align="left"))
    run_until_idle(config, [])
    _show(folder / CONFIG_FILE, "findings", "--positive")
    _show(folder / CONFIG_FILE, "studies")
    console.print()
    console.print("The films are drawn, not taken: what the model finds in them says nothing of its skill.")


def clear(folder: Path) -> None:
    """Take away what an earlier demo made in a folder, or in the one that a link of this name leads to.

    Raises:
        UsageError: something else is there, or it cannot be taken away.
    """
    try:
        if not folder.exists():
            return
        if not folder.is_dir():
            raise UsageError(f"{folder} is a file; name a folder.")
        if any(folder.iterdir()) and not (folder / _MARK).is_file():
            raise UsageError(f"{folder} holds something else than a demo; name another folder.")
        # The folder itself stays: it may be a link, a mount, or where the shell stands.
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != _MARK:
                path.unlink()
    except OSError as error:
        raise UsageError(f"The demo in {folder} cannot be made anew: {error.strerror}; name another folder.") from error


def _show(config: Path, *command: str) -> None:
    """Run one of our own commands as a person would type it, and show that line."""
    from rich.console import Console
    from rich.rule import Rule

    from agcnn_clinic.cli.main import app

    Console(highlight=False).print(Rule(f"agcnn-clinic {' '.join(command)}", align="left"))
    app(["--config", str(config), *command], standalone_mode=False)
