# SPDX-License-Identifier: MIT
"""`python -m bridgehead.admin.api`, as `server/api_process.py` starts it."""

from bridgehead.admin.api.process import main

if __name__ == "__main__":
    main()
