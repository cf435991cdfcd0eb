"""What is printed of a film that was read before, for a report that is made when its prints are no longer kept."""

from pathlib import Path

from agcnn_clinic.domain import MediaType
from agcnn_clinic.prints import Edges, Prints, prints_of


def read_prints(
    path: Path, media_type: MediaType, region: Edges, print_size: tuple[int, int], max_pixels: int
) -> Prints:
    """Decode an archived file and make its prints: what a child process does for a report.

    Args:
        path: the archived file.
        media_type: DICOM or PNG.
        region: the attended region, in pixels of the source image.
        print_size: what each print has to fit into, width and height in pixels.
        max_pixels: the gate's limit.

    Raises:
        ImageError: the file is broken.
        StorageError: it cannot be read.
    """
    # A child has loaded it; whoever asks for the prints does without all that knows DICOM.
    from agcnn_clinic.analysis.normalise import read_picture  # noqa: PLC0415

    return prints_of(read_picture(path, media_type, max_pixels), region, print_size)
