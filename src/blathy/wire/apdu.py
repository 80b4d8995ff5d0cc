"""xDLMS APDUs (IEC 62056-5-3) as values: `decode(octets)` and `.encode()` for each of them.

Logical-name services (GET, SET, ACTION, ACCESS, EventNotification), short-name services (Read,
Write, UnconfirmedWrite, InformationReport), DataNotification, Initiate, the two error APDUs,
general block transfer, every ciphered envelope and the gateway prefix. Both sides share this
module: what one end encodes is what the other decodes.

A value of an attribute or parameter is its A-XDR octets. `decode` takes any octets and either
returns an APDU or raises RemoteProtocolError; it allocates nothing by a length that the APDU only
claims. The Data that ends a GET response, a DataNotification or an EventNotification is handed over
unparsed, because the decoder of columns walks over it anyway; all others are checked here.
"""

from __future__ import annotations

from typing import Final

from blathy.wire import (
    apdu_envelopes,
    apdu_initiate,
    apdu_logical_names,
    apdu_notifications,
    apdu_short_names,
)
from blathy.wire.apdu_envelopes import (
    AgreedKey,
    Gateway,
    GeneralBlockTransfer,
    GeneralCiphered,
    GeneralCiphering,
    GeneralHeader,
    GeneralSigning,
    IdentifiedKey,
    KeyInfo,
    ServiceCiphered,
    WrappedKey,
    decode_block_transfer,
    decode_service_ciphered,
)
from blathy.wire.apdu_initiate import (
    ConfirmedService,
    ConfirmedServiceError,
    ErrorClass,
    ExceptionResponse,
    InitiateError,
    InitiateRequest,
    InitiateResponse,
    ServiceError,
    StateError,
    decode_initiate_request,
    decode_initiate_response,
)
from blathy.wire.apdu_logical_names import (
    AccessKind,
    AccessRequest,
    AccessResponse,
    AccessSpecification,
    ActionRequestBlock,
    ActionRequestFirstBlock,
    ActionRequestList,
    ActionRequestListFirstBlock,
    ActionRequestNext,
    ActionRequestNormal,
    ActionResponseBlock,
    ActionResponseList,
    ActionResponseNext,
    ActionResponseNormal,
    GetRequestList,
    GetRequestNext,
    GetRequestNormal,
    GetResponseBlock,
    GetResponseList,
    GetResponseNormal,
    SetRequestBlock,
    SetRequestFirstBlock,
    SetRequestList,
    SetRequestListFirstBlock,
    SetRequestNormal,
    SetResponseBlock,
    SetResponseLastBlock,
    SetResponseLastBlockList,
    SetResponseList,
    SetResponseNormal,
    action_result,
    action_result_list,
    data_list,
    get_result,
    get_result_list,
    read_action_result,
    read_action_results,
    read_get_result,
    read_get_results,
)
from blathy.wire.apdu_notifications import (
    DataNotification,
    DataNotificationConfirm,
    EventNotification,
)
from blathy.wire.apdu_short_names import (
    BlockNumber,
    BlockNumberAccess,
    DataBlockResult,
    InformationReport,
    ParameterizedAccess,
    ReadDataBlockAccess,
    ReadRequest,
    ReadResponse,
    ReadResult,
    UnconfirmedWriteRequest,
    VariableAccess,
    VariableName,
    WriteDataBlockAccess,
    WriteRequest,
    WriteResponse,
    read_read_results,
    results_of_blocks,
)
from blathy.wire.apdu_tags import (
    CIPHERED_TAGS,
    CONFIRMED,
    DED_OF,
    DLMS_VERSION,
    GLO_OF,
    HIGH_PRIORITY,
    LN_CONFORMANCE,
    LONG_BREAK_ON_ERROR,
    LONG_CONFIRMED,
    LONG_INVOKE_ID_MASK,
    LONG_SELF_DESCRIPTIVE,
    PLAIN_OF_DED,
    PLAIN_OF_GLO,
    SN_CONFORMANCE,
    VAA_NAME_LN,
    VAA_NAME_SN,
    Apdu,
    Conformance,
    Decoder,
    GetResult,
    ReturnValue,
    Tag,
)
from blathy.wire.errors import RemoteProtocolError
from blathy.wire.octets import Reader

