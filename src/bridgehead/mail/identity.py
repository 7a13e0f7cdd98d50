# SPDX-License-Identifier: MIT
"""Names of messages: the network message id that stays through forks, and Message-ID fields we make up.

The internal message id, new for each fork, is a number that the queue store hands out.
"""


def network_message_id(random_bytes: bytes) -> str:
    """A GUID in Exchange's form (lower case, with dashes) from 16 random bytes (RFC 9562 §5.4)."""
    if len(random_bytes) != 16:
        raise ValueError("16 random bytes make a network message id")
    digits = random_bytes.hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"


def message_id_field(network_id: str, fqdn: str) -> str:
    """A Message-ID for a message that has none (RFC 5322 §3.6.4), with its angle brackets."""
    return f"<{network_id}@{fqdn}>"
