# SPDX-License-Identifier: MIT
"""`python -m bridgehead.admin.telemetry`, as `server/telemetry_process.py` starts it."""

from bridgehead.admin.telemetry.process import main

if __name__ == "__main__":
    main()
