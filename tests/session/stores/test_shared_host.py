"""The file store and the first start on a host with other users."""

import fcntl
import logging
import multiprocessing
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from cartapp.bootstrap import prepare
from cartapp.session.errors import StoreUnavailable, UnreadableRecord
from cartapp.session.record import Record
from cartapp.session.stores.file.store import FileStore
from cartapp.settings import SettingsError, env_local, load
from cartapp.settings.env_local import BACKEND, KEY, ensure_secret, replace_secret, use_backend
from tests.conftest import ManualClock
from tests.support.environment import list_folder
from tests.support.requirements import skip_or_fail
from tests.support.stores import file_of, make_record

pytestmark = pytest.mark.anyio

OTHER = 65534
"""The ID of another user than that of the tests."""


def give_away(path: Path) -> None:
    """Change the owner to the other user."""
    if os.geteuid() != 0:
        skip_or_fail("root", "Only root can give a file to another user")
    os.chown(path, OTHER, OTHER)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


@pytest.fixture
async def record(base: Path, clock: ManualClock) -> Record:
    """A record stored before any change."""
    record = make_record(clock.now)
    store = FileStore(base, clock=clock)
    assert await store.create(record) == 1
    await store.close()
    return replace(record, version=1)


@pytest.fixture
async def store(base: Path, record: Record, clock: ManualClock) -> AsyncIterator[FileStore]:
    """A store as in another process, which has not checked the folder."""
    store = FileStore(base, clock=clock)
    yield store
    await store.close()


async def is_refused(store: FileStore, record: Record, reason: str) -> None:
    """Check that no operation reads or changes the folder."""
    operations = [
        store.load(record.key),
        store.save(record, expected=1),
        store.touch(record.key, expected=1, last_used=record.last_used, expires=record.expires),
        store.delete(record.key),
        store.delete(record.key, expected=record),
        store.create(make_record(record.created, key=record.key)),
        anext(store.scan()),
        store.purge(record.expires),
        store.count_expired(record.expires),
        store.ping(),
    ]
    for operation in operations:
        with pytest.raises(StoreUnavailable, match=f"^The session folder .* cannot be used: .*{reason}"):
            await operation


# -- the session folder -------------------------------------------------------------------------------------


async def test_the_folder_of_another_user_is_refused(store: FileStore, base: Path, record: Record) -> None:
    give_away(base)
    reason = f"{base} belongs to user ID {OTHER}, and this process runs as user ID {os.geteuid()}"
    await is_refused(store, record, re.escape(reason))


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777, 0o1777])
async def test_a_folder_writable_by_others_is_rejected(
    store: FileStore, base: Path, record: Record, mode: int
) -> None:
    base.chmod(mode)
    await is_refused(
        store, record, rf"{base} can be written by other users \(mode {mode:04o}; run chmod go-w\)"
    )


async def test_a_shard_of_another_user_is_refused(store: FileStore, base: Path, record: Record) -> None:
    folder = file_of(base, record).parent
    give_away(folder)
    await is_refused(store, record, f"{folder} belongs to user ID {OTHER}")


async def test_a_shard_writable_by_others_is_rejected(store: FileStore, base: Path, record: Record) -> None:
    folder = file_of(base, record).parent
    folder.chmod(0o770)
    await is_refused(store, record, f"{folder} can be written by other users")


async def test_nothing_is_created_in_a_folder_of_another_user(
    base: Path, clock: ManualClock, tmp_path: Path
) -> None:
    base.mkdir()
    give_away(base)
    store = FileStore(base, clock=clock)
    with pytest.raises(StoreUnavailable, match=f"belongs to user ID {OTHER}"):
        await store.create(make_record(clock.now))
    await store.close()
    assert list(base.iterdir()) == []


async def test_a_folder_with_a_new_owner_is_rejected(store: FileStore, base: Path, record: Record) -> None:
    assert await store.load(record.key) == record
    give_away(base)
    with pytest.raises(StoreUnavailable, match=f"belongs to user ID {OTHER}"):
        await store.ping()


