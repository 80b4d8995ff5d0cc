"""Client and server link on one line: every cut, every fault, every rule of the secondary."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blathy.clock import Instant
from blathy.wire.errors import LocalProtocolError
from blathy.wire.hdlc import (
    INFORMATION_MAX,
    SERVER_TABLE,
    Apdu,
    Event,
    Frame,
    FrameDecoder,
    FrameType,
    HdlcClient,
    HdlcClientSettings,
    HdlcParameters,
    HdlcServer,
    HdlcServerSettings,
    LinkDown,
    LinkState,
    LinkUp,
    Permission,
    PortSetup,
    Reason,
    ServerAddress,
    fcs,
    parse_frame,
)
from tests.mutations import IN_SUITE, ON_REQUEST

T0 = Instant(0)
ONE = ServerAddress(1)
MS = 1_000_000


class Pair:
    """A client and an echoing server with a line between that cuts and loses."""

    def __init__(
        self,
        client: HdlcParameters,
        server: HdlcParameters,
        *,
        cut: int = 0,
        loss: float = 0.0,
        seed: int = 0,
        address: ServerAddress = ONE,
        repetitions: int = 2,
    ) -> None:
        self.client = HdlcClient(
            HdlcClientSettings(server=address, parameters=client, repetitions=repetitions)
        )
        self.server = HdlcServer(
            HdlcServerSettings(lambda _: True, parameters=server, inactivity_timeout_s=0)
        )
        self.cut, self.loss = cut, loss
        self.draw = random.Random(seed)
        self.now = T0
        self.answered: list[bytes] = []
        self.events: list[Event] = []

    def pieces(self, data: bytes) -> list[bytes]:
        if self.loss and self.draw.random() < self.loss:
            return []
        size = self.cut or len(data) or 1
        return [data[i : i + size] for i in range(0, len(data), size)]

    def run(self, out: bytes) -> None:
        for _ in range(2000):
            back = b""
            for piece in self.pieces(out):
                for event in self.server.receive(piece, self.now):
                    if isinstance(event, Apdu):
                        self.answered.append(event.data)
                        back += self.server.send(event.client, event.server, event.data[::-1])
                back += self.server.data_to_send()
            out = b""
            for piece in self.pieces(back):
                self.events += self.client.receive(piece, self.now)
                out += self.client.data_to_send()
            if not out:
                deadline = self.client.deadline()
                if deadline is None:
                    return
                self.now = deadline
                self.events += self.client.tick(self.now)
                self.server.tick(self.now)
                out = self.client.data_to_send()

    def exchange(self, apdu: bytes) -> bytes | None:
        self.events.clear()
        self.run(self.client.send(apdu, self.now))
        found = [e.data for e in self.events if isinstance(e, Apdu)]
        return found[0] if found else None

    def connect(self) -> None:
        self.run(self.client.connect(self.now))
        assert any(isinstance(event, LinkUp) for event in self.events), self.events


parameters = st.builds(
    HdlcParameters,
    st.integers(4, INFORMATION_MAX),
    st.integers(4, INFORMATION_MAX),
    st.integers(1, 7),
    st.integers(1, 7),
)


@settings(max_examples=60, deadline=None)
@given(
    parameters,
    parameters,
    st.integers(0, 40),
    st.lists(st.binary(min_size=1, max_size=3000), max_size=4),
)
def test_any_apdu_over_any_parameters_in_any_cut(
    client: HdlcParameters, server: HdlcParameters, cut: int, apdus: list[bytes]
) -> None:
    pair = Pair(client, server, cut=cut)
    pair.connect()
    for apdu in apdus:
        assert pair.exchange(apdu) == apdu[::-1]
    pair.run(pair.client.disconnect(pair.now))
    assert LinkDown(16, ONE, Reason.RELEASED) in pair.events


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 3),
    st.integers(1, 3),
    st.binary(min_size=1, max_size=400),
)
def test_lost_transmissions_are_repeated_and_nothing_is_served_twice(
    seed: int, window: int, back: int, apdu: bytes
) -> None:
    offer = HdlcParameters(64, 64, window, back)
    pair = Pair(offer, offer, loss=0.15, seed=seed, repetitions=25)
    pair.connect()
    for number in range(4):
        request = bytes((number,)) + apdu
        assert pair.exchange(request) == request[::-1]
    assert len(pair.answered) == 4


def test_all_address_forms_are_answered_in_the_form_asked() -> None:
    for address in (ONE, ServerAddress(1, 17), ServerAddress(1, 17, 4), ServerAddress(300, 4000)):
        pair = Pair(HdlcParameters(), HdlcParameters(), address=address)
        pair.connect()
        assert pair.exchange(b"\xc0") == b"\xc0"


def link_up(server: HdlcServer, client: int = 16, address: ServerAddress = ONE) -> None:
    settings_ = HdlcClientSettings(client=client, server=address, parameters=HdlcParameters())
    server.receive(HdlcClient(settings_).connect(T0), T0)
    server.data_to_send()


def put(
    server: HdlcServer, control: int, information: bytes = b""
) -> tuple[list[Event], list[Frame]]:
    events = server.receive(Frame(b"\x03", b"\x21", control, information).encode(), T0)
    return events, FrameDecoder().receive(server.data_to_send(), T0)


def test_every_state_and_frame_of_the_server_is_defined_or_dropped() -> None:
    controls = {
        FrameType.I: 0x10, FrameType.RR: 0x11, FrameType.RNR: 0x15, FrameType.SNRM: 0x93,
        FrameType.DISC: 0x53, FrameType.UA: 0x73, FrameType.DM: 0x1F, FrameType.FRMR: 0x97,
        FrameType.UI: 0x13, FrameType.UNKNOWN: 0x19,
    }  # fmt: skip
    for state in LinkState:
        for kind, control in controls.items():
            server = HdlcServer(HdlcServerSettings(parameters=HdlcParameters()))
            if state is not LinkState.NDM:
                link_up(server)
            if state is LinkState.REJECTING:
                put(server, 0x19)
            _, frames = put(server, control, b"\xe6\xe6\x00\xc0" if kind is FrameType.I else b"")
            if (state, kind) not in SERVER_TABLE:
                assert frames == []


def test_rules_of_the_secondary() -> None:
    server = HdlcServer(HdlcServerSettings(parameters=HdlcParameters()))
    assert [f.kind for f in put(server, 0x53)[1]] == [FrameType.DM]
    assert [f.kind for f in put(server, 0x10, b"\xe6\xe6\x00\xc0")[1]] == [FrameType.DM]
    link_up(server)
    (ready,) = put(server, 0x11)[1]
    assert (ready.kind, ready.poll, ready.receive_number) == (FrameType.RR, True, 0)
    wrong_number = put(server, 0x12, b"\xe6\xe6\x00\xc0")
    assert wrong_number[0] == []
    assert [f.kind for f in wrong_number[1]] == [FrameType.RR]
    events, (reject,) = put(server, 0x71)
    assert reject.kind is FrameType.FRMR
    assert reject.information[2] == 0x08
    assert events == [LinkDown(16, ONE, Reason.REJECTED)]
    assert [f.kind for f in put(server, 0x11)[1]] == [FrameType.FRMR]
    assert [f.kind for f in put(server, 0x93)[1]] == [FrameType.UA]
    assert put(server, 0x10, bytes(129))[1][0].kind is FrameType.FRMR
    assert [f.kind for f in put(server, 0x53)[1]] == [FrameType.UA]


def test_frames_for_others_stay_unanswered() -> None:
    server = HdlcServer(HdlcServerSettings((1,), lower=17, address_size=2))
    for destination in (b"\x03", b"\x02\x25", b"\x04\x23", b"\x02\x00\x23"):
        server.receive(Frame(destination, b"\x21", 0x93).encode(), T0)
        assert server.data_to_send() == b"", destination.hex()
    server.receive(Frame(b"\x02\x23", b"\x20\x21", 0x93).encode(), T0)
    assert server.data_to_send() == b""
    server.receive(Frame(b"\x02\x23", b"\x21", 0x93).encode(), T0)
    assert server.data_to_send()


@pytest.mark.parametrize(
    ("own", "destination", "linked", "heard"),
    [
        (1, "03", True, True), (1, "0225", False, False), (1, "02FF", False, True),
        (1, "FEFF", False, True), (1, "00020023", False, False), (1, "FEFEFEFF", False, True),
        (1, "0002FEFF", False, False), (2, "03", False, False), (2, "0223", True, True),
        (2, "02FF", False, True), (2, "00020023", False, False), (2, "FEFEFEFF", False, True),
        (2, "0002FEFF", False, False), (4, "03", False, False), (4, "0223", True, True),
        (4, "02FF", False, True), (4, "FEFF", False, True), (4, "00020023", True, True),
        (4, "0002FEFF", False, True), (4, "0002FEFD", False, False), (2, "02FD", False, False),
        (2, "0201", False, False), (2, "0023", False, False), (1, "01", False, False),
    ],
)  # fmt: skip
def test_addresses_of_another_length_than_our_own(
    own: int, destination: str, linked: bool, heard: bool
) -> None:
    """Widened, taken for a broadcast, or dropped, as the standard's table says."""
    octets = bytes.fromhex(destination)
    lower = None if own == 1 else 17
    server = HdlcServer(HdlcServerSettings((1,), lower=lower, address_size=own))
    server.receive(Frame(octets, b"\x21", 0x93).encode(), T0)
    assert bool(server.data_to_send()) is linked
    server = HdlcServer(HdlcServerSettings((1,), lower=lower, address_size=own))
    events = server.receive(Frame(octets, b"\x21", 0x03, b"\xe6\xe6\x00\xc1").encode(), T0)
    assert any(isinstance(event, Apdu) for event in events) is heard
    assert server.data_to_send() == b""


