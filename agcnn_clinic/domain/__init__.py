"""The vocabulary of the clinic: closed sets, the tables of states and reasons, and the values that rooms exchange.

Nothing here reads a file, a clock or a database.
"""

from agcnn_clinic.domain.images import Geometry, Header, InstanceDescription, Picture, StudyDescription, Tones
from agcnn_clinic.domain.outcomes import (
    NOT_ABOUT_THE_BYTES,
    REASONS,
    SUFFIXES,
    WARNINGS,
    MediaType,
    Outcome,
    Reason,
    ReasonCode,
    StudyState,
    Verdict,
    Warn,
    remark_sentence,
)

__all__ = [
    "NOT_ABOUT_THE_BYTES",
    "REASONS",
    "SUFFIXES",
    "WARNINGS",
    "Geometry",
    "Header",
    "InstanceDescription",
    "MediaType",
    "Outcome",
    "Picture",
    "Reason",
    "ReasonCode",
    "StudyDescription",
    "StudyState",
    "Tones",
    "Verdict",
    "Warn",
    "remark_sentence",
]
