"""Logins: each credential through the real driver, one at a time, and a pause after a refusal (N-2, N-7…N-9)."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import ssl
import subprocess
import sys
import time
import traceback
from email.utils import formatdate

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from snowflake.connector._internal.api_client.client_api import async_core_driver, core_driver

from state.errors import ConfigurationError, SluicewayError, TransientError, Unreachable
from state.snowflake.login import FIRST_PAUSE, LONGEST_PAUSE
from state.snowflake.session import Account
from state.snowflake.tag import Tag
from tests.snowflake.keys import key
from tests.unit.search_tls import CERTIFICATE, KEY
from tests.unit.snowflake_script import SnowflakeScript, drop, hang, refused, serving, settings

CANARY = "CANARY-7f3a"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    monkeypatch.setenv("SNOWFLAKE_TEST_PASSWORD", CANARY)
    monkeypatch.setattr("state.snowflake.login.WAITS_MILLISECONDS", (1, 20))


@pytest.fixture
async def server():
    async with serving() as script:
        yield script


PKCS8, PKCS1 = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL


def rewritten(form: serialization.PrivateFormat, passphrase: str | None = None) -> str:
    """The first key in another form, encrypted if there is a passphrase."""
    read = serialization.load_pem_private_key(key("1").private.encode(), None)
    plain = serialization.NoEncryption()
    how = plain if passphrase is None else serialization.BestAvailableEncryption(passphrase.encode())
    return read.private_bytes(serialization.Encoding.PEM, form, how).decode()


def claims(token: str) -> dict[str, object]:
    """What a JWT says."""
    middle = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))


class Clock:
    """A monotonic clock that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def log_in(script: SnowflakeScript, *, clock=time.monotonic, **given) -> None:
    """One login and the end of its session."""
    account = Account(settings(script.port, **given), clock=clock)
    async with account.session(Tag()):
        pass
    await account.aclose()


async def failed(login) -> SluicewayError:
    with pytest.raises(SluicewayError) as caught:
        await login
    return caught.value


# Credentials.


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "key.p8"
    path.write_text(key("1").private)
    return path


async def test_a_key_proves_who_one_is_n7(server, key_file):
    await log_in(server, private_key={"file": key_file})
    [login] = server.logins
    assert (login["AUTHENTICATOR"], login["LOGIN_NAME"]) == ("SNOWFLAKE_JWT", "u")
    assert claims(login["TOKEN"])["iss"] == f"ACC.U.{key('1').fingerprint}"
    assert "PASSWORD" not in login


@pytest.mark.parametrize("pem", [key("1").private.replace("\n", "\r\n"), rewritten(PKCS1)], ids=["crlf", "pkcs1"])
async def test_a_key_comes_in_several_forms_n7(server, monkeypatch, pem):
    monkeypatch.setenv("KEY", pem)
    await log_in(server, private_key={"env": "KEY"})
    assert claims(server.logins[0]["TOKEN"])["iss"] == f"ACC.U.{key('1').fingerprint}"


async def test_an_encrypted_key_needs_its_passphrase_n7(server, key_file, monkeypatch):
    key_file.write_text(rewritten(PKCS8, "pa ss'é"))
    monkeypatch.setenv("PHRASE", "pa ss'é")
    await log_in(server, private_key={"file": key_file}, private_key_passphrase={"env": "PHRASE"})
    assert claims(server.logins[0]["TOKEN"])["iss"] == f"ACC.U.{key('1').fingerprint}"


@pytest.mark.parametrize(
    ("name", "how"),
    [("programmatic_access_token", "PROGRAMMATIC_ACCESS_TOKEN"), ("oauth_token", "OAUTH")],
)
async def test_a_token_proves_who_one_is(server, monkeypatch, name, how):
    monkeypatch.setenv("TOKEN", "a-token")
    await log_in(server, **{name: {"env": "TOKEN"}})
    assert (server.logins[0]["AUTHENTICATOR"], server.logins[0]["TOKEN"]) == (how, "a-token")


async def test_a_permitted_password_is_sent(server):
    await log_in(server)
    assert server.logins[0]["PASSWORD"] == CANARY


async def test_the_file_is_read_at_every_login_n7(server, key_file):
    account = Account(settings(server.port, private_key={"file": key_file}))
    for number in (1, 2):
        key_file.write_text(key(str(number)).private)
        async with account.session(Tag(), fresh=True):
            pass
    await account.aclose()
    assert [claims(login["TOKEN"])["iss"] for login in server.logins] == [
        f"ACC.U.{key('1').fingerprint}",
        f"ACC.U.{key('2').fingerprint}",
    ]


