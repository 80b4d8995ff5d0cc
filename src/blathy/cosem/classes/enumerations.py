"""Enumerations of the interface classes (IEC 62056-6-2).

They are open: a meter may send a number that is not here, and it is kept as the number it is.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag


class ApplicationContext(IntEnum):
    """Last arc of application_context_name."""

    LN = 1
    SN = 2
    LN_CIPHERED = 3
    SN_CIPHERED = 4


class AuthenticationMechanism(IntEnum):
    """Last arc of authentication_mechanism_name."""

    NONE = 0
    LLS = 1
    HLS_MANUFACTURER = 2
    HLS_MD5 = 3
    HLS_SHA1 = 4
    HLS_GMAC = 5
    HLS_SHA256 = 6
    HLS_ECDSA = 7


class AssociationStatus(IntEnum):
    NON_ASSOCIATED = 0
    ASSOCIATION_PENDING = 1
    ASSOCIATED = 2


class SecuritySuite(IntEnum):
    """Named after their symmetric cipher and key agreement."""

    AES_GCM_128 = 0
    ECDH_ECDSA_AES_GCM_128_SHA_256 = 1
    ECDH_ECDSA_AES_GCM_256_SHA_384 = 2


class SecurityPolicyV0(IntEnum):
    """security_policy of class 64 version 0."""

    NOTHING = 0
    AUTHENTICATED = 1
    ENCRYPTED = 2
    AUTHENTICATED_AND_ENCRYPTED = 3


class SecurityPolicy(IntFlag):
    """security_policy of class 64 version 1, and required_protection of class 30."""

    NOTHING = 0
    REQUEST_AUTHENTICATED = 0x04
    REQUEST_ENCRYPTED = 0x08
    REQUEST_SIGNED = 0x10
    RESPONSE_AUTHENTICATED = 0x20
    RESPONSE_ENCRYPTED = 0x40
    RESPONSE_SIGNED = 0x80


class KeyId(IntEnum):
    GLOBAL_UNICAST_ENCRYPTION = 0
    GLOBAL_BROADCAST_ENCRYPTION = 1
    AUTHENTICATION = 2
    MASTER = 3


class KeyPairType(IntEnum):
    DIGITAL_SIGNATURE = 0
    KEY_AGREEMENT = 1
    TLS = 2


class CertificateEntity(IntEnum):
    SERVER = 0
    CLIENT = 1
    CERTIFICATION_AUTHORITY = 2
    OTHER = 3


class CertificateType(IntEnum):
    DIGITAL_SIGNATURE = 0
    KEY_AGREEMENT = 1
    TLS = 2
    OTHER = 3


class CertificateIdentification(IntEnum):
    BY_ENTITY = 0
    BY_SERIAL = 1


class ProtectionType(IntEnum):
    AUTHENTICATION = 0
    ENCRYPTION = 1
    AUTHENTICATION_AND_ENCRYPTION = 2
    DIGITAL_SIGNATURE = 3


class KeyInfoType(IntEnum):
    IDENTIFIED = 0
    WRAPPED = 1
    AGREED = 2


class IdentifiedKey(IntEnum):
    GLOBAL_UNICAST_ENCRYPTION = 0
    GLOBAL_BROADCAST_ENCRYPTION = 1


class KekId(IntEnum):
    MASTER = 0


class RestrictionType(IntEnum):
    NONE = 0
    BY_DATE = 1
    BY_ENTRY = 2


class SortMethod(IntEnum):
    FIFO = 1
    LIFO = 2
    LARGEST = 3
    SMALLEST = 4
    NEAREST_TO_ZERO = 5
    FARTHEST_FROM_ZERO = 6


class ClockBase(IntEnum):
    NOT_DEFINED = 0
    INTERNAL_CRYSTAL = 1
    MAINS_50_HZ = 2
    MAINS_60_HZ = 3
    GPS = 4
    RADIO = 5


class ScriptService(IntEnum):
    WRITE_ATTRIBUTE = 1
    EXECUTE_METHOD = 2


class SingleActionType(IntEnum):
    ONE_TIME_DATE_WILDCARDS = 1
    EQUAL_TIMES_NO_WILDCARDS = 2
    EQUAL_TIMES_DATE_WILDCARDS = 3
    DIFFERENT_TIMES_NO_WILDCARDS = 4
    DIFFERENT_TIMES_DATE_WILDCARDS = 5


class ImageTransferStatus(IntEnum):
    NOT_INITIATED = 0
    INITIATED = 1
    VERIFICATION_INITIATED = 2
    VERIFICATION_SUCCESSFUL = 3
    VERIFICATION_FAILED = 4
    ACTIVATION_INITIATED = 5
    ACTIVATION_SUCCESSFUL = 6
    ACTIVATION_FAILED = 7


class ControlState(IntEnum):
    """control_state of class 70."""

    DISCONNECTED = 0
    CONNECTED = 1
    READY_FOR_RECONNECTION = 2


class ControlMode(IntEnum):
    """control_mode of class 70: which transitions are permitted (see `TRANSITIONS`)."""

    NONE = 0
    MODE_1 = 1
    MODE_2 = 2
    MODE_3 = 3
    MODE_4 = 4
    MODE_5 = 5
    MODE_6 = 6
    MODE_7 = 7


TRANSITIONS: dict[ControlMode, frozenset[str]] = {
    ControlMode.NONE: frozenset(),
    ControlMode.MODE_1: frozenset("bcdefg"),
    ControlMode.MODE_2: frozenset("abcefg"),
    ControlMode.MODE_3: frozenset("bcdeg"),
    ControlMode.MODE_4: frozenset("abceg"),
    ControlMode.MODE_5: frozenset("bcdefgh"),
    ControlMode.MODE_6: frozenset("bcdegh"),
    ControlMode.MODE_7: frozenset("abceghi"),
}
"""Transitions of class 70 that a mode permits, by their letters in the standard's diagram."""


