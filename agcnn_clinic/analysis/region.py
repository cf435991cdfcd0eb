"""Where the network looked, in the image as it was sent."""

from dataclasses import dataclass

from agcnn_clinic.domain import Geometry
from agcnn_clinic.prints import Edges
from agcnn_models.preprocessing import SourceBox


@dataclass(frozen=True)
class SourceRegion:
    """The attended region by its edges in pixels of the source image, and its size where the spacing is known."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float
    width_mm: float | None
    height_mm: float | None

    @property
    def edges(self) -> Edges:
        """Its edges alone."""
        return Edges(self.x_min, self.y_min, self.x_max, self.y_max)


def source_region(region: SourceBox, geometry: Geometry) -> SourceRegion:
    """Return a region of a picture as one of the image that the picture was made from."""
    spacing = geometry.spacing_mm
    return SourceRegion(
        x_min=region.x_min * geometry.scale_x,
        y_min=region.y_min * geometry.scale_y,
        x_max=region.x_max * geometry.scale_x,
        y_max=region.y_max * geometry.scale_y,
        width_mm=None if spacing is None else (region.x_max - region.x_min) * spacing,
        height_mm=None if spacing is None else (region.y_max - region.y_min) * spacing,
    )
