"""Who may log in: users, their passwords, public keys and tokens, and what a refused login is told.

Names that are not registered come in with any credentials, as most tests need it; a registered user must prove who
it is. Codes as documented (user-guide/key-pair-auth-troubleshooting): 394300 to 394307 name the cause; a real
server may tell the client the general 390144 with an id, and the cause by SYSTEM$GET_LOGIN_FAILURE_DETAILS(id).
Both are seen in the field, so both are to be had: `User.names_cause`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from tests.snowflake.server import app, translate
from tests.snowflake.server.model import Server, SnowflakeError

CODES = {
    "394300": "JWT_TOKEN_INVALID_USER_IN_ISSUER",
    "394301": "JWT_TOKEN_MISSING_ISSUE_OR_EXPIRATION_TIME",
    "394302": "JWT_TOKEN_INVALID_ISSUE_TIME",
    "394303": "JWT_TOKEN_INVALID_EXPIRATION_TIME",
    "394304": "JWT_TOKEN_INVALID_PUBLIC_KEY_FINGERPRINT_MISMATCH",
    "394305": "JWT_TOKEN_INVALID_ALGORITHM",
    "394306": "JWT_TOKEN_INVALID_SIGNATURE",
    "394307": "JWT_TOKEN_ACCOUNT_MISMATCH",
    "390144": "JWT_TOKEN_INVALID",
}

ISSUED_WITHIN = 60
"""Seconds after its issue in which a JWT is accepted (documented)."""

WRONG_PASSWORDS = 5
"""So many in a row lock the user (documented: user-guide/admin-user-management)."""


@dataclass
class User:
    """One user. Keys as `ALTER USER` takes them: base64 of the DER form, PEM lines allowed."""

    name: str
    password: str | None = None
    rsa_public_key: str | None = None
    rsa_public_key_2: str | None = None
    access_tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Programmatic access tokens: token → {"expired": bool, "role": name | None}."""
    oauth_tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    """OAuth access tokens: token → {"expired": bool}."""
    locked: bool = False
    disabled: bool = False
    default_role: str | None = None
    default_warehouse: str | None = None
    roles: list[str] | None = None
    """Roles granted to the user; None: any."""
    skew_seconds: float = 0.0
    """How far the server's clock is ahead of this machine's when it judges this user's JWT."""
    names_cause: bool = True
    wrong_passwords: int = 0

    def public_keys(self) -> list[RSAPublicKey]:
        return [_public_key(text) for text in (self.rsa_public_key, self.rsa_public_key_2) if text]


