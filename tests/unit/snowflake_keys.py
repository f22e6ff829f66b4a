"""Key pairs for tests of logins."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

PKCS8, PKCS1 = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL


@cache
def key(number: int = 1) -> rsa.RSAPrivateKey:
    """One of several keys, made once: it takes a while."""
    assert number
    return rsa.generate_private_key(65537, 2048)


def private(number: int = 1, form: serialization.PrivateFormat = PKCS8, passphrase: str | None = None) -> str:
    """The private key in PEM."""
    how = (
        serialization.NoEncryption()
        if passphrase is None
        else serialization.BestAvailableEncryption(passphrase.encode())
    )
    return key(number).private_bytes(serialization.Encoding.PEM, form, how).decode()


def _der(number: int) -> bytes:
    public = key(number).public_key()
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def public(number: int = 1) -> str:
    """The public key as `ALTER USER … SET RSA_PUBLIC_KEY` takes it."""
    return base64.b64encode(_der(number)).decode()


def fingerprint(number: int = 1) -> str:
    """The public key's fingerprint, as an issuer of a JWT ends."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(_der(number)).digest()).decode()


def claims(token: str) -> dict[str, object]:
    """What a JWT says."""
    middle = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
