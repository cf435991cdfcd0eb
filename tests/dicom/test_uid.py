"""UIDs and the short id of a study."""

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agcnn_clinic.dicom.uid import derived_uid, is_valid_uid, study_key


@given(st.binary(min_size=32, max_size=32))
def test_a_derived_uid_is_the_first_half_of_the_hash(digest):
    """2.25. and 128 bits as a decimal, always a valid UID."""
    uid = derived_uid(digest.hex())
    assert is_valid_uid(uid)
    assert int(uid.removeprefix("2.25.")) == int(digest.hex()[:32], 16)


@pytest.mark.parametrize("text", ["", "ab", "xy" * 32, "ab" * 33])
def test_only_a_whole_hash_gives_a_uid(text):
    """A shortened or foreign hash is refused, not padded."""
    with pytest.raises(ValueError, match=r"SHA-256|hexadecimal"):
        derived_uid(text)


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2", "2.25.0", "1.2.840.0001.5", "1." + "2" * 62])
def test_uids_that_senders_write_are_valid(uid):
    """Digits and dots up to 64 characters, with the leading zeros that the standard forbids and senders write."""
    assert is_valid_uid(uid)


@pytest.mark.parametrize(
    "uid", ["", "1", "1.", ".1", "1..2", "../../../x", "1.2\n", "1.2 ", "1.2/3", "1.2.٣", "1." + "2" * 63]
)
def test_what_is_no_uid_is_not_valid(uid):
    """Paths, empty components, other digits and too long ones are refused."""
    assert not is_valid_uid(uid)


@given(st.text())
def test_a_study_key_shows_nothing_of_the_uid(uid):
    """Twelve characters that are safe in any file system, whatever the UID holds."""
    assert re.fullmatch(r"[a-z2-7]{12}", study_key(uid))


def test_a_study_key_is_the_hash_of_the_uid():
    """The key is stable: sixty bits of the SHA-256 in base32."""
    digest = int.from_bytes(hashlib.sha256(b"1.2.3").digest()[:8], "big") >> 4
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    assert study_key("1.2.3") == "".join(alphabet[(digest >> shift) & 31] for shift in range(55, -5, -5))