@pytest.mark.parametrize("code", [394304, 390144])
async def test_a_key_replaced_during_the_login_is_read_once_more_n7(server, key_file, code):
    def rotated(_request, body):
        if claims(body["data"]["TOKEN"])["iss"].endswith(key("2").fingerprint):
            return None
        key_file.write_text(key("2").private)
        return refused(code)

    server.on_login = rotated
    await log_in(server, private_key={"file": key_file})
    assert len(server.logins) == 2


async def test_a_key_that_is_refused_twice_is_not_tried_a_third_time_n7(server, key_file):
    def rotated(_request, _body):
        key_file.write_text(key(str(len(server.logins) + 1)).private)
        return refused(394304)

    server.on_login = rotated
    assert (await failed(log_in(server, private_key={"file": key_file}))).code == "credential"
    assert len(server.logins) == 2


async def test_a_key_that_stays_the_same_is_not_tried_again_n9(server, key_file):
    server.on_login = lambda _request, _body: refused(394304)
    assert (await failed(log_in(server, private_key={"file": key_file}))).code == "credential"
    assert len(server.logins) == 1


async def test_an_expired_token_is_read_once_more(server, tmp_path):
    path = tmp_path / "token"
    path.write_text("old")

    def renewed(_request, body):
        path.write_text("new")
        return refused(390318) if body["data"]["TOKEN"] == "old" else None

    server.on_login = renewed
    await log_in(server, oauth_token={"file": path})
    assert [login["TOKEN"] for login in server.logins] == ["old", "new"]


async def test_an_expired_token_is_a_passing_matter_that_is_not_hammered_at(server, tmp_path):
    path = tmp_path / "token"
    path.write_text("old")
    server.on_login = lambda _request, body: refused(390318) if body["data"]["TOKEN"] == "old" else None
    account = Account(settings(server.port, oauth_token={"file": path}))
    for _ in range(3):
        error = await failed(account.session(Tag()).__aenter__())
        assert (type(error), error.code) == (TransientError, "oauth_expired")
    assert len(server.logins) == 1
    path.write_text("new")
    async with account.session(Tag()):
        pass
    await account.aclose()


BAD_KEYS = [
    ("garbage", None),
    (key("1").private[:300] + CANARY + key("1").private[310:], None),
    (rewritten(PKCS8, CANARY), None),
    (rewritten(PKCS8, CANARY), f"{CANARY}-wrong"),
]


@pytest.mark.parametrize(("pem", "passphrase"), BAD_KEYS, ids=["no key", "damaged", "no passphrase", "wrong one"])
async def test_a_key_that_cannot_be_used_is_a_matter_of_configuration_x9(server, monkeypatch, pem, passphrase):
    monkeypatch.setenv("KEY", pem)
    given = {"private_key": {"env": "KEY"}}
    if passphrase:
        monkeypatch.setenv("PHRASE", passphrase)
        given["private_key_passphrase"] = {"env": "PHRASE"}
    error = await failed(log_in(server, **given))
    assert type(error) is ConfigurationError
    assert error.code in ("credential", "settings")
    assert CANARY not in repr((error.message, error.hint))
    assert server.logins == []


async def test_a_missing_file_says_which(server, tmp_path):
    error = await failed(log_in(server, private_key={"file": tmp_path / "none.p8"}))
    assert "none.p8" in error.message
    assert server.logins == []


# One at a time, and the pause.


async def windows(account: Account, number: int) -> list[SluicewayError | None]:
    """So many windows want a session at once; what each got."""

    async def one() -> SluicewayError | None:
        try:
            async with account.session(Tag(), fresh=True):
                return None
        except SluicewayError as error:
            return error

    return await asyncio.gather(*(one() for _ in range(number)))


async def test_a_hundred_windows_with_a_bad_key_are_one_login_per_pause_n9(server, key_file):
    server.on_login = lambda _request, _body: refused(394304)
    clock = Clock()
    account = Account(settings(server.port, private_key={"file": key_file}), clock=clock)
    pause = FIRST_PAUSE
    for logins in range(1, 8):
        for step in (0.0, pause / 2, pause / 2 - 1):
            clock.now += step
            found = await windows(account, 100)
            assert {type(error) for error in found} == {ConfigurationError}
        assert len(server.logins) == logins
        clock.now += 1
        pause = min(2 * pause, LONGEST_PAUSE)
    assert pause == LONGEST_PAUSE


async def test_a_refusal_says_until_when_and_what_to_do_n9(server):
    server.on_login = lambda _request, _body: refused(390100, "Incorrect username or password was specified.")
    account = Account(settings(server.port))
    for error in [*await windows(account, 2), *await windows(account, 2)]:
        assert "account acc as u" in error.message
        assert "Incorrect username or password" in error.message
        assert "no login is tried before 20" in error.message
        assert "DESCRIBE USER" in error.hint
        assert "changed credential is tried at once" in error.hint
        assert CANARY not in repr((error.message, error.hint))


