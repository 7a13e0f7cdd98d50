# SPDX-License-Identifier: MIT
"""One finding about a list of settings; whoever reads the file adds its name and line."""

import msgspec


class SettingError(msgspec.Struct, frozen=True):
    """What is wrong with one item of a list.

    Attributes:
        index: position of the item in its list, from 0.
        field: name of the setting in that item.
        message: what is wrong and what was expected, in plain words.
    """

    index: int
    field: str
    message: str
