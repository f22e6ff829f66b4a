"""Who may log in, and what a refused login is told: the test server's users, keys and tokens."""

from __future__ import annotations

import time
import urllib.request
from json import dumps, load

import pytest
from snowflake.connector import errors

from tests.snowflake.keys import key, token


def registered(place, **properties) -> str:
    """A user of this test's own."""
    name = f"U_{place.database}"
    place.server.put(f"/test/users/{name}", properties)
    return name


def by_key(user: str, named: str) -> dict:
    return {"user": user, "password": None, "authenticator": "SNOWFLAKE_JWT", "private_key": key(named).private}


async def refused(place, **how) -> errors.Error:
    with pytest.raises(errors.Error) as caught:
        async with place.connect(**how):
            pass
    return caught.value


async def answers(place, **how) -> bool:
    async with place.connect(**how) as connection:
        return await place.rows(connection, "SELECT CURRENT_USER()") == [(how["user"],)]


def outcomes(place, user: str) -> list[str]:
    return [one["outcome"] for one in place.server.get(f"/test/logins?user={user}")]


async def test_a_key_pair_logs_in_by_either_slot(place):
    user = registered(place, rsa_public_key=key("one").public)
    assert await answers(place, **by_key(user, "one"))
    registered(place, rsa_public_key_2=key("two").public)
    assert await answers(place, **by_key(user, "one"))
    assert await answers(place, **by_key(user, "two"))
    registered(place, rsa_public_key=None)
    assert (await refused(place, **by_key(user, "one"))).errno == 394304
    assert await answers(place, **by_key(user, "two"))
    assert outcomes(place, user) == ["ok", "ok", "ok", "394304", "ok"]


async def test_a_key_in_pem_lines_is_taken_too(place):
    text = key("one").public
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    pem = "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----"])
    assert await answers(place, **by_key(registered(place, rsa_public_key=pem), "one"))


@pytest.mark.parametrize(
    ("skew", "errno"),
    [(0, None), (-45, None), (300, 394303), (-300, 394302)],
    ids=["right", "a little behind", "server ahead", "server behind"],
)
async def test_the_servers_clock_judges_a_jwt_n8(place, skew, errno):
    user = registered(place, rsa_public_key=key("one").public, skew_seconds=skew)
    if errno is None:
        assert await answers(place, **by_key(user, "one"))
    else:
        assert (await refused(place, **by_key(user, "one"))).errno == errno


async def test_a_server_may_hide_the_cause_behind_390144(place):
    user = registered(place, rsa_public_key=key("one").public, names_cause=False)
    error = await refused(place, **by_key(user, "two"))
    assert error.errno == 390144
    failure = str(error).partition("[")[2].partition("]")[0]
    async with place.connect() as connection:
        [(told,)] = await place.rows(connection, f"SELECT SYSTEM$GET_LOGIN_FAILURE_DETAILS('{failure}')")
    assert '"errorCode": "394304"' in told


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({}, None),
        ({"sub": "TEST.NOBODY"}, "394300"),
        ({"iss": "TEST.OTHER.SHA256:x"}, "394300"),
        ({"exp": None}, "394301"),
        ({"iat": 1000}, "394302"),
        ({"exp": 1000}, "394303"),
        ({"algorithm": "HS256"}, "394305"),
    ],
)
async def test_each_flaw_of_a_jwt_has_its_code(place, wrong, code):
    user = registered(place, rsa_public_key=key("one").public)
    assert log_in(place, user, token(user, "one", **wrong)) == code


async def test_a_jwt_signed_by_another_key_is_seen_through(place):
    user = registered(place, rsa_public_key=key("one").public)
    issuer = f"TEST.{user}.{key('one').fingerprint}"
    assert log_in(place, user, token(user, "two", iss=issuer)) == "394306"
    assert log_in(place, user, "no token at all") == "390144"


def log_in(place, user: str, jwt: str) -> str | None:
    """The code that a login with this JWT gets, None if it is let in: JWTs that no driver would make."""
    data = {"LOGIN_NAME": user, "AUTHENTICATOR": "SNOWFLAKE_JWT", "TOKEN": jwt, "SESSION_PARAMETERS": {}}
    url = f"http://{place.server.host}:{place.server.port}/session/v1/login-request"
    with urllib.request.urlopen(urllib.request.Request(url, dumps({"data": data}).encode())) as answer:
        return load(answer)["code"]


