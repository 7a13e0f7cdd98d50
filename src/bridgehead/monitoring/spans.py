# SPDX-License-Identifier: MIT
"""Spans of time in the words of a sentence. Pure."""


def span(seconds: float) -> str:
    """Seconds in the two largest units that matter: "2 d 3 h", "3 h 5 min", "4 min", "12 s"."""
    if seconds == float("inf"):
        return "for ever"
    whole = max(0, int(seconds))
    days, rest = divmod(whole, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min" if minutes else f"{rest} s"