class CaptureMethod(IntEnum):
    """capture_method of class 62."""

    BY_METHOD = 0
    IMPLICIT = 1


class TriggerOrigin(IntEnum):
    REMOTE = 0
    LOCAL_SCRIPT = 1


class SensorOutput(IntEnum):
    NOT_SPECIFIED = 0
    CURRENT_4_20_MA = 1
    CURRENT_0_20_MA = 2
    VOLTAGE_0_5_V = 3
    VOLTAGE_0_10_V = 4
    PT100 = 5
    PT500 = 6
    PT1000 = 7


class PortProtectionMode(IntEnum):
    LOCKED = 0
    LOCKED_ON_FAILED_ATTEMPTS = 1
    UNLOCKED = 2


class PortProtectionStatus(IntEnum):
    UNLOCKED = 0
    TEMPORARILY_LOCKED = 1
    LOCKED = 2


class TransportService(IntEnum):
    TCP = 0
    UDP = 1
    FTP = 2
    SMTP = 3
    SMS = 4
    HDLC = 5
    MBUS = 6
    ZIGBEE = 7
    DLMS_GATEWAY = 8
    COAP_RELIABLE = 9
    COAP_UNRELIABLE = 10


class PushMessage(IntEnum):
    XDLMS_AXDR = 0
    XDLMS_XML = 1


class PushOperation(IntEnum):
    UNCONFIRMED = 0
    UNCONFIRMED_RETRY_ON_MISSING_SUPPORTING_LAYER = 1
    CONFIRMED = 2


class CommSpeed(IntEnum):
    """Named after the rate in baud."""

    BAUD_300 = 0
    BAUD_600 = 1
    BAUD_1200 = 2
    BAUD_2400 = 3
    BAUD_4800 = 4
    BAUD_9600 = 5
    BAUD_19200 = 6
    BAUD_38400 = 7
    BAUD_57600 = 8
    BAUD_115200 = 9


class LocalPortMode(IntEnum):
    IEC_62056_21 = 0
    HDLC = 1
    NOT_SPECIFIED = 2


class ResponseTime(IntEnum):
    MS_20 = 0
    MS_200 = 1


class TwistedPairMode(IntEnum):
    INACTIVE = 0
    ALWAYS_ACTIVE = 1


class AddressState(IntEnum):
    NOT_ASSIGNED = 0
    ASSIGNED = 1


class AutoAnswerMode(IntEnum):
    LINE_DEDICATED = 0
    SHARED_LIMITED_CALLS = 1
    SHARED_LIMITED_SUCCESSFUL_CALLS = 2
    NO_MODEM = 3


