"""`mpbond run`: sets a bond up or adopts it, then loops until told to stop.

The only place that reads the clock, waits, and handles signals.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pyroute2 import IPRoute

from mpbond.config.model import Config
from mpbond.controller.assembly import make_controller
from mpbond.controller.controller import Controller
from mpbond.controller.requests import Requests
from mpbond.controller.socket import ControlServer
from mpbond.controller.statefile import StateFile
from mpbond.controller.trust import Trust
from mpbond.errors import BondError
from mpbond.kernel import registry
from mpbond.kernel.watch import LinkEvent, Watch
from mpbond.rundir import Lock, RunDir

SLOW_TICK_NS = 250_000_000
# How long a new policy's paths may take to come up: less than a caller waits for its
# answer. While all of them are new, nobody else gets one.
_CHANGE_TIMEOUT_S = 8.0
_CHANGE_POLL_S = 0.005
# Python hands the interpreter over after 5 ms by default: as long as a whole
# probe interval may be.
_SWITCH_INTERVAL_S = 0.0005
_REALTIME_PRIORITY = 1
_NICE = -10

Say = Callable[[str], None]


def hurry() -> None:
    """The calling thread before ordinary ones, as BFD and VRRP daemons do it: a
    busy host must not look like a dead path. What it starts is ordinary again."""
    try:
        policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(_REALTIME_PRIORITY))
    except OSError:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, _NICE)


class Daemon:
    """The loop around a controller. `ready` is called once packets can flow."""

    def __init__(self, config: Config, run_dir: RunDir, state_dir: Path, say: Say) -> None:
        self._config = config
        self._run_dir = run_dir
        self._state = StateFile(state_dir, config.interface.name, say)
        self._say = say
        self._wake = os.eventfd(0, os.EFD_NONBLOCK)
        self._stopping = threading.Event()
        self._keep = False

    def run(self, ready: Callable[[], None]) -> None:
        """Returns after a stop; the bond is down then unless `keep` was asked for."""
        name = self._config.interface.name
        lock = Lock(self._run_dir, name)
        with IPRoute() as ipr:
            controller = make_controller(self._config, ipr, self._say, self._state.load())
            try:
                controller.reconcile(time.monotonic_ns())
            except BaseException:
                if not controller.adopted:
                    registry.remove(ipr, name)
                raise
            watch = Watch()
            requests = Requests(controller)
            server = ControlServer(self._run_dir.socket(name), self._handlers(controller, requests))
            watcher = threading.Thread(
                target=self._watch, args=(watch, controller), name="netlink", daemon=True
            )
            watcher.start()
            handshaker = self._start_handshakes(controller)
            self._quicken()
            ready()
            self._loop(controller, requests)
            self._state.save(controller.minutes())
            watch.stop()
            watcher.join()
            watch.close()
            server.close()
            if controller.trust is not None and handshaker is not None:
                controller.trust.wake()
                handshaker.join()
                controller.trust.close()
            if not self._keep:
                for left in registry.remove(ipr, name):
                    self._say(f"removed the {left.what} on {left.ifname}")
        self._run_dir.remove(name)
        lock.release()

    def stop(self, *, keep: bool = False) -> None:
        """From any thread or a signal handler."""
        self._keep = keep
        self._stopping.set()
        self._wake_loop()

    def _handlers(
        self, controller: Controller, requests: Requests
    ) -> dict[str, Callable[[dict[str, object]], object]]:
        def down(_: dict[str, object]) -> str:
            self.stop()
            return "stopping"

        return {
            "snapshot": lambda _: controller.snapshot(time.monotonic_ns()).as_json(),
            "rotate": lambda request: requests.rotate(str(request["peer"]), time.monotonic_ns()),
            "set-policy": lambda request: self._set_policy(
                requests, str(request["peer"]), str(request["policy"])
            ),
            "events": lambda request: self._events(controller, request),
            "down": down,
        }

    def _events(self, controller: Controller, request: dict[str, object]) -> dict[str, object]:
        peer = None if request.get("peer") is None else str(request["peer"])
        wall_ns = time.time_ns() - time.monotonic_ns()
        return {"events": controller.events(int(str(request.get("since", 0))), peer, wall_ns)}

    def _set_policy(self, requests: Requests, peer: str, name: str) -> dict[str, object]:
        """Waits until a path of the new policy works; else all stays as it was."""
        change = requests.begin(peer, name, time.monotonic_ns())
        deadline = time.monotonic() + _CHANGE_TIMEOUT_S
        self._wake_loop()
        try:
            while not requests.finish(change, time.monotonic_ns()):
                if time.monotonic() > deadline or self._stopping.is_set():
                    raise BondError(
                        f"policy {name} is not in force: none of its paths came up within "
                        f"{_CHANGE_TIMEOUT_S:.0f} s; {change.before.name} goes on"
                    )
                time.sleep(_CHANGE_POLL_S)
        except BaseException:
            requests.abandon(change, time.monotonic_ns())
            raise
        self._wake_loop()
        return {"peer": change.peer_id, "from": change.before.name, "to": change.after.name}

    def _wake_loop(self) -> None:
        """What is due may be due sooner now."""
        os.eventfd_write(self._wake, 1)

    def _quicken(self) -> None:
        """A probe that is late is a failover that is late."""
        signal.signal(signal.SIGTERM, lambda *_: self.stop())
        signal.signal(signal.SIGINT, lambda *_: self.stop())
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        gc.collect()
        gc.freeze()
        hurry()

    def _loop(self, controller: Controller, requests: Requests) -> None:
        slow_due_ns = time.monotonic_ns() + SLOW_TICK_NS
        while not self._stopping.is_set():
            now_ns = time.monotonic_ns()
            controller.tick(now_ns)
            if now_ns >= slow_due_ns:
                controller.slow_tick(now_ns)
                self._keep_minutes(controller)
                requests.tick(now_ns)
                slow_due_ns = now_ns + SLOW_TICK_NS
            wait_s = (controller.next_due_ns(slow_due_ns) - time.monotonic_ns()) / 1e9
            if wait_s > 0 and select.select([self._wake], [], [], wait_s)[0]:
                with suppress(BlockingIOError):
                    os.eventfd_read(self._wake)

    def _keep_minutes(self, controller: Controller) -> None:
        """Once a minute, on a thread of its own: a disk may take its time."""
        if controller.scoring.minute_passed:
            minutes = controller.minutes()
            threading.Thread(target=self._state.save, args=(minutes,), name="state").start()

    def _start_handshakes(self, controller: Controller) -> threading.Thread | None:
        trust = controller.trust
        if trust is None:
            return None

        def probe(bond: int) -> None:
            controller.probe_at_once(bond)
            self._wake_loop()

        trust.serve(controller.lock, probe)
        thread = threading.Thread(target=self._handshakes, args=(trust,), name="handshakes", daemon=True)
        thread.start()
        return thread

    def _handshakes(self, trust: Trust) -> None:
        poll = select.poll()
        for fd in trust.fds():
            poll.register(fd, select.POLLIN)
        while not self._stopping.is_set():
            try:
                trust.work(time.monotonic_ns(), time.time_ns())
            except BondError as error:
                self._say(f"a handshake failed: {error}")
            poll.poll(max(0, trust.next_due_ns() - time.monotonic_ns()) / 1e6)

    def _watch(self, watch: Watch, controller: Controller) -> None:
        """Links at once; for anything else the host is read again, once the burst
        of events that a change makes has passed."""
        hurry()
        pending = False
        while not self._stopping.is_set():
            events = watch.events(0.02 if pending else None)
            for event in events:
                if isinstance(event, LinkEvent):
                    controller.link_changed(event.ifindex, event.up, time.monotonic_ns())
            if events:
                pending = True
            elif pending and not self._stopping.is_set():
                pending = False
                try:
                    controller.reconcile(time.monotonic_ns())
                except BondError as error:
                    self._say(f"could not follow a change of the host: {error}")
