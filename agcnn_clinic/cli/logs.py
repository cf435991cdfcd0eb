"""What the daemon says while it runs: human or JSON lines on standard error, never patient names or ids."""

import logging
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agcnn_clinic.sections import Log


def start_logging(settings: "Log", *, quiet: bool = False) -> None:
    """Send the package's log to standard error.

    Args:
        settings: format and level.
        quiet: warnings and errors only, for a command that prints a summary of its own.
    """
    import structlog

    timestamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    renderer = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if settings.format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.ExtraAdder(), timestamp],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    level = logging.getLevelName(settings.level.upper())
    logger = logging.getLogger("agcnn_clinic")
    logger.handlers = [handler]
    logger.setLevel(max(level, logging.WARNING) if quiet else level)
    logger.propagate = False
