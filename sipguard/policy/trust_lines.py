"""``trust`` lines to values: every option within its bounds, every file read."""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from sipguard.policy.accounts import read_accounts
from sipguard.policy.literals import show_duration
from sipguard.policy.names import Names
from sipguard.policy.problems import Problems, Wrong
from sipguard.policy.sets import AddressSet
from sipguard.policy.shared_keys import read_shared_keys
from sipguard.policy.syntax import Braced, Place, TrustLine, Word
from sipguard.policy.trust import (
    NO_RELAYS,
    AibTrust,
    DigestTrust,
    MikeyTrust,
    StirTrust,
    TlsTrust,
    TrustFile,
    TrustReader,
)
from sipguard.policy.trust_files import CERTIFICATE, REVOCATIONS, TrustFiles, url_of
from sipguard.policy.trust_options import Given, read_options

MAX_AGE_S: Final = 3600  # AIB-7: what RFC 3893 section 10 suggests is also the most
MAX_REMEMBER_S: Final = 7 * 86400
MAX_WITHIN_S: Final = 30  # a caller's INVITE gives up after 32 s (timer B)
MAX_CODES: Final = 1000
MAX_CODE_CHARACTERS: Final = 16
# The codes that are given out, or may be (ITU-T E.164): none begins another.
_COUNTRY: Final = re.compile(
    r"1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]"
    r"|(?:2[1-689]|3[578]|42|5[09]|6[7-9]|8[03578]|9[679])[0-9]"
)

# Makes a set of addresses of what a policy names; the text is what an error calls it.
Addresses = Callable[[str, Word | Braced], AddressSet]


class Trusts(NamedTuple):
    """The trust lines of one policy, and where each stands."""

    aib: AibTrust | None = None
    stir: StirTrust | None = None
    digest: DigestTrust | None = None
    mikey: MikeyTrust | None = None
    tls: TlsTrust | None = None
    places: Mapping[str, Place] = MappingProxyType({})


