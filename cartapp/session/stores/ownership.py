"""Ownership checks for session folders and files.

A user with write access to a session folder can turn one session into another by renaming files. The content
of a sticky parent such as /tmp cannot be renamed by others, so parents are not checked.
"""

import errno
import os
import stat

WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def check_private(found: os.stat_result, name: object) -> None:
    """Raise `PermissionError` if another user owns the file or can write to it; `strerror` has the reason.

    An access control list appears in the group's permissions.
    """
    user = os.geteuid()
    if found.st_uid != user:
        reason = f"{name} belongs to user ID {found.st_uid}, and this process runs as user ID {user}"
        raise PermissionError(errno.EPERM, reason)
    if found.st_mode & WRITABLE_BY_OTHERS:
        mode = stat.S_IMODE(found.st_mode)
        raise PermissionError(
            errno.EPERM, f"{name} can be written by other users (mode {mode:04o}; run chmod go-w)"
        )