def test_broadcast_is_heard_only_in_ui_and_never_answered() -> None:
    server = HdlcServer(HdlcServerSettings(lower=17))
    assert server.receive(Frame(b"\x02\xff", b"\x21", 0x93).encode(), T0) == []
    heard = server.receive(Frame(b"\x02\xff", b"\x21", 0x03, b"\xff\xe6\x00\xc1").encode(), T0)
    assert heard == [Apdu(16, ServerAddress(1, 127), b"\xc1", confirmed=False)]
    assert server.data_to_send() == b""


def test_unknown_client_gets_dm_and_the_client_says_refused() -> None:
    server = HdlcServer(HdlcServerSettings(clients=(1,)))
    client = HdlcClient()
    server.receive(client.connect(T0), T0)
    assert client.receive(server.data_to_send(), T0) == [LinkDown(16, ONE, Reason.REFUSED)]


def test_inactivity_ends_the_link_and_the_next_disc_gets_dm() -> None:
    server = HdlcServer(HdlcServerSettings(inactivity_timeout_s=120))
    link_up(server)
    assert server.deadline() == 120_000 * MS
    assert server.tick(Instant(120_000 * MS)) == [LinkDown(16, ONE, Reason.INACTIVE)]
    assert [f.kind for f in put(server, 0x53)[1]] == [FrameType.DM]


