# SPDX-License-Identifier: MIT
"""The command `bridgehead`, also as `python -m bridgehead`."""

from bridgehead.server.main import main

if __name__ == "__main__":
    main()
