"""Building blocks of the configuration that connectors, loaders and the service share."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator

from state.errors import ConfigurationError
from state.masking import remember


class Group(BaseModel):
    """A frozen section of the configuration; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True)


class Secret(Group):
    """A reference to a secret, never the secret: `{env: NAME}` or `{file: PATH}`."""

    env: str | None = Field(default=None, min_length=1)
    """Name of an environment variable."""
    file: Path | None = None
    """Path of a file; surrounding white space in it is ignored."""

    @model_validator(mode="after")
    def _one_of(self) -> Secret:
        if (self.env is None) == (self.file is None):
            raise ValueError(
                "give exactly one of {env: NAME} and {file: PATH}; a secret is never written here itself"
            )
        return self

    @model_serializer
    def _reference(self) -> dict[str, str]:
        return {"env": self.env} if self.env is not None else {"file": str(self.file)}

    def read(self) -> str:
        """The secret, read anew each time so that a rotated file is seen. Raises `ConfigurationError`.

        From then on `state.masking.mask` hides it wherever it turns up.
        """
        if self.env is not None:
            found = os.environb.get(os.fsencode(self.env), b"")
            where = f"environment variable {self.env}"
        else:
            where = f"file {self.file}"
            try:
                found = Path(str(self.file)).read_bytes()
            except OSError as error:
                raise ConfigurationError(
                    f"cannot read the secret in {where}: {error.strerror}", code="secret"
                ) from None
        value = _text(found, where)
        value = value if self.file is None else value.strip()
        if not value:
            raise ConfigurationError(
                f"the secret in {where} is empty or not set", hint=f"Set {where}.", code="secret"
            )
        remember(value)
        return value


def _text(found: bytes, where: str) -> str:
    """The text that a secret is. Raises `ConfigurationError`."""
    try:
        return found.decode()
    except UnicodeDecodeError:
        pass  # whose message would repeat the secret
    raise ConfigurationError(
        f"the secret in {where} is no text in UTF-8",
        hint="Write it in UTF-8; a private key in DER becomes PEM with"
        " `openssl pkcs8 -topk8 -nocrypt -inform DER -in KEY.der -out KEY.p8`.",
        code="secret",
    )