def test_unfinished_frame_is_dropped_after_the_inter_octet_time_and_the_next_works() -> None:
    server = HdlcServer(HdlcServerSettings(inter_octet_timeout_ms=25))
    snrm = Frame(b"\x03", b"\x21", 0x93).encode()
    server.receive(b"\x7e\xa7\xff" + snrm, T0)
    assert server.data_to_send() == b""
    assert any(isinstance(event, LinkUp) for event in server.tick(Instant(25 * MS)))


@pytest.mark.parametrize(("set_up_ms", "kept_ms"), [(20, 2000), (6000, 6000)])
def test_a_port_may_wait_longer_between_octets_but_not_shorter(
    set_up_ms: int, kept_ms: int
) -> None:
    setup = PortSetup(inter_octet_timeout_ms=set_up_ms)
    server = HdlcServer(HdlcServerSettings(setup=lambda _address: setup))
    link_up(server)
    server.receive(b"\x7e\xa0\x20\x03", T0)
    assert server.deadline() == kept_ms * MS


def test_permission_releases_a_held_push() -> None:
    server = HdlcServer()
    assert server.push(16, ONE, b"\x0f\x01", wait=True) == b""
    client = HdlcClient()
    assert server.receive(client.permit(), T0) == [Permission(16, ONE)]
    assert client.receive(server.data_to_send(), T0) == [Apdu(16, ONE, b"\x0f\x01", False)]


def test_own_echo_is_recognised() -> None:
    client = HdlcClient()
    echo = client.connect(T0)
    assert client.receive(echo, T0) == []
    assert client.counters.echoes == 1


def test_client_1_and_server_1_share_their_octet_and_still_talk_over_an_echoing_line() -> None:
    for echoing in (False, True):
        client = HdlcClient(HdlcClientSettings(client=1, parameters=HdlcParameters(16, 16)))
        server = HdlcServer()
        out, got = client.connect(T0), b""
        for _ in range(60):
            events: list[Event] = []
            if echoing:
                events += client.receive(out, T0)
            for event in server.receive(out, T0):
                if isinstance(event, Apdu):
                    server._out += server.send(1, event.server, event.data * 5)
            events += client.receive(server.data_to_send(), T0)
            out = client.data_to_send()
            if any(isinstance(event, LinkUp) for event in events):
                out = client.send(bytes(range(40)), T0)
            got = got or b"".join(e.data for e in events if isinstance(e, Apdu))
        assert got == bytes(range(40)) * 5


def test_silence_is_reported_after_all_repetitions() -> None:
    client = HdlcClient(HdlcClientSettings(repetitions=2))
    sent = [client.connect(T0)]
    for _ in range(2):
        deadline = client.deadline()
        assert deadline is not None
        assert client.tick(deadline) == []
        sent.append(client.data_to_send())
    assert sent[0] == sent[1] == sent[2]
    deadline = client.deadline()
    assert deadline is not None
    assert client.tick(deadline) == [LinkDown(16, ONE, Reason.SILENT)]