async def test_a_folder_in_a_sticky_one_is_accepted(tmp_path: Path, clock: ManualClock) -> None:
    """As in /tmp, where others can write but not rename."""
    tmp_path.chmod(0o1777)
    store = FileStore(tmp_path / "sessions", clock=clock)
    record = make_record(clock.now)
    assert await store.create(record) == 1
    await store.ping()
    await store.close()


async def is_unreadable(store: FileStore, record: Record, reason: str) -> None:
    with pytest.raises(UnreadableRecord, match=reason):
        await store.load(record.key)
    assert await store.create(record) is None
    assert await store.save(record, expected=1) is None
    assert not await store.touch(record.key, expected=1, last_used=1, expires=record.expires)
    assert [found async for found in store.scan()] == []
    assert await store.delete(record.key)
    assert await store.create(record) == 1


async def test_a_file_of_another_user_is_unreadable(store: FileStore, base: Path, record: Record) -> None:
    give_away(file_of(base, record))
    await is_unreadable(store, record, f"its file belongs to user ID {OTHER}")


async def test_a_file_writable_by_others_is_unreadable(store: FileStore, base: Path, record: Record) -> None:
    file_of(base, record).chmod(0o620)
    await is_unreadable(store, record, "its file can be written by other users")


def _open_as_other(base: Path) -> str:
    """Another user's attempt to use a world-writable folder."""
    os.setgid(OTHER)
    os.setuid(OTHER)
    try:
        FileStore(base)._write_probe_file()
    except PermissionError as error:
        return str(error.strerror)
    return "taken"


def test_a_process_of_another_user_is_rejected_as_well(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        skip_or_fail("root", "Only root can run a process as another user")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        said = pool.apply(_open_as_other, [Path("/tmp")])
    assert said == f"/tmp belongs to user ID 0, and this process runs as user ID {OTHER}"


# -- the first start ----------------------------------------------------------------------------------------


def test_a_start_names_the_variable_of_a_rejected_folder(folder: Path) -> None:
    sessions = folder / "data" / "sessions"
    sessions.mkdir(parents=True)
    sessions.chmod(0o777)
    with pytest.raises(SettingsError) as refusal:
        prepare(load())
    assert str(refusal.value) == (
        f"CART_SESSION_PATH: The session folder {sessions} cannot be "
        f"used: {sessions} can be written by other users (mode 0777; run chmod go-w)."
    )


@pytest.fixture
def locked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A locked working directory, and short delays until a process logs its wait and gives up."""
    monkeypatch.setattr(env_local, "LOCK_LOG_AFTER", 0.0)
    monkeypatch.setattr(env_local, "LOCK_TIMEOUT", 0.05)
    holder = os.open(folder, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    yield folder
    os.close(holder)


def test_a_start_logs_its_wait(locked: Path, caplog: pytest.LogCaptureFixture) -> None:
    actions: list[tuple[str, Callable[[], object]]] = [
        (KEY, lambda: ensure_secret(load())),
        (KEY, lambda: replace_secret(keep_former=False)),
        (BACKEND, lambda: use_backend("file")),
    ]
    for name, act in actions:
        caplog.clear()
        with pytest.raises(SettingsError) as refusal:
            act()
        assert str(refusal.value) == (
            f"Cannot write .env.local: another process locks the folder {locked}. "
            f"Set {name} in the environment."
        )
        assert caplog.messages == [f"Waiting for another process that locks the folder {locked}"]
    assert list_folder() == []


def test_a_start_continues_once_the_lock_is_released(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is released once the start has logged that it waits."""
    monkeypatch.setattr(env_local, "LOCK_LOG_AFTER", 0.0)
    holder = os.open(folder, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)

    class GiveBack(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            os.close(holder)

    handler = GiveBack()
    env_local.logger.addHandler(handler)
    try:
        assert ensure_secret(load()).secret_key
    finally:
        env_local.logger.removeHandler(handler)
