"""RSA keys of test users, and JWTs that are wrong in one thing."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


@dataclass(frozen=True)
class Key:
    """`private`: PEM as the connector takes it; `public`: as RSA_PUBLIC_KEY takes it."""

    private: str
    public: str
    fingerprint: str


@cache
def key(name: str) -> Key:
    """The key of this name; a name always has the same one."""
    pair = _pair(name)
    private = pair.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    der = pair.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    printed = "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).decode()
    return Key(private, base64.b64encode(der).decode(), printed)


@cache
def _pair(_name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def token(user: str, signed_with: str, *, algorithm: str = "RS256", **claims: Any) -> str:
    """A login token of `user` signed with the key of a name; `claims` replace those that are right."""
    now = int(time.time())
    issuer = f"TEST.{user}.{key(signed_with).fingerprint}"
    right = {"sub": f"TEST.{user}", "iss": issuer, "iat": now, "exp": now + 60}
    kept = {name: value for name, value in {**right, **claims}.items() if value is not None}
    head = ".".join(_part({"alg": algorithm, "typ": "JWT"} if one is None else one) for one in (None, kept))
    signature = _pair(signed_with).sign(head.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{head}.{_unpadded(signature)}"


def _part(document: dict[str, Any]) -> str:
    return _unpadded(json.dumps(document).encode())


def _unpadded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