async def test_a_programmatic_access_token_logs_in_until_it_expires(place):
    user = registered(place, access_tokens={f"pat-{place.database}": {}})
    how = {"user": user, "password": None, "authenticator": "PROGRAMMATIC_ACCESS_TOKEN"}
    assert await answers(place, **how, token=f"pat-{place.database}")
    assert (await refused(place, **how, token="another")).errno == 394400
    registered(place, access_tokens={f"pat-{place.database}": {"expired": True}})
    assert (await refused(place, **how, token=f"pat-{place.database}")).errno == 394400


async def test_an_oauth_token_logs_in_and_each_refusal_has_its_code(place):
    good, old = f"oauth-{place.database}", f"old-{place.database}"
    user = registered(place, oauth_tokens={good: {}, old: {"expired": True}})
    how = {"password": None, "authenticator": "OAUTH"}
    assert await answers(place, **how, user=user, token=good)
    assert (await refused(place, **how, user=user, token="another")).errno == 390303
    assert (await refused(place, **how, user="SOMEBODY_ELSE", token=good)).errno == 390309
    assert (await refused(place, **how, user=user, token=old)).errno == 390318


async def test_five_wrong_passwords_lock_a_user(place):
    user = registered(place, password="right")
    assert await answers(place, user=user, password="right")
    for _ in range(5):
        assert (await refused(place, user=user, password="wrong")).errno == 390100
    assert (await refused(place, user=user, password="right")).errno == 390102
    registered(place, locked=False)
    assert await answers(place, user=user, password="right")


async def test_a_disabled_user_stays_out(place):
    user = registered(place, password="right", disabled=True)
    assert (await refused(place, user=user, password="right")).errno == 390101


async def test_a_role_that_the_user_has_not_is_refused_at_login(place):
    user = registered(place, password="right", roles=["LOADER"], default_role="LOADER")
    error = await refused(place, user=user, password="right", role="OTHER")
    assert error.errno == 390189
    assert "Role 'OTHER' specified in the connect string" in str(error)
    async with place.connect(user=user, password="right", role=None) as connection:
        assert await place.rows(connection, "SELECT CURRENT_ROLE()") == [("LOADER",)]


async def test_every_login_is_on_record_with_its_time(place):
    user = registered(place, password="right")
    before = time.time()
    await answers(place, user=user, password="right")
    [one] = place.server.get(f"/test/logins?user={user}")
    assert (one["authenticator"], one["outcome"], before <= one["at"] <= time.time()) == ("SNOWFLAKE", "ok", True)


# -- sessions that expire


async def expire(place, code: str) -> None:
    place.server.post("/test/expire", {"code": code, "database": place.database})


async def test_an_expired_session_token_is_renewed_by_the_driver_n6(place):
    async with place.connect() as connection:
        [(before,)] = await place.rows(connection, "SELECT CURRENT_SESSION()")
        renewals = place.server.get("/test/settings")["renewals"]
        await expire(place, "390112")
        assert await place.rows(connection, "SELECT CURRENT_SESSION()") == [(before,)]
        assert place.server.get("/test/settings")["renewals"] == renewals + 1


async def test_an_expired_session_keeps_its_transaction(place):
    async with place.connect() as connection, place.connect() as other:
        await place.rows(connection, "CREATE TABLE t (a NUMBER)")
        await place.rows(connection, "BEGIN")
        await place.rows(connection, "INSERT INTO t VALUES (1)")
        await expire(place, "390112")
        await place.rows(connection, "COMMIT")
        assert await place.rows(other, "SELECT a FROM t") == [(1,)]


@pytest.mark.parametrize("code", ["390111", "390114"])
async def test_a_session_that_is_over_needs_a_new_connection_n6(place, code):
    async with place.connect() as connection:
        await expire(place, code)
        for _ in range(2):
            with pytest.raises(errors.Error) as caught:
                await place.rows(connection, "SELECT 1")
            assert caught.value.errno == int(code)
    async with place.connect() as again:
        assert await place.rows(again, "SELECT 1") == [(1,)]


async def test_the_transaction_of_a_session_that_is_gone_is_rolled_back(place):
    async with place.connect() as connection, place.connect() as other:
        await place.rows(connection, "CREATE TABLE t (a NUMBER)")
        await place.rows(connection, "INSERT INTO t VALUES (1)")
        [(session,)] = await place.rows(connection, "SELECT CURRENT_SESSION()")
        await place.rows(connection, "BEGIN")
        await place.rows(connection, "UPDATE t SET a = 2")
        place.server.post("/test/expire", {"code": "390111", "session": int(session)})
        await place.rows(other, "UPDATE t SET a = a + 10")
        assert await place.rows(other, "SELECT a FROM t") == [(11,)]
