"""What a scenario says: 80 columns, claims with what was wanted, and its end."""

from __future__ import annotations

import pytest
from rich.console import Console

from mpbond.errors import EXIT_FAILED, BondError
from mpbond.lab.report import Claim, Report

TRUE = Claim("lost 0 of 10 packets", "none", True)
FALSE = Claim("lost 7 of 10 packets", "none", False)
LONG = Claim("the bond carried " + "a great deal " * 8, "more than " + "that " * 20, True)


@pytest.fixture
def report() -> Report:
    return Report(Console(width=80, color_system=None, record=True, quiet=False, _environ={}))


def text(report: Report) -> list[str]:
    return report.console.export_text().splitlines()


def test_a_claim_stands_above_what_was_wanted(report: Report) -> None:
    report.check(TRUE)
    report.check(FALSE)
    assert text(report) == [
        "   ok     lost 0 of 10 packets",
        "          wanted: none",
        "   FAILED lost 7 of 10 packets",
        "          wanted: none",
    ]


def test_long_words_are_wrapped_below_their_beginning(report: Report) -> None:
    report.say("every word of this " * 10)
    report.check(LONG)
    lines = text(report)
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if line != line.rstrip()]
    assert all(line.startswith("   ") for line in lines)


def test_commands_are_shown_as_typed(report: Report) -> None:
    report.step(3, "It comes up")
    report.command("a", ["mpbond", "up", "my site.yaml"])
    report.file("site.yaml", "node:\n  id: 00000000aa\n")
    report.output("as it is [bold]\n")
    lines = text(report)
    assert lines[:3] == ["", "3. It comes up", "   a# mpbond up 'my site.yaml'"]
    assert lines[3].startswith("╭─ site.yaml ─") and len(lines[3]) == 80
    assert lines[4].split() == ["│", "node:", "│"]
    assert lines[-1] == "as it is [bold]"


def test_the_end_is_good_only_if_every_claim_held(report: Report) -> None:
    report.check(TRUE)
    report.finish()
    assert text(report)[-1] == "All 1 claims held."
    report.check(FALSE)
    with pytest.raises(
        BondError, match=r"1 of 2 claims did not hold:\n  lost 7 of 10 packets; wanted: none"
    ) as e:
        report.finish()
    assert e.value.exit_code == EXIT_FAILED
