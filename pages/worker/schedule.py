"""Who is served next: quick work before long work, visitors in turn, and nobody for ever last.

Work that somebody waits for is quick until it has run for ``QUICK_SECONDS``. Quick work goes first; when no long work
was served for ``PATIENCE`` seconds, one turn of it comes between. What computes nothing, as a download, goes on while
it stands aside: it makes room for everything else, and reports once in that time. Among equals the visitor goes first
who was served least, and of one visitor's work the one that took least time so far.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field

QUICK_SECONDS = 3.0
# A turn: so long a job goes on before it makes room for another of its kind.
TURN_SECONDS = 1.5
PATIENCE = 10.0
# Long jobs that have begun keep what they have in memory; more of them wait until one has ended.
LONG_AT_ONCE = 3


@dataclass(eq=False)
class Ticket:
    """One job in the eyes of the schedule. ``visitors`` is the job's own set, and changes with it."""

    order: int
    visitors: set[str]
    interactive: bool
    since: float  # when it was last served, or came
    begun: bool = False
    served: float = 0.0  # seconds
    turn: float = 0.0  # when its turn began, while it has one
    patient: bool = False  # it has its turn because it had waited for so long
    waits_for: Hashable = None  # what another job holds
    beside: bool = False  # it computes nothing itself, as a download, and goes on while it stands aside
    stopping: bool = False  # it only has to be told that it was cancelled

    def quick(self, running_for: float = 0.0) -> bool:
        """Whether it counts as quick after so many more seconds."""
        return self.interactive and self.served + running_for < QUICK_SECONDS


@dataclass
class Schedule:
    """The tickets of all unfinished jobs, and how much of the worker's time each visitor had."""

    clock: Callable[[], float]
    tickets: list[Ticket] = field(default_factory=list)
    held: Collection[Hashable] = ()  # what jobs hold for themselves; the owner's own, read here only
    _had: dict[str, float] = field(default_factory=dict)
    _count: int = 0
    _long_served: float = float("-inf")  # when long work last had a turn

    def enter(self, visitors: set[str], interactive: bool, beside: bool = False) -> Ticket:
        """The ticket of a new job."""
        self._count += 1
        ticket = Ticket(self._count, visitors, interactive, self.clock(), beside=beside)
        self.tickets.append(ticket)
        return ticket

    def arrive(self, visitor: str) -> None:
        """Note a visitor who asks for something: who waits for nothing saves up no claims but one turn."""
        waiting = {name for ticket in self.tickets for name in ticket.visitors}
        if visitor not in waiting:
            floor = min((self._had.get(name, 0.0) for name in waiting), default=0.0)
            self._had[visitor] = max(self._had.get(visitor, 0.0), floor - TURN_SECONDS)
            self._had = {name: had for name, had in self._had.items() if name in waiting or name == visitor}

    def begin_turn(self, ticket: Ticket) -> None:
        """The job is being served from now on."""
        now = self.clock()
        ticket.patient = self._overdue(ticket, now)
        ticket.begun, ticket.turn = True, now

    def end_turn(self, ticket: Ticket) -> None:
        """The job is not served any more; what it took is its visitors'."""
        now = self.clock()
        took = now - ticket.turn
        ticket.served += took
        ticket.since = now
        if not ticket.quick() and not ticket.beside:
            self._long_served = now
        for visitor in ticket.visitors:
            self._had[visitor] = self._had.get(visitor, 0.0) + took / len(ticket.visitors)

    def leave(self, ticket: Ticket) -> None:
        """The job has ended."""
        self.tickets.remove(ticket)

    def in_order(self, but: Ticket | None = None) -> list[Ticket]:
        """All tickets but one, in the order in which they would be served now."""
        now = self.clock()
        return sorted((t for t in self.tickets if t is not but), key=lambda t: self._rank(t, now))

    def next(self, but: Ticket | None = None) -> Ticket | None:
        """The one to serve next; None where nobody can be."""
        return next((t for t in self.in_order(but) if self._ready(t)), None)

    def gives_way(self, ticket: Ticket) -> bool:
        """Whether the job that is served makes room for another one now."""
        other = self.next(but=ticket)
        if other is None:
            return False
        turn = self.clock() - ticket.turn
        if other.stopping or ticket.beside != other.beside:
            return other.stopping or ticket.beside or (not ticket.quick(turn) and self._overdue(other, self.clock()))
        if ticket.patient and turn < TURN_SECONDS:
            return False
        quick = ticket.quick(turn)
        if other.quick() != quick:
            return not quick
        if turn < TURN_SECONDS or other.visitors <= ticket.visitors:
            return False
        return self._claim(other) <= self._claim(ticket) + turn / max(1, len(ticket.visitors))

    def _rank(self, ticket: Ticket, now: float) -> tuple[bool, bool, bool, bool, float, float, int]:
        overdue = self._overdue(ticket, now)
        return (
            not ticket.stopping,
            not overdue,
            not ticket.quick(),
            ticket.beside,
            ticket.since if overdue else self._claim(ticket),
            ticket.served,
            ticket.order,
        )

    def _ready(self, ticket: Ticket) -> bool:
        if ticket.stopping:
            return True
        if ticket.waits_for is not None and ticket.waits_for in self.held:
            return False
        if ticket.beside or ticket.quick() or (ticket.begun and ticket.waits_for is None):
            return True
        long = [t for t in self.tickets if t.begun and not t.quick() and not t.beside]
        # One that waits for what another holds computes nothing meanwhile, and keeps nobody else from it.
        at_work = [t for t in long if t.waits_for is None]
        if len(at_work) >= LONG_AT_ONCE:
            return False
        return ticket.begun or not any(t.visitors & ticket.visitors for t in long)

    def _overdue(self, ticket: Ticket, now: float) -> bool:
        served = ticket.since if ticket.beside else max(ticket.since, self._long_served)
        return not ticket.quick() and now - served > PATIENCE

    def _claim(self, ticket: Ticket) -> float:
        return min((self._had.get(visitor, 0.0) for visitor in ticket.visitors), default=float("inf"))
