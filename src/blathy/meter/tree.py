"""The object tree of a model: built once, shared by every meter of the same kind and order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, Data
from blathy.cosem.classes import interface_class
from blathy.cosem.service import (
    AccessError,
    ActionResult,
    AttributeRef,
    DataAccessResult,
    Requester,
)
from blathy.cosem.service import MethodRef as MethodReference
from blathy.meter.access import View
from blathy.meter.classes.scripts import WRITE, ScriptAction
from blathy.meter.classes.short_names import short_names_of
from blathy.meter.model_objects import objects_of
from blathy.meter.objects import Attribute, CosemObject, ValueReference, decoded
from blathy.meter.plan import MeterOptions
from blathy.models.model import Group, Level, Model
from blathy.obis import Obis
from blathy.quantity import Phase

if TYPE_CHECKING:
    from blathy.meter.meter import Meter


SHOWN: Final = frozenset({Group.PARAMETER, Group.TARIFF, Group.CONTROL, Group.TERMINAL})
AUDITED: Final = SHOWN | {Group.SECURITY, Group.ASSOCIATION, Group.COMMUNICATION, Group.PAYMENT}
"""What is a parameter of the meter: the change of one is audited."""
SHOWN_OCTETS_MAX: Final = 64


class ObjectTree:
    """Every object of a model, and what each level sees of it."""

    def __init__(self, model: Model, options: MeterOptions) -> None:
        self.model = model
        self.options = options
        self.objects: dict[bytes, CosemObject] = {}
        for item in objects_of(model, options):
            key = bytes(item.obis)
            assert key not in self.objects, f"{item.obis} is there twice"
            self.objects[key] = item
        self.deciding = tuple(o for o in self.objects.values() if o.decider is not None)
        """Objects that act by themselves, in order of the tree."""
        self.short_names = short_names_of(self.objects.values()) if options.short_names else {}
        self._views: dict[Level, View] = {}
        self._codes = _event_codes(model)

    def view(self, level: Level) -> View:
        """What a level sees; built when it is first asked for."""
        found = self._views.get(level)
        if found is None:
            own = frozenset(a.obis for a in self.model.associations if a.level is level)
            found = self._views[level] = View(self.model, level, own, self.objects)
        return found

    def code_of(self, name: str, phase: Phase) -> int:
        """The maker's code of an event; 0 where no log holds it."""
        codes = self._codes.get(name, 0)
        if isinstance(codes, int):
            return codes
        return codes[max(phase - 1, 0)]

    def phase_alarms(self, name: str) -> bool:
        """Whether an event has an alarm bit for each phase: those whose codes differ by phase."""
        return not isinstance(self._codes.get(name, 0), int)

    def run(self, meter: Meter, action: ScriptAction, who: Requester) -> None:
        """One step of a script, with the meter's own authority."""
        item = self.objects.get(bytes(action.obis))
        if item is None:
            raise AccessError(ActionResult.OBJECT_UNDEFINED, f"{action.obis} is not there")
        require_on(meter, item)
        if action.service == WRITE:
            attribute = item.attribute(action.index)
            if attribute is None or attribute.set is None:
                raise AccessError(ActionResult.READ_WRITE_DENIED)
            attribute.set(meter, action.parameter)
            return
        method = item.method(action.index)
        if method is None:
            raise AccessError(ActionResult.READ_WRITE_DENIED)
        method(meter, action.parameter, who)

    def own_value(self, meter: Meter, reference: ValueReference) -> Data:
        """An attribute as the meter itself sees it, of books that are not committed yet;
        AccessError where there is none to read."""
        item = self.objects.get(bytes(reference.obis))
        if item is None or item.class_id != reference.class_id:
            raise AccessError(DataAccessResult.OBJECT_UNDEFINED, f"{reference.obis} is not there")
        if reference.attribute == 1:
            return axdr.octets(item.obis)
        attribute = item.attribute(reference.attribute)
        if attribute is None or attribute.get is None:
            raise AccessError(DataAccessResult.READ_WRITE_DENIED, "there is nothing to read")
        if isinstance(attribute.get, bytes):
            return axdr.decode(attribute.get)
        with meter.as_written():
            return axdr.decode(attribute.get(meter))


def require_on(meter: Meter, item: CosemObject) -> None:
    """AccessError while the function that an object belongs to is switched off."""
    if meter.is_off(item.obis):
        raise AccessError(ActionResult.OBJECT_UNAVAILABLE, "its function is switched off")


