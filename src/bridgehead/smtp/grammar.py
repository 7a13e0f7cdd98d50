# SPDX-License-Identifier: MIT
"""Named patterns of the command grammar, beside their ABNF.

esmtp-param    = esmtp-keyword ["=" esmtp-value]                       RFC 5321 §4.1.2
esmtp-keyword  = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
esmtp-value    = 1*(%d33-60 / %d62-126)                                and UTF-8 with SMTPUTF8, RFC 6531 §3.3
xtext          = *( xchar / hexchar )                                  RFC 3461 §4
hexchar        = "+" 2(%x30-39 / %x41-46)
chunk-size     = 1*DIGIT                                               RFC 3030 §2
"""

import re
from typing import Final

PARAMETER: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([^\x00-\x20=\x7f]+))?")
XTEXT: Final = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
HEXCHAR: Final = re.compile(r"\+([0-9A-F]{2})")
SIZE: Final = re.compile(r"[0-9]{1,20}")
CHUNK: Final = re.compile(rb"([0-9]{1,20})(?:[ \t]+([A-Za-z]+))?[ \t]*")
BASE64: Final = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
UNITEXT_HEX: Final = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
ADDRESS_TYPE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")
