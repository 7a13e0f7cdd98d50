# SPDX-License-Identifier: MIT
"""Commands about connectors: which takes a client, devices, access tokens, the audit."""
