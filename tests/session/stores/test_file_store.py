"""The file store beyond the contract: its folder, its files, and changes by other programs."""

import asyncio
import logging
import os
import resource
import shutil
import socket
import stat
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from cartapp.session.errors import StoreUnavailable, UnreadableRecord
from cartapp.session.record import Record, now, pack
from cartapp.session.stores.file import shard
from cartapp.session.stores.file.store import FileStore
from tests.conftest import ManualClock
from tests.support.requirements import skip_or_fail
from tests.support.stores import HOUR, file_of, files_in, make_record

pytestmark = pytest.mark.anyio


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "sessions"


@pytest.fixture
async def store(folder: Path, clock: ManualClock) -> AsyncIterator[FileStore]:
    store = FileStore(folder, clock=clock)
    yield store
    await store.close()


@pytest.fixture
def record(clock: ManualClock) -> Record:
    return make_record(clock.now)


@pytest.fixture
async def stored(store: FileStore, record: Record) -> Record:
    assert await store.create(record) == 1
    return replace(record, version=1)


@contextmanager
def limited(kind: int, soft: int) -> Iterator[None]:
    """Apply a resource limit to this process."""
    before, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (soft, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (before, hard))


# -- the folder ---------------------------------------------------------------------------------------------


async def test_the_first_write_creates_the_folder(store: FileStore, folder: Path, record: Record) -> None:
    await store.load(record.key)
    await store.save(record, expected=1)
    await store.touch(record.key, expected=1, last_used=1, expires=2)
    await store.delete(record.key)
    await store.purge(record.expires)
    assert [found async for found in store.scan()] == []
    assert not folder.exists()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277, 0o777], ids=oct)
async def test_modes_are_private_with_any_umask(
    store: FileStore, folder: Path, record: Record, umask: int
) -> None:
    folder.parent.mkdir()
    before = os.umask(umask)
    try:
        await store.create(record)
        await store.save(record, expected=1)
    finally:
        os.umask(before)
    made = [folder, *folder.rglob("*")]
    modes = [(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in made]
    assert modes == [(True, 0o700), (True, 0o700), (False, 0o600)]


async def test_keys_that_differ_only_in_case_have_distinct_files(
    store: FileStore, folder: Path, clock: ManualClock
) -> None:
    keys = ["a" * 21 + "A", "A" * 22, "aA" * 10 + "aA", "Aa" * 10 + "AA"]
    for key in keys:
        assert await store.create(make_record(clock.now, key=key)) == 1
    assert len({path.name.lower() for path in files_in(folder)}) == len(keys)
    assert sorted([found.key async for found in store.scan()]) == sorted(keys)


@pytest.mark.parametrize("key", ["", "../../../../etc/passwd", "A" * 21, "A" * 23, "A" * 21 + "\n", "é" * 22])
async def test_an_invalid_key_never_becomes_a_path(store: FileStore, folder: Path, key: str) -> None:
    with pytest.raises(ValueError, match="no session key"):
        await store.load(key)
    with pytest.raises(ValueError, match="no session key"):
        await store.delete(key)


async def test_a_relative_folder_survives_chdir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: Record
) -> None:
    monkeypatch.chdir(tmp_path)
    store = FileStore("data/sessions")
    monkeypatch.chdir("/")
    await store.create(replace(record, expires=now() + HOUR))
    await store.close()
    assert files_in(tmp_path / "data/sessions") == [file_of(tmp_path / "data/sessions", record)]


async def test_a_subfolder_may_be_removed_while_the_store_runs(
    store: FileStore, folder: Path, stored: Record
) -> None:
    shutil.rmtree(file_of(folder, stored).parent)
    assert await store.load(stored.key) is None
    assert await store.save(stored, expected=1) is None
    assert not await store.touch(stored.key, expected=1, last_used=1, expires=2)
    assert not await store.delete(stored.key)
    assert await store.create(stored) == 1
    assert await store.load(stored.key) == stored


async def test_b8_a_folder_removed_before_the_first_use_is_an_outage(folder: Path, stored: Record) -> None:
    """A store in another process has used it."""
    store = FileStore(folder)
    folder.rename(folder.with_name("away"))
    for call in (store.ping(), store.create(stored), store.load(stored.key)):
        with pytest.raises(StoreUnavailable, match="it is gone"):
            await call
    assert not folder.exists()


