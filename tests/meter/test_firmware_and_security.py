"""Image transfer (18), security setup (64), associations (15), secrets and counters."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from blathy.cosem import axdr
from blathy.cosem.objectlist import parse_object, parse_object_list
from blathy.cosem.service import AccessError, ActionResult, AttributeRef
from blathy.meter.classes.image_transfer import ImageStatus
from blathy.meter.identity import identity_of, maker_private_key
from blathy.meter.keeping import StoreKeeper
from blathy.meter.meter import Meter
from blathy.meter.plan import MeterOptions
from blathy.models import MODELS
from blathy.models.firmware import ImageError, build_image, read_image
from blathy.models.model import Level, Mechanism
from blathy.obis import Obis
from blathy.store.store import StorageError, Store
from blathy.wire.errors import LocalProtocolError
from blathy.wire.security import SecurityPolicy, key_fingerprint
from tests.meter.running import call, get, made, put, who

IMAGE = "0-0:44.0.0"
SECURITY = "0-0:43.0.0"
KEY = maker_private_key(MODELS["omnipower"], "test")
PROGRAM = bytes(range(256)) * 9


def image_for(model: str = "omnipower", version: str = "50981137 F1") -> bytes:
    return build_image(model, version, PROGRAM, KEY)


def begin(meter: Meter, image: bytes) -> list[bytes]:
    size = get(meter, 18, IMAGE, 2)
    call(meter, 18, IMAGE, 1, axdr.structure(axdr.octets(b"fw"), axdr.u32(len(image))))
    return [image[at : at + size] for at in range(0, len(image), size)]


def send(meter: Meter, number: int, block: bytes) -> None:
    call(meter, 18, IMAGE, 2, axdr.structure(axdr.u32(number), axdr.octets(block)))


def status(meter: Meter) -> int:
    return int(get(meter, 18, IMAGE, 6))


def test_blocks_come_in_any_order_and_the_image_runs_after_activation() -> None:
    meter = made("omnipower")
    image = image_for()
    blocks = begin(meter, image)
    assert status(meter) == ImageStatus.INITIATED
    for number in reversed(range(len(blocks))):
        send(meter, number, blocks[number])
        expected = 0 if number else len(blocks)
        assert get(meter, 18, IMAGE, 4) == expected
    assert get(meter, 18, IMAGE, 3) == "1" * len(blocks)
    call(meter, 18, IMAGE, 3)
    assert status(meter) == ImageStatus.VERIFICATION_SUCCESSFUL
    ((size, name, _signature),) = get(meter, 18, IMAGE, 7)
    assert (size, name) == (len(image), b"fw")
    call(meter, 18, IMAGE, 4)
    assert status(meter) == ImageStatus.ACTIVATION_SUCCESSFUL
    assert get(meter, 1, "1-1:0.2.0", 2) == "50981137 F1"
    names = [entry.name for entry in meter.books.logs["standard"]]
    assert names == ["firmware_ready", "firmware_activated"]


def test_what_is_to_be_activated_is_told_of_verified_images_only() -> None:
    """Attribute 7 is empty until an image is verified, and again once another one was refused."""
    meter = made("omnipower")
    good, bad = image_for(), image_for()[:-1] + b"\x00"
    for image, told in ((good, [[len(good), b"fw", good[-64:]]]), (bad, [])):
        for number, block in enumerate(begin(meter, image)):
            assert get(meter, 18, IMAGE, 7) == []
            send(meter, number, block)
        assert get(meter, 18, IMAGE, 7) == []
        if told:
            call(meter, 18, IMAGE, 3)
        else:
            with pytest.raises(AccessError):
                call(meter, 18, IMAGE, 3)
            assert status(meter) == ImageStatus.VERIFICATION_FAILED
        assert get(meter, 18, IMAGE, 7) == told
    send(meter, 0, bad[:512])  # the transfer goes on, and nothing is ready
    assert get(meter, 18, IMAGE, 7) == []


def test_missing_blocks_are_named_and_verification_waits_for_them() -> None:
    meter = made("omnipower")
    blocks = begin(meter, image_for())
    for number in (0, 2, 3):
        send(meter, number, blocks[number])
    assert get(meter, 18, IMAGE, 4) == 1
    assert get(meter, 18, IMAGE, 3).startswith("1011")
    with pytest.raises(AccessError) as refused:
        call(meter, 18, IMAGE, 3)
    assert refused.value.result is ActionResult.TEMPORARY_FAILURE


@pytest.mark.parametrize(
    "damaged",
    [
        image_for()[:-1] + b"\x00",
        image_for("mt372"),
        build_image(
            "omnipower", "9", PROGRAM, maker_private_key(MODELS["omnipower"], "somebody else")
        ),
        b"BLFW1" + bytes(200),
    ],
    ids=["damaged", "other model", "other maker", "no header"],
)
def test_an_image_that_is_not_ours_is_refused_and_changes_nothing(damaged: bytes) -> None:
    meter = made("omnipower")
    before = get(meter, 1, "1-1:0.2.0", 2)
    for number, block in enumerate(begin(meter, damaged)):
        send(meter, number, block)
    with pytest.raises(AccessError) as refused:
        call(meter, 18, IMAGE, 4)
    assert refused.value.result is ActionResult.OTHER_REASON
    assert status(meter) == ImageStatus.VERIFICATION_FAILED
    assert get(meter, 1, "1-1:0.2.0", 2) == before


@pytest.mark.parametrize(("number", "octets"), [(99, 512), (0, 511), (0, 0)])
def test_a_block_that_is_not_part_of_the_image_is_refused(number: int, octets: int) -> None:
    meter = made("omnipower")
    begin(meter, image_for())
    with pytest.raises(AccessError):
        send(meter, number, bytes(octets))


def test_nothing_is_transferred_while_transfer_is_disabled() -> None:
    meter = made("omnipower")
    put(meter, 18, IMAGE, 5, axdr.boolean(False))
    with pytest.raises(AccessError):
        begin(meter, image_for())


def test_a_transfer_goes_on_after_a_power_cut() -> None:
    store = Store.in_memory()
    meter = made("omnipower", keeper=StoreKeeper(store, "m"))
    blocks = begin(meter, image_for())
    send(meter, 0, blocks[0])
    again = made("omnipower", keeper=StoreKeeper(store, "m"))
    assert status(again) == ImageStatus.INITIATED
    assert get(again, 18, IMAGE, 4) == 1
    for number in range(1, len(blocks)):
        send(again, number, blocks[number])
    call(again, 18, IMAGE, 4)
    assert status(again) == ImageStatus.ACTIVATION_SUCCESSFUL


def test_an_image_reads_back_what_was_built() -> None:
    image = read_image(image_for(), KEY.public_key())
    assert (image.model, image.version, image.program) == ("omnipower", "50981137 F1", PROGRAM)
    with pytest.raises(ImageError, match="no firmware image"):
        read_image(b"", KEY.public_key())


# --- keys ---------------------------------------------------------------------------------------


def transfer(meter: Meter, key_id: int, wrapped: bytes) -> None:
    pair = axdr.structure(axdr.enum(key_id), axdr.octets(wrapped))
    call(meter, 64, SECURITY, 2, axdr.array(pair))


def test_a_key_wrapped_under_the_master_key_replaces_the_old_one() -> None:
    meter = made("omnipower")
    fresh = bytes(range(16))
    transfer(meter, 0, aes_key_wrap(meter.key("master"), fresh))
    assert meter.key("unicast") == fresh
    profile = meter.logical_device().profiles[1]
    assert profile.keys is not None
    assert profile.keys.unicast == fresh


def test_a_key_wrapped_under_another_key_changes_nothing() -> None:
    meter = made("omnipower")
    before = meter.key("unicast")
    with pytest.raises(AccessError):
        transfer(meter, 0, aes_key_wrap(bytes(16), bytes(range(16))))
    with pytest.raises(AccessError):
        transfer(meter, 9, aes_key_wrap(meter.key("master"), bytes(range(16))))
    assert meter.key("unicast") == before


def test_a_policy_is_only_ever_strengthened() -> None:
    meter = made("omnipower", options=MeterOptions(encryption=False))
    both = int(SecurityPolicy.AUTHENTICATED_AND_ENCRYPTED)
    call(meter, 64, SECURITY, 1, axdr.enum(int(SecurityPolicy.AUTHENTICATED)))
    call(meter, 64, SECURITY, 1, axdr.enum(both))
    assert get(meter, 64, SECURITY, 2) == both
    for weaker in (0, int(SecurityPolicy.AUTHENTICATED)):
        with pytest.raises(AccessError):
            call(meter, 64, SECURITY, 1, axdr.enum(weaker))
    assert meter.logical_device().profiles[1].policy == both
    assert meter.logical_device().profiles[16].policy == 0


def test_the_system_title_names_maker_and_serial_number() -> None:
    assert get(made("omnipower"), 64, SECURITY, 5).hex() == "4b414d45" + f"{12_345_678:08x}"


def test_no_two_meters_share_a_secret() -> None:
    one, other = (identity_of(MODELS["mt372"], serial, "s") for serial in (1, 2))
    secrets = {i.encryption_key for i in (one, other)}
    secrets |= {i.authentication_key for i in (one, other)}
    secrets |= {i.master_key for i in (one, other)}
    secrets |= set(one.passwords.values()) | set(other.passwords.values())
    assert len(secrets) == 6 + 2 * len(one.passwords)
    assert "encryption_key" not in repr(one)
    assert one == identity_of(MODELS["mt372"], 1, "s")


# --- associations -------------------------------------------------------------------------------


def test_each_client_sees_its_own_association_as_the_current_one() -> None:
    meter = made("mt372")
    for level, client, mechanism in (
        (Level.PUBLIC, 16, 0), (Level.READER, 2, 1), (Level.MANAGEMENT, 1, 1),
    ):  # fmt: skip
        assert get(meter, 15, "0-0:40.0.0", 3, level) == [client, 1]
        assert get(meter, 15, "0-0:40.0.0", 6, level)[-1] == mechanism
        assert get(meter, 15, "0-0:40.0.0", 8, level) == 2


def test_the_public_client_sees_little_and_the_management_everything() -> None:
    meter = made("mt372")
    sizes = [
        len(get(meter, 15, "0-0:40.0.0", 2, level))
        for level in (Level.PUBLIC, Level.READER, Level.MANAGEMENT)
    ]
    assert sizes[0] < 12
    assert sizes[0] < sizes[1] < sizes[2]


def test_the_object_list_may_be_read_by_class_and_by_object() -> None:
    meter = made("mt372")
    requester = who(meter)

    def select(selector: int, parameters: bytes) -> bytes:
        ref = AttributeRef(15, Obis.parse("0-0:40.0.0"), 2, selector, parameters)
        return meter.objects.get(ref, requester)

    clocks = parse_object_list(select(2, axdr.encode(axdr.array(axdr.u16(8)))), 1)
    assert [entry.class_id for entry in clocks] == [8]
    wanted = axdr.structure(axdr.u16(3), axdr.octets(Obis.parse("1-0:1.8.0")))
    assert len(parse_object(select(4, axdr.encode(wanted)), 1).attributes) == 3
    with pytest.raises(AccessError):
        select(9, b"\x00")


def test_a_new_password_holds_from_the_next_association_on() -> None:
    meter = made("mt372")
    put(meter, 15, "0-0:40.0.2", 7, axdr.octets(b"new-secret"))
    assert meter.logical_device().profiles[2].secret == b"new-secret"
    with pytest.raises(AccessError):
        put(meter, 15, "0-0:40.0.2", 7, axdr.octets(b"short"))
    with pytest.raises(AccessError):
        get(meter, 15, "0-0:40.0.2", 7)


def test_the_makers_access_needs_the_seal_open() -> None:
    meter = made("omnipower")
    assert 127 not in meter.logical_device().profiles
    meter.open_seal(True)
    assert 127 in meter.logical_device().profiles
    meter.open_seal(False)
    assert 127 not in meter.logical_device().profiles


def test_the_way_to_authenticate_can_be_ordered() -> None:
    options = MeterOptions(mechanisms=((Level.READER, Mechanism.HLS_GMAC),))
    meter = made("mt372", options=options)
    mechanisms = {sap: p.mechanism for sap, p in meter.logical_device().profiles.items()}
    assert mechanisms[2] == Mechanism.HLS_GMAC
    assert mechanisms[1] == Mechanism.LLS


# --- counters -----------------------------------------------------------------------------------


def test_invocation_counters_never_repeat_over_a_power_cut() -> None:
    store = Store.in_memory()
    meter = made("omnipower", keeper=StoreKeeper(store, "m"))
    title = meter.identity.system_title
    sent = [meter.counters.next(title, "k") for _ in range(5)]
    meter.counters.accept(b"CLIENT01", "k", 100)
    again = made("omnipower", keeper=StoreKeeper(store, "m"))
    assert again.counters.next(title, "k") > max(sent)
    assert again.counters.lowest(b"CLIENT01", "k") > 100


def test_an_orderly_end_keeps_the_received_counter_exactly() -> None:
    store = Store.in_memory()
    meter = made("omnipower", keeper=StoreKeeper(store, "m"))
    key_id = key_fingerprint(meter.key("unicast"))
    meter.counters.accept(b"CLIENT01", key_id, 100)
    assert get(meter, 1, "0-0:43.1.0", 2, Level.PUBLIC) == 100
    meter.switch_off()
    again = made("omnipower", keeper=StoreKeeper(store, "m"))
    assert again.counters.lowest(b"CLIENT01", key_id) == 101
    assert get(again, 1, "0-0:43.1.0", 2, Level.PUBLIC) == 100


def test_the_invocation_counter_object_tells_of_the_encryption_key_in_force_only() -> None:
    meter = made("omnipower")
    meter.counters.accept(b"CLIENT01", key_fingerprint(meter.key("unicast")), 7)
    meter.counters.accept(b"CLIENT01", key_fingerprint(meter.key("broadcast")), 900)
    meter.counters.accept(b"CLIENT01", "transaction", 1 << 40)  # signed APDUs count apart
    assert get(meter, 1, "0-0:43.1.0", 2, Level.PUBLIC) == 7
    transfer(meter, 0, aes_key_wrap(meter.key("master"), bytes(range(16))))
    assert get(meter, 1, "0-0:43.1.0", 2, Level.PUBLIC) == 0


def test_claimed_titles_leave_nothing_in_memory() -> None:
    """Anybody may name any system title; only proved ones are remembered."""
    meter = made("omnipower")
    for number in range(1000):
        assert meter.counters.lowest(number.to_bytes(8, "big"), "k") == 0
    assert not meter.counter_store._floors


def test_a_store_that_fails_lets_no_message_be_taken_and_the_next_one_works() -> None:
    store = Store.in_memory()
    meter = made("omnipower", keeper=StoreKeeper(store, "m"))
    working = meter.keeper.commit

    def failing() -> None:
        raise StorageError("no space")

    meter.keeper.commit = failing  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(LocalProtocolError, match="no space"):
            meter.counters.accept(b"CLIENT01", "k", 5)
    meter.keeper.commit = working  # type: ignore[method-assign]
    meter.counters.accept(b"CLIENT01", "k", 5)
    again = made("omnipower", keeper=StoreKeeper(store, "m"))
    assert again.counters.lowest(b"CLIENT01", "k") > 5
