"""One piece of work at a time, and owners take turns."""

import threading
import time

from frami.studio.services.turns import Turns


def test_owners_take_turns_and_a_piece_that_was_cancelled_is_passed_over():
    turns, begun, go = Turns("test"), [], threading.Event()
    first = turns.submit("a", None, go.wait, 20)
    pieces = [turns.submit("a", None, begun.append, f"a{n}") for n in range(4)] + [
        turns.submit("b", None, begun.append, "b0")
    ]
    own = turns.submit(None, None, begun.append, "own")
    assert [pieces.index(piece) if piece in pieces else "own" for piece in turns.order()] == [4, "own", 0, 1, 2, 3]
    assert pieces[1].cancel() and pieces[1] not in turns.order()
    go.set()
    for piece in (first, own, *(pieces[n] for n in (0, 2, 3, 4))):
        piece.result(20)
    assert begun == ["b0", "own", "a0", "a2", "a3"] and turns.order() == []
    turns.close()


def test_work_that_fails_ends_nobody_elses_and_closing_waits():
    turns, done, begun, go = Turns("test"), [], threading.Event(), threading.Event()
    assert isinstance(turns.submit("a", None, lambda: 1 / 0).exception(20), ZeroDivisionError)
    at_work = turns.submit("a", None, lambda: (begun.set(), go.wait(20), done.append("a")))
    assert begun.wait(20)
    never = turns.submit("b", None, done.append, "b")
    closing = threading.Thread(target=turns.close)
    closing.start()
    while not never.cancelled():
        time.sleep(0.01)
    go.set()
    closing.join(20)
    assert at_work.done() and done == ["a"]


def test_who_had_a_turn_long_ago_costs_no_memory(monkeypatch):
    monkeypatch.setattr("frami.studio.services.turns._KNOWN", 20)
    turns = Turns("test")
    for n in range(200):
        last = turns.submit(f"{n}", None, int)
    last.result(20)
    turns.close()
    assert len(turns._served) <= 20


def test_many_names_at_one_address_have_the_turns_of_one():
    turns, begun, go = Turns("test"), [], threading.Event()
    first = turns.submit("x0", "x", go.wait, 20)
    pieces = [turns.submit(f"x{n}", "x", begun.append, f"x{n}") for n in range(1, 4)]
    pieces += [turns.submit("a", "y", begun.append, name) for name in ("a1", "a2")]
    go.set()
    for piece in (first, *pieces):
        piece.result(20)
    assert begun == ["a1", "x1", "a2", "x2", "x3"]
    turns.close()
