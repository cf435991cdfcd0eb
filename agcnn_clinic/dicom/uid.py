"""UIDs (PS3.5 Chapter 9): checking those that files bring, deriving our own, and naming a study without its data."""

import base64
import hashlib
import re

MAX_UID_LENGTH = 64
STUDY_KEY_LENGTH = 12

_UID = re.compile(r"[0-9]+(\.[0-9]+)+")


def derived_uid(sha256_hex: str) -> str:
    """Return a UID that follows from a content's SHA-256: `2.25.` and its first 128 bits as a decimal (PS3.5 B.2).

    Raises ValueError for what is not a SHA-256 in hexadecimal.
    """
    digest = bytes.fromhex(sha256_hex)
    if len(digest) != hashlib.sha256().digest_size:
        raise ValueError("A UID is derived from a whole SHA-256, 64 hexadecimal digits.")
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def is_valid_uid(uid: str) -> bool:
    """Tell whether a UID can be used: components of digits, dots between them, at most 64 characters (PS3.5 9.1).

    A component that begins with 0 is let through: the standard forbids it, senders write it, and it harms nobody.
    """
    return len(uid) <= MAX_UID_LENGTH and _UID.fullmatch(uid) is not None


def study_key(study_instance_uid: str) -> str:
    """Return the short id of a study: 12 lower-case base32 characters of the SHA-256 of its UID.

    It names files and is typed by people; nothing that a file holds shows in it.
    """
    digest = hashlib.sha256(study_instance_uid.encode()).digest()
    return base64.b32encode(digest).decode("ascii").lower()[:STUDY_KEY_LENGTH]
