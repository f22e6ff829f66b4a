"""What scripts of operators use: session variables, IDENTIFIER(), and users."""

from __future__ import annotations

from tests.snowflake.accounts import fails
from tests.snowflake.keys import key


async def test_a_session_variable_stands_for_a_value_and_for_a_name(place):
    async with place.connect() as connection, place.connect() as other:
        for statement in (
            "SET thing = 'it''s'",
            "SET place = 'S.KEPT'",
            "CREATE TABLE IDENTIFIER($place) (a VARCHAR)",
        ):
            await place.rows(connection, statement)
        await place.rows(connection, "INSERT INTO identifier($PLACE) SELECT $thing || '$thing' -- $nothing")
        assert await place.rows(connection, "SELECT a, $$ $thing $$ FROM S.KEPT") == [("it's$thing", " $thing ")]
        assert await place.rows(connection, "SELECT COUNT(*) FROM IDENTIFIER('kept')") == [(1,)]
        assert (await fails(place.rows(other, "SELECT $thing"))).errno == 2211
        await place.rows(connection, "UNSET thing")
        assert (await fails(place.rows(connection, "SELECT $thing"))).errno == 2211


async def test_a_service_user_is_made_once_and_logs_in_with_its_key(place):
    name = f"MADE_{place.database}"
    made = f"CREATE USER IF NOT EXISTS {name} TYPE = SERVICE RSA_PUBLIC_KEY = '{{}}' COMMENT = 'x'"
    by_key = {"user": name, "authenticator": "SNOWFLAKE_JWT", "password": None, "role": "PUBLIC"}
    async with place.connect() as admin:
        await place.rows(admin, made.format(key("first").public))
        await place.rows(admin, made.format(key("second").public))
        again = made.format(key("second").public).replace("IF NOT EXISTS ", "")
        assert (await fails(place.rows(admin, again))).errno == 2002
        with_password = f"CREATE USER {name}_2 TYPE = SERVICE PASSWORD = 'x'"
        assert (await fails(place.rows(admin, with_password))).errno == 1008
        async with place.connect(**by_key, private_key=key("first").private) as connection:
            assert await place.rows(connection, "SELECT CURRENT_USER()") == [(name,)]
        await place.rows(admin, f"ALTER USER {name} SET RSA_PUBLIC_KEY_2 = '{key('second').public}'")
        async with place.connect(**by_key, private_key=key("second").private) as connection:
            assert await place.rows(connection, "SELECT CURRENT_USER()") == [(name,)]


async def test_a_user_that_is_made_has_no_role_but_public(place):
    name = f"MADE_{place.database}"
    by_key = {"user": name, "authenticator": "SNOWFLAKE_JWT", "password": None}
    async with place.connect() as admin:
        await place.rows(admin, f"CREATE USER {name} TYPE = SERVICE RSA_PUBLIC_KEY = '{key('first').public}'")
        assert (await fails(place.connect(**by_key, private_key=key("first").private).__aenter__())).errno
        await place.rows(admin, f"GRANT ROLE {place.connection['role']} TO USER {name}")
        async with place.connect(**by_key, private_key=key("first").private) as connection:
            assert await place.rows(connection, "SELECT CURRENT_ROLE()") == [(place.connection["role"],)]