@pytest.mark.parametrize("in_its_place", [None, "folder", "file"])
async def test_b8_a_removed_folder_is_an_outage(
    store: FileStore, folder: Path, stored: Record, in_its_place: str | None
) -> None:
    """The sessions may be elsewhere, so no new one is created."""
    away = folder.with_name("away")
    folder.rename(away)
    if in_its_place == "folder":
        folder.mkdir(0o700)
    elif in_its_place == "file":
        folder.write_text("A volume that is not mounted.")
    calls = [
        lambda: store.load(stored.key),
        lambda: store.save(stored, expected=1),
        lambda: store.touch(stored.key, expected=1, last_used=1, expires=2),
        lambda: store.delete(stored.key),
        store.ping,
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable, match="cannot be used: "):
            await call()
    if in_its_place == "folder":
        folder.rmdir()
    elif in_its_place == "file":
        folder.unlink()
    else:
        with pytest.raises(StoreUnavailable, match="it is gone; put it back"):
            await store.create(stored)
        assert not folder.exists()
    away.rename(folder)
    assert await store.load(stored.key) == stored
    assert await FileStore(folder).load(stored.key) == stored


# -- invalid files ------------------------------------------------------------------------------------------


def put_socket(path: Path) -> None:
    with chdir(path.parent), socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)  # the path of a socket has about a hundred characters at most


def put_link_to_record(path: Path) -> None:
    other = path.parent / "elsewhere"
    other.write_bytes(pack(make_record(1_800_000_000_000), 1))
    path.symlink_to(other)


STRANGE: dict[str, Callable[[Path], object]] = {
    "empty": Path.touch,
    "garbage": lambda path: path.write_bytes(os.urandom(500)),
    "a pickle": lambda path: path.write_bytes(b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00}\x94."),
    "another version": lambda path: path.write_bytes(b"C2" + pack(make_record(1_800_000_000_000), 1)[2:]),
    "too large": lambda path: path.write_bytes(
        pack(make_record(1_800_000_000_000, data=bytes(shard.MAX_BYTES)), 1)
    ),
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a socket": put_socket,
    "a dangling link": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to a record": put_link_to_record,
}


def trace_of(path: Path) -> tuple[int, ...]:
    """Return the visible traces of a change, without the access time, which a read changes."""
    seen = path.lstat()
    return seen.st_ino, seen.st_mode, seen.st_nlink, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


