"""The services of one association, explained in order: each answer by the request before it.

Knows what later APDUs need: titles and challenges of AARQ and AARE, the dedicated key, what was
asked, blocks that are still to come. Ciphered APDUs are opened with the keys of the ring.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Final

from blathy.client.explain_broken import broken_apdu
from blathy.client.explain_partners import (
    KeyRing,
    Partners,
    ciphered_name,
    general_header,
    is_text,
)
from blathy.client.explain_values import (
    ELEMENTS_SHOWN,
    Knowledge,
    Node,
    attribute_node,
    attribute_text,
    enum_text,
    method_text,
    octets_node,
    octets_text,
    time_text,
    value_node,
    words,
)
from blathy.client.push import named_values
from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError
from blathy.cosem.names import obis_name
from blathy.cosem.service import ActionResult, AttributeRef, DataAccessResult, MethodRef
from blathy.obis import Obis
from blathy.wire import acse, apdu
from blathy.wire.apdu import Conformance
from blathy.wire.client import exception_reason, service_error_reason
from blathy.wire.errors import RemoteProtocolError
from blathy.wire.octets import Reader
from blathy.wire.short_names import REPLY_TO_HLS_NAME

DEPTH_MAX: Final = 6
ASSEMBLED_MAX: Final = 1 << 20
_ASSOCIATION_SN: Final = 12


Asked = AttributeRef | MethodRef | int
"""What a request named; a short name is a number."""


class Association:
    """What a client and a meter say to each other."""

    def __init__(self, ring: KeyRing, known: Knowledge, client: bytes, meter: bytes) -> None:
        self._partners = Partners(ring, client, meter)
        self._known = known
        self._asked: list[Asked] = []
        self._blocks = {False: bytearray(), True: bytearray()}
        self._due = {False: 1, True: 1}
        self._general: dict[bool | None, dict[int, bytes]] = {}

    def explain(self, node: Node, octets: bytes, sender: str = "", depth: int = 0) -> None:
        """Add what this APDU says; `sender`: client, meter, or empty where nobody knows."""
        if octets[:3] in {b"\xe6\xe6\x00", b"\xe6\xe7\x00", b"\xe6\xff\x00"}:
            octets = octets[3:]
        if not octets or depth > DEPTH_MAX:
            node.add(f"octets: {octets_text(octets)}")
            return
        try:
            if 0x60 <= octets[0] <= 0x63:
                self._association(node, acse.decode(octets), depth)
            elif octets[0] == apdu.Tag.GENERAL_SIGNING:
                self._signed(node, octets, sender, depth)
            elif octets[0] in apdu.CIPHERED_TAGS:
                self._ciphered(node, octets, sender, depth)
            else:
                self._service(node, octets, sender, depth)
        except RemoteProtocolError as error:
            broken_apdu(node, octets, error)

    # --- associations

    def _association(self, node: Node, message: Any, depth: int) -> None:
        here = node.add(type(message).__name__.upper())
        if isinstance(message, acse.Aarq):
            self._partners.aarq(here, message)
        elif isinstance(message, acse.Aare):
            self._partners.aare(here, message)
        elif message.reason is not None:
            names = {0: "normal", 1: "urgent", 30: "user-defined"}
            if isinstance(message, acse.Rlre):
                names[1] = "not finished"
            here.add(f"reason: {message.reason} {names.get(message.reason, '')}".rstrip())
        if message.user_information:
            self.explain(here, message.user_information, "", depth + 1)

    # --- protection

    def _signed(self, node: Node, octets: bytes, sender: str, depth: int) -> None:
        message = apdu.decode(octets)
        assert isinstance(message, apdu.GeneralSigning)
        here = node.add(f"General signing, {len(octets)} octets", octets)
        general_header(here, message.header)
        self._partners.signed(here, message, sender)
        self.explain(here, message.content, sender, depth + 1)

    def _ciphered(self, node: Node, octets: bytes, sender: str, depth: int) -> None:
        here = node.add(f"{ciphered_name(octets[0])}, {len(octets)} octets", octets)
        plain = self._partners.open(here, octets, sender)
        if plain is None:
            return
        if is_text(plain):
            here.add(f"text: {plain.decode('ascii')!r}")
        else:
            self.explain(here, plain, sender, depth + 1)

    # --- services

    def _service(self, node: Node, octets: bytes, sender: str, depth: int) -> None:
        message: Any = apdu.decode(octets)
        here = node.add(words(type(message).__name__) + _invoke_text(message), octets)
        show = _SERVICES.get(type(message))
        if show is not None:
            show(self, here, message)
        elif isinstance(message, apdu.GeneralBlockTransfer):
            self._general_block(here, message, sender, depth)
        elif isinstance(message, apdu.Gateway):
            here.add(f"network {message.network}, physical address {message.address.hex(' ')}")
            self.explain(here, message.apdu, sender, depth + 1)
        else:
            _fields(here, message)

    def _general_block(
        self, here: Node, block: apdu.GeneralBlockTransfer, sender: str, depth: int
    ) -> None:
        here.text = (
            f"General block transfer, block {block.block}{', last' if block.last else ''}"
            f"{', streaming' if block.streaming else ''}, {len(block.data)} octets; "
            f"window {block.window}, acknowledges {block.acknowledged}"
        )
        side = {"client": False, "meter": True}.get(sender)
        kept = self._general.setdefault(side, {})
        if block.data or (block.last and kept):
            if kept and block.block == 1 and 1 in kept and kept[1] != block.data:
                kept.clear()  # a new transfer; the one before was never finished
            kept[block.block] = block.data
        if sum(map(len, kept.values())) > ASSEMBLED_MAX:
            kept.clear()
        if not block.last or not kept:
            return
        first, last = min(kept), max(kept)
        missing = [number for number in range(first, last) if number not in kept]
        if missing:
            here.add(f"blocks missing: {', '.join(map(str, missing[:ELEMENTS_SHOWN]))}")
            return
        whole = b"".join(kept[number] for number in range(first, last + 1))
        kept.clear()
        self.explain(here.add(f"{len(whole)} octets in all"), whole, sender, depth + 1)

    def _get_request(self, here: Node, message: apdu.GetRequestNormal) -> None:
        self._ask([message.attribute])
        attribute_node(here, "attribute", message.attribute)

    def _get_list(self, here: Node, message: apdu.GetRequestList) -> None:
        self._ask(message.attributes)
        for number, ref in enumerate(message.attributes):
            attribute_node(here, str(number + 1), ref)

    def _next(self, here: Node, message: apdu.GetRequestNext) -> None:
        here.add(f"has block {message.block}, asks for the one after it")

    def _ask(self, asked: Sequence[Asked]) -> None:
        self._asked = list(asked)
        for from_meter in (False, True):
            self._blocks[from_meter].clear()
            self._due[from_meter] = 1

    def _get_response(self, here: Node, message: apdu.GetResponseNormal) -> None:
        self._got(here, "value", self._only(), message.result)

    def _only(self) -> Asked | None:
        return self._asked[0] if len(self._asked) == 1 else None

    def _got(self, here: Node, label: str, asked: Asked | None, result: bytes | int) -> None:
        """A value, or the reason why there is none."""
        if isinstance(result, int):
            here.add(f"{label}: refused, {_named(DataAccessResult, result)}")
        elif isinstance(asked, int):
            self._got(here, label, self._resolved(asked), result)
        elif isinstance(asked, AttributeRef):
            value_node(here, label, asked, result, self._known)
        elif isinstance(asked, MethodRef) and _is_hls(asked):
            self._partners.proof(here, result, from_meter=True)
        else:
            octets_node(here, label, result)

    def _got_all(self, here: Node, results: Sequence[bytes | int]) -> None:
        asked = self._asked if len(self._asked) == len(results) else [None] * len(results)
        # Scalers may stand behind the values that they belong to.
        for one, result in zip(asked, results, strict=True):
            if isinstance(one, AttributeRef) and isinstance(result, bytes):
                self._known.learn(one, result)
        for number, (one, result) in enumerate(zip(asked, results, strict=True)):
            name = self._text(one) if one is not None else ""
            branch = here.add(f"{number + 1}: {name}") if name else here
            self._got(branch, "value" if name else str(number + 1), one, result)

    def _get_results(self, here: Node, message: apdu.GetResponseList) -> None:
        self._got_all(here, message.results)

    def _get_block(self, here: Node, message: apdu.GetResponseBlock) -> None:
        if isinstance(message.raw, int):
            here.add(f"transfer ended: {_named(DataAccessResult, message.raw)}")
            return
        whole = self._block(here, message, from_meter=True)
        if whole is None:
            return
        branch = here.add(f"{len(whole)} octets in all")
        if len(self._asked) > 1:
            self._got_all(branch, apdu.read_get_results(Reader(whole)))
        else:
            self._got(branch, "value", self._only(), whole)

    def _block(self, here: Node, message: Any, *, from_meter: bool) -> bytes | None:
        """Keep a block; all of them with the last one."""
        store = self._blocks[from_meter]
        raw: bytes = message.raw
        lasts = ", last" if message.last else ""
        here.add(f"block {message.block}{lasts}: {octets_text(raw)}")
        if message.block != self._due[from_meter]:
            here.add(f"block {self._due[from_meter]} was due")
        self._due[from_meter] = message.block + 1
        store += raw
        if len(store) > ASSEMBLED_MAX:
            store.clear()
        if not message.last:
            return None
        whole = bytes(store)
        store.clear()
        self._due[from_meter] = 1
        return whole

    def _set_request(self, here: Node, message: apdu.SetRequestNormal) -> None:
        self._ask([message.attribute])
        attribute_node(here, "attribute", message.attribute)
        self._got(here, "value", message.attribute, message.value)

    def _set_list(self, here: Node, message: apdu.SetRequestList) -> None:
        self._ask(message.attributes)
        self._got_all(here, message.values)

    def _set_first(self, here: Node, message: Any) -> None:
        refs = message.attributes if hasattr(message, "attributes") else (message.attribute,)
        self._ask(refs)
        for ref in refs:
            attribute_node(here, "attribute", ref)
        self._upload(here, message)

    def _upload(self, here: Node, message: Any) -> None:
        whole = self._block(here, message, from_meter=False)
        if whole is None:
            return
        branch = here.add(f"{len(whole)} octets in all")
        one = self._only()
        if len(self._asked) > 1:
            reader = Reader(whole)
            values = [reader.data_value() for _ in range(reader.length())]
            self._got_all(branch, values)
        elif isinstance(one, MethodRef):
            self._parameters(branch, one, whole)
        else:
            self._got(branch, "value", one, whole)

    def _set_result(self, here: Node, message: Any) -> None:
        results = message.results if hasattr(message, "results") else (message.result,)
        asked = self._asked if len(self._asked) == len(results) else [None] * len(results)
        for one, result in zip(asked, results, strict=True):
            name = f" of {self._text(one)}" if one is not None else ""
            here.add(f"result{name}: {_named(DataAccessResult, result)}")

    def _acknowledged(self, here: Node, message: Any) -> None:
        here.add(f"has block {message.block}, waits for the one after it")

    def _action_request(self, here: Node, message: apdu.ActionRequestNormal) -> None:
        self._ask([message.method])
        here.add(f"method: {method_text(message.method)}")
        if message.parameters:
            self._parameters(here, message.method, message.parameters)

    def _parameters(self, here: Node, method: MethodRef, parameters: bytes) -> None:
        if _is_hls(method):
            self._partners.proof(here, parameters, from_meter=False)
        elif method.class_id in {12, 15} and method.method in {2, 5, 6}:
            here.add("parameters: (a secret may be in them, hidden)")
        else:
            octets_node(here, "parameters", parameters)

    def _action_list(self, here: Node, message: apdu.ActionRequestList) -> None:
        self._ask(message.methods)
        for number, method in enumerate(message.methods):
            branch = here.add(f"{number + 1}: {method_text(method)}")
            self._parameters(branch, method, message.parameters[number])

    def _action_first(self, here: Node, message: Any) -> None:
        methods = message.methods if hasattr(message, "methods") else (message.method,)
        self._ask(methods)
        for method in methods:
            here.add(f"method: {method_text(method)}")
        self._upload(here, message)

    def _action_response(self, here: Node, message: apdu.ActionResponseNormal) -> None:
        self._outcome(here, self._only(), message.result, message.returned)

    def _outcome(self, here: Node, one: Asked | None, result: int, returned: Any) -> None:
        name = f" of {self._text(one)}" if one is not None else ""
        here.add(f"result{name}: {_named(ActionResult, result)}")
        if returned is not None:
            self._got(here, "returned", one if isinstance(one, MethodRef) else None, returned)

    def _action_results(self, here: Node, message: apdu.ActionResponseList) -> None:
        self._outcomes(here, message.results)

    def _outcomes(self, here: Node, results: Sequence[tuple[int, Any]]) -> None:
        asked = self._asked if len(self._asked) == len(results) else [None] * len(results)
        for one, (result, returned) in zip(asked, results, strict=True):
            self._outcome(here, one, result, returned)

    def _action_block(self, here: Node, message: apdu.ActionResponseBlock) -> None:
        whole = self._block(here, message, from_meter=True)
        if whole is None:
            return
        branch = here.add(f"{len(whole)} octets in all")
        if len(self._asked) > 1:
            self._outcomes(branch, apdu.read_action_results(Reader(whole)))
            return
        try:  # servers differ in what the blocks hold
            reader = Reader(whole)
            result, returned = apdu.read_action_result(reader)
            reader.done()
        except RemoteProtocolError:
            self._got(branch, "returned", self._only(), whole)
        else:
            self._outcome(branch, self._only(), result, returned)

    def _access_request(self, here: Node, message: apdu.AccessRequest) -> None:
        self._ask([ref for _, ref in message.specifications])
        if message.time:
            here.add(f"time: {time_text(message.time) or octets_text(message.time)}")
        pairs = zip(message.specifications, message.data, strict=True)
        for number, ((kind, ref), value) in enumerate(pairs):
            label = f"{number + 1}: {kind.name.lower()}"
            if isinstance(ref, MethodRef):
                branch = here.add(f"{label} {method_text(ref)}")
            else:
                branch = here.add(f"{label} {attribute_text(ref)}")
                if ref.selector is not None:
                    octets_node(branch, f"selection {ref.selector}", ref.parameters)
            if value != b"\x00":
                self._got(branch, "data", ref, value)

    def _access_response(self, here: Node, message: apdu.AccessResponse) -> None:
        if message.specifications is not None:
            self._asked = [ref for _, ref in message.specifications]
        if message.time:
            here.add(f"time: {time_text(message.time) or octets_text(message.time)}")
        for number in range(max(len(message.results), len(message.data))):
            one = self._asked[number] if number < len(self._asked) else None
            name = f" {self._text(one)}" if one is not None else ""
            branch = here.add(f"{number + 1}:{name}")
            if number < len(message.results):
                kind, result = message.results[number]
                branch.add(f"{kind.name.lower()}: {_named(DataAccessResult, result)}")
            if number < len(message.data) and message.data[number] != b"\x00":
                self._got(branch, "data", one, message.data[number])

    # --- notifications

    def _notification(self, here: Node, message: apdu.DataNotification) -> None:
        if message.time:
            here.add(f"time: {time_text(message.time) or octets_text(message.time)}")
        try:
            body = axdr.decode(message.body)
            values = named_values(body, tagged_time=message.tagged_time)
        except AxdrError:
            octets_node(here, "body", message.body)
            return
        if any(value.obis is not None for value in values):
            branch = here.add(f"values: {len(values)}")
            for value in values:
                shown = _pushed_text(value.value)
                if value.attribute == 1 and isinstance(value.value, bytes):
                    shown = str(Obis.of(value.value)) if len(value.value) == 6 else shown
                if value.obis is None:
                    branch.add(f"without a name: {shown}")
                    continue
                attribute = f" attribute {value.attribute}" if value.attribute else ""
                branch.add(f"{value.obis}{attribute} ({obis_name(value.obis)}): {shown}")
        octets_node(here, "body", message.body)

    def _event(self, here: Node, message: apdu.EventNotification) -> None:
        if message.time is not None:
            here.add(f"time: {time_text(message.time) or octets_text(message.time)}")
        attribute_node(here, "attribute", message.attribute)
        value_node(here, "value", message.attribute, message.value, self._known)

    # --- short names

    def _resolved(self, name: int) -> AttributeRef | MethodRef | None:
        if name == REPLY_TO_HLS_NAME:
            return MethodRef(_ASSOCIATION_SN, Obis(0, 0, 40, 0, 0), 8)
        return self._known.named(name)

    def _text(self, one: Asked) -> str:
        if isinstance(one, AttributeRef):
            return attribute_text(one)
        if isinstance(one, MethodRef):
            return method_text(one)
        found = self._resolved(one)
        return f"short name {one:04X}{f', {self._text(found)}' if found is not None else ''}"

    def _variable(self, here: Node, label: str, variable: apdu.VariableAccess) -> Node:
        if isinstance(variable, apdu.VariableName):
            return here.add(f"{label}: {self._text(variable.name)}")
        if isinstance(variable, apdu.ParameterizedAccess):
            branch = here.add(f"{label}: {self._text(variable.name)}")
            found = self._resolved(variable.name)
            if isinstance(found, MethodRef) and found.class_id == _ASSOCIATION_SN:
                self._short_parameters(branch, found, variable.parameters)
            else:
                selector = f"parameter of selector {variable.selector}"
                octets_node(branch, selector, variable.parameters)
            return branch
        branch = here.add(f"{label}: {words(type(variable).__name__)}")
        _fields(branch, variable)
        return branch

    def _short_parameters(self, here: Node, method: MethodRef, parameters: bytes) -> None:
        if method.method == 8:
            self._partners.proof(here, parameters, from_meter=False)
        else:
            octets_node(here, "parameters", parameters)

    def _read_request(self, here: Node, message: apdu.ReadRequest) -> None:
        names = _short_names(message.variables)
        if names:
            self._ask(names)
        for number, variable in enumerate(message.variables):
            self._variable(here, str(number + 1), variable)

    def _read_response(self, here: Node, message: apdu.ReadResponse) -> None:
        asked: list[Asked | None] = [*self._asked]
        if len(asked) != len(message.results):
            asked = [None] * len(message.results)
        for number, (one, result) in enumerate(zip(asked, message.results, strict=True)):
            label = f"{number + 1}: {self._text(one)}" if one is not None else str(number + 1)
            if isinstance(result, apdu.BlockNumber):
                here.add(f"has block {result.block}, waits for the one after it")
            elif isinstance(result, apdu.DataBlockResult):
                whole = self._block(here, result, from_meter=True)
                if whole is not None:
                    results = apdu.read_read_results(Reader(whole))
                    branch = here.add(f"{len(whole)} octets in all")
                    self._read_response(branch, apdu.ReadResponse(results))
            elif isinstance(result, bytes) and self._is_short_hls(one):
                self._partners.proof(here, result, from_meter=True)
            else:
                self._got(here, label, one, result)

    def _is_short_hls(self, one: Asked | None) -> bool:
        return one == REPLY_TO_HLS_NAME

    def _write_request(self, here: Node, message: Any) -> None:
        self._ask(_short_names(message.variables))
        if isinstance(message, apdu.InformationReport) and message.time is not None:
            here.add(f"time: {time_text(message.time) or octets_text(message.time)}")
        for number, variable in enumerate(message.variables):
            branch = self._variable(here, str(number + 1), variable)
            name = getattr(variable, "name", None)
            self._got(branch, "value", name, message.values[number])

    def _write_response(self, here: Node, message: apdu.WriteResponse) -> None:
        asked: list[Asked | None] = [*self._asked]
        if len(asked) != len(message.results):
            asked = [None] * len(message.results)
        for number, (one, result) in enumerate(zip(asked, message.results, strict=True)):
            label = self._text(one) if one is not None else str(number + 1)
            if isinstance(result, apdu.BlockNumber):
                here.add(f"has block {result.block}, waits for the one after it")
            else:
                here.add(f"result of {label}: {_named(DataAccessResult, result)}")

    # --- initiate and errors

    def _initiate(self, here: Node, message: Any) -> None:
        if isinstance(message, apdu.InitiateRequest) and message.dedicated_key:
            self._partners.dedicated = message.dedicated_key
        _fields(here, message)

    def _exception(self, here: Node, message: apdu.ExceptionResponse) -> None:
        here.add(f"state: {_named(apdu.StateError, message.state)}")
        here.add(f"service: {_named(apdu.ServiceError, message.service)}")
        here.add(f"meaning: {exception_reason(message)}")

    def _service_error(self, here: Node, message: apdu.ConfirmedServiceError) -> None:
        here.add(f"service: {_named(apdu.ConfirmedService, message.service)}")
        here.add(f"error class: {_named(apdu.ErrorClass, message.error_class)}")
        if message.error_class == apdu.ErrorClass.INITIATE:
            here.add(f"code: {_named(apdu.InitiateError, message.code)}")
        else:
            here.add(f"code: {message.code}")
        here.add(f"meaning: {service_error_reason(message)}")


_Show = Callable[[Association, Node, Any], None]
_SERVICES: Final[dict[type, _Show]] = {
    apdu.InitiateRequest: Association._initiate,
    apdu.InitiateResponse: Association._initiate,
    apdu.ExceptionResponse: Association._exception,
    apdu.ConfirmedServiceError: Association._service_error,
    apdu.GetRequestNormal: Association._get_request,
    apdu.GetRequestNext: Association._next,
    apdu.GetRequestList: Association._get_list,
    apdu.GetResponseNormal: Association._get_response,
    apdu.GetResponseBlock: Association._get_block,
    apdu.GetResponseList: Association._get_results,
    apdu.SetRequestNormal: Association._set_request,
    apdu.SetRequestFirstBlock: Association._set_first,
    apdu.SetRequestBlock: Association._upload,
    apdu.SetRequestList: Association._set_list,
    apdu.SetRequestListFirstBlock: Association._set_first,
    apdu.SetResponseNormal: Association._set_result,
    apdu.SetResponseBlock: Association._acknowledged,
    apdu.SetResponseLastBlock: Association._set_result,
    apdu.SetResponseLastBlockList: Association._set_result,
    apdu.SetResponseList: Association._set_result,
    apdu.ActionRequestNormal: Association._action_request,
    apdu.ActionRequestNext: Association._next,
    apdu.ActionRequestList: Association._action_list,
    apdu.ActionRequestFirstBlock: Association._action_first,
    apdu.ActionRequestListFirstBlock: Association._action_first,
    apdu.ActionRequestBlock: Association._upload,
    apdu.ActionResponseNormal: Association._action_response,
    apdu.ActionResponseBlock: Association._action_block,
    apdu.ActionResponseList: Association._action_results,
    apdu.ActionResponseNext: Association._acknowledged,
    apdu.AccessRequest: Association._access_request,
    apdu.AccessResponse: Association._access_response,
    apdu.DataNotification: Association._notification,
    apdu.EventNotification: Association._event,
    apdu.ReadRequest: Association._read_request,
    apdu.ReadResponse: Association._read_response,
    apdu.WriteRequest: Association._write_request,
    apdu.UnconfirmedWriteRequest: Association._write_request,
    apdu.InformationReport: Association._write_request,
    apdu.WriteResponse: Association._write_response,
}


# --- texts --------------------------------------------------------------------------------------

_named = enum_text


def _is_hls(method: MethodRef) -> bool:
    return (method.class_id, method.method) in {(15, 1), (12, 8)}


def _short_names(variables: Sequence[apdu.VariableAccess]) -> list[int]:
    names = [getattr(variable, "name", None) for variable in variables]
    return [name for name in names if name is not None]


def _invoke_text(message: Any) -> str:
    invoke = getattr(message, "invoke", None)
    if invoke is not None:
        kind = "confirmed" if invoke & apdu.CONFIRMED else "unconfirmed"
        high = ", high priority" if invoke & apdu.HIGH_PRIORITY else ""
        return f", invoke id {invoke & 0x0F}, {kind}{high}"
    long = getattr(message, "long_invoke", None)
    if long is None:
        return ""
    kind = "confirmed" if long & apdu.LONG_CONFIRMED else "unconfirmed"
    ends = ", break on error" if long & apdu.LONG_BREAK_ON_ERROR else ""
    tells = ", self-descriptive" if long & apdu.LONG_SELF_DESCRIPTIVE else ""
    return f", invoke id {long & apdu.LONG_INVOKE_ID_MASK}, {kind}{ends}{tells}"


def _fields(here: Node, message: Any) -> None:
    """What has no form of its own, field by field."""
    for item in dataclasses.fields(message):
        value = getattr(message, item.name)
        label = words(item.name).lower()
        if item.name == "conformance":
            names = [bit.name for bit in Conformance if value & bit and bit.name]
            listed = ", ".join(n.lower().replace("_", " ") for n in names)
            here.add(f"conformance {value:06X}: {listed}")
        elif item.name in {"invoke", "long_invoke"} or value is None:
            continue
        elif item.name == "vaa_name":
            here.add(f"vaa name: {value:04X}")
        elif isinstance(value, bytes):
            if value:
                here.add(f"{label}: {'(hidden)' if 'key' in label else octets_text(value)}")
        else:
            here.add(f"{label}: {str(value).lower() if isinstance(value, bool) else value}")


def _pushed_text(value: Any) -> str:
    if isinstance(value, bytes):
        printable = value and all(32 <= octet < 127 for octet in value)
        return repr(value.decode("ascii")) if printable else octets_text(value)
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_pushed_text, value[:ELEMENTS_SHOWN])) + ")"
    return "–" if value is None else str(value)


__all__ = ["Association", "KeyRing"]
