# SPDX-License-Identifier: MIT
"""The command line: each module holds the commands of one subject and calls the use cases in `admin`."""
