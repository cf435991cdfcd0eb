"""What the audit trail tells of, in the words of DICOM PS3.15 A.5: the one table of events.

Codes, and the names that they have here, are those of PS3.16 CID 400 (Audit Event ID), CID 401 (Audit Event Type Code)
and CID 403 (Security Alert Type Code), scheme DCM; a test compares them with pydicom's dictionary.
"""

from enum import IntEnum, StrEnum
from typing import NamedTuple


class EventId(StrEnum):
    """CID 400, as far as it is used here."""

    APPLICATION_ACTIVITY = "110100"
    AUDIT_LOG_USED = "110101"
    DICOM_INSTANCES_ACCESSED = "110103"
    DICOM_INSTANCES_TRANSFERRED = "110104"
    EXPORT = "110106"
    IMPORT = "110107"
    QUERY = "110112"
    SECURITY_ALERT = "110113"


class EventType(StrEnum):
    """CID 401, as far as it is used here; NONE where PS3.15 asks for none."""

    NONE = ""
    APPLICATION_START = "110120"
    APPLICATION_STOP = "110121"
    SOFTWARE_CONFIGURATION = "110131"


class Action(StrEnum):
    """EventActionCode of PS3.15 Table A.5.2-1."""

    CREATE = "C"
    READ = "R"
    UPDATE = "U"
    DELETE = "D"
    EXECUTE = "E"


class EventOutcome(IntEnum):
    """EventOutcomeIndicator of PS3.15 Table A.5.2-1. Of an alert (A.5.3.11) it is the severity."""

    SUCCESS = 0
    """It was done; an alert that informs."""
    MINOR_FAILURE = 4
    """It was not done, and may be tried again."""
    SERIOUS_FAILURE = 8
    """It was not done, or was stopped; of an alert: what was tried had no effect."""
    MAJOR_FAILURE = 12
    """The application cannot go on; of an alert: what was tried may have had an effect."""


class AuditEvent(StrEnum):
    """What happens in a clinic. `EVENTS` says how PS3.15 names it and when it is written."""

    STARTED = "started"
    STOPPED = "stopped"
    IMPORTED = "imported"
    ANALYSED = "analysed"
    REPORTED = "reported"
    REPORTED_AGAIN = "reported again"
    SENT = "sent"
    SENDING_CANCELLED = "sending cancelled"
    QUERIED = "queried"
    ACCESSED = "accessed"
    EXPORTED = "exported"
    REVIEWED = "reviewed"
    REQUEUED = "requeued"
    REMOVED = "removed"
    BACKED_UP = "backed up"
    RESTORED = "restored"
    MIGRATED = "migrated"
    CONFIGURED = "configured"
    READINGS_CHANGED = "readings changed"
    MODEL_CHANGED = "model changed"
    MODEL_REFUSED = "model refused"
    AUDIT_READ = "audit read"


class Coded(NamedTuple):
    """A row of the event table."""

    event_id: EventId
    event_type: EventType
    action: Action
    when: str
    """When it is written, and what its details say."""


