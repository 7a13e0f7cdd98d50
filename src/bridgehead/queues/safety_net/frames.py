# SPDX-License-Identifier: MIT
"""Files of the Safety Net: delivered messages one after the other, each in a frame with lengths and checksum.

A segment is a file of the hour in which it was begun, `YYYYMMDDHH-NNNN.sn` (UTC), and, where there was large content, a
folder of the same name beside it that holds hard links to it. Segments are only appended to and deleted as a whole. A
crash may leave the last frame torn; reading ends before it.
"""

import re
import shutil
import struct
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import msgspec

from bridgehead.mail.content import BytesContent, Content
from bridgehead.mail.item import MailItem
from bridgehead.mail.limits import INLINE_CONTENT_BYTES
from bridgehead.queues.sqlite.content_files import FileContent, damage_of_file
from bridgehead.routing.next_hop import NextHop

SUFFIX: Final = ".sn"
_NAME: Final = re.compile(r"(\d{10})-(\d{4,8})\.sn")
_FRAME: Final = struct.Struct("<4sIII")
"""Magic, octets of the head, octets of content behind it, CRC-32 of both."""
_MAGIC: Final = b"BHSN"
HEAD_BYTES: Final = 64 * 1024 * 1024
"""More than the head of a message with every recipient it may have."""
_BUFFER_BYTES: Final = 256 * 1024


class DamagedSegment(Exception):
    """What is read is no frame as it was written; the text says where and how."""


class Kept(msgspec.Struct, array_like=True, gc=False):
    """One delivered message, or the part of it that was delivered at that time.

    Attributes:
        at: Unix time of delivery.
        item: the message as it was queued, its envelope with the recipients concerned only.
        next_hop: where it went.
        file: name of the content within the segment's folder, "" for content within the frame.
        size, crc: of that file.
    """

    at: float
    item: MailItem
    next_hop: NextHop | None = None
    file: str = ""
    size: int = 0
    crc: int = 0


class Frame(NamedTuple):
    """A message as it lies in a segment: where its frame begins, where its content is, and the checksum."""

    kept: Kept
    start: int
    content_start: int
    content_size: int
    crc: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Kept).decode


def frame_of(kept: Kept, content: bytes) -> tuple[bytes, bytes]:
    """What to append for a message, in two parts. Raises what msgspec raises for what cannot be encoded."""
    head = _encode(kept)
    crc = zlib.crc32(content, zlib.crc32(head))
    return _FRAME.pack(_MAGIC, len(head), len(content), crc) + head, content


def segment_name(now: float, number: int) -> str:
    """The name of a segment begun at this Unix time."""
    return f"{datetime.fromtimestamp(now, UTC):%Y%m%d%H}-{number:04d}{SUFFIX}"


def begun_at(name: str) -> float | None:
    """The Unix time of the hour in which a segment was begun; None for a name that is none of ours."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    try:
        return datetime.strptime(match[1], "%Y%m%d%H").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def number_of(name: str) -> int:
    """Which segment of its hour this is."""
    match = _NAME.fullmatch(name)
    return int(match[2]) if match else 0


def folder_of(segment: Path) -> Path:
    """Where a segment's large content lies."""
    return segment.with_suffix("")


def size_of(segment: Path) -> int:
    """Octets on disk of a segment with its large content. Raises OSError."""
    folder = folder_of(segment)
    files = folder.iterdir() if folder.is_dir() else ()
    return segment.stat().st_size + sum(file.stat().st_size for file in files)


def delete_segment(segment: Path) -> None:
    """Raises OSError."""
    shutil.rmtree(folder_of(segment), ignore_errors=True)
    segment.unlink(missing_ok=True)


def read_frames(segment: Path, start: int = 0) -> Iterator[Frame]:
    """The frames of a segment from an offset on, without their content, which is not looked at.

    Raises DamagedSegment where something else than a frame stands, OSError.
    """
    with open(segment, "rb", buffering=_BUFFER_BYTES) as file:
        file.seek(0, 2)
        end = file.tell()
        while start + _FRAME.size <= end:
            file.seek(start)
            magic, head_size, content_size, crc = _FRAME.unpack(file.read(_FRAME.size))
            if magic != _MAGIC or head_size > HEAD_BYTES or content_size > INLINE_CONTENT_BYTES:
                raise DamagedSegment(f"{segment.name}: there is no message at octet {start}")
            content_start = start + _FRAME.size + head_size
            if content_start + content_size > end:
                return  # torn by a crash, or just being written
            try:
                kept = _decode(file.read(head_size))
            except (msgspec.MsgspecError, UnicodeError) as error:
                raise DamagedSegment(f"{segment.name}: the message at octet {start} cannot be read: {error}") from None
            yield Frame(kept, start, content_start, content_size, crc)
            start = content_start + content_size


def content_of(segment: Path, frame: Frame) -> Content:
    """The content of a message. Raises DamagedSegment, OSError."""
    kept = frame.kept
    if kept.file:
        content = FileContent(folder_of(segment) / kept.file, kept.size, kept.crc)
        if damage := damage_of_file(content, read=True):
            raise DamagedSegment(damage)
        return content
    with open(segment, "rb") as file:
        return BytesContent(_checked(segment, frame, file))


def check_segment(segment: Path) -> list[str]:
    """Everything that is wrong with a segment, in words. A torn end is not."""
    found: list[str] = []
    try:
        with open(segment, "rb") as file:
            found.extend(damage for frame in read_frames(segment) if (damage := _damage(segment, frame, file)))
    except FileNotFoundError:
        return []  # its time was over
    except (DamagedSegment, OSError) as error:
        found.append(str(error))
    return found


def _damage(segment: Path, frame: Frame, file: BinaryIO) -> str:
    """What is wrong with one message, "" when nothing is. Raises OSError."""
    try:
        _checked(segment, frame, file)
        if frame.kept.file:
            content_of(segment, frame)
    except DamagedSegment as damage:
        return str(damage)
    return ""


def _checked(segment: Path, frame: Frame, file: BinaryIO) -> bytes:
    start = frame.start + _FRAME.size
    file.seek(start)
    data = file.read(frame.content_start - start + frame.content_size)
    if zlib.crc32(data) != frame.crc:
        raise DamagedSegment(f"{segment.name}: the message at octet {frame.start} was damaged: its checksum differs")
    return data[frame.content_start - start :]
