"""English names of OBIS codes, status words, compact data."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blathy.cosem import axdr, compact_data, status
from blathy.cosem.axdr import AxdrError, DataType
from blathy.cosem.compact_data import (
    TemplateCache,
    build_template,
    decode_buffer,
    encode_buffer,
    parse_template,
)
from blathy.cosem.names import known_name, obis_name
from blathy.obis import Obis


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("1-0:1.8.0", "active energy import"),
        ("1-0:2.8.4", "active energy export, tariff 4"),
        ("1-1:1.8.0", "active energy import"),  # Kamstrup writes B = 1
        ("1-2:82.8.0", "pulses, channel 2"),
        ("1-0:5.8.0", "reactive energy quadrant I"),
        ("1-0:9.8.0", "apparent energy import"),
        ("1-0:21.7.0", "active power import L1"),
        ("1-0:62.8.0", "active energy export L3"),
        ("1-0:60.8.0", "active energy quadrant IV L2"),
        ("1-0:32.7.0", "voltage L1"),
        ("1-0:51.7.0", "current L2"),
        ("1-0:91.7.0", "current neutral"),
        ("1-0:73.7.0", "power factor L3"),
        ("1-0:14.7.0", "frequency"),
        ("1-0:31.7.5", "current L1, harmonic 5"),
        ("1-0:32.7.124", "voltage L1, total harmonic distortion"),
        ("1-0:1.6.2", "maximum of active power import, tariff 2"),
        ("1-0:1.4.0", "current average of active power import"),
        ("1-0:1.29.0", "active energy import, this recording interval"),
        ("1-0:32.32.0", "under limit counter of voltage L1"),
        ("1-0:81.7.4", "phase angle I1 to U1"),
        ("1-0:81.7.10", "phase angle U1 to U2"),
        ("1-0:81.7.99", "electricity object 81.7.99"),
        ("1-0:83.8.6", "no-load losses, active"),
        ("1-0:1.8.0*101", "active energy import, last billing period"),
        ("1-0:1.8.0*103", "active energy import, 3 billing periods ago"),
        ("1-0:99.1.0", "load profile 1"),
        ("0-0:1.0.0", "clock"),
        ("0-0:96.1.0", "device identification 1"),
        ("0-0:96.7.2", "power failures in L2"),
        ("0-0:96.7.21", "power failures in any phase"),
        ("0-0:96.3.10", "disconnect control"),
        ("0-1:24.2.1", "M-Bus value 1, channel 1"),
        ("0-0:97.98.20", "alarm descriptor 1"),
        ("0-0:43.1.2", "invocation counter 2"),
        ("0-0:19.10.0", "credit 1"),
        ("0-0:19.11.3", "credit 2, number 3"),
        ("1-1:96.1.1", "device identification 2"),
        ("1-0:96.51.1", "service entry 51.1"),
        ("8-1:1.0.0", "cold water volume, channel 1"),
        ("1-0:128.7.0", "electricity manufacturer specific 128.7.0"),
        ("3-0:1.2.3", "medium 3 object 1.2.3"),
    ],
)
def test_names(code: str, name: str) -> None:
    assert obis_name(code) == name


@given(st.binary(min_size=6, max_size=6).map(Obis.of))
def test_every_code_has_some_name(code: Obis) -> None:
    assert obis_name(code)
    assert known_name(code) is None or obis_name(code) == known_name(code)


def test_profile_status_words() -> None:
    amr = status.AMR_PROFILE_STATUS
    assert amr.names(0xA2) == ("clock invalid", "clock adjusted", "power down")
    assert amr.invalid(0x02)
    assert not amr.invalid(0xA8)
    assert amr.names(0x10) == ("bit 4",)
    assert amr.names(0x100) == ("bit 8",)
    assert status.CLOCK_STATUS.names(0x81) == ("invalid value", "daylight saving active")
    assert status.KAMSTRUP_QUALITY.names(1 << 10) == ("generated entry",)
    assert status.VDEW_PROFILE_STATUS.names(0x20) == ("clock set",)
    assert status.ISKRAEMECO_ERROR_REGISTER.names(0x03000000) == (
        "clock back-up empty",
        "time invalid",
    )
    assert status.kamstrup_status_names(1_000_100) == ("magnetic field", "meter cover")


def test_status_values_of_every_type() -> None:
    for data, value in (
        (axdr.u8(8), 8),
        (axdr.bits("00010000"), 8),
        (axdr.octets(b"\x01\x00"), 256),
        (axdr.visible("0000A0"), 0xA0),
        (axdr.null(), 0),
        (axdr.bits(""), 0),
    ):
        assert status.status_value(data) == value
    for wrong in (axdr.array(), axdr.i8(-1), axdr.visible("sun"), axdr.utf8("1")):
        with pytest.raises(AxdrError):
            status.status_value(wrong)


def test_status_tables_that_contradict_themselves_are_refused() -> None:
    for bits in (
        (status.StatusBit(8, "a"),),
        (status.StatusBit(1, "a"), status.StatusBit(0, "b")),
        (status.StatusBit(1, "a"), status.StatusBit(1, "b")),
    ):
        with pytest.raises(ValueError, match="once, in order"):
            status.StatusWord("x", 8, bits)


VALUES = (
    axdr.u8(5),
    axdr.octets(bytes(12)),
    axdr.u32(70_000),
    axdr.structure(axdr.i8(-1), axdr.enum(30)),
    axdr.array(axdr.u16(1), axdr.u16(2)),
    axdr.visible("text"),
)


def test_compact_data_round_trip() -> None:
    template, buffer = build_template(VALUES), encode_buffer(VALUES)
    assert buffer[0] == 5
    assert decode_buffer(template, buffer) == VALUES
    assert [each.type for each in parse_template(template)] == [each.type for each in VALUES]
    assert len(buffer) < len(axdr.encode(axdr.structure(*VALUES)))


def test_compact_data_needs_its_template() -> None:
    cache = TemplateCache()
    template, buffer = build_template(VALUES), encode_buffer(VALUES)
    with pytest.raises(AxdrError, match="read attribute 5 of meter 1"):
        cache.decode("meter 1", buffer)
    cache.learn("meter 1", 5, template)
    assert cache.decode("meter 1", buffer) == VALUES
    for wrong in (b"", buffer[:-1], buffer + buffer):
        with pytest.raises(AxdrError):
            cache.decode("meter 1", wrong)
    for wrong in (b"", b"\x08", b"\x13\x11"):
        with pytest.raises(AxdrError):
            cache.learn("meter 1", 5, wrong)


def test_the_cache_of_templates_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact_data, "MAX_TEMPLATES", 2)
    cache = TemplateCache()
    for number in range(3):
        cache.learn("meter", number, bytes([DataType.UNSIGNED]))
    with pytest.raises(AxdrError, match="not known"):
        cache.decode("meter", b"\x00")
    assert cache.decode("meter", b"\x02") == (axdr.u8(2),)


def test_arrays_of_mixed_shapes_have_no_description() -> None:
    with pytest.raises(AxdrError):
        build_template([axdr.array(axdr.u8(1), axdr.u16(1))])
    assert build_template([axdr.u8(1)]) == bytes([DataType.UNSIGNED])


def test_an_empty_array_is_one_of_no_null_data() -> None:
    values = (axdr.u8(3), axdr.array(), axdr.u16(4))
    template = build_template(values)
    assert template == bytes.fromhex("11 01 0000 00 12")
    assert decode_buffer(template, encode_buffer(values)) == values


@given(st.binary(max_size=40), st.binary(max_size=60))
def test_any_template_and_buffer_decode_or_raise_an_axdr_error(
    template: bytes, buffer: bytes
) -> None:
    try:
        decode_buffer(template, buffer)
    except AxdrError:
        pass


@pytest.mark.parametrize(
    "text",
    ["1.8.0", "1-0:1.8.0", "1-0:1.8.0*255", "1-0:1.8.0.255", "1.0.1.8.0.255", "0100010800ff"],
)
def test_a_code_is_read_in_every_form_that_people_write(text: str) -> None:
    assert Obis.parse(text) == Obis(1, 0, 1, 8, 0)


@pytest.mark.parametrize("text", ["1.8.0.255", "0-1.8.0.255", "0100010800f", "1-0:1.8.0.255.1", ""])
def test_what_could_mean_another_code_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="OBIS code"):
        Obis.parse(text)