class Users:
    """The users of the account, and a record of all logins."""

    def __init__(self) -> None:
        self.account: str | None = None
        """The account's locator; None: any."""
        self.attempts: list[dict[str, Any]] = []
        """Every login in order: user, authenticator, outcome, at (seconds of this machine)."""
        self._failures: dict[str, dict[str, Any]] = {}
        self._users: dict[str, User] = {}

    def register(self, name: str, **properties: Any) -> User:
        """Make the user, or change the named properties of it (None takes a key away)."""
        user = self._users.setdefault(name.upper(), User(name.upper()))
        for key, value in properties.items():
            if key not in User.__dataclass_fields__:
                raise ValueError(f"a user has no property {key!r}")
            setattr(user, key, value)
        return user

    def get(self, name: str) -> User | None:
        return self._users.get(name.upper())

    def failure_details(self, failure: str) -> str | None:
        """The JSON of SYSTEM$GET_LOGIN_FAILURE_DETAILS, None for an id that is none of ours."""
        found = self._failures.get(failure)
        return None if found is None else json.dumps(found)

    def log_in(self, data: dict[str, Any]) -> User:
        """The user of a login request's `data`, or SnowflakeError as the server puts it."""
        name, how = str(data.get("LOGIN_NAME") or ""), str(data.get("AUTHENTICATOR") or "SNOWFLAKE").upper()
        outcome = "ok"
        try:
            return self._judge(name, how, data)
        except SnowflakeError as error:
            outcome = error.code
            raise self._disguised(name, how, error) from error
        finally:
            attempt = {"user": name.upper(), "authenticator": how, "outcome": outcome, "at": time.time()}
            self.attempts.append(attempt)

    def _judge(self, name: str, how: str, data: dict[str, Any]) -> User:
        if name and self.get(name) is None and self._owner("", str(data.get("TOKEN")), "oauth_tokens")[0] is None:
            return User(name.upper())
        ways = {
            "SNOWFLAKE_JWT": self._by_key,
            "PROGRAMMATIC_ACCESS_TOKEN": self._by_access_token,
            "OAUTH": self._by_oauth,
        }
        user = ways.get(how, self._by_password)(name, data)
        if user.disabled:
            raise SnowflakeError(
                "390101", "08001", "User access disabled. Contact your local system administrator."
            )
        if user.locked:
            raise SnowflakeError(
                "390102",
                "08001",
                "Your user account has been temporarily locked due to too many failed attempts. "
                "Try again after 15 minutes or contact your account administrator for assistance.",
            )
        return user

    def _by_password(self, name: str, data: dict[str, Any]) -> User:
        user = self.get(name)
        if user is not None and user.password is not None and user.password == data.get("PASSWORD"):
            user.wrong_passwords = 0
            return user
        if user is not None and not user.locked:
            user.wrong_passwords += 1
            user.locked = user.wrong_passwords >= WRONG_PASSWORDS
        raise SnowflakeError("390100", "08001", "Incorrect username or password was specified.")

    def _by_access_token(self, name: str, data: dict[str, Any]) -> User:
        user, token = self._owner(name, str(data.get("TOKEN")), "access_tokens")
        if user is None or token["expired"]:
            raise SnowflakeError("394400", "08001", "Programmatic access token is invalid.")
        return user

    def _by_oauth(self, name: str, data: dict[str, Any]) -> User:
        user, token = self._owner("", str(data.get("TOKEN")), "oauth_tokens")
        if user is None:
            raise SnowflakeError("390303", "08001", "Invalid OAuth access token.")
        if name and user.name != name.upper():
            message = "The user you were trying to authenticate as differs from the user tied to the access token."
            raise SnowflakeError("390309", "08001", message)
        if token["expired"]:
            raise SnowflakeError("390318", "08001", "OAuth access token expired.")
        return user

    def _owner(self, name: str, token: str, kind: str) -> tuple[User | None, dict[str, Any]]:
        for user in self._users.values():
            if token in getattr(user, kind) and name.upper() in ("", user.name):
                return user, {"expired": False, **getattr(user, kind)[token]}
        return None, {"expired": False}

    def _by_key(self, name: str, data: dict[str, Any]) -> User:
        header, claims, signed, signature = _opened(str(data.get("TOKEN")))
        if header.get("alg") != "RS256":
            raise _jwt("394305")
        user = self._named(claims, name)
        _timely(claims, time.time() + user.skew_seconds)
        issuer = str(claims.get("iss"))
        keys = [key for key in user.public_keys() if issuer.endswith(f".{fingerprint(key)}")]
        if not keys:
            raise _jwt("394304")
        try:
            keys[0].verify(signature, signed, PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            raise _jwt("394306") from None
        return user

    def _named(self, claims: dict[str, Any], name: str) -> User:
        account, _, named = str(claims.get("sub")).partition(".")
        issuer = str(claims.get("iss"))
        if self.account is not None and account != self.account.upper():
            raise _jwt("394307")
        user = self._users.get(named)
        if user is None or not issuer.startswith(f"{account}.{named}.") or name.upper() not in ("", named):
            raise _jwt("394300")
        return user

    def _disguised(self, name: str, how: str, error: SnowflakeError) -> SnowflakeError:
        if how != "SNOWFLAKE_JWT" or error.code not in CODES:
            return error
        failure = str(uuid.uuid4())
        cause = {"clientType": "Python", "username": name.upper(), "errorCode": error.code, "cause": error.message}
        self._failures[failure] = cause
        user = self.get(name)
        code = error.code if user is None or user.names_cause else "390144"
        return SnowflakeError(code, "08001", f"JWT token is invalid. [{failure}]")


def of(server: Server) -> Users:
    """The users of this server."""
    with server.lock:
        if "users" not in server.plugins:
            made = server.plugins["users"] = Users()
            server.functions["SYSTEM$GET_LOGIN_FAILURE_DETAILS"] = lambda _statement, node: translate.constant(
                made.failure_details(node.expressions[0].name)
            )
        return server.plugins["users"]


def check(login: app.Login) -> None:
    """Let a login in, with the user's default role and warehouse where it names none."""
    user = of(login.server).log_in(login.data)
    login.user = user.name
    login.role = login.role or user.default_role
    login.warehouse = login.warehouse or user.default_warehouse
    if user.roles is not None and login.role not in (None, "PUBLIC", *user.roles):
        raise SnowflakeError(
            "390189",
            "08001",
            f"Role '{login.role}' specified in the connect string does not exist or not authorized. "
            "Contact your local system administrator, or attempt to login with another role, e.g. PUBLIC.",
        )


def fingerprint(key: RSAPublicKey) -> str:
    """As RSA_PUBLIC_KEY_FP shows it, and as an issuer ends."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).decode()


def _timely(claims: dict[str, Any], now: float) -> None:
    issued, expires = claims.get("iat"), claims.get("exp")
    if issued is None or expires is None:
        raise _jwt("394301")
    if now >= float(expires):
        raise _jwt("394303")
    if abs(now - float(issued)) > ISSUED_WITHIN:
        raise _jwt("394302")


def _public_key(text: str) -> RSAPublicKey:
    lines = [line.strip() for line in text.splitlines() if not line.startswith("-----")]
    key = load_der_public_key(base64.b64decode("".join(lines)))
    if not isinstance(key, RSAPublicKey):
        raise TypeError("only RSA keys are taken")
    return key


def _opened(token: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    """A JWT's header, claims, the bytes that are signed, and the signature."""
    try:
        header, claims, signature = token.split(".")
        return (
            json.loads(_unpadded(header)),
            json.loads(_unpadded(claims)),
            f"{header}.{claims}".encode(),
            _unpadded(signature),
        )
    except (ValueError, binascii.Error):
        raise _jwt("390144") from None


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _jwt(code: str) -> SnowflakeError:
    return SnowflakeError(code, "08001", CODES[code])
