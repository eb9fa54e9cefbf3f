"""The order in which visitors are served: quick before long, in turns, with nobody for ever last."""

from __future__ import annotations

import pytest

from pages.worker.schedule import LONG_AT_ONCE, PATIENCE, QUICK_SECONDS, TURN_SECONDS, Schedule, Ticket
from tests.pages.worker.worker_cases import Clock


@pytest.fixture
def schedule(clock: Clock) -> Schedule:
    return Schedule(clock)


def enter(schedule: Schedule, visitor: str, *, quick: bool = False) -> Ticket:
    schedule.arrive(visitor)
    return schedule.enter({visitor}, quick)


def serve(schedule: Schedule, clock: Clock, ticket: Ticket, seconds: float) -> None:
    schedule.begin_turn(ticket)
    clock.now += seconds
    schedule.end_turn(ticket)


def test_quick_work_goes_before_long_work_that_came_first(schedule: Schedule) -> None:
    long, quick = enter(schedule, "ada"), enter(schedule, "bob", quick=True)
    assert schedule.in_order() == [quick, long]


def test_long_work_gives_way_to_quick_work_at_once_and_not_the_other_way_round(
    schedule: Schedule, clock: Clock
) -> None:
    long = enter(schedule, "ada")
    schedule.begin_turn(long)
    assert not schedule.gives_way(long), "nobody else is there"
    quick = enter(schedule, "bob", quick=True)
    assert schedule.gives_way(long)
    schedule.end_turn(long)
    schedule.begin_turn(quick)
    clock.now += QUICK_SECONDS / 2
    assert not schedule.gives_way(quick)


def test_quick_work_that_runs_on_is_long_work(schedule: Schedule, clock: Clock) -> None:
    first = enter(schedule, "ada", quick=True)
    schedule.begin_turn(first)
    second = enter(schedule, "bob", quick=True)
    clock.now += TURN_SECONDS / 2
    assert not schedule.gives_way(first), "it is ended first: taking turns would only make both late"
    clock.now += QUICK_SECONDS
    assert schedule.gives_way(first)
    schedule.end_turn(first)
    assert schedule.in_order() == [second, first]


def test_visitors_take_turns_at_long_work(schedule: Schedule, clock: Clock) -> None:
    of_ada, of_bob = enter(schedule, "ada"), enter(schedule, "bob")
    served = []
    for _ in range(6):
        ticket = schedule.next()
        assert ticket is not None
        served.append(ticket)
        schedule.begin_turn(ticket)
        clock.now += TURN_SECONDS / 2
        assert not schedule.gives_way(ticket), "not within a turn"
        clock.now += TURN_SECONDS / 2
        assert schedule.gives_way(ticket)
        schedule.end_turn(ticket)
    assert served == [of_ada, of_bob] * 3


def test_many_questions_of_one_visitor_do_not_hold_up_another(schedule: Schedule, clock: Clock) -> None:
    many = [enter(schedule, "ada", quick=True) for _ in range(10)]
    serve(schedule, clock, many[0], 1.0)
    schedule.leave(many[0])
    one = enter(schedule, "bob", quick=True)
    assert schedule.next() is one


def test_who_asked_for_nothing_saves_up_no_claims(schedule: Schedule, clock: Clock) -> None:
    of_ada = enter(schedule, "ada")
    serve(schedule, clock, of_ada, 500.0)
    of_bob = enter(schedule, "bob")
    serve(schedule, clock, of_bob, 2.0)
    assert schedule.next() is of_ada, "bob had his turn, and not 500 seconds of arrears"


def test_long_work_has_a_turn_now_and_then_however_much_quick_work_comes(schedule: Schedule, clock: Clock) -> None:
    long = enter(schedule, "ada")
    turns = 0
    for n in range(100):  # a new quick question every second
        quick = enter(schedule, f"visitor {n}", quick=True)
        ticket = schedule.next()
        assert ticket is not None
        if ticket is long:
            turns += 1
            schedule.begin_turn(long)
            assert not schedule.gives_way(long), "it had waited for so long"
            clock.now += TURN_SECONDS
            assert schedule.gives_way(long)
            schedule.end_turn(long)
        serve(schedule, clock, quick, 1.0)
        schedule.leave(quick)
    assert 100 / (PATIENCE + TURN_SECONDS) - 2 < turns < 100 / PATIENCE + 1