@pytest.mark.promise(10, backend="file")
@pytest.mark.parametrize("put", STRANGE.values(), ids=STRANGE)
async def test_an_invalid_file_is_unreadable_and_kept(
    store: FileStore,
    folder: Path,
    record: Record,
    put: Callable[[Path], object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = file_of(folder, record)
    path.parent.mkdir(parents=True)
    put(path)
    before = trace_of(path)
    with pytest.raises(UnreadableRecord):
        await store.load(record.key)
    assert await store.create(record) is None
    assert await store.save(record, expected=1) is None
    assert not await store.touch(record.key, expected=1, last_used=1, expires=record.expires + HOUR)
    assert not await store.delete(record.key, expected=replace(record, version=1))
    assert [found async for found in store.scan()] == []
    assert trace_of(path) == before
    assert [line.levelno for line in caplog.records] == [logging.WARNING]
    assert record.key in caplog.text


@pytest.mark.promise(10, backend="file")
async def test_open_pipe_is_unreadable(store: FileStore, folder: Path, record: Record) -> None:
    path = file_of(folder, record)
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    with path.open("r+b", buffering=0) as pipe:
        with pytest.raises(UnreadableRecord):
            await store.load(record.key)
        assert await store.save(record, expected=1) is None
        for garbage in (b"garbage", bytes(20_000)):
            pipe.write(garbage)
            with pytest.raises(UnreadableRecord):
                await store.load(record.key)


@pytest.mark.parametrize("size", [3_000, 5_000, 12_000, 60_000])
async def test_a_file_of_any_size_is_read_completely(
    store: FileStore, folder: Path, record: Record, size: int
) -> None:
    first = replace(record, data=os.urandom(size))
    assert await store.create(first) == 1
    assert await store.load(record.key) == replace(first, version=1)
    second = replace(record, data=os.urandom(size))
    assert await store.save(second, expected=1) == 2
    assert await store.load(record.key) == replace(second, version=2)


@pytest.mark.promise(10, backend="file")
async def test_no_part_of_a_record_is_a_record(store: FileStore, folder: Path, stored: Record) -> None:
    path = file_of(folder, stored)
    whole = path.read_bytes()
    needed = len(whole.rstrip(b"\0"))
    for length in range(needed):
        path.write_bytes(whole[:length])
        with pytest.raises(UnreadableRecord):
            await store.load(stored.key)
    for at in range(needed):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(UnreadableRecord):
            await store.load(stored.key)
    path.write_bytes(whole)
    assert await store.load(stored.key) == stored


async def test_delete_removes_an_invalid_file_but_no_folder(
    store: FileStore, folder: Path, record: Record, clock: ManualClock
) -> None:
    garbage, link, taken = record, make_record(clock.now), make_record(clock.now)
    for each in (garbage, link, taken):
        file_of(folder, each).parent.mkdir(parents=True, exist_ok=True)
    file_of(folder, garbage).write_bytes(b"garbage")
    (folder / "precious").write_bytes(b"precious")
    file_of(folder, link).symlink_to(folder / "precious")
    file_of(folder, taken).mkdir()
    assert await store.delete(garbage.key)
    assert await store.delete(link.key)
    assert not await store.delete(taken.key)
    assert files_in(folder) == [folder / "precious"]
    assert file_of(folder, taken).is_dir()


async def test_a_session_larger_than_a_file_may_be_is_refused(
    store: FileStore, folder: Path, stored: Record
) -> None:
    with pytest.raises(ValueError, match="at most 1048576 bytes"):
        await store.save(replace(stored, data=bytes(shard.MAX_BYTES)), expected=1)
    assert await store.load(stored.key) == stored


async def test_links_inside_the_folder_are_not_followed(
    store: FileStore, folder: Path, stored: Record, tmp_path: Path
) -> None:
    home = file_of(folder, stored).parent
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (home / shard.LEFTOVER).symlink_to(victim)
    assert await store.save(stored, expected=1) == 2
    assert victim.read_bytes() == b"precious"
    home.rename(tmp_path / "moved")
    home.symlink_to(tmp_path / "moved")
    with pytest.raises(StoreUnavailable):
        await store.load(stored.key)
    with pytest.raises(StoreUnavailable):
        await store.save(stored, expected=2)


# -- expiry -------------------------------------------------------------------------------------------------


async def test_purge_opens_only_files_with_a_past_mtime(
    store: FileStore, folder: Path, stored: Record, clock: ManualClock
) -> None:
    path = file_of(folder, stored)
    assert path.stat().st_mtime_ns // 1_000_000 == stored.expires
    await store.touch(stored.key, expected=1, last_used=1, expires=stored.expires + 1)
    assert path.stat().st_mtime_ns // 1_000_000 == stored.expires + 1
    os.utime(path, (2**33, 2**33))  # so the expiry of this one goes unnoticed
    clock.now = stored.expires + HOUR
    assert await store.purge(clock.now) == 0
    assert await store.load(stored.key) is None
    assert path.exists()


async def test_b10_a_backup_tool_sees_each_change(
    store: FileStore, folder: Path, stored: Record, tmp_path: Path
) -> None:
    """The size stays, and the expiry too where the session's absolute lifetime ends first."""
    rsync = shutil.which("rsync")
    if rsync is None:
        skip_or_fail("rsync", "This needs rsync.")
    copy = tmp_path / "copy"
    for version in range(1, 4):
        assert await store.save(replace(stored, data=b"%d" % version), expected=version) == version + 1
        command = [rsync, "-a", "--delete", "--modify-window=-1", f"{folder}/", f"{copy}/"]
        await asyncio.to_thread(subprocess.run, command, check=True)
        found = await FileStore(copy).load(stored.key)
        assert found is not None
        assert found.data == b"%d" % version


async def test_reading_writes_nothing_to_the_disk(store: FileStore, folder: Path, stored: Record) -> None:
    if not os.statvfs(folder).f_flag & getattr(os, "ST_RELATIME", 0):
        skip_or_fail("relatime", "A file system mounted with relatime, the default of Linux, is required.")
    path = file_of(folder, stored)
    before = path.stat().st_atime_ns
    assert await store.load(stored.key) == stored
    assert path.stat().st_atime_ns == before


async def test_purge_believes_the_record_and_not_the_mtime_of_a_restored_backup(
    store: FileStore, folder: Path, stored: Record, clock: ManualClock
) -> None:
    os.utime(file_of(folder, stored), (0, 0))
    assert await store.purge(clock.now) == 0
    assert await store.load(stored.key) == stored


async def test_purge_removes_unreadable_files_after_their_expiry(
    store: FileStore, folder: Path, stored: Record, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    path = file_of(folder, stored)
    path.write_bytes(b"torn")
    os.utime(path, (stored.expires / 1000, stored.expires / 1000))
    assert await store.purge(stored.expires - 1) == 0
    assert path.exists()
    assert await store.purge(stored.expires) == 1
    assert not path.exists()
    assert [line.levelno for line in caplog.records] == [logging.WARNING]


@pytest.mark.promise(12, backend="file")
async def test_purge_keeps_foreign_files(store: FileStore, folder: Path, stored: Record) -> None:
    home = file_of(folder, stored).parent
    names = (".DS_Store", "notes.txt", "F" * 32, "z" * 32, "0" * 31)
    strangers = [folder / "README", *(home / name for name in names)]
    for path in strangers:
        path.write_bytes(b"not ours")
        os.utime(path, (0, 0))
    (home / ("0" * 32)).mkdir()
    os.utime(home / ("0" * 32), (0, 0))
    await store.purge(stored.expires)
    assert sorted(files_in(folder)) == sorted(strangers)
    assert (home / ("0" * 32)).is_dir()


async def test_a_shard_of_several_batches_is_listed_and_purged_completely(
    store: FileStore, folder: Path, clock: ManualClock
) -> None:
    keys = [f"AA{number:018d}AA" for number in range(250)]  # A is zero: all in the shard 00
    for number, key in enumerate(keys):
        await store.create(make_record(clock.now, key=key, expires=clock.now + 1 + number % 2))
    assert [path.name for path in folder.iterdir()] == ["00"]
    assert sorted([found.key async for found in store.scan()]) == keys
    clock.now += 1
    assert await store.purge(clock.now) == 125
    assert sorted([found.key async for found in store.scan()]) == keys[1::2]


async def test_leftovers_of_a_killed_writer_are_removed(
    store: FileStore, folder: Path, stored: Record
) -> None:
    leftover = file_of(folder, stored).parent / shard.LEFTOVER
    leftover.write_bytes(b"half")
    assert await store.purge(0) == 0
    assert not leftover.exists()
    leftover.write_bytes(b"half" * 1000)
    grown = replace(stored, data=b"x" * 10_000)
    assert await store.save(grown, expected=1) == 2
    assert await store.load(stored.key) == replace(grown, version=2)
    assert files_in(folder) == [file_of(folder, stored)]


# -- outages ------------------------------------------------------------------------------------------------


async def test_a_file_in_place_of_the_folder_makes_the_store_unavailable(
    store: FileStore, folder: Path, record: Record
) -> None:
    folder.parent.mkdir()
    folder.write_bytes(b"")
    sentence = f"^The session folder {folder} cannot be used: Not a directory.$"
    for call in (store.load(record.key), store.create(record), store.purge(0), store.ping()):
        with pytest.raises(StoreUnavailable, match=sentence):
            await call


@pytest.mark.promise(9, backend="file")
async def test_an_incomplete_write_leaves_only_the_old_record(
    store: FileStore, folder: Path, stored: Record
) -> None:
    larger = replace(stored, data=bytes(10_000))
    with limited(resource.RLIMIT_FSIZE, 4096), pytest.raises(StoreUnavailable, match="File too large"):
        await store.save(larger, expected=1)
    assert files_in(folder) == [file_of(folder, stored)]
    assert await store.load(stored.key) == stored
    assert await store.save(larger, expected=1) == 2


async def test_a_process_out_of_descriptors_says_so_and_recovers(store: FileStore, stored: Record) -> None:
    await store.ping()
    for call in (store.load(stored.key), store.save(stored, expected=1)):
        with limited(resource.RLIMIT_NOFILE, 3), pytest.raises(StoreUnavailable, match="Too many open"):
            await call
    assert await store.save(stored, expected=1) == 2
