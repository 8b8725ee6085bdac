"""Whether a file lies where SQLite can share it: not on a network file system.

The write-ahead log needs memory that all its users share, and locks that hold among them.  Network
file systems give neither to processes of different machines, and lose or mix up what they write,
without an error.
"""

from __future__ import annotations

import os
from pathlib import Path

_MOUNTS = "/proc/self/mountinfo"
_NETWORK = {
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "fuse.glusterfs",
    "fuse.s3fs",
    "fuse.sshfs",
    "gfs2",
    "glusterfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "smb3",
    "smbfs",
}


def network_file_system(path: str) -> str | None:
    """The kind of network file system that ``path`` is on; None for a local one, or if unknown.

    Only Linux says it in a way that needs no rights and no helper program.
    """
    try:
        table = Path(_MOUNTS).read_text("utf-8", "replace")
    except OSError:
        return None
    kind = _kind_of_mount(os.path.dirname(path), table)  # noqa: PTH120 - plain text
    return kind if kind in _NETWORK else None


def _kind_of_mount(directory: str, table: str) -> str:
    """The type of the file system mounted nearest above ``directory`` (see proc(5), mountinfo)."""
    nearest, kind = "", ""
    for row in table.splitlines():
        fields, separator, source = row.partition(" - ")
        point = _unescaped(fields.split(" ")[4]) if separator else ""
        inside = directory == point or directory.startswith(f"{point.rstrip('/')}/")
        # Of two file systems mounted at one point, the later one hides the earlier.
        if point and inside and len(point) >= len(nearest):
            nearest, kind = point, source.split(" ")[0]
    return kind


def _unescaped(text: str) -> str:
    for code, letter in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, letter)
    return text
