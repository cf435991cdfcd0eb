"""Where an SQLite database may lie: on a disk of this machine, which links may lead to."""

from pathlib import Path

import pytest

from agcnn_clinic.database.session import open_database
from agcnn_clinic.database.storage import file_system_of, is_network_file_system, refuse_network_folder
from agcnn_clinic.errors import DatabaseError


@pytest.mark.parametrize(
    ("kind", "remote"),
    [
        *(
            (kind, True)
            for kind in ("nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "fuse.rclone", "NFS", "lustre")
        ),
        *((kind, False) for kind in ("ext4", "xfs", "btrfs", "zfs", "apfs", "tmpfs", "overlay", "fuseblk", "")),
    ],
)
def test_network_file_systems_are_known(kind, remote):
    """Types of file systems on other machines are told from local ones."""
    assert is_network_file_system(kind) is remote


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/clinic.sqlite", "ext4"),
        ("/mnt/share/deep/clinic.sqlite", "nfs4"),
        ("/mnt/share2/clinic.sqlite", "ext4"),
        ("/mnt/share/local/clinic.sqlite", "xfs"),
        ("/mnt/twice/clinic.sqlite", "cifs"),
    ],
)
def test_the_deepest_and_last_mount_counts(path, kind):
    """A path belongs to the deepest mount above it; of two at one place to the later one."""
    mounts = [
        ("/", "ext4"),
        ("/mnt/share/local", "xfs"),
        ("/mnt/share", "nfs4"),
        ("/mnt/twice", "ext4"),
        ("/mnt/twice", "cifs"),
    ]
    assert file_system_of(Path(path), mounts) == kind


def test_a_network_folder_is_refused(tmp_path):
    """A database on NFS is refused with advice; a symbolic link does not hide it; the same place on ext4 is taken."""
    share = tmp_path / "share"
    share.mkdir()
    (tmp_path / "link").symlink_to(share)
    for file in (share / "clinic.sqlite", tmp_path / "link" / "clinic.sqlite"):
        with pytest.raises(DatabaseError, match="local disk"):
            refuse_network_folder(file, [("/", "ext4"), (str(share.resolve()), "nfs4")])
        refuse_network_folder(file, [("/", "ext4")])


@pytest.mark.sqlite_only("a file")
def test_a_database_whose_links_lead_to_themselves_is_told_of(tmp_path):
    """In a sentence that names it, before anything is made."""
    circle = tmp_path / "clinic.sqlite"
    circle.symlink_to(circle)
    with pytest.raises(DatabaseError, match=r"clinic\.sqlite cannot be used: Too many levels of symbolic links"):
        open_database(f"sqlite:///{circle}")
