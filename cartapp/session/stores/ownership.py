"""Folders and files that no other user may own or change.

A user who can rename the files of a session folder can turn one session into another. What a sticky parent
such as /tmp holds cannot be renamed by others, so parents are not looked at.
"""

import errno
import os
import stat

_WRITABLE = stat.S_IWGRP | stat.S_IWOTH


def check_private(found: os.stat_result, name: object) -> None:
    """Raise `PermissionError`, whose `strerror` says why, for what another user owns or can write to.

    An access control list shows as the group's permissions here.
    """
    user = os.geteuid()
    if found.st_uid != user:
        reason = f"{name} belongs to user ID {found.st_uid}, and this process runs as user ID {user}"
        raise PermissionError(errno.EPERM, reason)
    if found.st_mode & _WRITABLE:
        mode = stat.S_IMODE(found.st_mode)
        raise PermissionError(
            errno.EPERM, f"{name} can be written by other users (mode {mode:04o}; run chmod go-w)"
        )
