# SPDX-License-Identifier: MIT
"""Prints docs/reference/causes.md from the tables of rules:

PYTHONPATH=tests:src python tests/support/cause_reference.py > docs/reference/causes.md
"""

from collections.abc import Iterable
from pathlib import Path

from bridgehead.admin.why.scheduling import OWN_CAUSE, told
from bridgehead.diagnosis.door_rules import DOOR_RULES
from bridgehead.diagnosis.engine import RULES
from bridgehead.diagnosis.reply_rules import REPLY_RULES
from bridgehead.diagnosis.scheduler import Reason, Situation
from bridgehead.diagnosis.symptoms import NOTES, SYMPTOMS
from support.symptom_proofs import PROOFS, SCRIPTED

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "causes.md"


_INTRODUCTION = (
    "What `bridgehead why` tells apart. This page is made from the tables of rules; names are stable, `--json` has "
    "them as `cause`."
)
_SESSIONS = (
    "Every rule looks at all attempts since the last success, not at the last error. The cause that explains most "
    "sessions is told; of two that explain the same, the more particular one."
)
_REPLIES = (
    "Compared in this order with the reply's code, enhanced code and words; the first that fits counts. The same table "
    "explains what is pasted: replies, non-delivery reports, `LED=` strings, errors of Postfix and of sockets."
)
_SYMPTOMS = (
    "The symptoms that administrators of Exchange transport meet, which causes tell them, and the tests that produce them. "
    '"In their words": only Exchange, Microsoft 365 or large receivers say so, and a host of the test says it for them.'
)
_SCHEDULER = (
    "Each state of the scheduler has exactly one of these reasons, in `--json` as `reason`. Those marked are causes "
    "themselves; the others follow from what sessions met."
)


def causes_by_row() -> dict[int, list[str]]:
    """Names of the causes that tell each symptom."""
    found: dict[int, list[str]] = {row: [] for row in SYMPTOMS}
    for rule in (*RULES, *DOOR_RULES, *REPLY_RULES):
        for row in rule.rows:
            if rule.id not in found[row]:
                found[row].append(rule.id)
    return found


def render() -> str:
    """The whole page."""
    lines = [
        "# Causes",
        "",
        _INTRODUCTION,
        "",
        "## Of failed sessions",
        "",
        _SESSIONS,
        "",
        *_table(("Cause", "Symptoms", "Owner", "Recognised by", "What helps"),
                ((f"`{r.id}`", _rows(r.rows), r.owner.value, r.what, r.do) for r in RULES)),
        "",
        "## Of replies and pasted errors",
        "",
        _REPLIES,
        "",
        *_table(("Cause", "Symptoms", "Owner", "Sentence"),
                ((f"`{r.id}`", _rows(r.rows), r.owner.value, r.says) for r in REPLY_RULES)),
        "",
        "## Of refusals at our own door",
        "",
        *_table(("Cause", "Symptoms", "Owner", "Recognised by"),
                ((f"`{r.id}`", _rows(r.rows), r.owner.value, r.what) for r in DOOR_RULES)),
        "",
        "## Of the scheduler",
        "",
        _SCHEDULER,
        "",
        *_table(("Reason", "Cause itself", "Said as, for example"),
                ((f"`{one.value}`", "yes" if one in OWN_CAUSE else "", told(one, _example(), "To Internet/contoso.com", 0.0).why)
                 for one in Reason)),
        "",
        "## Symptoms",
        "",
        _SYMPTOMS,
        "",
        *_table(("No.", "Symptom", "Causes", "Produced in", "Note"), _symptoms()),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _symptoms() -> Iterable[tuple[str, ...]]:
    causes = causes_by_row()
    for row, symptom in SYMPTOMS.items():
        names = ", ".join(f"`{name}`" for name in causes[row]) or "—"
        yield str(row), symptom, names, _proofs(row), NOTES.get(row, "")


def _proofs(row: int) -> str:
    """Files of the tests, each once; whether only a host of theirs says the words."""
    files = dict.fromkeys(test.partition("::")[0] for test in PROOFS[row])
    return ", ".join(f"`{file}`" for file in files) + (" (in their words)" if row in SCRIPTED else "")


def _example() -> Situation:
    from bridgehead.diagnosis.scheduler import Limit

    limit = Limit("max_outbound_connections", 1000, 1000, "bridgehead.toml:41", "delivery")
    return Situation(
        limits=(limit,), suspended_by="ann", held_by="standing rule 3", pressure="the disk is full", waits=2
    )


def _rows(rows: tuple[int, ...]) -> str:
    return ", ".join(map(str, rows)) or "—"


def _table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return lines


if __name__ == "__main__":
    print(render(), end="")
