"""The breaker against the disconnect-control tables of COSEM class 70, mode by mode."""

from __future__ import annotations

import pytest

from blathy.control.breaker import Act, Breaker, BreakerPlan, State

DISCONNECTED, CONNECTED, READY = State.DISCONNECTED, State.CONNECTED, State.READY
# mode: remote off, manual off, local off (from connected), remote on, manual on, local on
MODE_TABLE = {
    0: (None, None, None, None, None, None),
    1: (DISCONNECTED, READY, READY, CONNECTED, CONNECTED, None),
    2: (DISCONNECTED, READY, READY, READY, CONNECTED, None),
    3: (DISCONNECTED, None, READY, CONNECTED, CONNECTED, None),
    4: (DISCONNECTED, None, READY, READY, CONNECTED, None),
    5: (DISCONNECTED, READY, READY, CONNECTED, CONNECTED, CONNECTED),
    6: (DISCONNECTED, None, READY, CONNECTED, CONNECTED, CONNECTED),
    7: (DISCONNECTED, None, READY, READY, CONNECTED, CONNECTED),
}
START = {
    Act.REMOTE_DISCONNECT: CONNECTED,
    Act.MANUAL_DISCONNECT: CONNECTED,
    Act.LOCAL_DISCONNECT: CONNECTED,
    Act.REMOTE_RECONNECT: DISCONNECTED,
    Act.MANUAL_RECONNECT: READY,
    Act.LOCAL_RECONNECT: READY,
}


@pytest.mark.parametrize("mode", range(8))
@pytest.mark.parametrize("index", range(6))
def test_every_act_in_every_mode(mode: int, index: int) -> None:
    act = list(START)[index]
    breaker = Breaker(BreakerPlan(mode))
    breaker.state = START[act]
    expected = MODE_TABLE[mode][index]
    event = breaker.act(act, 1000)
    assert breaker.state is (START[act] if expected is None else expected)
    assert (event is None) is (expected is None)


@pytest.mark.parametrize("mode", range(8))
def test_what_is_disconnected_remotely_no_button_connects(mode: int) -> None:
    breaker = Breaker(BreakerPlan(mode))
    breaker.state = DISCONNECTED
    for act in (Act.MANUAL_RECONNECT, Act.LOCAL_RECONNECT):
        assert breaker.act(act, 1000) is None
    assert not breaker.connected


def test_a_command_is_not_remembered() -> None:
    breaker = Breaker(BreakerPlan(1))
    assert breaker.act(Act.REMOTE_RECONNECT, 0) is None
    assert breaker.act(Act.REMOTE_DISCONNECT, 10) == "breaker_opened_remotely"
    assert breaker.state is DISCONNECTED


def test_it_does_not_close_within_the_reclosing_time() -> None:
    breaker = Breaker(BreakerPlan(1, reclose_s=5))
    breaker.act(Act.REMOTE_DISCONNECT, 100)
    assert not breaker.allows(Act.REMOTE_RECONNECT, 104)
    assert breaker.act(Act.REMOTE_RECONNECT, 105) == "breaker_closed_remotely"


def test_an_inhibition_keeps_it_open() -> None:
    breaker = Breaker(BreakerPlan(5))
    breaker.act(Act.LOCAL_DISCONNECT, 0)
    breaker.inhibitions |= {"no credit"}
    assert breaker.act(Act.MANUAL_RECONNECT, 60) is None
    breaker.inhibitions = frozenset()
    assert breaker.act(Act.MANUAL_RECONNECT, 60) == "breaker_closed_locally"


def test_there_is_no_mode_beyond_seven() -> None:
    with pytest.raises(ValueError, match="0 to 7"):
        BreakerPlan(8)