async def test_a_mended_credential_ends_the_pause_n9(server, key_file):
    good = key("2").fingerprint
    server.on_login = lambda _request, body: (
        None if claims(body["data"]["TOKEN"])["iss"].endswith(good) else refused(394304)
    )
    account = Account(settings(server.port, private_key={"file": key_file}))
    assert len([error for error in await windows(account, 3) if error]) == 3
    key_file.write_text(key("2").private)
    assert await windows(account, 3) == [None] * 3
    await account.aclose()
    assert len(server.logins) == 4


@pytest.mark.parametrize("code", [390101, 390102, 390189, 390201, 390422])
async def test_every_refusal_that_an_operator_must_mend_begins_a_pause_n9(server, code):
    server.on_login = lambda _request, _body: refused(code)
    account = Account(settings(server.port))
    await windows(account, 5)
    await windows(account, 5)
    assert len(server.logins) == 1


async def test_a_role_that_the_user_has_not_is_refused_with_the_grant_of_both_by_name_n9(server):
    server.on_login = lambda _request, _body: refused(390189)
    error = await failed(log_in(server))
    assert error.code == "role"
    assert error.hint.startswith('GRANT ROLE "R" TO USER "U"; ')


async def test_a_success_makes_the_next_pause_short_again_n9(server):
    answers = iter([refused(390100), None, refused(390100), None])
    server.on_login = lambda _request, _body: next(answers)
    clock = Clock()
    account = Account(settings(server.port), clock=clock)
    for _ in range(2):
        assert (await windows(account, 1))[0] is not None
        clock.now += FIRST_PAUSE
        assert await windows(account, 1) == [None]
    await account.aclose()


async def test_logins_follow_one_another_n9(server):
    under_way, most = 0, 0

    async def slow(_request, _body):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1

    server.on_login = slow
    account = Account(settings(server.port))
    assert await windows(account, 10) == [None] * 10
    await account.aclose()
    assert (most, len(server.logins)) == (1, 10)


async def test_those_who_waited_share_a_passing_failure_and_the_next_ones_try_again_n9(server):
    server.on_login = lambda _request, _body: web.Response(status=503)
    account = Account(settings(server.port, login_timeout_seconds=1))
    found = await windows(account, 50)
    assert {type(error) for error in found} == {TransientError}
    tries = len(server.logins)
    assert tries <= 5
    server.on_login = None
    assert await windows(account, 1) == [None]
    await account.aclose()


async def test_a_login_that_is_given_up_leaves_the_turn_to_the_next_s8(server):
    arrived = asyncio.Event()

    async def held(request, body):
        arrived.set()
        await hang(request, body)

    server.on_login = held
    account = Account(settings(server.port))
    first = asyncio.create_task(account.session(Tag()).__aenter__())
    await arrived.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    server.on_login = None
    assert await windows(account, 1) == [None]
    await account.aclose()


# The clock.


@pytest.mark.parametrize(("seconds", "words"), [(120, "s behind Snowflake's"), (-120, "s ahead of Snowflake's")])
async def test_a_clock_that_is_wrong_is_told_with_its_offset_n8(server, key_file, seconds, words):
    def dated(request, _body):
        if request.method == "HEAD":
            return web.Response(headers={"Date": formatdate(time.time() + seconds, usegmt=True)}, status=404)
        return None

    server.on_request = dated
    server.on_login = lambda _request, _body: refused(394303)
    error = await failed(log_in(server, private_key={"file": key_file}))
    assert (type(error), error.code) == (ConfigurationError, "clock")
    assert words in error.message
    offset = int(error.message.partition("clock is ")[2].split()[0])
    assert abs(offset - 120) <= 30
    assert "NTP" in error.hint


async def test_clocks_that_agree_by_now_are_told_so_n8(server, key_file):
    server.on_login = lambda _request, _body: refused(394303)
    error = await failed(log_in(server, private_key={"file": key_file}))
    assert "differ by less than 5 s" in error.message


async def test_a_clock_whose_offset_cannot_be_had_is_told_without_it_n8(server, key_file):
    server.on_request = lambda request, body: drop(request, body) if request.method == "HEAD" else None
    server.on_login = lambda _request, _body: refused(394302)
    error = await failed(log_in(server, private_key={"file": key_file}))
    assert error.code == "clock"
    assert "machine's clock is" not in error.message


# The way there.


