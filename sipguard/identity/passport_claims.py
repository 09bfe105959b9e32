"""What a PASSporT claims, typed (RFC 8225 sections 4 and 5; STI-4, STI-5, STI-11, STI-13)."""

import re
from typing import Final, NamedTuple

from sipguard.errors import HostileInput
from sipguard.identity.shown import shown
from sipguard.identity.telephone import Party, read_claimed_number, read_claimed_uri
from sipguard.reason import Finding, Reason
from sipguard.wire.passport import Identity, Json, JsonObject, canonical_json, encode_segment

ALGORITHM: Final = "ES256"  # the only one that RFC 8225 section 4.2 makes everybody support
MAX_DESTINATIONS: Final = 64
MAX_KEYS: Final = 16

_DIGEST: Final = re.compile(r"[0-9A-F]{32,128}")
_HASH: Final = re.compile(r"[a-z0-9\-]{3,16}")

# One media key: hash name in lower case, digest in upper case hexadecimal without colons.
MediaKey = tuple[str, str]


class Claims(NamedTuple):
    """The claims that every PASSporT has, and ``div``, canonical.

    ``mky`` is None where the claim is absent, ``div`` is None outside
    diversions. ``has_plus`` tells that a number was written with its plus,
    which RFC 8224 section 8.3 forbids and some signers write.
    """

    orig: Party
    dest: tuple[Party, ...]
    iat: int
    mky: frozenset[MediaKey] | None
    div: Party | None
    has_plus: bool

    def is_for(self, party: Party) -> bool:
        """Tell whether ``dest`` names this party."""
        return any(party.is_same(claimed) for claimed in self.dest)


def check_header(identity: Identity) -> None:
    """Hold the token's own header against the parameters beside the token (STI-4).

    Raises:
        HostileInput: ``PASSPORT_HEADER``.
    """
    header = identity.header
    if identity.alg != ALGORITHM:
        # "none" and HMAC, whose key would be the public certificate, among them.
        raise _wrong_header(f"algorithm {shown(identity.alg.encode())}; only ES256 counts")
    if identity.is_compact:
        return
    if header.get("alg") != ALGORITHM:
        raise _wrong_header("the token's own alg is not ES256")
    if header.get("typ") != "passport":
        raise _wrong_header("the token's typ is not passport")
    if header.get("x5u") != identity.info:
        raise _wrong_header("the token's x5u is not the URI in info")
    if "crit" in header:
        # RFC 7515 section 4.1.11: who does not know an extension must refuse the token.
        raise _wrong_header("the token has critical extensions")


def is_kind_consistent(identity: Identity) -> bool:
    """Tell whether the token's own ppt, or its absence, is the one beside it (STI-4)."""
    if identity.is_compact:
        return True
    return identity.header.get("ppt", "") == identity.ppt and ("ppt" in identity.header) == bool(
        identity.ppt
    )


def read_claims(payload: JsonObject, *, diverted: bool) -> Claims:
    """Return the claims of a full form (STI-5); claims nobody asks for are ignored (STI-22).

    *diverted* asks for ``div``: in any other kind of PASSporT it says nothing.

    Raises:
        HostileInput: ``PASSPORT_CLAIMS``.
    """
    iat = payload.get("iat")
    if not isinstance(iat, int) or isinstance(iat, bool):
        raise wrong_claims("iat is missing or no integer")
    orig = read_party(payload.get("orig"), "orig")
    dest, dest_plus = _read_destinations(payload.get("dest"))
    div = read_party(payload["div"], "div") if diverted and "div" in payload else None
    mky = _read_keys(payload["mky"]) if "mky" in payload else None
    return Claims(orig, dest, iat, mky, div, dest_plus or _has_plus(payload.get("orig")))


def read_party(value: Json, name: str) -> Party:
    """Return the one identity of ``orig`` or ``div``.

    Raises:
        HostileInput: ``PASSPORT_CLAIMS``.
    """
    if not isinstance(value, dict) or len(value) != 1:
        raise wrong_claims(f"{name} is not one object with one identity")
    number, uri = value.get("tn"), value.get("uri")
    if isinstance(number, str):
        return read_claimed_number(number)
    if isinstance(uri, str):
        return read_claimed_uri(uri)
    raise wrong_claims(f"{name} names neither a tn nor a uri")


