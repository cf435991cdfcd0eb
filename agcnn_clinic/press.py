"""What makes a PDF: which process decodes what is printed, and which one renders."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from agcnn_clinic.analysis.again import read_prints
from agcnn_clinic.config import Config
from agcnn_clinic.domain import MediaType
from agcnn_clinic.errors import ImageError, RenderingError
from agcnn_clinic.prints import Edges, Prints, RecentPrints
from agcnn_clinic.reporting.content import ReportContent
from agcnn_clinic.reporting.paper import print_size
from agcnn_clinic.reporting.rendering import Press, load_renderer
from agcnn_clinic.sandbox.pool import Sandbox
from agcnn_clinic.sections import Reporting as ReportSettings


def press(
    config: Config, decoders: Sandbox, recent: RecentPrints | None = None, presses: Sandbox | None = None
) -> Press:
    """What makes PDFs: of prints that are still kept, else of the archive, decoded in a child process.

    Args:
        config: the clinic's settings.
        decoders: the child processes that read files.
        recent: prints that are kept since their films were read.
        presses: child processes that render; None for this process.
    """
    size = print_size(config.reporting)

    def prints_of(path: Path, media_type: MediaType, region: Edges) -> Callable[[], Prints]:
        kept = None if recent is None else recent.take(path, region)
        if kept is not None:
            return lambda: kept
        return decoders.submit(read_prints, path, media_type, region, size, config.gate.max_pixels).result

    return Press(prints_of) if presses is None else Press(prints_of, lambda: partial(_rendered_by, presses))


def _rendered_by(
    presses: Sandbox, content: ReportContent, prints: Sequence[Prints | None], settings: ReportSettings
) -> bytes:
    try:
        return presses.run(load_renderer(), content, prints, settings)
    except ImageError as error:
        raise RenderingError(
            f"The report of study {content.study_key} cannot be rendered ({error}); it is tried again."
        ) from error
