# SPDX-License-Identifier: MIT
"""A server with an open relay planted in it: it passes percent addresses of relay domains on, as some once did.

python tests/support/relaying_server.py -c CONFIG run
"""

from bridgehead.receive.permissions import addresses as address_check
from bridgehead.server.main import main

if __name__ == "__main__":
    address_check._check_passed_on = lambda *_: None  # type: ignore[assignment]
    main()
