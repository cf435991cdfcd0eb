"""The table that `batch` writes: one row a file, one column for each of what the branches say of a label."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

from agcnn_clinic.analysis.infer import Reading
from agcnn_clinic.analysis.region import source_region
from agcnn_clinic.batch.examine import Examined
from agcnn_clinic.domain import REASONS, Outcome
from agcnn_models.labels import LABELS

COLUMN_OF = {label: label.replace(" ", "_") for label in LABELS}
"""How a label is written in the name of a column."""

_REGION = ("x_min", "y_min", "x_max", "y_max", "width_mm", "height_mm")

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("sha256", pa.string()),
        ("size", pa.int64()),
        ("outcome", pa.string()),
        ("reason_code", pa.string()),
        ("detail", pa.string()),
        ("study_instance_uid", pa.string()),
        ("sop_instance_uid", pa.string()),
        ("view_position", pa.string()),
        ("warnings", pa.string()),
        ("rows", pa.int32()),
        ("columns", pa.int32()),
        ("model", pa.string()),
        *((f"p_{column}", pa.float64()) for column in COLUMN_OF.values()),
        *((f"positive_{column}", pa.bool_()) for column in COLUMN_OF.values()),
        *(
            (f"p_{branch}_{column}", pa.float32())
            for branch in ("fusion", "global", "local")
            for column in COLUMN_OF.values()
        ),
        *((f"region_{edge}", pa.float64()) for edge in _REGION),
        ("decode_ms", pa.float32()),
        ("network_ms", pa.float32()),
    ]
)
"""`p_` is calibrated, as `findings` prints it; the branches are as they are. What is unknown is null, and so is
all that belongs to a label which the model does not assess."""


def table_of(
    examined: Sequence[Examined], readings: Sequence[Reading | None], model: str, network_seconds: float
) -> pa.Table:
    """Return the rows of files.

    Args:
        examined: the files.
        readings: of each, what the model says; None where it was not read.
        model: its name and version.
        network_seconds: a film's share of the network's time.
    """
    rows = [_row(found, reading, model, network_seconds) for found, reading in zip(examined, readings, strict=True)]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _row(found: Examined, reading: Reading | None, model: str, network_seconds: float) -> dict[str, Any]:
    row: dict[str, Any] = {
        "path": found.path,
        "sha256": found.sha256,
        "size": found.size,
        "outcome": str(Outcome.PENDING if found.code is None else REASONS[found.code].outcome),
        "reason_code": None if found.code is None else str(found.code),
        "detail": found.detail or None,
        "study_instance_uid": found.study_instance_uid or None,
        "sop_instance_uid": found.sop_instance_uid or None,
        "view_position": found.view_position or None,
    }
    if reading is None or found.geometry is None:
        return row
    row |= {
        "warnings": " ".join(found.warnings),
        "rows": found.geometry.source_rows,
        "columns": found.geometry.source_columns,
        "model": model,
        "decode_ms": 1000 * found.seconds,
        "network_ms": 1000 * network_seconds,
    }
    for one in reading.labels:
        column = COLUMN_OF[one.label]
        row |= {
            f"p_{column}": one.probability,
            f"positive_{column}": one.positive,
            f"p_fusion_{column}": one.probability_fusion,
            f"p_global_{column}": one.probability_global,
            f"p_local_{column}": one.probability_local,
        }
    region = source_region(reading.region, found.geometry)
    return row | {f"region_{edge}": getattr(region, edge) for edge in _REGION}
