"""From a report's content to its PDF: what is printed is made first, by whom and where `Press` says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agcnn_clinic.domain import MediaType
from agcnn_clinic.errors import ImageError, StorageError
from agcnn_clinic.prints import Edges, Prints
from agcnn_clinic.reporting.content import ReadImage, ReportContent
from agcnn_clinic.sections import Reporting as ReportSettings

Render = Callable[[ReportContent, Sequence[Prints | None], ReportSettings], bytes]
"""As `pdf.render`; raises RenderingError where the process that it runs in fails."""


def load_renderer() -> Render:
    """What renders in this process. To import it takes a tenth of a second, as long as to decode a film."""
    from agcnn_clinic.reporting.pdf import render  # noqa: PLC0415

    return render


@dataclass(frozen=True)
class Press:
    """What makes a PDF of a report's content.

    Attributes:
        prints_of: begins to make what is printed of an archived file and the attended region in it. What it gives is
            called for them, and raises ImageError where the file cannot be read again.
        load_renderer: gives what renders; asked for while the prints are being made.
    """

    prints_of: Callable[[Path, MediaType, Edges], Callable[[], Prints]]
    load_renderer: Callable[[], Render] = load_renderer


def rendered(content: ReportContent, settings: ReportSettings, press: Press) -> bytes:
    """Make a report's PDF; its films are decoded side by side while what renders is loaded.

    Raises:
        StorageError: the archive cannot be read.
        RenderingError: the PDF cannot be made.
    """
    coming = [_begun(image, press) for image in content.images]
    render = press.load_renderer()
    return render(content, [_made(prints) for prints in coming], settings)


def _begun(image: ReadImage, press: Press) -> Callable[[], Prints] | None:
    """Begin to make what is printed of an image; None where its bytes are gone."""
    if image.removed_at is not None:
        return None
    region = image.region
    edges = Edges(region.x_min, region.y_min, region.x_max, region.y_max)
    return press.prints_of(image.path, image.media_type, edges)


def _made(prints: Callable[[], Prints] | None) -> Prints | None:
    """What is printed of an image; None where its bytes are gone or broken.

    Raises:
        StorageError: the archive does not give it up.
    """
    try:
        return None if prints is None else prints()
    except ImageError:
        return None
    except StorageError as error:
        # Not the child's sentence: it names the file, and could say anything.
        raise StorageError(_FILM_UNREAD) from error


_FILM_UNREAD = (
    "An image in the archive cannot be read; `agcnn-clinic doctor` says whether the archive is there and whole."
)
