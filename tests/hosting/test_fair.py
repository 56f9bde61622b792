"""Whose turn it is."""

from frami.hosting import fair


def in_turn(waiting, served):
    """Of visitors whose addresses are not known."""
    return fair.in_turn([(run, owner, None, float(place)) for place, (run, owner) in enumerate(waiting)], served)


def test_owners_take_turns_and_keep_their_own_order():
    waiting = [("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b"), ("c1", "c"), ("b2", "b")]
    assert list(in_turn(waiting, {})) == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_one_owner_is_served_in_the_order_of_arrival():
    assert list(in_turn([(n, "") for n in range(5)], {"": 7.0})) == [0, 1, 2, 3, 4]
    assert list(in_turn([], {})) == []


def test_who_had_a_turn_waits_for_those_who_had_none():
    """However early the runs came: else who fills the queue first has it for hours."""
    waiting = [("a2", "a"), ("a3", "a"), ("b1", "b"), ("c1", "c")]
    assert list(in_turn(waiting, {"a": 1e9})) == ["b1", "c1", "a2", "a3"]
    assert list(in_turn(waiting, {"a": 1e9, "b": 1e9 + 5, "c": 1e9 + 3})) == ["a2", "c1", "b1", "a3"]


def test_nobody_starves_while_another_goes_on_adding():
    waiting, served, begun = [(f"a{n}", "a") for n in range(20)], {}, []
    for turn in range(12):
        if turn == 3:
            waiting.append(("b0", "b"))
        if turn > 5:
            waiting.append((f"a{20 + turn}", "a"))
        owner = dict(waiting)
        run = next(in_turn(waiting, served))
        waiting = [one for one in waiting if one[0] != run]
        served[owner[run]] = 1e9 + turn
        begun.append(run)
    assert begun.index("b0") == 3


def test_whoever_comes_later_under_a_new_name_comes_behind():
    """One who had a turn was never served again while names came that nobody had seen."""
    for new in ("owner", "address"):
        waiting, served, begun = [("v", "v", "V", 10.0)], {"v": 5.0, "V": 5.0}, []
        waiting += [(f"x{n}", f"x{n}", f"X{n}" if new == "address" else "V", 8.0 + n) for n in range(4)]
        for turn in range(12):
            waiting.append((f"y{turn}", f"y{turn}", f"Y{turn}" if new == "address" else "V", 20.0 + turn))
            run = next(fair.in_turn(waiting, served))
            owner, address = next((owner, address) for one, owner, address, _ in waiting if one == run)
            waiting = [one for one in waiting if one[0] != run]
            served |= {owner: 20.0 + turn, address: 20.0 + turn}
            begun.append(run)
        assert begun.index("v") <= 3, begun


def test_addresses_take_turns_and_at_each_its_visitors():
    """Who invents a name for each run does not make others wait for all of them."""
    waiting = [(f"x{n}", f"invented{n}", "x", 0.1 * n) for n in range(5)]
    waiting += [("a1", "a", "y", 1.0), ("a2", "a", "y", 1.1), ("b1", "b", "y", 1.2)]
    assert list(fair.in_turn(waiting, {})) == ["x0", "a1", "x1", "b1", "x2", "a2", "x3", "x4"]
    served = {"x": 5.0, "invented0": 5.0, "y": 9.0, "b": 9.0}
    assert list(fair.in_turn([*waiting, ("c1", "c", None, 3.0)], served))[:4] == ["c1", "x1", "a1", "x2"]
