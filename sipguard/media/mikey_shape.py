"""What every MIKEY message of a kind must hold, and sound times and Diffie-Hellman values.

RFC 3830 section 3 and the documents that add to it (MIK-1, MIK-2, MIK-4, MIK-12).
"""

from typing import Final

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.wire.mikey import Mikey
from sipguard.wire.mikey_values import (
    DH_INIT,
    DH_RESPONSE,
    DHHMAC_INIT,
    DHHMAC_RESPONSE,
    ERR,
    ERROR,
    KEMAC,
    PK_INIT,
    PK_RESPONSE,
    PKE,
    PSK_INIT,
    PSK_RESPONSE,
    RSA_R_INIT,
    RSA_R_RESPONSE,
    SAKKE,
    SAKKE_INIT,
    SIGN,
    TICKET,
    TRANSFER_INIT,
    TRANSFER_RESPONSE,
    Dh,
    Stamp,
    T,
    V,
)  # fmt: skip

# What must be there; the last one stands last, since it covers what is before it (MIK-4).
_REQUIRED: Final = {
    PSK_INIT: (T, KEMAC),
    PSK_RESPONSE: (T, V),
    PK_INIT: (T, PKE, SIGN),
    PK_RESPONSE: (T, V),
    DH_INIT: (T, SIGN),
    DH_RESPONSE: (T, SIGN),
    ERROR: (T, ERR),
    DHHMAC_INIT: (T, KEMAC),
    DHHMAC_RESPONSE: (T, KEMAC),
    RSA_R_INIT: (T, SIGN),
    RSA_R_RESPONSE: (T, KEMAC, PKE, SIGN),
    TRANSFER_INIT: (T, TICKET, V),
    TRANSFER_RESPONSE: (T, V),
    SAKKE_INIT: (T, SAKKE, SIGN),
}
_NAMES: Final = {
    T: "T", KEMAC: "KEMAC", V: "V", PKE: "PKE", SIGN: "SIGN", ERR: "ERR", TICKET: "TICKET",
    SAKKE: "SAKKE",
}  # fmt: skip
_EPOCH_S: Final = 2_208_988_800  # from 1900, where NTP begins, to 1970
_ERA_S: Final = 1 << 32  # NTP's seconds begin anew in 2036 (RFC 3830 section 4.2.8)
_OAKLEY_5: Final = 0
OAKLEY_5_PRIME: Final = int(
    "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22"
    "514a08798e3404ddef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6"
    "f44c42e9a637ed6b0bff5cb6f406b7edee386bfb5a899fa5ae9f24117c4b1fe649286651ece45b3d"
    "c2007cb8a163bf0598da48361c55d39a69163fa8fd24cf5f83655d23dca3ad961c62f356208552bb"
    "9ed529077096966d670c354e4abc9804f1746c08ca237327ffffffffffffffff",
    16,
)


def check_shape(message: Mikey) -> Stamp:
    """Return the timestamp of a message that holds what its kind must hold.

    Raises:
        HostileInput: ``BAD_MIKEY``.
    """
    required = _REQUIRED.get(message.data_type)
    if required is None:
        # Tickets are asked for and resolved elsewhere (RFC 6043 section 7).
        raise HostileInput(Reason.BAD_MIKEY, "a message that brings no key for media")
    for payload in required:
        if payload not in message.order:
            detail = f"a message without its {_NAMES[payload]} payload"
            raise HostileInput(Reason.BAD_MIKEY, detail)
    if message.data_type != ERROR and message.order[-1] != required[-1]:
        raise HostileInput(Reason.BAD_MIKEY, "a payload after the one that covers all others")
    if message.stamp is None:
        raise HostileInput(Reason.BAD_MIKEY, "a message without a timestamp")
    return message.stamp


def read_time(stamp: Stamp, now_s: float) -> float:
    """Return the POSIX time of an NTP timestamp, in the era that is nearest to *now_s*."""
    octets = stamp.as_64_bits()
    seconds = int.from_bytes(octets[:4], "big") - _EPOCH_S
    fraction = int.from_bytes(octets[4:], "big") / _ERA_S
    return seconds + fraction + round((now_s - seconds) / _ERA_S) * _ERA_S


def check_dh(value: Dh) -> None:
    """Refuse a Diffie-Hellman value that protects nothing.

    OAKLEY groups 1 and 2 have 768 and 1024 bits. Of the values 0, 1 and p - 1 the shared
    secret is known to everybody.

    Raises:
        HostileInput: ``MIKEY_DH``.
    """
    if value.group != _OAKLEY_5:
        raise HostileInput(Reason.MIKEY_DH, "a Diffie-Hellman group of 1024 bits or less")
    if not 1 < int.from_bytes(value.value, "big") < OAKLEY_5_PRIME - 1:
        raise HostileInput(Reason.MIKEY_DH, "a Diffie-Hellman value that keeps no secret")
