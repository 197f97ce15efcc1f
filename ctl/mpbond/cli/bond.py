"""`mpbond bond`: what the running bonds do and did, and what can be asked of them."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mpbond import events, view
from mpbond.cli.options import (
    InterfaceOption,
    JsonOption,
    RunDirOption,
    ask_controller,
    find_bond,
    out,
    read_snapshot,
    say,
)

# How often `events --follow` asks.
_FOLLOW_S = 0.5


class PeerFirst(TyperGroup):
    """Lets `bond PEER show` be said for `bond show PEER`, as ZeroTier has it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = [index for index, arg in enumerate(args) if not arg.startswith("-")]
        if len(words) >= 2:
            first, second = words[0], words[1]
            if args[first] not in self.commands and args[second] in self.commands:
                args[first], args[second] = args[second], args[first]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


app = typer.Typer(cls=PeerFirst, no_args_is_help=True, help="List, show and steer the running bonds.")

PeerArgument = Annotated[str, typer.Argument(metavar="PEER", help="Id or name of a peer.")]


@app.command("list")
def list_bonds(
    as_json: JsonOption = False, interface: InterfaceOption = None, run_dir: RunDirOption = None
) -> None:
    """One line a peer: its policy, how many links live, is it heard.

    Examples: mpbond bond list; mpbond bond list -j
    """
    snapshot = read_snapshot(run_dir, interface)
    if as_json:
        typer.echo(json.dumps([bond.as_json(with_paths=False) for bond in snapshot.bonds], indent=2))
    else:
        out.print(view.bond_list(snapshot))


@app.command()
def show(
    peer: PeerArgument,
    as_json: JsonOption = False,
    interface: InterfaceOption = None,
    run_dir: RunDirOption = None,
) -> None:
    """Everything about the bond to one peer: its paths, how they do, what they carried.

    Examples: mpbond bond show office; mpbond bond 77dcbe7120 show -j
    """
    snapshot = read_snapshot(run_dir, interface)
    bond = find_bond(snapshot, peer)
    if as_json:
        data = bond.as_json() | {"reasons": snapshot.reasons, "notes": list(snapshot.notes)}
        typer.echo(json.dumps(data, indent=2))
    else:
        out.print(view.bond_show(snapshot, bond))


@app.command()
def rotate(
    peer: PeerArgument,
    as_json: JsonOption = False,
    interface: InterfaceOption = None,
    run_dir: RunDirOption = None,
) -> None:
    """Move an active-backup bond to its next path, without losing a packet.

    The next one by number that is no spare, after the last the first. It stays until it
    fails; under linkSelectMethod always or better also only until the primary has failed
    and is back.

    Examples: mpbond bond rotate office; mpbond bond 77dcbe7120 rotate
    """
    done = ask_controller(run_dir, interface, "rotate", peer=peer)
    if as_json:
        typer.echo(json.dumps(done, indent=2))
    else:
        say(f"active link rotated from {_place(done['from'])} to {_place(done['to'])}")


def _place(path: dict[str, Any]) -> str:
    """As ZeroTier has it: interface, address and port between slashes."""
    return f"{path['ifname']}/{path['address']}/{path['port']}"


@app.command("set")
def set_policy(
    peer: PeerArgument,
    policy: Annotated[str, typer.Argument(metavar="POLICY", help="Of the file, or a standard one.")],
    as_json: JsonOption = False,
    interface: InterfaceOption = None,
    run_dir: RunDirOption = None,
) -> None:
    """Put the bond to one peer under another policy, without losing a packet.

    A standard policy or one of the file that the bond was brought up with. It holds until
    the next `mpbond up`, where the file counts again; the file is not changed.

    Examples: mpbond bond set office balance-xor; mpbond bond 77dcbe7120 set active-backup
    """
    done = ask_controller(run_dir, interface, "set-policy", peer=peer, policy=policy)
    if as_json:
        typer.echo(json.dumps(done, indent=2))
    else:
        say(f"{done['peer']} is under {done['to']} now (was {done['from']}); the next `up` goes by its file")


AnyPeerArgument = Annotated[
    str | None, typer.Argument(metavar="[PEER]", help="Id or name of a peer; all where it is left out.")
]


@app.command("events")
def show_events(
    peer: AnyPeerArgument = None,
    count: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last ones.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as they happen.")] = False,
    as_json: JsonOption = False,
    interface: InterfaceOption = None,
    run_dir: RunDirOption = None,
) -> None:
    """What has happened: paths up, down, avoided and used again, failovers, shares, capacities.

    The controller keeps the last 1,000; they end with it. As JSON one object in a line.

    Examples: mpbond bond events; mpbond bond events office -f; mpbond bond office events -n 5 -j
    """
    asked = {} if peer is None else {"peer": peer}
    found = ask_controller(run_dir, interface, "events", since="0", **asked)["events"]
    _print_events(found[-count:] if count else [], as_json)
    while follow:
        last = str(found[-1]["number"]) if found else "0"
        time.sleep(_FOLLOW_S)
        news = ask_controller(run_dir, interface, "events", since=last, **asked)["events"]
        _print_events(news, as_json)
        found = news or found


def _print_events(found: list[dict[str, Any]], as_json: bool) -> None:
    for event in found:
        if as_json:
            typer.echo(json.dumps(event))
            continue
        at = datetime.fromtimestamp(event["time"]).isoformat(" ", "milliseconds")
        text = events.line(event["kind"], event["path"], event["ifname"], event["cause"])
        say(f"{at} {event['peer']}: {text}")
