"""On what kind of disk a database file lies.

SQLite's write-ahead log keeps its index in memory that all processes share, which a network file system cannot give:
a database there is corrupted sooner or later (https://www.sqlite.org/wal.html).
"""

from collections.abc import Iterable
from pathlib import Path

from agcnn_clinic.durable import led_to
from agcnn_clinic.errors import DatabaseError

NETWORK_FILE_SYSTEMS = frozenset(
    {
        *("nfs", "nfs3", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afs", "afpfs", "coda", "ncpfs", "webdav"),
        *("ceph", "glusterfs", "lustre", "gpfs", "beegfs", "orangefs", "pvfs2", "vboxsf"),
        *("davfs", "davfs2", "sshfs", "s3fs", "goofys", "gcsfuse", "blobfuse", "blobfuse2", "rclone"),
    }
)
"""Names as the operating system's mount table gives them, without a leading `fuse.`."""


def is_network_file_system(kind: str) -> bool:
    """Whether a mount of this type lies on another machine; `fuse.sshfs` counts as `sshfs`."""
    return kind.lower().removeprefix("fuse.").removeprefix("osxfuse.") in NETWORK_FILE_SYSTEMS


def file_system_of(path: Path, mounts: Iterable[tuple[str, str]]) -> str:
    """The type of the mount that holds `path`.

    Args:
        path: an absolute path without symbolic links; it need not exist.
        mounts: mount point and type of each mount, in the order in which they were mounted.

    Returns:
        The type of the deepest mount point above `path`, the last one where several share it; empty if there is none.
    """
    holding = [(Path(point), kind) for point, kind in mounts if path.is_relative_to(point)]
    deepest = max((len(point.parts) for point, _ in holding), default=0)
    return next((kind for point, kind in reversed(holding) if len(point.parts) == deepest), "")


def mounts() -> list[tuple[str, str]]:
    """Mount point and type of every mount of this machine; empty where the system does not tell."""
    import psutil  # noqa: PLC0415 (the one use)

    try:
        return [(mount.mountpoint, mount.fstype) for mount in psutil.disk_partitions(all=True)]
    except (OSError, psutil.Error):
        return []


def refuse_network_folder(database: Path, mounts: Iterable[tuple[str, str]]) -> None:
    """Refuse a database file on another machine's disk.

    Raises:
        DatabaseError: the folder is on NFS, SMB or the like, or cannot be found.
    """
    try:
        kind = file_system_of(led_to(database), mounts)
    except OSError as error:
        raise DatabaseError(f"The database {database} cannot be used: {error.strerror}.") from error
    if is_network_file_system(kind):
        raise DatabaseError(
            f"{database} lies on a network file system ({kind}), where SQLite loses data; "
            "name a file on a local disk, or a database server, as database.url in config.toml."
        )
