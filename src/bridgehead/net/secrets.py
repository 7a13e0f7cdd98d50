# SPDX-License-Identifier: MIT
"""Secrets by reference: settings name where a secret is, never the secret itself.

"file:PATH" (its first line), "env:NAME", or "credential:NAME" for what systemd hands over (LoadCredential=,
systemd.exec(5)). Read anew each time, so that a secret is exchanged without a restart.
"""

import os
from pathlib import Path
from typing import Final

from bridgehead.mail.limits import SECRET_BYTES, SECRET_DOCUMENT_BYTES
from bridgehead.mail.secret import Secret

FORMS: Final = '"file:PATH", "env:NAME" or "credential:NAME"'
_CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"


def read_secret(reference: str, directory: Path | None = None) -> Secret:
    """The secret that a reference names. Raises ValueError, which never holds the secret.

    Args:
        directory: where relative paths lie; None for the working directory.
    """
    kind, _, where = reference.partition(":")
    if kind == "file" and where:
        value = _first_line((directory or Path()) / where)
    elif kind == "credential" and where:
        value = _first_line(credential_file(where))
    elif kind == "env" and where:
        value = os.environ.get(where, "")
    else:
        raise ValueError(f"a secret is named by {FORMS}; it does not stand in the configuration itself")
    if not value:
        raise ValueError(f"there is no secret in {kind}:{where}")
    return Secret(value)


def read_document(reference: str, directory: Path | None = None) -> Secret:
    """A whole file that is secret, as a service account's key file: "file:PATH" or "credential:NAME".
    Raises ValueError, which never holds the secret."""
    kind, _, where = reference.partition(":")
    if kind == "file" and where:
        file = (directory or Path()) / where
    elif kind == "credential" and where:
        file = credential_file(where)
    else:
        raise ValueError('a secret file is named by "file:PATH" or "credential:NAME"')
    return Secret(_content(file, SECRET_DOCUMENT_BYTES, "key file"))


def credential_file(name: str) -> Path:
    """Where systemd puts a credential. Raises ValueError without systemd, or for a name that is none."""
    folder = os.environ.get(_CREDENTIALS)
    if not folder:
        raise ValueError(f"there is no credential {name}: the server was not started by systemd with LoadCredential=")
    if "/" in name or name in (".", ".."):
        raise ValueError(f"{name!r} is no name of a credential")
    return Path(folder) / name


def _first_line(file: Path) -> str:
    return _content(file, SECRET_BYTES, "secret of one line").split("\n", 1)[0].rstrip("\r")


def _content(file: Path, most: int, kind: str) -> str:
    try:
        with file.open("rb") as opened:
            text = opened.read(most + 1).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the secret cannot be read from {file}: {type(error).__name__}") from None
    if len(text) > most:
        raise ValueError(f"{file} holds more than {most} octets: that is no {kind}")
    return text
