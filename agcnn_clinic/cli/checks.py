"""What `doctor` looks at. Each check is a small function in one of the two tables at the end of this file.

None of them changes anything, but for an empty probe file that is gone at once.
"""

import platform
from collections.abc import Callable, Iterator
from functools import partial
from typing import ParamSpec

from agcnn_clinic import __version__
from agcnn_clinic.cli import checks_access, checks_folders, checks_rows, checks_workers
from agcnn_clinic.cli.result import Result, State
from agcnn_clinic.config import Config
from agcnn_clinic.errors import ClinicError
from agcnn_clinic.wording import counted

UNUSABLE = "cannot be used"
"""What is found where an error of the clinic ends a check; the advice is the error's sentence."""

P = ParamSpec("P")


def _python() -> Iterator[Result]:
    system = f"Python {platform.python_version()}, {platform.system()} {platform.release()}, {platform.machine()}"
    yield Result("program", State.OK, f"agcnn-clinic {__version__}, {system}")


def _torch() -> Iterator[Result]:
    try:
        import torch
        import torchvision

        from agcnn_models.gpu import why_no_kernels
    except (ImportError, OSError, RuntimeError) as error:
        yield Result(
            "torch", State.PROBLEM, f"cannot be imported: {_short(error)}", "Install the locked dependencies again."
        )
        return
    capability = torch.backends.cpu.get_cpu_capability()
    threads = torch.get_num_threads()
    found = f"{torch.__version__} with torchvision {torchvision.__version__}; CPU: {capability}, {threads} threads"
    yield Result("torch", State.OK, found)
    if not torch.cuda.is_available():
        yield Result("GPU", State.OK, "none; the network runs on the CPU")
        return
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found = f"cuda:{index} {properties.name}, {properties.total_memory / 1024**3:.0f} GiB"
        if why := why_no_kernels(torch.device("cuda", index)):
            advice = "Triton needs a C compiler and Python's headers (Debian: gcc, python3-dev); without, it is slower."
            yield Result("GPU", State.REMARK, f"{found}; our kernels cannot be compiled for it ({why})", advice)
        else:
            yield Result("GPU", State.OK, f"{found}; with our kernels")


def _decoders() -> Iterator[Result]:
    """Decode a tiny film in every syntax that can be written here; of the others ask whether a decoder is there."""
    from agcnn_clinic.cli.decoders import try_decoders

    tried = list(try_decoders())
    broken = [one for one in tried if one.error]
    decoded = sum(one.decoded for one in tried)
    if decoded:
        found = f"{decoded} transfer syntaxes decoded here, {len(tried) - decoded - len(broken)} more have a decoder"
        yield Result("decoders", State.OK, found)
    for one in broken:
        yield Result(
            "decoder",
            State.PROBLEM,
            f"{one.name}: {one.error}",
            "Install the locked dependencies again (pylibjpeg, pyjpegls, imagecodecs); until then it is refused.",
        )


def _fonts() -> Iterator[Result]:
    from agcnn_clinic.reporting.faces import WRITINGS, Face, missing_faces

    missing = missing_faces()
    names = ", ".join(face.name.lower().replace("_", " ") for face in missing)
    if not missing:
        covered = f"{', '.join(WRITINGS[:-1])} and {WRITINGS[-1]}"
        yield Result("fonts", State.OK, f"the report prints {covered}; other writings as boxes")
    elif Face.LATIN in missing:
        yield Result("fonts", State.PROBLEM, f"missing: {names}", "Install the locked dependencies again.")
    else:
        yield Result(
            "fonts",
            State.REMARK,
            f"missing: {names}",
            "Names in these scripts print as boxes; install the locked dependencies again.",
        )


def _database(config: Config, thorough: bool = False) -> Iterator[Result]:
    """Schema, file and journal; `thorough` compares each index with its table and follows each reference, too."""
    from sqlalchemy import text

    from agcnn_clinic.cli.server_checks import check_server
    from agcnn_clinic.database.revision import HEAD, Standing, standing
    from agcnn_clinic.database.session import open_database
    from agcnn_clinic.database.storage import file_system_of, mounts

    with open_database(config.database_url, busy_timeout_seconds=5, check_revision=False) as database:
        revision = database.revision()
        match standing(revision):
            case Standing.SAME:
                yield Result("database schema", State.OK, f"revision {revision}")
            case Standing.BEHIND:
                yield Result(
                    "database schema",
                    State.PROBLEM,
                    f"revision {revision or 'none'}, this version needs {HEAD}",
                    "Run `agcnn-clinic db backup FILE`, then `agcnn-clinic db upgrade`.",
                )
            case Standing.AHEAD:
                yield Result(
                    "database schema",
                    State.PROBLEM,
                    f"revision {revision}, this version knows up to {HEAD}",
                    "Install the newer agcnn-clinic that upgraded it.",
                )
        if database.file is None:
            yield from check_server(database)
            return
        with database.connection() as connection:
            check = "integrity_check" if thorough else "quick_check"
            problems = [str(row[0]) for row in connection.execute(text(f"PRAGMA {check}(3)"))]
            broken = connection.execute(text("PRAGMA foreign_key_check")).first() if thorough else None
        if problems == ["ok"] and broken is not None:
            problems = [f"a row of the table {broken[0]} points to a row of {broken[2]} that does not exist"]
        if problems == ["ok"]:
            yield Result("database file", State.OK, str(database.file))
        else:
            yield Result(
                "database file",
                State.PROBLEM,
                f"damaged: {problems[0]}",
                "Stop the daemon and run `agcnn-clinic db restore FILE` with the newest backup; this file is kept.",
            )
        # None is opened that keeps no write-ahead log (`sqlite`): that would have ended this check.
        kind = file_system_of(database.file.resolve(), mounts()) or "unknown file system"
        yield Result("database journal", State.OK, f"WAL on {kind}")