def test_the_patience_of_many_lets_one_pass_not_all(schedule: Schedule, clock: Clock) -> None:
    long = [enter(schedule, f"visitor {n}") for n in range(LONG_AT_ONCE)]
    clock.now += PATIENCE + 1
    quick = enter(schedule, "ada", quick=True)
    first = schedule.next()
    assert first in long
    assert first is not None
    serve(schedule, clock, first, TURN_SECONDS)
    assert schedule.next() is quick


def test_only_a_few_long_jobs_are_begun_and_one_a_visitor(schedule: Schedule, clock: Clock) -> None:
    mine = [enter(schedule, "ada") for _ in range(2)]
    serve(schedule, clock, mine[0], 1.0)
    mine[0].waits_for, schedule.held = "the model", {"the model"}
    assert schedule.next() is None, "the second waits for the first"
    others = [enter(schedule, f"visitor {n}") for n in range(LONG_AT_ONCE + 1)]
    for _ in range(20):
        ticket = schedule.next()
        assert ticket is not None
        serve(schedule, clock, ticket, 1.0)
    assert [t.begun for t in others] == [True] * LONG_AT_ONCE + [False], "who only waits takes nobody's place"
    mine[0].waits_for, schedule.held = None, ()
    schedule.leave(others[0])
    assert schedule.next() in mine[:1] + others[1:-1], "as many as may be are at work"
    schedule.leave(others[1])
    assert others[-1] in [t for t in schedule.tickets if schedule._ready(t)]


def test_two_of_one_visitor_that_waited_do_not_wait_for_each_other(schedule: Schedule, clock: Clock) -> None:
    both = [enter(schedule, "ada", quick=True) for _ in range(2)]
    for ticket in both:
        serve(schedule, clock, ticket, QUICK_SECONDS + 1)
        ticket.waits_for = "the model"
    schedule.held = {"the model"}
    assert schedule.next() is None
    schedule.held = set()
    assert schedule.next() in both


def test_what_another_job_holds_is_waited_for(schedule: Schedule) -> None:
    blocked, free = enter(schedule, "ada", quick=True), enter(schedule, "bob")
    blocked.waits_for, schedule.held = "the model", {"the model"}
    assert schedule.next() is free
    schedule.held = set()
    assert schedule.next() is blocked


def test_who_only_has_to_be_told_of_the_cancellation_goes_first(schedule: Schedule, clock: Clock) -> None:
    long, quick = enter(schedule, "ada"), enter(schedule, "bob", quick=True)
    serve(schedule, clock, long, 1.0)
    schedule.begin_turn(quick)
    long.stopping = True
    assert schedule.gives_way(quick)
    assert schedule.next(but=quick) is long


def test_what_computes_nothing_is_in_nobodys_way(schedule: Schedule, clock: Clock) -> None:
    schedule.arrive("ada")
    download = schedule.enter({"ada"}, interactive=False, beside=True)
    serve(schedule, clock, download, 100.0)
    schedule.begin_turn(download)
    long = enter(schedule, "ada")
    assert schedule.gives_way(download), "the same visitor's long work begins beside it"
    schedule.end_turn(download)
    assert schedule.next() is long
    serve(schedule, clock, long, 200.0)
    assert schedule.next() is download, "so that it is told of what came meanwhile"
    serve(schedule, clock, download, 0.1)
    assert schedule.next() is long, "however much longer that was served"
    schedule.begin_turn(long)
    clock.now += TURN_SECONDS + 1
    assert not schedule.gives_way(long)
    clock.now += PATIENCE
    assert schedule.gives_way(long), "for a report"
    schedule.end_turn(long)
    assert schedule.next() is download
    serve(schedule, clock, download, 0.1)
    others = [enter(schedule, f"visitor {n}") for n in range(LONG_AT_ONCE - 1)]
    for other in others:
        assert schedule._ready(other), "it takes nobody's place"
        serve(schedule, clock, other, 1.0)
    assert schedule._ready(download)


def test_two_downloads_do_not_hand_the_turn_to_and_fro(schedule: Schedule, clock: Clock) -> None:
    both = [schedule.enter({"ada"}, interactive=False, beside=True) for _ in range(2)]
    schedule.begin_turn(both[0])
    assert not schedule.gives_way(both[0])
