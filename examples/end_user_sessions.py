"""End all sessions of a user from a process outside the application, such as a worker or a cron job.

Run: python -m examples.end_user_sessions redis://localhost:6379/0 ada
"""

import asyncio
import sys

from cartapp.session import SessionManager, Sessions, StoreUnavailable


async def end(url: str, user: str) -> int:
    """Return the number of ended sessions. Raises `StoreUnavailable`."""
    manager = SessionManager(url)
    try:
        return await Sessions(manager).end_user(user)
    finally:
        await manager.close()


if __name__ == "__main__":
    try:
        print("Ended sessions:", asyncio.run(end(*sys.argv[1:])))
    except StoreUnavailable as error:
        sys.exit(str(error))