def _holdings(config: Config, thorough: bool = False) -> Iterator[Result]:
    """Hold archive and reports against the rows; `thorough` reads every byte of them."""
    from agcnn_clinic.cli.database import PNGS_AGAIN, READ_AGAIN
    from agcnn_clinic.database.revision import Standing, standing
    from agcnn_clinic.database.session import open_database
    from agcnn_clinic.holdings import compare

    with open_database(config.database_url, busy_timeout_seconds=5, check_revision=False) as database:
        if standing(database.revision()) is not Standing.SAME:
            return
        found = compare(database, config, thorough=thorough)
    how = "there, their bytes as they came" if thorough else "there"
    mounted = "Is every disk of the clinic mounted? If so,"
    back = f"{mounted} put them back from a backup."
    again = (
        f"{mounted} `agcnn-clinic report --missing` makes them again; they are looked for in {config.reports}. One "
        "that comes out otherwise lies beside, as .remade.pdf: put the delivered one back from a backup."
    )
    for what, count, missing, altered, advice in (
        ("archived files", found.files, found.missing, found.altered, back),
        ("reports", found.reports, found.missing_reports, found.altered_reports, again),
    ):
        if missing or altered:
            said = f"{len(missing)} of {count} missing, {len(altered)} altered; the first: {(missing + altered)[0]}"
            yield Result(what, State.PROBLEM, said, advice)
        else:
            yield Result(what, State.OK, f"all {count} {how}")
    if found.unlisted:
        pngs = len(found.unlisted_pngs)
        yield Result(
            "archive",
            State.REMARK,
            f"without a row: {counted(len(found.unlisted), 'file')}" + (f", PNGs among them: {pngs}" if pngs else ""),
            "Usual while a daemon works and after it was killed: their sources are in the inbox. "
            f"After a restore: {READ_AGAIN}" + (f". {PNGS_AGAIN}" if pngs else ""),
        )


def _model(config: Config) -> Iterator[Result]:
    from agcnn_clinic.bundles import configured_bundle

    folder = configured_bundle(config)
    try:
        from agcnn_models.bundle import verify_bundle
        from agcnn_models.errors import ModelError
    except (ImportError, OSError, RuntimeError):
        yield Result("model", State.PROBLEM, f"{folder.name} cannot be checked without torch", "See torch above.")
        return
    try:
        manifest = verify_bundle(folder).manifest
    except ModelError as error:
        advice = "Copy the bundle there anew, or read with another one: agcnn-clinic models use MODEL."
        yield Result("model", State.PROBLEM, str(error), advice)
        return
    labels, weights = len(manifest.assessed), manifest.weights.sha256[:12]
    found = f"{manifest.name} {manifest.version}, {labels} labels, weights {weights} verified"
    yield Result("model", State.OK, found)


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def _told(name: str, check: Callable[P, Iterator[Result]]) -> Callable[P, list[Result]]:
    """A check whose clinic errors are results too: one broken thing must not hide the others."""

    def run(*args: P.args, **kwargs: P.kwargs) -> list[Result]:
        results: list[Result] = []
        try:
            results.extend(check(*args, **kwargs))
        except ClinicError as error:
            results.append(Result(name, State.PROBLEM, UNUSABLE, str(error)))
        except OSError as error:
            results.append(Result(name, State.PROBLEM, _short(error), "See whether this user may read it."))
        return results

    return run


MACHINE: tuple[Callable[[], list[Result]], ...] = (
    _told("program", _python),
    _told("torch", _torch),
    _told("decoders", _decoders),
    _told("fonts", _fonts),
)
"""What is checked wherever the command is run."""


def of_clinic(*, thorough: bool = False) -> tuple[Callable[[Config], list[Result]], ...]:
    """What is checked of a clinic; `thorough`, where time does not matter, reads every row and every byte."""
    return (
        _told("folders", checks_folders.folders),
        _told("inbox", checks_folders.inbox),
        _told("access", checks_access.modes),
        _told("owner", partial(checks_access.owners, thorough=thorough)),
        _told("disk", checks_folders.disks),
        _told("database", partial(_database, thorough=thorough)),
        _told("database tables", checks_rows.schema),
        _told("clock", checks_rows.times),
        _told("archived files", partial(_holdings, thorough=thorough)),
        _told("audit trail", checks_access.audit_trail),
        _told("model", _model),
        _told("daemon", checks_workers.at_work),
    )