def _event_codes(model: Model) -> dict[str, int | tuple[int, int, int]]:
    codes: dict[str, int | tuple[int, int, int]] = {}
    for log in model.logs:
        for name, code in log.codes.items():
            codes.setdefault(name, code)
    return codes


@lru_cache(maxsize=128)
def _tree(model_key: str, options: MeterOptions) -> ObjectTree:
    return ObjectTree(_MODELS[model_key], options)


_MODELS: dict[str, Model] = {}


def tree_of(model: Model, options: MeterOptions) -> ObjectTree:
    """The tree of a model as ordered; the same object for the same order."""
    if _MODELS.setdefault(model.key, model) is not model:
        _MODELS[model.key] = model
        _tree.cache_clear()
    return _tree(model.key, options)


class MeterObjects:
    """`cosem.service.ObjectModel` of one meter: the shared tree over its state."""

    __slots__ = ("_meter", "_views")

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._views: dict[int, View] = {}

    def renew(self) -> None:
        """The tree of the meter has changed."""
        self._views.clear()

    def view_of(self, who: Requester) -> View:
        """What this client sees."""
        view = self._views.get(who.client_sap)
        if self._meter.catch_up is not None:
            self._meter.catch_up()
        if view is None:
            meter = self._meter
            association = meter.model.association(who.client_sap)
            if association is None:
                raise AccessError(DataAccessResult.READ_WRITE_DENIED, "no such client")
            view = self._views[who.client_sap] = meter.tree.view(association.level)
        return view

    def get(self, ref: AttributeRef, who: Requester) -> bytes:
        entry = self.view_of(who).entries.get(ref.obis)
        if entry is None:
            raise AccessError(DataAccessResult.OBJECT_UNDEFINED, f"{ref.obis} is not there")
        item, number = entry.object, ref.attribute
        if item.class_id != ref.class_id:
            raise AccessError(
                DataAccessResult.OBJECT_CLASS_INCONSISTENT, f"{ref.obis} is of another class"
            )
        if number == 0 and ref.selector is None and entry.may_get(1):
            return self._all(item, who)
        if not entry.may_get(number):
            raise AccessError(DataAccessResult.READ_WRITE_DENIED, f"{ref.obis} is not readable")
        if number == 1:
            return axdr.encode_octets(item.obis)
        attribute = item.attributes[number - 2]
        if ref.selector is not None:
            return self._select(attribute, ref, who)
        return self._value(attribute, who)

    def _value(self, attribute: Attribute, who: Requester) -> bytes:
        value = attribute.get
        if isinstance(value, bytes):
            return value
        if value is not None:
            return value(self._meter)
        assert attribute.personal is not None
        return attribute.personal(self._meter, who)

    def _select(self, attribute: Attribute, ref: AttributeRef, who: Requester) -> bytes:
        assert ref.selector is not None
        try:
            if attribute.select is not None:
                return attribute.select(self._meter, ref.selector, ref.parameters)
            if attribute.personal_select is not None:
                return attribute.personal_select(self._meter, ref.selector, ref.parameters, who)
        except AxdrError as error:
            raise AccessError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED, str(error)) from error
        raise AccessError(
            DataAccessResult.SCOPE_OF_ACCESS_VIOLATED, "this attribute has no selective access"
        )

    def _all(self, item: CosemObject, who: Requester) -> bytes:
        """Attribute 0: every attribute that can be read, null-data for the others."""
        parts = [axdr.encode_octets(item.obis)]
        parts.extend(
            self._value(attribute, who) if attribute.readable else axdr.encode_null()
            for attribute in item.attributes
        )
        return axdr.encode_structure(*parts)

    def set(self, ref: AttributeRef, value: bytes, who: Requester) -> None:
        item = self._writable(ref, who)
        try:
            self._write(item, ref, value, who)
            self._meter.flush()
        except AccessError as error:
            if isinstance(error.result, DataAccessResult):
                raise
            raise AccessError(_as_data_result(error.result), str(error)) from error

    def set_all(self, writes: Sequence[tuple[AttributeRef, bytes]], who: Requester) -> None:
        """Write all of them with one commit, or none: rights and types are checked before the first
        is written, and where one is refused then for its value, those before it get their values
        back. What cannot be read (a password) cannot be given back.
        """
        items = [self._writable(ref, who) for ref, _ in writes]
        for item, (ref, value) in zip(items, writes, strict=True):
            column = interface_class(item.class_id, item.version).attribute(ref.attribute)
            if not column.type.accepts(decoded(value)):
                raise AccessError(DataAccessResult.TYPE_UNMATCHED, f"{ref.obis}: another type")
        written: list[tuple[CosemObject, AttributeRef, bytes]] = []
        try:
            for item, (ref, value) in zip(items, writes, strict=True):
                attribute = item.attributes[ref.attribute - 2]
                before = self._value(attribute, who) if attribute.readable else b""
                self._write(item, ref, value, who)
                written.append((item, ref, before))
        except AccessError:
            for item, ref, before in reversed(written):
                if before:
                    self._write(item, ref, before, who)
            raise
        self._meter.flush()

    def _writable(self, ref: AttributeRef, who: Requester) -> CosemObject:
        """The object, if this client may write that attribute of it."""
        entry = self.view_of(who).entries.get(ref.obis)
        if entry is None:
            raise AccessError(DataAccessResult.OBJECT_UNDEFINED, f"{ref.obis} is not there")
        if entry.object.class_id != ref.class_id:
            raise AccessError(
                DataAccessResult.OBJECT_CLASS_INCONSISTENT, f"{ref.obis} is of another class"
            )
        if not entry.may_set(ref.attribute) or ref.selector is not None:
            self._meter.record("access_refused")
            raise AccessError(DataAccessResult.READ_WRITE_DENIED, f"{ref.obis} is not writable")
        return entry.object

    def _write(self, item: CosemObject, ref: AttributeRef, value: bytes, who: Requester) -> None:
        try:
            item.attributes[ref.attribute - 2].write(self._meter, decoded(value), who)
        except AxdrError as error:  # octets of the right number that are no date, no name ...
            raise AccessError(DataAccessResult.TYPE_UNMATCHED, str(error)) from error
        self._meter.parameters_set()
        if item.group in AUDITED:
            self._leave_evidence(item, ref, value, who)

    def _leave_evidence(
        self, item: CosemObject, ref: AttributeRef, value: bytes, who: Requester
    ) -> None:
        """A change of a parameter goes into the audit chain, with the commit that holds it. What
        may be a secret is not repeated."""
        told = item.group in SHOWN and len(value) <= SHOWN_OCTETS_MAX
        what = f"{ref.obis}/{ref.attribute}" + (f" = {value.hex()}" if told else "")
        self._meter.ledger.note(f"client {who.client_sap}", "set", what)

    def invoke(self, ref: MethodReference, parameters: bytes, who: Requester) -> bytes:
        try:
            entry = self.view_of(who).entries.get(ref.obis)
            if entry is None:
                raise AccessError(ActionResult.OBJECT_UNDEFINED, f"{ref.obis} is not there")
            if entry.object.class_id != ref.class_id:
                raise AccessError(
                    ActionResult.OBJECT_CLASS_INCONSISTENT, f"{ref.obis} is of another class"
                )
            if not entry.may_invoke(ref.method):
                self._meter.record("access_refused")
                raise AccessError(ActionResult.READ_WRITE_DENIED, "this method is not allowed")
            method = entry.object.methods[ref.method - 1]
            assert method is not None
            require_on(self._meter, entry.object)
            answer = method(self._meter, decoded(parameters), who)
            self._meter.parameters_set()
            self._meter.flush()
            return answer
        except AccessError as error:
            if isinstance(error.result, ActionResult):
                raise
            raise AccessError(_as_action_result(error.result), str(error)) from error
        except AxdrError as error:
            raise AccessError(ActionResult.TYPE_UNMATCHED, str(error)) from error

    def short_names(self, who: Requester) -> dict[int, tuple[int, Obis]]:
        """Empty unless the meter was ordered with short names."""
        del who
        names = self._meter.tree.short_names
        return {base: (item.class_id, item.obis) for base, item in names.items()}


def _as_data_result(result: ActionResult | DataAccessResult) -> DataAccessResult:
    try:
        return DataAccessResult(int(result))
    except ValueError:
        return DataAccessResult.OTHER_REASON


def _as_action_result(result: ActionResult | DataAccessResult) -> ActionResult:
    try:
        return ActionResult(int(result))
    except ValueError:
        return ActionResult.OTHER_REASON
