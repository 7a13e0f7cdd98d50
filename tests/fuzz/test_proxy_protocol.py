# SPDX-License-Identifier: MIT
from hypothesis import given
from hypothesis import strategies as st

from bridgehead.net.ip_range import normalise_ip
from bridgehead.net.proxy_protocol import ProxyProtocolError, ProxyProtocolParser

STARTS = [b"", b"PROXY ", b"PROXY TCP4 ", b"PROXY TCP6 ", b"\r\n\r\n\0\r\nQUIT\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11"]


@given(st.sampled_from(STARTS), st.binary(max_size=200), st.lists(st.integers(1, 40), max_size=30))
def test_any_octets_in_any_pieces_give_a_header_or_an_error(start: bytes, data: bytes, cuts: list[int]) -> None:
    whole = _outcome([start + data])
    pieces, position = [], 0
    for cut in cuts:
        pieces.append((start + data)[position : position + cut])
        position += cut
    pieces.append((start + data)[position:])
    assert _outcome(pieces) == whole


def _outcome(pieces: list[bytes]) -> object:
    parser = ProxyProtocolParser()
    header = None
    rest = b""
    for piece in pieces:
        if header is not None:
            rest += piece
            continue
        try:
            header = parser.feed(piece)
        except ProxyProtocolError:
            return "error"
    if header is None:
        return None
    if header.source_ip:
        normalise_ip(header.source_ip)
        normalise_ip(header.destination_ip)
    return header.source_ip, header.source_port, header.destination_ip, header.destination_port, header.rest + rest