__all__ = [
    "CIPHERED_TAGS",
    "CONFIRMED",
    "DED_OF",
    "DLMS_VERSION",
    "GLO_OF",
    "HIGH_PRIORITY",
    "LN_CONFORMANCE",
    "LONG_BREAK_ON_ERROR",
    "LONG_CONFIRMED",
    "LONG_INVOKE_ID_MASK",
    "LONG_SELF_DESCRIPTIVE",
    "PLAIN_OF_DED",
    "PLAIN_OF_GLO",
    "SN_CONFORMANCE",
    "VAA_NAME_LN",
    "VAA_NAME_SN",
    "AccessKind",
    "AccessRequest",
    "AccessResponse",
    "AccessSpecification",
    "ActionRequestBlock",
    "ActionRequestFirstBlock",
    "ActionRequestList",
    "ActionRequestListFirstBlock",
    "ActionRequestNext",
    "ActionRequestNormal",
    "ActionResponseBlock",
    "ActionResponseList",
    "ActionResponseNext",
    "ActionResponseNormal",
    "AgreedKey",
    "Apdu",
    "BlockNumber",
    "BlockNumberAccess",
    "ConfirmedService",
    "ConfirmedServiceError",
    "Conformance",
    "DataBlockResult",
    "DataNotification",
    "DataNotificationConfirm",
    "Decoder",
    "ErrorClass",
    "EventNotification",
    "ExceptionResponse",
    "Gateway",
    "GeneralBlockTransfer",
    "GeneralCiphered",
    "GeneralCiphering",
    "GeneralHeader",
    "GeneralSigning",
    "GetRequestList",
    "GetRequestNext",
    "GetRequestNormal",
    "GetResponseBlock",
    "GetResponseList",
    "GetResponseNormal",
    "GetResult",
    "IdentifiedKey",
    "InformationReport",
    "InitiateError",
    "InitiateRequest",
    "InitiateResponse",
    "KeyInfo",
    "ParameterizedAccess",
    "ReadDataBlockAccess",
    "ReadRequest",
    "ReadResponse",
    "ReadResult",
    "ReturnValue",
    "ServiceCiphered",
    "ServiceError",
    "SetRequestBlock",
    "SetRequestFirstBlock",
    "SetRequestList",
    "SetRequestListFirstBlock",
    "SetRequestNormal",
    "SetResponseBlock",
    "SetResponseLastBlock",
    "SetResponseLastBlockList",
    "SetResponseList",
    "SetResponseNormal",
    "StateError",
    "Tag",
    "UnconfirmedWriteRequest",
    "VariableAccess",
    "VariableName",
    "WrappedKey",
    "WriteDataBlockAccess",
    "WriteRequest",
    "WriteResponse",
    "action_result",
    "action_result_list",
    "data_list",
    "decode",
    "decode_block_transfer",
    "decode_initiate_request",
    "decode_initiate_response",
    "decode_service_ciphered",
    "get_result",
    "get_result_list",
    "read",
    "read_action_result",
    "read_action_results",
    "read_get_result",
    "read_get_results",
    "read_read_results",
    "results_of_blocks",
]

_DECODERS: Final[dict[int, Decoder]] = {
    **apdu_initiate.DECODERS,
    **apdu_logical_names.DECODERS,
    **apdu_notifications.DECODERS,
    **apdu_short_names.DECODERS,
    **apdu_envelopes.DECODERS,
}
_CHOICES: Final = apdu_logical_names.CHOICES


def decode(apdu: bytes) -> Apdu:
    """Any xDLMS APDU; raise RemoteProtocolError where it is malformed or its tag is unknown."""
    if not apdu:
        raise RemoteProtocolError("an empty APDU")
    return read(Reader(apdu, 1))


def read(reader: Reader) -> Apdu:
    """The APDU whose tag the reader has just passed; for callers that watch the reader."""
    tag = reader.data[0]
    decoder = _DECODERS.get(tag)
    if decoder is not None:
        return decoder(reader)
    choices = _CHOICES.get(tag)
    if choices is not None:
        choice = reader.u8()
        decoder = choices.get(choice)
        if decoder is None:
            raise RemoteProtocolError(f"APDU {tag:02X} has no choice {choice}")
        return decoder(reader)
    if tag in PLAIN_OF_GLO or tag in PLAIN_OF_DED:
        return decode_service_ciphered(reader)
    raise RemoteProtocolError(f"{tag:02X} is not the tag of an xDLMS APDU")