def test_server_that_is_busy_is_polled_until_it_is_ready() -> None:
    client, server = HdlcClient(), HdlcServer()
    server.receive(client.connect(T0), T0)
    client.receive(server.data_to_send(), T0)
    sent = client.send(b"\xc0", T0)
    server.receive(sent, T0)
    client.receive(server.acknowledge(16, ONE), T0)
    assert client.data_to_send() == b""
    assert server.send(16, ONE, b"\xc4") == b""
    deadline = client.deadline()
    assert deadline is not None
    client.tick(deadline)
    server.receive(client.data_to_send(), T0)
    assert client.receive(server.data_to_send(), T0) == [Apdu(16, ONE, b"\xc4")]


def test_misuse_is_a_local_error() -> None:
    with pytest.raises(LocalProtocolError):
        HdlcClient().send(b"\xc0", T0)
    with pytest.raises(LocalProtocolError):
        HdlcServer().send(16, ONE, b"\xc4")
    for wrong in ((128, None, 1), (1, 200, 2), (20_000, 1, 4), (1, None, 2), (1, 1, 3)):
        with pytest.raises(LocalProtocolError):
            ServerAddress(*wrong)


def test_pushes_of_the_field_in_segments_with_a_wide_client_address() -> None:
    first = Frame(b"\xce\xff", b"\x02\x23", 0x13, b"\xe6\xe7\x00\x0f\x01", segmented=True)
    second = Frame(b"\xce\xff", b"\x02\x23", 0x13, b"\x02\x03")
    client = HdlcClient(HdlcClientSettings(client=103))
    heard = client.receive(first.encode() + second.encode(), T0)
    assert heard == [Apdu(103, ServerAddress(1, 17), b"\x0f\x01\x02\x03", confirmed=False)]


def must_reject() -> list[bytes]:
    good = Frame(b"\x03", b"\x21", 0x10, b"\xe6\xe6\x00\xc0").encode()[1:-1]
    found = [good[:index] for index in range(len(good))]
    found += [good + b"\x00", b"\x10" + good[1:], b"\xb0" + good[1:]]
    for first in (b"\x02\x02\x02\x02\x03", b"\x02\x02\x03", b"\x02"):
        body = b"\xa0" + bytes((6 + len(first),)) + first + b"\x21\x93"
        body = body[:1] + bytes((len(body) + 2,)) + body[2:]
        found.append(body + fcs(body))
    no_header_check = b"\xa0\x0b\x03\x21\x10\xe6\xe6\x00\xc0"
    found.append(no_header_check + fcs(no_header_check))
    return found


def test_what_the_standard_forbids_is_refused() -> None:
    for body in must_reject():
        assert parse_frame(body) is None, body.hex()


@pytest.mark.fuzz
def test_fuzz_a_million_frames() -> None:
    _fuzz(ON_REQUEST)


def test_mutated_conversations_in_any_cut_give_the_same_and_never_an_exception() -> None:
    _fuzz(IN_SUITE)


KINDS = (0x93, 0x53, 0x10, 0x32, 0x54, 0x11, 0x31, 0x15, 0x13, 0x03, 0x19, 0x73, 0x97, 0x1F)
ENCODED = [
    Frame(destination, b"\x21", kind, information).encode()
    for destination in (b"\x03", b"\x02\x23", b"\x00\x02\x00\x23", b"\xff")
    for kind in KINDS
    for information in (b"", b"\xe6\xe6\x00\xc0\x01", bytes(130), b"\x81\x80\x14")
]
CUTS = random.Random(4).choices((1, 2, 7, 7, 50, 50, 50), k=5_000)


def _fuzz(frames: int) -> None:
    draw = random.Random(62056)
    done = 0
    while done < frames:
        chosen = draw.choices(ENCODED, k=draw.randrange(1, 10))
        done += len(chosen)
        data = bytearray(b"".join(frame[draw.randrange(2) :] for frame in chosen))
        for _ in range(draw.choice((0, 0, 1, 3))):
            data[draw.randrange(len(data))] = draw.choice((0x7E, 0xA7, 0xFF, draw.randrange(256)))
        try:
            _same_in_any_cut(bytes(data), draw.randrange(3_000))
        except Exception as error:
            raise AssertionError(f"hdlc: {data.hex()}") from error


def _same_in_any_cut(data: bytes, first_cut: int) -> None:
    whole, pieces = HdlcServer(), HdlcServer()
    events = whole.receive(data, T0)
    cut: list[Event] = []
    position = 0
    for size in itertools.islice(CUTS, first_cut, None):
        cut += pieces.receive(data[position : position + size], T0)
        position += size
        if position >= len(data):
            break
    assert events == cut
    assert whole.data_to_send() == pieces.data_to_send()
    client = HdlcClient()
    client.connect(T0)
    client.receive(data, T0)
    client.tick(Instant(10**12))
    whole.tick(Instant(10**12))