@pytest.mark.parametrize("status", [503, 502, 429])
async def test_a_server_that_refuses_for_ever_is_tried_a_few_times_n2(server, status):
    server.on_login = lambda _request, _body: web.Response(status=status)
    error = await failed(log_in(server))
    assert (type(error), error.code) == (TransientError, f"http_{status}")
    assert len(server.logins) == 5


@pytest.mark.parametrize("status", [400, 403, 404, 405])
async def test_something_on_the_way_that_refuses_is_named_at_once_n2(server, status):
    server.on_login = lambda _request, _body: web.Response(status=status)
    error = await failed(log_in(server))
    assert (type(error), error.code) == (ConfigurationError, f"http_{status}")
    assert "network policy" in error.hint
    assert len(server.logins) == 1


async def test_a_login_that_hangs_ends_at_its_limit_and_holds_nobody_up_n2(server):
    server.on_login = hang
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    error = await failed(log_in(server, login_timeout_seconds=2))
    ticking.cancel()
    assert (type(error), error.code) == (Unreachable, "unreachable")
    assert ticks > 20


async def refused_login(script: SnowflakeScript) -> None:
    script.on_login = lambda _request, _body: refused(390189)
    await failed(log_in(script))


async def given_up_login(script: SnowflakeScript) -> None:
    script.on_login = hang
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await log_in(script)


@pytest.mark.parametrize("end", [refused_login, given_up_login, log_in])
async def test_a_login_leaves_nothing_behind_in_the_driver(server, monkeypatch, end):
    """A server may be out of reach for days, and is asked again and again."""
    taken, given_back = [], []
    for taking in ("connection_new", "database_new"):
        spied(monkeypatch, async_core_driver, taking, taken)
    for giving in ("connection_release", "database_release"):
        spied(monkeypatch, core_driver, giving, given_back)
    await end(server)
    assert sorted(taken) == ["connection_new", "database_new"]
    assert sorted(given_back) == ["connection_release", "database_release"]


def spied(monkeypatch, driver, name: str, calls: list[str]) -> None:
    """Note each call of a function of the driver."""
    real = getattr(driver, name)

    def called(*args, **kwargs):
        calls.append(name)
        return real(*args, **kwargs)

    monkeypatch.setattr(driver, name, called)


async def test_a_port_where_nobody_is_is_a_passing_matter():
    error = await failed(Account(settings(1)).session(Tag()).__aenter__())
    assert (type(error), error.code) == (Unreachable, "unreachable")
    assert "DNS" in error.hint


async def test_a_certificate_that_nobody_vouches_for_is_refused_x12(tmp_path):
    (tmp_path / "certificate").write_text(CERTIFICATE)
    (tmp_path / "key").write_text(KEY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    async with serving(context) as script:
        error = await failed(log_in(script, protocol="https"))
        assert (type(error), error.code) == (ConfigurationError, "tls")
        assert script.seen == []


def test_the_driver_is_told_not_to_look_which_cloud_it_is_in():
    name = "SNOWFLAKE_DISABLE_PLATFORM_DETECTION"
    code = f"import os, state.snowflake.session; print(os.environ['{name}'])"
    without = {key: value for key, value in os.environ.items() if key != name}
    done = subprocess.run([sys.executable, "-c", code], env=without, capture_output=True, text=True, check=True)
    assert done.stdout == "true\n"


@pytest.mark.parametrize("name", ["snowflake.connector", "snowflake.connector._core", "sf_core"])
def test_the_driver_tells_its_log_nothing_x9(name):
    assert logging.getLogger(name).getEffectiveLevel() >= logging.INFO


async def test_no_secret_is_told_by_anything_x9(server, key_file, caplog, capfd):
    """Not by the log, the output, an error with its whole chain, or a representation."""
    caplog.set_level(logging.DEBUG)
    errors = []
    for act in (lambda _request, _body: refused(390100), lambda _request, _body: web.Response(status=403)):
        server.on_login = act
        errors += await windows(Account(settings(server.port)), 2)
        errors += await windows(Account(settings(server.port, private_key={"file": key_file})), 2)
    server.on_login = None
    account = Account(settings(server.port))
    server.on_statement = lambda _request, body: refused(390111) if body["sqlText"] != "SHOW PARAMETERS" else None
    async with account.session(Tag()) as session:
        errors.append(await failed(session.rows("INSERT")))
    await account.aclose()
    told = caplog.text + "".join(capfd.readouterr())
    told += "".join(line for error in errors for line in traceback.format_exception(error))
    assert "390100" in told
    for secret in (CANARY, key("1").private.splitlines()[3], "session-", "master-", "eyJ"):
        assert secret not in told
    assert CANARY not in repr([account, account.__dict__, settings(server.port)])
