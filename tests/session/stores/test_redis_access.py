"""Access to Redis and Valkey: credentials, ACLs, Unix sockets and TLS."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cartapp.session import StoreUnavailable, open_store
from cartapp.session.admin import round_trip
from cartapp.session.record import key_from_id, new_id, now
from cartapp.session.stores.redis.store import RedisStore
from tests.support.polling import STORE_TIMEOUT
from tests.support.servers.certificate import write_certificate
from tests.support.servers.process import free_port
from tests.support.servers.redis import PASSWORD, RedisServer, RedisServers, login, redis_binary, running
from tests.support.stores import make_record

pytestmark = pytest.mark.anyio

PREFIX = "cart:session:"


@pytest.fixture(params=["redis_server", "valkey_server"])
def server(request: pytest.FixtureRequest) -> RedisServer:
    """A server without any key."""
    server: RedisServer = request.getfixturevalue(request.param)
    server.execute("FLUSHALL")
    return server


async def scanned(store: RedisStore, user_id: str | None = None) -> list[str]:
    return [found.key async for found in store.scan(user_id=user_id)]


async def test_with_user_and_password(server: RedisServer) -> None:
    """The minimal ACL of the store."""
    rights = ("+get", "+set", "+del", "+ping", "+evalsha", "+eval", "+getrange", "+setrange", "+pexpire")
    listing = ("+scan", "+zadd", "+pttl", "+zrangebyscore", "+zrem", "+zscan", "+sscan", "+srem")
    name, password = "shop@home", "p@ss:w/rd"
    server.execute("ACL", "SETUSER", name, "reset", "on", f">{password}", f"~{PREFIX}*", *rights, *listing)
    url = f"{server.name}://shop%40home{login(password)}{server.address}"
    store = open_store(url)
    assert isinstance(store, RedisStore)
    record = make_record(now(), user_id="7")
    version = await store.create(record)
    assert version is not None
    changed = await store.save(record, expected=version)
    assert changed is not None
    assert await store.touch(record.key, expected=changed, last_used=1, expires=record.expires)
    assert await scanned(store) == await scanned(store, "7") == [record.key]
    await store.ping()
    assert not await store.delete(record.key, expected=record)
    assert await store.delete(record.key)
    assert await scanned(store, "7") == []
    await store.close()
    server.execute("ACL", "SETUSER", name, "-set")
    store = open_store(url)
    with pytest.raises(StoreUnavailable, match="its user may not run a command that is needed"):
        await store.create(record)
    await store.close()
    server.execute("ACL", "DELUSER", name)


async def test_health_check_needs_every_right_that_requests_need(server: RedisServer) -> None:
    # Without +eval only a server without the cached scripts is unusable.
    writes = ["get", "set", "del", "ping", "evalsha", "getrange", "setrange", "pexpire"]
    rights = [*writes, "zadd", "pttl", "zrangebyscore", "zrem", "zscan", "sscan", "srem"]
    server.execute("ACL", "SETUSER", "checked", "reset", "on", ">secret", "~check:*", "+eval")
    url = f"{server.name}://checked:secret@{server.address}?prefix=check:"
    outcomes = {}
    for denied in ["", *rights]:
        allowed = [f"+{right}" for right in rights if right != denied]
        server.execute("ACL", "SETUSER", "checked", "-@all", "+eval", *allowed)
        store = open_store(url)
        try:
            await round_trip(store, timeout=STORE_TIMEOUT)
            outcomes[denied] = "ready"
        except StoreUnavailable:
            outcomes[denied] = "not ready"
        await store.close()
        if not denied:
            assert server.execute("KEYS", "check:*") == []
    server.execute("ACL", "DELUSER", "checked")
    server.execute(
        "EVAL", "for _, key in ipairs(redis.call('KEYS', 'check:*')) do redis.call('DEL', key) end", 0
    )
    assert outcomes == {"": "ready"} | dict.fromkeys(rights, "not ready")


async def test_by_a_unix_socket(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with running(redis_binary(), "unixsocket redis.sock", password=PASSWORD) as server:
        store = open_store(f"redis+unix://{login(PASSWORD)}{server.folder}/redis.sock?db=3")
        record = make_record(now())
        assert await store.create(record) is not None
        assert server.execute("DBSIZE", db=3) == 1
        await store.close()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Yield the URL of a server with TLS, and the certificate to trust."""
    certificate, key = write_certificate(tmp_path_factory.mktemp("tls"))
    port = free_port()
    settings = (
        f"tls-port {port}",
        f"tls-cert-file {certificate}",
        f"tls-key-file {key}",
        "tls-auth-clients no",
    )
    with running(redis_binary(), *settings, password=PASSWORD):
        yield f"rediss://{login(PASSWORD)}127.0.0.1:{port}", certificate


async def test_by_tls(tls: tuple[str, Path]) -> None:
    url, certificate = tls
    store = open_store(f"{url}?ssl_ca_certs={certificate}")
    record = make_record(now())
    assert await store.create(record) is not None
    assert await store.load(record.key) is not None
    await store.close()


async def test_an_untrusted_certificate(tls: tuple[str, Path]) -> None:
    store = open_store(tls[0])
    with pytest.raises(StoreUnavailable, match=r"its certificate is not trusted \(self.signed certificate\)"):
        await store.ping()
    await store.close()


@pytest.mark.parametrize("fixture", ["redis_sentinels", "redis_cluster"])
async def test_wrong_passwords_of_many_servers(request: pytest.FixtureRequest, fixture: str) -> None:
    servers: RedisServers = request.getfixturevalue(fixture)
    store = open_store(servers.url.replace(login(PASSWORD), login("wrong")))
    with pytest.raises(StoreUnavailable, match="it refuses the user name or password") as error:
        await store.load(key_from_id(new_id()))
    assert "wrong" not in str(error.value)
    await store.close()


@pytest.mark.parametrize("given", ["", login("wrong"), f"unknown{login(PASSWORD)}"])
async def test_wrong_passwords(given: str) -> None:
    with running(redis_binary(), password=PASSWORD) as server:
        store = open_store(f"redis://{given}{server.address}")
        with pytest.raises(StoreUnavailable) as error:
            await store.load(key_from_id(new_id()))
        assert str(error.value) == (
            f"The redis store at {server.address} cannot be used: it refuses the user name or password."
        )
        await store.close()
