# SPDX-License-Identifier: MIT
"""The token store on a real disk: what is kept comes back, what was touched is refused and left alone."""

import base64
import os
from pathlib import Path

import pytest

from bridgehead.delivery.oauth.store import KEY_FILE, STORE_FILE, StoredToken, StoreUnusable, TokenStore
from bridgehead.mail.secret import Secret


def token(key: str = "k", text: str = "Cnry-refresh") -> StoredToken:
    return StoredToken(key=key, refresh_token=Secret(text), obtained=1.0, used=2.0)


async def test_what_is_kept_comes_back_and_is_not_readable(tmp_path: Path) -> None:
    await TokenStore(tmp_path, "").put(token())
    found = await TokenStore(tmp_path, "").get("k")
    assert found is not None
    assert (found.refresh_token.reveal(), found.used) == ("Cnry-refresh", 2.0)
    assert b"Cnry" not in (tmp_path / STORE_FILE).read_bytes()
    assert all((tmp_path / name).stat().st_mode & 0o777 == 0o600 for name in (STORE_FILE, KEY_FILE))
    assert "Cnry" not in repr(found)


async def test_each_writing_has_another_nonce(tmp_path: Path) -> None:
    store = TokenStore(tmp_path, "")
    await store.put(token())
    first = (tmp_path / STORE_FILE).read_bytes()
    await store.put(token())
    assert (tmp_path / STORE_FILE).read_bytes() != first


async def test_nothing_is_made_by_looking(tmp_path: Path) -> None:
    assert await TokenStore(tmp_path, "").get("k") is None
    assert list(tmp_path.iterdir()) == []


async def test_removing(tmp_path: Path) -> None:
    store = TokenStore(tmp_path, "")
    await store.put(token("a"))
    await store.put(token("b"))
    assert await store.remove("a")
    assert not await store.remove("a")
    again = TokenStore(tmp_path, "")
    assert await again.get("a") is None
    assert await again.get("b") is not None


@pytest.mark.parametrize("place", [0, 10, 30, 40, -1])
async def test_a_store_that_was_touched_is_refused_and_left_alone(tmp_path: Path, place: int) -> None:
    await TokenStore(tmp_path, "").put(token())
    data = bytearray((tmp_path / STORE_FILE).read_bytes())
    data[place] ^= 1
    (tmp_path / STORE_FILE).write_bytes(data)
    store = TokenStore(tmp_path, "")
    with pytest.raises(StoreUnusable, match="was changed or belongs to another key"):
        await store.get("k")
    with pytest.raises(StoreUnusable):
        await store.put(token())
    assert (tmp_path / STORE_FILE).read_bytes() == data


async def test_a_key_that_is_lost_is_not_made_anew(tmp_path: Path) -> None:
    await TokenStore(tmp_path, "").put(token())
    (tmp_path / KEY_FILE).unlink()
    with pytest.raises(StoreUnusable, match="cannot be read"):
        await TokenStore(tmp_path, "").get("k")
    assert not (tmp_path / KEY_FILE).exists()


async def test_a_key_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    await TokenStore(tmp_path, "").put(token())
    (tmp_path / KEY_FILE).chmod(0o644)
    with pytest.raises(StoreUnusable, match="chmod 600"):
        await TokenStore(tmp_path, "").get("k")


async def test_a_key_by_reference(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(base64.b64encode(os.urandom(32)))
    await TokenStore(tmp_path, "file:key").put(token())
    assert not (tmp_path / KEY_FILE).exists()
    assert await TokenStore(tmp_path, "file:key").get("k") is not None
    (tmp_path / "key").write_text("Cnry-short")
    with pytest.raises(StoreUnusable, match="openssl rand") as caught:
        await TokenStore(tmp_path, "file:key").get("k")
    assert "Cnry" not in str(caught.value)


async def kept(store: TokenStore) -> str:
    found = await store.get("k")
    assert found is not None
    return found.refresh_token.reveal()


async def test_a_disk_that_takes_nothing_loses_nothing(tmp_path: Path) -> None:
    store = TokenStore(tmp_path, "")
    await store.put(token())
    (tmp_path / f".{STORE_FILE}.new").mkdir()
    with pytest.raises(StoreUnusable, match="cannot be written"):
        await store.put(token(text="another"))
    assert "cannot be written" in store.trouble
    assert await kept(store) == "another"
    assert await kept(TokenStore(tmp_path, "")) == "Cnry-refresh"
    (tmp_path / f".{STORE_FILE}.new").rmdir()
    await store.save()
    assert store.trouble == ""
    assert await kept(TokenStore(tmp_path, "")) == "another"