EVENTS: dict[AuditEvent, Coded] = {
    AuditEvent.STARTED: Coded(
        EventId.APPLICATION_ACTIVITY,
        EventType.APPLICATION_START,
        Action.EXECUTE,
        "watch or process has begun to work on the clinic; how many others are at work on it, or, with none, whether "
        "the run before, or each of those side by side, had come to its end; of one that shares the clinic with "
        "others, which worker it is",
    ),
    AuditEvent.STOPPED: Coded(
        EventId.APPLICATION_ACTIVITY,
        EventType.APPLICATION_STOP,
        Action.EXECUTE,
        "it has ended, and which worker it was; after an error with an outcome of 12 and the error's class",
    ),
    AuditEvent.IMPORTED: Coded(
        EventId.IMPORT,
        EventType.NONE,
        Action.CREATE,
        "files have got their rows, one event a transaction; how many ended how, and which worker took them",
    ),
    AuditEvent.ANALYSED: Coded(
        EventId.DICOM_INSTANCES_ACCESSED,
        EventType.NONE,
        Action.READ,
        "files were analysed, one event a batch; by which model (its row's id) and worker, how many ended how",
    ),
    AuditEvent.REPORTED: Coded(
        EventId.EXPORT, EventType.NONE, Action.READ, "a report was delivered, by which worker; its version and SHA-256"
    ),
    AuditEvent.REPORTED_AGAIN: Coded(
        EventId.EXPORT, EventType.NONE, Action.READ, "a delivered report is made again; its version"
    ),
    AuditEvent.SENT: Coded(
        EventId.DICOM_INSTANCES_TRANSFERRED,
        EventType.NONE,
        Action.CREATE,
        "an archive has taken a report as DICOM objects; its version, which archive and how many objects, and which "
        "worker sent it",
    ),
    AuditEvent.SENDING_CANCELLED: Coded(
        EventId.DICOM_INSTANCES_ACCESSED,
        EventType.NONE,
        Action.UPDATE,
        "reports that waited to be sent to an archive wait no longer; how many",
    ),
    AuditEvent.QUERIED: Coded(
        EventId.QUERY,
        EventType.NONE,
        Action.EXECUTE,
        "a command lists patient data on a terminal; the command, the names of its filters, how many rows",
    ),
    AuditEvent.ACCESSED: Coded(
        EventId.DICOM_INSTANCES_ACCESSED,
        EventType.NONE,
        Action.READ,
        "a command shows one study or one file on a terminal; the command",
    ),
    AuditEvent.EXPORTED: Coded(
        EventId.EXPORT,
        EventType.NONE,
        Action.READ,
        "a command writes patient data to a file or hands it to another program; as for a query, and the format",
    ),
    AuditEvent.REVIEWED: Coded(
        EventId.DICOM_INSTANCES_ACCESSED,
        EventType.NONE,
        Action.UPDATE,
        "a physician's verdicts were recorded; on how many images and labels",
    ),
    AuditEvent.REQUEUED: Coded(
        EventId.DICOM_INSTANCES_ACCESSED,
        EventType.NONE,
        Action.UPDATE,
        "a quarantined file was taken back to be read again",
    ),
    # Not DICOM Study Deleted (110105): that speaks of whole studies, and here the rows of the study stay.
    AuditEvent.REMOVED: Coded(
        EventId.DICOM_INSTANCES_ACCESSED,
        EventType.NONE,
        Action.DELETE,
        "archived bytes or delivered reports were removed; which report versions, and why",
    ),
    AuditEvent.BACKED_UP: Coded(
        EventId.EXPORT, EventType.NONE, Action.READ, "the database is copied to a file, and with it all patient data"
    ),
    AuditEvent.RESTORED: Coded(
        EventId.IMPORT, EventType.NONE, Action.CREATE, "the database was replaced by a backup, whose trail goes on"
    ),
    AuditEvent.MIGRATED: Coded(
        EventId.SECURITY_ALERT,
        EventType.SOFTWARE_CONFIGURATION,
        Action.EXECUTE,
        "the database was brought to another revision; from which to which",
    ),
    AuditEvent.CONFIGURED: Coded(
        EventId.SECURITY_ALERT,
        EventType.SOFTWARE_CONFIGURATION,
        Action.EXECUTE,
        "the settings differ from those of the last such event; all of them, and the old and new values of the changed",
    ),
    AuditEvent.READINGS_CHANGED: Coded(
        EventId.DICOM_INSTANCES_ACCESSED,
        EventType.NONE,
        Action.UPDATE,
        "from now on a model's readings of studies count; which model's (its row's id), of how many images",
    ),
    AuditEvent.MODEL_CHANGED: Coded(
        EventId.SECURITY_ALERT,
        EventType.SOFTWARE_CONFIGURATION,
        Action.EXECUTE,
        "the clinic reads with another model than before; both manifests' SHA-256",
    ),
    AuditEvent.MODEL_REFUSED: Coded(
        EventId.SECURITY_ALERT,
        EventType.SOFTWARE_CONFIGURATION,
        Action.EXECUTE,
        "a model's files are not those that its manifest vouches for, or are no model: it is not loaded",
    ),
    AuditEvent.AUDIT_READ: Coded(
        EventId.AUDIT_LOG_USED,
        EventType.NONE,
        Action.READ,
        "audit list prints events; the names of its filters, how many rows",
    ),
}
"""How each event is coded, and when it is written."""
