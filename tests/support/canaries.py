# SPDX-License-Identifier: MIT
"""Secrets made to be found: each is unique, and is looked for in every form in which it might leak."""

import base64
import urllib.parse
from collections.abc import Iterator
from pathlib import Path


class Canary:
    """One secret with a name for the report of what was found."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = f"Cnry-{name}-7Kq9"

    def forms(self) -> dict[str, bytes]:
        """How it may look: as it is, base64 wherever it begins in a group of three octets, hexadecimal, in a URL."""
        raw = self.text.encode()
        found = {"as it is": raw, "hexadecimal": raw.hex().encode(), "url": urllib.parse.quote(self.text).encode()}
        for shift in range(3):
            # Only the groups that hold nothing but the secret: what stands around it is not known.
            whole = raw[(3 - shift) % 3 :]
            encoded = base64.b64encode(whole[: len(whole) // 3 * 3])
            found[f"base64, shifted by {shift}"] = encoded
        return found


def leaks(data: bytes, canaries: list[Canary]) -> Iterator[str]:
    """Every canary found, and how it looked. Letters are compared without case, but for base64."""
    lower = data.lower()
    for canary in canaries:
        for form, octets in canary.forms().items():
            if octets in data or (not form.startswith("base64") and octets.lower() in lower):
                place = data.find(octets)
                around = data[max(0, place - 60) : place + 60] if place >= 0 else b""
                yield f"{canary.name} ({form}): …{around!r}…"


def leaks_in_files(folder: Path, canaries: list[Canary], allowed: list[Path]) -> list[str]:
    """What is found in any file below a folder but those that may hold it; names of files are searched as well."""
    found = []
    for path in sorted(folder.rglob("*")):
        if any(path == one or one in path.parents for one in allowed):
            continue
        found += [f"name of {path}: {leak}" for leak in leaks(str(path.relative_to(folder)).encode(), canaries)]
        if path.is_file() and not path.is_symlink():
            found += [f"{path}: {leak}" for leak in leaks(path.read_bytes(), canaries)]
    return found
