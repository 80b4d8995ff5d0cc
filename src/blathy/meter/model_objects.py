"""The objects of a model: which interface class is built by what, from the model's rows and
facilities. `tree` shares them between all meters of a kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.meter.access import CURRENT_ASSOCIATION
from blathy.meter.classes.arbitrator import arbitrator_object
from blathy.meter.classes.array_manager import array_manager_object
from blathy.meter.classes.associations import (
    association_object,
    invocation_counter_object,
    sap_object,
)
from blathy.meter.classes.bus_addresses import mbus_slave_port_object, wireless_mode_q_object
from blathy.meter.classes.calendar import calendar_object, special_days_object
from blathy.meter.classes.charge import charge_object
from blathy.meter.classes.clock import clock_object
from blathy.meter.classes.communication_setup import HELD, held_object
from blathy.meter.classes.compact_data import compact_data_object
from blathy.meter.classes.data_protection import data_protection_object
from blathy.meter.classes.function_control import function_control_object
from blathy.meter.classes.image_transfer import image_object
from blathy.meter.classes.mbus_client import mbus_client_object, mbus_value_object
from blathy.meter.classes.mbus_diagnostic import mbus_diagnostic_object
from blathy.meter.classes.measurement_monitoring import measurement_monitoring_object
from blathy.meter.classes.modem import gsm_diagnostic, lte_monitoring
from blathy.meter.classes.parameter_monitor import parameter_monitor_object
from blathy.meter.classes.payment import account_object, credit_object
from blathy.meter.classes.port_protection import port_protection_object
from blathy.meter.classes.profiles import billing_object, log_object, profile_object
from blathy.meter.classes.register_monitor import register_monitor_object
from blathy.meter.classes.register_table import register_table_object
from blathy.meter.classes.schedule import schedule_object
from blathy.meter.classes.scripts import (
    activation_object,
    push_object,
    script_object,
    scripts_of,
)
from blathy.meter.classes.security_setup import security_object
from blathy.meter.classes.sensor_manager import sensor_manager_object
from blathy.meter.classes.short_names import association_sn_object
from blathy.meter.classes.single_action import single_action_object
from blathy.meter.classes.status_mapping import status_mapping_object
from blathy.meter.classes.supply import disconnect_object, limiter_object
from blathy.meter.classes.token_gateway import sts_attributes_object, token_gateway_object
from blathy.meter.classes.utility_tables import utility_table_object
from blathy.meter.classes.values import parameter_object, row_object
from blathy.meter.objects import Attribute, CosemObject
from blathy.meter.plan import MeterOptions, chosen_profile, plan_of
from blathy.models.model import Facility, Model, Tariffs

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

BY_FACILITY: Final[Mapping[int, Callable[[Facility], CosemObject]]] = {
    4: mbus_value_object,
    10: schedule_object,
    17: sap_object,
    18: image_object,
    21: register_monitor_object,
    25: mbus_slave_port_object,
    26: utility_table_object,
    30: data_protection_object,
    47: gsm_diagnostic,
    61: register_table_object,
    62: compact_data_object,
    63: status_mapping_object,
    64: security_object,
    65: parameter_monitor_object,
    68: arbitrator_object,
    72: mbus_client_object,
    73: wireless_mode_q_object,
    77: mbus_diagnostic_object,
    111: account_object,
    112: credit_object,
    113: charge_object,
    115: token_gateway_object,
    116: sts_attributes_object,
    124: port_protection_object,
    151: lte_monitoring,
}
"""Class id -> what builds its object from the facility alone."""
BY_MODEL: Final[Mapping[int, Callable[[Model, Facility], CosemObject]]] = {
    6: activation_object,
    9: script_object,
    22: single_action_object,
    40: push_object,
    66: measurement_monitoring_object,
    67: sensor_manager_object,
    122: function_control_object,
    123: array_manager_object,
}
"""Class id -> what also needs the model."""
BY_TARIFFS: Final[Mapping[int, Callable[[Facility, Tariffs], CosemObject]]] = {
    11: special_days_object,
    20: calendar_object,
}
"""Class id -> what needs to know how many rates, days and seasons the model has."""


def objects_of(model: Model, options: MeterOptions) -> list[CosemObject]:
    """Every object of a model as ordered."""
    plan = plan_of(model, options)
    demand = plan.demands[0] if plan.demands else None
    period_s = demand.period_s if demand else 900
    sub_periods = demand.sub_periods if demand else 1
    profiles = {p.name: p.columns for p in plan.profiles}
    billings = {b.name: b.columns for b in plan.billings}
    items = [clock_object(model.clock)]
    items += [row_object(row, period_s, sub_periods) for row in model.rows]
    items += [parameter_object(parameter) for parameter in model.parameters]
    for profile in model.profiles:
        chosen = chosen_profile(model, options, profile)
        items.append(profile_object(model, chosen, chosen.period_s, profiles[profile.key]))
    items += [billing_object(model, b, billings[b.key]) for b in model.billing]
    items += [log_object(model, log) for log in model.logs]
    items += _associations(model, options)
    if model.breaker is not None:
        breaker = model.breaker
        items.append(disconnect_object(breaker.obis, "disconnect control", breaker.modes))
        if breaker.limiter_obis is not None:
            items.append(limiter_object(model, breaker))
    items += [disconnect_object(r.obis, f"relay {r.label}", ()) for r in model.relays]
    for facility in model.facilities:
        built = _facility_object(model, facility)
        if built is not None:
            items.append(built)
    return items


def _associations(model: Model, options: MeterOptions) -> list[CosemObject]:
    if options.short_names:
        return [association_sn_object()]
    current = association_object(CURRENT_ASSOCIATION, "current association")
    named = (
        association_object(a.obis, f"association of client {a.client_sap} ({a.level.value})")
        for a in model.associations
    )
    return [current, *named]


def _facility_object(model: Model, facility: Facility) -> CosemObject | None:
    """None for what this model has nothing for: no scripts, no billing, nothing to display."""
    class_id = facility.class_id
    if class_id in HELD:
        return held_object(facility)
    if class_id == 9 and facility.role != "tariff" and not scripts_of(model, facility.role):
        return None
    if class_id == 22 and facility.role == "billing" and not model.billing:
        return None
    if facility.role == "display":
        return _display_object(facility) if model.display or model.leds else None
    if facility.role == "invocation counter":
        return invocation_counter_object(facility)
    if class_id in BY_TARIFFS:
        return BY_TARIFFS[class_id](facility, model.tariffs)
    if class_id in BY_MODEL:
        return BY_MODEL[class_id](model, facility)
    return BY_FACILITY[class_id](facility)


def _display_object(facility: Facility) -> CosemObject:
    """The LCD, its symbols and the lights as they are at this moment."""

    def face(meter: Meter) -> bytes:
        return axdr.encode(meter.face_data())

    return CosemObject(1, 0, facility.obis, facility.group, facility.title, (Attribute(face),))