class AutoAnswerStatus(IntEnum):
    INACTIVE = 0
    ACTIVE = 1
    LOCKED = 2


class CallType(IntEnum):
    NORMAL_CSD = 0
    WAKE_UP = 1


class AutoConnectMode(IntEnum):
    NONE = 0
    ANY_TIME = 1
    WITHIN_WINDOW = 2
    REGULAR_WITHIN_WINDOW_ALARMS_ANY_TIME = 3
    SMS_PLMN = 4
    SMS_PSTN = 5
    E_MAIL = 6
    PERMANENT = 101
    PERMANENT_WITHIN_WINDOW = 102
    ON_CONNECT_WITHIN_WINDOW = 103
    ON_CONNECT = 104


class GsmStatus(IntEnum):
    NOT_REGISTERED = 0
    HOME_NETWORK = 1
    SEARCHING = 2
    DENIED = 3
    UNKNOWN = 4
    ROAMING = 5


class CsAttachment(IntEnum):
    INACTIVE = 0
    INCOMING_CALL = 1
    ACTIVE = 2


class PsStatus(IntEnum):
    INACTIVE = 0
    GPRS = 1
    EDGE = 2
    UMTS = 3
    HSDPA = 4
    LTE = 5
    CDMA = 6
    LTE_CAT_M1 = 7
    LTE_CAT_NB1 = 8
    LTE_CAT_NB2 = 9


class Ipv6AddressMode(IntEnum):
    AUTO = 0
    DHCPV6 = 1
    MANUAL = 2
    NEIGHBOUR_DISCOVERY = 3


class Ipv6AddressType(IntEnum):
    UNICAST = 0
    MULTICAST = 1
    GATEWAY = 2


class MBusPortState(IntEnum):
    NO_ACCESS = 0
    TEMPORARILY_NO_ACCESS = 1
    LIMITED_ACCESS = 2
    UNLIMITED_ACCESS = 3
    WIRELESS = 4


class MBusHeader(IntEnum):
    NONE = 0
    SHORT = 1
    LONG = 2


class MBusLinkStatus(IntEnum):
    NEVER_RECEIVED = 0
    NORMAL = 1
    TEMPORARILY_INTERRUPTED = 2
    PERMANENTLY_INTERRUPTED = 3


class MBusKeyStatus(IntEnum):
    NO_KEY = 0
    KEY_SET = 1
    KEY_TRANSFERRED = 2
    KEY_SET_AND_TRANSFERRED = 3
    KEY_IN_USE = 4


class NtpAuthentication(IntEnum):
    NONE = 0
    SHARED_SECRETS = 1
    AUTOKEY_IFF = 2


class CoverageEnhancement(IntEnum):
    CE0 = 0
    CE1 = 1
    CE2 = 2


class PaymentMode(IntEnum):
    CREDIT = 1
    PREPAYMENT = 2


class AccountStatus(IntEnum):
    NEW = 1
    ACTIVE = 2
    CLOSED = 3


class CurrencyUnit(IntEnum):
    TIME = 0
    CONSUMPTION = 1
    MONETARY = 2


class CreditType(IntEnum):
    TOKEN = 0
    RESERVED = 1
    EMERGENCY = 2
    TIME_BASED = 3
    CONSUMPTION_BASED = 4


class CreditStatus(IntEnum):
    ENABLED = 0
    SELECTABLE = 1
    SELECTED = 2
    IN_USE = 3
    CONSUMED = 4


class ChargeType(IntEnum):
    CONSUMPTION_BASED = 0
    TIME_BASED = 1
    PAYMENT_EVENT_BASED = 2


class TokenDelivery(IntEnum):
    REMOTE = 0
    LOCAL = 1
    MANUAL = 2


class TokenStatus(IntEnum):
    FORMAT_OK = 0
    AUTHENTICATION_OK = 1
    VALIDATION_OK = 2
    EXECUTION_OK = 3
    FORMAT_FAILURE = 4
    AUTHENTICATION_FAILURE = 5
    VALIDATION_FAILURE = 6
    EXECUTION_FAILURE = 7
    RECEIVED = 8