class TrustLines:
    """Reads the trust lines of one policy.

    Args:
        reader: Reads files and lists folders.
        names: The sets of the policy.
        addresses: Makes a set of addresses of the set that a word names.
        problems: Where everything wrong goes.
    """

    def __init__(
        self, reader: TrustReader, names: Names, addresses: Addresses, problems: Problems
    ) -> None:
        self._files = TrustFiles(reader, problems)
        self._names = names
        self._addresses = addresses
        self._problems = problems

    def read(self, lines: list[TrustLine]) -> Trusts:
        """Return what the lines say; what is wrong is reported and left out."""
        places: dict[str, Place] = {}
        trusts = Trusts(places=places)
        for line in lines:
            name = line.name
            try:
                given = read_options(line)
                if name.text in places:
                    at = places[name.text]
                    what = f"trust {name.text} stands twice"
                    raise Wrong(name.at, what, f"first at {at.file}:{at.line}")
                places[name.text] = name.at
                match name.text:
                    case "aib":
                        trusts = trusts._replace(aib=self._aib(given))
                    case "stir":
                        trusts = trusts._replace(stir=self._stir(given))
                    case "digest":
                        trusts = trusts._replace(digest=self._digest(given))
                    case "tls":
                        trusts = trusts._replace(tls=self._tls(given))
                    case _:
                        trusts = trusts._replace(mikey=self._mikey(given))
            except Wrong as wrong:
                self._problems.add(wrong)
        return trusts

    def _aib(self, given: Given) -> AibTrust:
        max_age_s, remember_s = _ages(given, 600)
        relays = given.value("relays")
        return AibTrust(
            ca=self._authorities(given),
            certs=tuple(self._files.each(given.files("certs"), CERTIFICATE)),
            intermediates=tuple(self._files.each(given.files("intermediates"), CERTIFICATE)),
            crl=self._revocations(given),
            crl_hard=given.has("crl-required"),
            max_age_s=max_age_s,
            remember_s=remember_s,
            legacy_sha1=given.has("legacy"),
            domain_signers=given.has("domain-signers"),
            codes=given.word("codes", "strict"),
            relays=NO_RELAYS if relays is None else self._addresses("relays", relays),
        )

    def _stir(self, given: Given) -> StirTrust:
        max_age_s, remember_s = _ages(given, 60)
        fetch = given.word("fetch", "public-only")
        if fetch == "never":
            self._check_never(given)
        return StirTrust(
            ca=self._authorities(given),
            intermediates=tuple(self._files.each(given.files("intermediates"), CERTIFICATE)),
            crl=self._revocations(given),
            crl_hard=given.has("crl-required"),
            max_age_s=max_age_s,
            remember_s=remember_s,
            fetch=fetch,
            fetch_ca=tuple(self._files.each(given.files("fetch-ca"), CERTIFICATE)),
            within_s=float(given.seconds("within", 2, MAX_WITHIN_S)),
            certs=tuple(self._files.by_url(given.files("certs"))),
            spc=self._codes(given),
            spc_for_uris=given.has("spc-for-uris"),
            require_mky=given.has("require-mky"),
            codes=given.word("codes", "identity"),
            country=_country(given),
            asserted=given.has("asserted"),
        )

    def _check_never(self, given: Given) -> None:
        if not given.has("certs"):
            what = "fetch never without certs: no PASSporT can be verified"
            self._problems.warn(given.name.at, what, 'add certs "FOLDER"')
        for option in ("fetch-ca", "within"):
            if given.has(option):
                at = given.options[option].name.at
                self._problems.warn(at, f"{option} does nothing with fetch never")

    def _codes(self, given: Given) -> frozenset[str]:
        """Return the service provider codes of ``spc { 1234 ... }``."""
        value = given.value("spc")
        if value is None:
            if given.has("spc-for-uris"):
                at = given.options["spc-for-uris"].name.at
                raise Wrong(at, "spc-for-uris without spc: no code is named", "add spc { 1234 }")
            return frozenset()
        hint = "write spc { 1234 }"
        find = self._names
        words = find.flatten(value) if isinstance(value, Braced) else find.use(value)
        for word in words:
            text = word.text
            if not (text.isascii() and text.isalnum() and len(text) <= MAX_CODE_CHARACTERS):
                raise Wrong(word.at, f"{text} is no service provider code", hint)
        if not 1 <= len(words) <= MAX_CODES:
            at = given.options["spc"].name.at
            raise Wrong(at, f"spc holds 1 to {MAX_CODES} codes", f"{hint}, or leave it out")
        return frozenset(word.text for word in words)

    def _digest(self, given: Given) -> DigestTrust:
        file = self._one(given, "ha1")
        trust = DigestTrust(
            file, given.word("min", ""), given.has("auth-int"), given.has("strict-nonce")
        )
        if file is None:
            return trust
        return trust._replace(accounts=read_accounts(file.name, file.octets, self._problems))

    def _mikey(self, given: Given) -> MikeyTrust:
        _check_ca(given, "intermediates", "certs", "crl")
        certs = self._files.each(given.files("certs"), CERTIFICATE)
        trust = MikeyTrust(
            ca=tuple(self._files.each(given.files("ca"), CERTIFICATE)),
            intermediates=tuple(self._files.each(given.files("intermediates"), CERTIFICATE)),
            certs=tuple((url_of(file), file) for file in certs),
            crl=self._revocations(given),
            crl_hard=given.has("crl-required"),
            max_age_s=given.seconds("max-age", 600, MAX_AGE_S),
        )
        file = self._one(given, "psk")
        if file is None:
            return trust
        return trust._replace(keys=read_shared_keys(file.name, file.octets, self._problems))

    def _tls(self, given: Given) -> TlsTrust:
        if given.has("pinned"):
            _check_ca(given, "intermediates", "crl")
        elif given.has("pinned-any-name"):
            at = given.options["pinned-any-name"].name.at
            raise Wrong(at, "pinned-any-name without pinned: no certificate is named")
        return TlsTrust(
            ca=() if given.has("pinned") and not given.has("ca") else self._authorities(given),
            intermediates=tuple(self._files.each(given.files("intermediates"), CERTIFICATE)),
            crl=self._revocations(given),
            crl_hard=given.has("crl-required"),
            pinned=tuple(self._files.each(given.files("pinned"), CERTIFICATE)),
            pinned_any_name=given.has("pinned-any-name"),
        )

    def _one(self, given: Given, option: str) -> TrustFile | None:
        """Return the one file of an option."""
        names = given.files(option)
        if len(names) > 1:
            raise Wrong(names[1].at, f"{option} is one file")
        return self._files.one(names[0]) if names else None

    def _authorities(self, given: Given) -> tuple[TrustFile, ...]:
        if not given.has("ca"):
            kind = given.name.text
            hint = f'write trust {kind} ca "FILE"; for a trial: sipguard identity make-ca'
            raise Wrong(given.name.at, f"trust {kind} needs ca: without it nobody is trusted", hint)
        return tuple(self._files.each(given.files("ca"), CERTIFICATE))

    def _revocations(self, given: Given) -> tuple[TrustFile, ...]:
        if given.has("crl-required") and not given.has("crl"):
            at = given.options["crl-required"].name.at
            raise Wrong(at, "crl-required without crl: nothing would be valid", 'add crl "FILE"')
        return tuple(self._files.each(given.files("crl"), REVOCATIONS))


def _check_ca(given: Given, *options: str) -> None:
    """Refuse options that do nothing without ``ca``.

    Raises:
        Wrong: there is none.
    """
    for option in options:
        if given.has(option) and not given.has("ca"):
            what = f"{option} without ca: nobody's certificate is trusted"
            raise Wrong(given.options[option].name.at, what, 'add ca "FILE"')


def _country(given: Given) -> str:
    """Return the digits of ``country 49``, or nothing.

    Raises:
        Wrong: no country has this code.
    """
    value = given.value("country")
    if not isinstance(value, Word):
        return ""
    if _COUNTRY.fullmatch(value.text):
        return value.text
    bare = value.text.lstrip("+0")
    begin = _COUNTRY.match(bare)
    hint = "write its digits alone, as in country 49"
    if begin is not None and (begin[0] == bare or bare.isdigit()):
        hint = f"did you mean country {begin[0]}?"
    raise Wrong(value.at, f"{value.text} is no country code", hint)


def _ages(given: Given, default_s: int) -> tuple[int, int]:
    """Return max-age and remember; what could still be valid must not be forgotten (AIB-8).

    Raises:
        Wrong: it would be.
    """
    max_age_s = given.seconds("max-age", default_s, MAX_AGE_S)
    least_s = 2 * max_age_s  # a Date may lie as far in the future as in the past
    remember_s = given.seconds("remember", max(3600, least_s), MAX_REMEMBER_S)
    if remember_s < least_s:
        hint = f"write remember {show_duration(least_s)} or more"
        what = f"remember must be twice max-age ({show_duration(max_age_s)}) or replays get through"
        raise Wrong(given.options["remember"].values[0].at, what, hint)
    return max_age_s, remember_s
