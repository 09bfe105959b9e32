"""What a MIKEY security policy makes of SRTP: a suite by the names of RFC 4568, or a refusal.

RFC 3830 section 6.10.1 and RFC 7714 section 15 (MIK-13). What is not said has SRTP's own
default. Anything that leaves packets unencrypted or unauthenticated is refused, and so
is what sipguard cannot name, like an unknown suite of ``a=crypto``.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.wire.mikey import Mikey
from sipguard.wire.mikey_values import Policy

CIPHER: Final = 0  # parameter types
KEY_OCTETS: Final = 1
AUTHENTICATION: Final = 2
AUTHENTICATION_KEY_OCTETS: Final = 3
SALT_OCTETS: Final = 4
PRF: Final = 5
KEY_DERIVATION_RATE: Final = 6
SRTP_ENCRYPTED: Final = 7
SRTCP_ENCRYPTED: Final = 8
SRTP_AUTHENTICATED: Final = 10
TAG_OCTETS: Final = 11
AEAD_TAG_OCTETS: Final = 20

_SRTP: Final = 0  # protocol type
_NO_CIPHER: Final = 0
_AES_CM: Final = 1
_AES_F8: Final = 2
_AES_GCM: Final = 6
_NO_AUTHENTICATION: Final = 0
_HMAC_SHA1: Final = 1
_SWITCHES: Final = (SRTP_ENCRYPTED, SRTCP_ENCRYPTED, SRTP_AUTHENTICATED)
_DEFAULTS: Final = {
    CIPHER: _AES_CM,
    KEY_OCTETS: 16,
    AUTHENTICATION: _HMAC_SHA1,
    AUTHENTICATION_KEY_OCTETS: 20,
    SALT_OCTETS: 14,
    PRF: 0,
    KEY_DERIVATION_RATE: 0,
    SRTP_ENCRYPTED: 1,
    SRTCP_ENCRYPTED: 1,
    SRTP_AUTHENTICATED: 1,
    TAG_OCTETS: 10,
    AEAD_TAG_OCTETS: 16,
}
_GCM_SALT_OCTETS: Final = 12
_MAX_NUMBER_OCTETS: Final = 8
# By cipher, octets of the key, and octets of the tag.
_SUITES: Final = {
    (_AES_CM, 16, 10): b"AES_CM_128_HMAC_SHA1_80",
    (_AES_CM, 16, 4): b"AES_CM_128_HMAC_SHA1_32",
    (_AES_CM, 24, 10): b"AES_192_CM_HMAC_SHA1_80",
    (_AES_CM, 24, 4): b"AES_192_CM_HMAC_SHA1_32",
    (_AES_CM, 32, 10): b"AES_256_CM_HMAC_SHA1_80",
    (_AES_CM, 32, 4): b"AES_256_CM_HMAC_SHA1_32",
    (_AES_F8, 16, 10): b"F8_128_HMAC_SHA1_80",
    (_AES_F8, 16, 4): b"F8_128_HMAC_SHA1_32",
    (_AES_GCM, 16, 16): b"AEAD_AES_128_GCM",
    (_AES_GCM, 32, 16): b"AEAD_AES_256_GCM",
}

Settings = dict[int, int]


class Protection(NamedTuple):
    """How SRTP protects a stream: its suite, and the octets of master key and master salt.

    ``is_said`` is False where the message leaves all of it to the defaults; ``is_rated``
    where session keys change with the index, so that no tag can be checked here.
    """

    suite: bytes
    key_octets: int
    salt_octets: int
    is_said: bool = False
    is_rated: bool = False


DEFAULT: Final = Protection(b"AES_CM_128_HMAC_SHA1_80", 16, 14)


def protection_of(policy: Policy) -> Protection:
    """Return what a policy makes of SRTP.

    Raises:
        HostileInput: ``MIKEY_POLICY`` where it turns protection off, says two things at
            once, or names what sipguard does not know.
    """
    if policy.protocol != _SRTP:
        raise _refusal("a security policy for another protocol than SRTP")
    said = _settings(policy)
    if not said:
        return DEFAULT
    full = {**_DEFAULTS, **said}
    if any(full[switch] == 0 for switch in _SWITCHES):
        raise _refusal("encryption or authentication is switched off")
    cipher = full[CIPHER]
    if cipher == _NO_CIPHER or (cipher != _AES_GCM and full[AUTHENTICATION] == _NO_AUTHENTICATION):
        raise _refusal("a NULL cipher or a NULL authentication")
    if full[PRF] or (cipher != _AES_GCM and full[AUTHENTICATION] != _HMAC_SHA1):
        raise _refusal("an algorithm that sipguard does not know")
    salt_octets = _GCM_SALT_OCTETS if cipher == _AES_GCM else _DEFAULTS[SALT_OCTETS]
    suite = _SUITES.get((cipher, full[KEY_OCTETS], _tag_octets(cipher, said)))
    if suite is None or said.get(SALT_OCTETS, salt_octets) != salt_octets:
        raise _refusal("a cipher, or a length of key, salt or tag, that sipguard does not know")
    is_rated = full[KEY_DERIVATION_RATE] != 0
    return Protection(suite, full[KEY_OCTETS], salt_octets, True, is_rated)


def _tag_octets(cipher: int, said: Settings) -> int:
    if cipher == _AES_GCM:
        return said.get(AEAD_TAG_OCTETS, _DEFAULTS[AEAD_TAG_OCTETS])
    octets = said.get(TAG_OCTETS)
    if octets is not None:
        return octets
    # GStreamer writes the tag's length where the session key's belongs; a key as short as
    # a tag nobody has.
    octets = said.get(AUTHENTICATION_KEY_OCTETS, 0)
    return octets if octets in (4, 10) else _DEFAULTS[TAG_OCTETS]


def _settings(policy: Policy) -> Settings:
    settings: Settings = {}
    for kind, value in policy.params:
        if kind not in _DEFAULTS:
            continue  # FEC order, prefix length, and numbers of other documents
        if not 1 <= len(value) <= _MAX_NUMBER_OCTETS:
            raise _refusal("a parameter that is no number")
        number = int.from_bytes(value, "big")
        if settings.setdefault(kind, number) != number:
            raise _refusal("a parameter with two values")
    return settings


def _refusal(detail: str) -> HostileInput:
    return HostileInput(Reason.MIKEY_POLICY, detail)


def protections(message: Mikey, offered: Iterable[Policy] = ()) -> dict[int, Protection]:
    """Return what each policy of a message makes of SRTP, by its number.

    *offered* are policies of the message that this one answers, to which it may refer.

    Raises:
        HostileInput: ``MIKEY_POLICY``, also where a crypto session refers to none of them.
    """
    policies = {policy.number: policy for policy in (*offered, *message.policies)}
    known = {number: protection_of(policy) for number, policy in policies.items()}
    if known:
        for session in message.sessions:
            if not all(number in known for number in session.policies):
                raise _refusal("a crypto session refers to a policy that is not there")
    return known


def some_protection(message: Mikey) -> dict[int, Protection]:
    """Return the usable policies of a message that only offers them; the answer decides.

    Raises:
        HostileInput: ``MIKEY_POLICY`` where there are policies and none can be used.
    """
    known: dict[int, Protection] = {}
    refusal: HostileInput | None = None
    for policy in message.policies:
        try:
            known[policy.number] = protection_of(policy)
        except HostileInput as error:
            refusal = error
    if refusal is not None and not known and not _has_choices(message):
        raise refusal
    return known


def _has_choices(message: Mikey) -> bool:
    """Whether a policy lists several values of one parameter, to choose from (RFC 4738 3.6)."""
    return any(
        len({kind for kind, _ in policy.params}) < len(policy.params) for policy in message.policies
    )


def is_subset(chosen: Policy, offered: Iterable[Policy]) -> bool:
    """Tell whether a responder's policy is one of those on offer (RFC 4738 section 3.7)."""
    return any(_is_choice(chosen, policy) for policy in offered)


def _is_choice(chosen: Policy, offered: Policy) -> bool:
    if chosen.protocol != offered.protocol:
        return False
    ours, theirs = _choices(chosen), _choices(offered)
    for kind, default in _DEFAULTS.items():
        usual = {default}
        if not ours.get(kind, usual) <= theirs.get(kind, usual):
            return False
    return True


def _choices(policy: Policy) -> dict[int, set[int]]:
    choices: dict[int, set[int]] = {}
    for kind, value in policy.params:
        choices.setdefault(kind, set()).add(int.from_bytes(value, "big"))
    return choices
