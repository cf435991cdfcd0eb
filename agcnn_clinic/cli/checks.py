"""What `doctor` looks at. Each check is a small function that `MACHINE` or `of_clinic` names.

None of them changes anything, but for an empty probe file that is gone at once.
"""

import platform
from collections.abc import Callable, Iterator
from functools import partial

from agcnn_clinic import __version__
from agcnn_clinic.cli import checks_access, checks_database, checks_folders, checks_sending, checks_workers
from agcnn_clinic.cli.result import Result, State, short, told
from agcnn_clinic.config import Config
from agcnn_clinic.errors import ClinicError


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
            "torch", State.PROBLEM, f"cannot be imported: {short(error)}", "Install the locked dependencies again."
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


MACHINE: tuple[Callable[[], list[Result]], ...] = (
    told("program", _python),
    told("torch", _torch),
    told("decoders", _decoders),
    told("fonts", _fonts),
)
"""What is checked wherever the command is run."""


def of_clinic(config: Config, *, thorough: bool = False) -> Iterator[Result]:
    """Check a clinic; `thorough`, where time does not matter, reads every row and every byte."""
    for check in (
        told("folders", checks_folders.folders),
        told("inbox", checks_folders.inbox),
        told("access", checks_access.modes),
        told("owner", partial(checks_access.owners, thorough=thorough)),
        told("disk", checks_folders.disks),
        told("model", _model),
        told("DICOM archive", checks_sending.archive),
    ):
        yield from check(config)
    yield from _database(config, thorough=thorough)


def _database(config: Config, *, thorough: bool) -> Iterator[Result]:
    """What needs the database, which is opened once: a server that is away is waited for once, and told of once."""
    from agcnn_clinic.database.session import open_database

    at_work = told("daemon", checks_workers.at_work)
    try:
        with open_database(config.database_url, busy_timeout_seconds=5, check_revision=False) as database:
            yield from checks_database.of_database(database, database.revision(), config, thorough=thorough)
            yield from at_work(config, database)
    except (ClinicError, OSError) as error:
        yield Result("database", State.PROBLEM, "cannot be used", str(error))
        yield from at_work(config, None)