def compact_payload(
    orig: Party, dest: Party, iat: int, keys: frozenset[MediaKey] | None
) -> JsonObject:
    """Return the payload that a signer of a compact form must have signed (STI-11).

    Args:
        orig: With a number or a URI, as the signer may have taken it.
        dest: Likewise.
        iat: POSIX seconds of the Date header.
        keys: Those of the session description, None to leave ``mky`` out.
    """
    payload: JsonObject = {
        "dest": {kind: [text] for kind, text in _member(dest)},
        "iat": iat,
        "orig": dict(_member(orig)),
    }
    if keys is not None:
        # Sorted by hash name and digest together (RFC 8225 section 5.2.2).
        payload["mky"] = [{"alg": alg, "dig": dig} for alg, dig in sorted(keys, key="".join)]
    return payload


def compact_signed(identity: Identity, payload: JsonObject) -> bytes:
    """Return the octets that the signature of a compact form is over."""
    header: JsonObject = {"alg": identity.alg, "typ": "passport", "x5u": identity.info}
    if identity.ppt:
        header["ppt"] = identity.ppt
    return b".".join(encode_segment(canonical_json(part)) for part in (header, payload))


def odd_notes(identity: Identity, claims: Claims) -> tuple[Finding, ...]:
    """Return what is unusual in how a token is written; its signature decides (STI-12)."""
    notes = []
    if not identity.is_canonical:
        notes.append(Finding(Reason.PASSPORT_ODD, "its JSON is not in the form of RFC 8225"))
    if claims.has_plus:
        notes.append(Finding(Reason.PASSPORT_ODD, "a number is written with its plus"))
    return tuple(notes)


def wrong_claims(detail: str) -> HostileInput:
    """Return the refusal of a claim."""
    return HostileInput(Reason.PASSPORT_CLAIMS, detail)


def _wrong_header(detail: str) -> HostileInput:
    return HostileInput(Reason.PASSPORT_HEADER, detail)


def _member(party: Party) -> tuple[tuple[str, str]]:
    kind, octets = ("tn", party.number) if party.number else ("uri", party.uri)
    return ((kind, octets.decode("utf-8", "replace")),)


def _has_plus(value: Json) -> bool:
    number = value.get("tn") if isinstance(value, dict) else None
    return isinstance(number, str) and number.startswith("+")


def _read_destinations(value: Json) -> tuple[tuple[Party, ...], bool]:
    if not isinstance(value, dict) or not value or not value.keys() <= {"tn", "uri"}:
        raise wrong_claims("dest is not an object with arrays tn and uri")
    numbers, uris = _texts(value.get("tn", [])), _texts(value.get("uri", []))
    if not 1 <= len(numbers) + len(uris) <= MAX_DESTINATIONS:
        raise wrong_claims("dest names nobody, or too many")
    parties = [read_claimed_number(text) for text in numbers]
    parties += [read_claimed_uri(text) for text in uris]
    return tuple(parties), any(text.startswith("+") for text in numbers)


def _texts(value: Json) -> list[str]:
    texts = [text for text in value if isinstance(text, str)] if isinstance(value, list) else []
    if not isinstance(value, list) or len(texts) != len(value):
        raise wrong_claims("dest names something that is no array of strings")
    return texts


def _read_keys(value: Json) -> frozenset[MediaKey]:
    """Return the media keys; their order was the signer's business (STI-13)."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_KEYS:
        raise wrong_claims("mky is no array of keys")
    keys: set[MediaKey] = set()
    for entry in value:
        alg, dig = (entry.get("alg"), entry.get("dig")) if isinstance(entry, dict) else (None, None)
        if not isinstance(alg, str) or not isinstance(dig, str) or not _HASH.fullmatch(alg):
            raise wrong_claims("mky has an entry without alg and dig")
        if not _DIGEST.fullmatch(dig):
            raise wrong_claims("mky has a digest that is not in upper case without colons")
        keys.add((alg, dig))
    return frozenset(keys)
