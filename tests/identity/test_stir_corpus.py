"""PASSporTs that others made, where the corpus is present: what is true of each.

Without the corpus (it is not shipped) the loops are empty; the other files hold the same
rules with tokens of our own.
"""

import json
import os
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from sipguard.errors import HostileInput
from sipguard.evidence import Evidence
from sipguard.identity.certificate import read_certificate
from sipguard.identity.credentials import Credentials
from sipguard.identity.passport_claims import check_header, read_claims
from sipguard.identity.pem import read_pem
from sipguard.identity.profiles import check_profile
from sipguard.identity.signalling import read_signalling
from sipguard.identity.stir import Stir, StirSettings
from sipguard.identity.trust import Store
from sipguard.moment import Moment
from sipguard.reason import Reason
from sipguard.wire.packet import Packet
from sipguard.wire.passport import Identity, parse_token
from sipguard.wire.sip import parse_message
from sipguard.wire.tn_auth_list import parse_tn_auth_list

CORPUS = Path(os.environ.get("SIPGUARD_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))
STIR = CORPUS / "stir"
SCENARIOS = STIR / "scenarios"
CLOCK_S = 1_795_411_354.0  # expected.tsv: the iat of what is fresh
HOST = "http://sipp.opensipit.sipfront.org"

# What is true of each scenario; None is valid. The reason's own status stands beside the one
# that expected.tsv names where both are 4xx of the same family.
TRUE: dict[str, Reason | None] = {
    "000-valid-identity": None,
    "010-identity-garbage": Reason.BAD_PASSPORT,
    "016-identity-missing-info-param": Reason.BAD_PASSPORT,
    "018-identity-invalid-alg-param": Reason.PASSPORT_HEADER,
    "020-identity-invalid-ppt-param": Reason.PASSPORT_HEADER,
    "100-iat-zero": Reason.PASSPORT_STALE,
    "102-iat-in-past": Reason.PASSPORT_STALE,
    "104-iat-in-far-future": Reason.PASSPORT_STALE,
    "106-iat-negative": Reason.PASSPORT_HEADER,  # it says "type", not "typ"
    "200-cert-expired": Reason.CREDENTIAL_UNTRUSTED,
    "204-cert-by-untrusted-ca": Reason.CREDENTIAL_UNTRUSTED,
    "206-cert-empty": Reason.NO_CREDENTIAL,
    "208-cert-nonstandard-port": None,
    "300-orig-dest-tn-missing": Reason.PASSPORT_HEADER,
    "302-desttn-missing": Reason.PASSPORT_HEADER,
    "304-desttn-not-matching": Reason.PASSPORT_DEST,
    "306-desttn-empty": Reason.PASSPORT_HEADER,
    "308-desttn-garbage": Reason.PASSPORT_HEADER,
    "400-attest-missing": Reason.PASSPORT_HEADER,
    "402-attest-invalid": Reason.PASSPORT_HEADER,
    "502-x5u-garbage": Reason.BAD_PASSPORT,  # a URL of 76 KB; others let it pass
}


def credentials() -> Credentials:
    """Return what the x5u URLs would serve."""
    found = Credentials()
    for path in sorted((SCENARIOS / "certs").glob("*.pem")):
        for port in ("", ":8080"):
            found.put(f"{HOST}{port}/{path.name}", path.read_bytes(), CLOCK_S + 60)
    return found


def examine(octets: bytes) -> Evidence:
    store = Store(read_pem((SCENARIOS / "certs" / "cacert.pem").read_bytes()))
    message = parse_message(octets, "udp")
    assert message.ids is not None
    packet = Packet(b"\xc0\x00\x02\x0a", b"\xc0\x00\x02\x14", 5060, 5060, octets)
    stir = Stir(StirSettings(), store, credentials())
    return stir.examine(message, message.ids, packet, Moment(1.0, CLOCK_S), patient=False)


def test_scenarios_of_others_are_judged_truly() -> None:
    """21 INVITEs made for testing verifiers; where ours differs from theirs the reason is here."""
    wrong = []
    for path in sorted((SCENARIOS / "messages").glob("*.dat")):
        evidence = examine(path.read_bytes())
        reason = evidence.finding.reason if evidence.finding else None
        if reason is not TRUE[path.stem]:
            wrong.append((path.stem, evidence))
    assert wrong == []


def tokens() -> list[tuple[str, Identity | HostileInput, bytes]]:
    """Return name, token and the file of its key."""
    found: list[tuple[str, Identity | HostileInput, bytes]] = []
    for path in STIR.glob("tokens/*.jsonl"):
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            jose = entry["jose"]
            key = (STIR / entry["key"]).read_bytes() if entry["key"] else b""
            try:
                identity = parse_token(
                    entry["token"].encode(), jose.get("x5u", ""), "ES256", jose.get("ppt", "")
                )
            except HostileInput as error:
                found.append((entry["id"], error, key))
            else:
                found.append((entry["id"], identity, key))
    return found


def is_signed(identity: Identity, key_file: bytes) -> bool:
    is_certificate = b"CERTIFICATE" in key_file
    key = (
        x509.load_pem_x509_certificate(key_file).public_key()
        if is_certificate
        else load_pem_public_key(key_file)
    )
    assert isinstance(key, ec.EllipticCurvePublicKey)
    raw = identity.signature
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    try:
        key.verify(encode_dss_signature(r, s), identity.signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def complaint(identity: Identity) -> Reason | None:
    """Return what is wrong with header and claims by themselves."""
    request = b"INVITE sip:b@b.example SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n"
    request += b"From: <sip:a@a.example>;tag=1\r\nTo: <sip:b@b.example>\r\nCall-ID: c\r\n"
    message = parse_message(request + b"CSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n", "udp")
    assert message.ids is not None
    signalling = read_signalling(message, message.ids, asserted=False)
    try:
        check_header(identity)
        claims = read_claims(identity.payload, diverted=identity.ppt == "div")
        check_profile(identity.ppt, identity.payload, claims, signalling, message)
    except HostileInput as error:
        return error.reason
    return None


# (signature verifies, what is wrong with the claims); None for no key.
TOKENS: dict[str, tuple[bool | None, Reason | None]] = {
    "rfc8225-A-pub": (False, None),  # VEC-10: neither key of appendix A fits
    "rfc8946-0": (True, None),  # VEC-11
    "rfc8224-0": (True, Reason.PASSPORT_CLAIMS),  # VEC-9: iat is a string
    "rfc8946-opt-inner": (True, None),  # VEC-11
    "libstirshaken-ref-0": (True, Reason.PASSPORT_CLAIMS),  # orig and dest are strings
    "libstirshaken-src-0": (True, Reason.PASSPORT_HEADER),  # an SPC token, no PASSporT
    "libstirshaken-src-2": (True, Reason.PASSPORT_HEADER),
    "libstirshaken-src-4": (True, None),
    "cgrates-valid": (True, Reason.PASSPORT_SHAKEN),  # origid is no UUID
    "stirshaken-scenarios-0": (None, None),
}


def test_vec_9_to_vec_12_tokens_of_rfcs_and_stacks_are_read_truly() -> None:
    """VEC-9 (iat a string), VEC-10 (no key fits), VEC-11 (div), VEC-12 (no JSON as printed)."""
    wrong = []
    for name, identity, key in tokens():
        if isinstance(identity, HostileInput):
            if name != "rfc8443-0":  # VEC-12
                wrong.append((name, str(identity)))
            continue
        signed = is_signed(identity, key) if key else None
        if (signed, complaint(identity)) != TOKENS[name]:
            wrong.append((name, f"{signed} {complaint(identity)}"))
    assert wrong == []


def test_sti_30_certificates_of_others_are_read() -> None:
    """Asterisk's list a code; libstirshaken's examples have a URL where the list belongs."""
    for path in STIR.glob("asterisk-testsuite/*-cert.pem"):
        (der,) = read_pem(path.read_bytes())
        assert len(parse_tn_auth_list(read_certificate(der).tn_auth_list).spcs) == 1
    for path in STIR.glob("libstirshaken/**/sp.pem"):
        (der,) = read_pem(path.read_bytes())
        try:
            parse_tn_auth_list(read_certificate(der).tn_auth_list)
        except HostileInput:
            continue
        raise AssertionError(path)
