"""The rooms of identity, set up as a policy says; what they remember outlives the policy."""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from sipguard.errors import HostileInput, PolicyError, Problem
from sipguard.guard.codes import Codes
from sipguard.guard.key_trust import KeySigners, certificates_at_hand, names_of
from sipguard.identity.aib import Aib, AibSettings
from sipguard.identity.aib_memory import AibMemory
from sipguard.identity.credentials import Credentials, read_chain
from sipguard.identity.digest import DigestSettings
from sipguard.identity.passport_memory import PassportMemory
from sipguard.identity.pem import read_crls, read_pem
from sipguard.identity.signed_body import SignedBodies
from sipguard.identity.stir import Stir, StirSettings
from sipguard.identity.trust import Store
from sipguard.media.mikey import MikeyTrust as KeyTrust
from sipguard.moment import Moment
from sipguard.policy.rules import Policy
from sipguard.policy.trust import AibTrust, MikeyTrust, StirTrust, TrustFile

Material = TypeVar("Material")

_DEFAULTS: Final = MikeyTrust()


class Remembered:
    """What was proven and fetched so far: it must outlive a reload, or a replay would pass."""

    def __init__(self) -> None:
        self.aib = AibMemory()
        self.stir: PassportMemory | None = None
        self.credentials = Credentials()

    @property
    def forgotten(self) -> int:
        """How many entries had to go before their time."""
        return self.aib.forgotten + (self.stir.forgotten if self.stir else 0)

    def expire(self, now: Moment) -> None:
        """Forget what is too old."""
        self.aib.expire(now)
        if self.stir is not None:
            self.stir.expire(now)


class Verifiers:
    """One verifier for each kind of signature that the policy trusts somebody for.

    Raises:
        PolicyError: a file holds no certificate or list that can be read, with
            the place where the policy names it. Nothing remembered has changed then.
    """

    def __init__(self, policy: Policy, remembered: Remembered) -> None:
        self.aib: Aib | None = None
        self.bodies: SignedBodies | None = None
        self.stir: Stir | None = None
        self.is_relay: Callable[[bytes], bool] = nobody
        self.codes = Codes()
        self.keys = KeyTrust()  # for MIKEY
        self.keys_skew_s = float((policy.mikey or _DEFAULTS).max_age_s)
        aib, stir = policy.aib, policy.stir
        problems: list[Problem] = []
        users = _store(aib, aib.certs, problems) if aib is not None else None
        carriers = _store(stir, (), problems) if stir is not None else None
        chains = _chains(stir, problems) if stir is not None else {}
        if policy.mikey is not None:
            self._trust_keys(policy.mikey, problems)
        if problems:
            raise PolicyError(tuple(problems))
        remembered.credentials.use_offline(chains)
        if aib is not None and users is not None:
            self._trust_users(aib, users, remembered)
        if stir is not None and carriers is not None:
            self._trust_carriers(stir, carriers, remembered)

    def _trust_users(self, trust: AibTrust, store: Store, remembered: Remembered) -> None:
        self.codes.aib = trust.codes
        settings = AibSettings(
            trust.max_age_s, trust.remember_s, trust.legacy_sha1, trust.domain_signers
        )
        self.aib = Aib(settings, store, remembered.aib)
        self.is_relay = trust.relays.__getitem__
        self.bodies = SignedBodies(store, legacy_sha1=trust.legacy_sha1, max_age_s=trust.max_age_s)

    def _trust_carriers(self, trust: StirTrust, store: Store, remembered: Remembered) -> None:
        self.codes.stir = trust.codes
        settings = StirSettings(
            max_age_s=trust.max_age_s,
            remember_s=trust.remember_s,
            spcs=frozenset(code.encode() for code in trust.spc),
            fetch=trust.fetch != "never",
            require_mky=trust.require_mky,
            spcs_for_uris=trust.spc_for_uris,
            asserted=trust.asserted,
            fetch_private=trust.fetch == "any",
            country=trust.country.encode(),
        )
        self.stir = Stir(settings, store, remembered.credentials, remembered.stir)
        remembered.stir = self.stir.memory

    def _trust_keys(self, trust: MikeyTrust, problems: list[Problem]) -> None:
        shared = names_of(trust.keys.by_name)
        if not trust.ca:
            self.keys = KeyTrust(shared)
            return
        signers = KeySigners(_store(trust, (), problems))
        certificates = [(url, _read((file,), read_pem, problems)) for url, file in trust.certs]
        at_hand = certificates_at_hand(certificates)
        self.keys = KeyTrust(shared, signers.refusal, at_hand.get)


def digest_settings(policy: Policy) -> DigestSettings:
    """Return what the policy asks of digest credentials; without a word, what costs no caller."""
    trust = policy.digest
    if trust is None:
        return DigestSettings()
    return DigestSettings(
        min_algorithm=trust.min_algorithm.encode(),
        ha1=trust.accounts,
        require_auth_int=trust.auth_int,
        strict_nonce=trust.strict_nonce,
    )


def nobody(_address: bytes) -> bool:
    """Stand for the relays of a policy that names none."""
    return False


def _store(
    trust: AibTrust | StirTrust | MikeyTrust, known: tuple[TrustFile, ...], problems: list[Problem]
) -> Store:
    return Store(
        _read(trust.ca, read_pem, problems),
        intermediates=_read(trust.intermediates, read_pem, problems),
        crls=_read(trust.crl, read_crls, problems),
        known=_read(known, read_pem, problems),
        hard_revocation=trust.crl_hard,
        legacy_sha1=isinstance(trust, AibTrust) and trust.legacy_sha1,
    )


def _chains(trust: StirTrust, problems: list[Problem]) -> Mapping[str, tuple[bytes, ...]]:
    """Return the certificates that the operator gives by URL, in whole chains."""
    chains = {}
    for url, file in trust.certs:
        try:
            read_pem(file.octets)
            chains[url] = read_chain(file.octets)
        except (ValueError, HostileInput) as error:
            detail = error.detail if isinstance(error, HostileInput) else str(error)
            problems.append(Problem(*file.place, f"cannot use {file.name}: {detail}"))
    return chains


def _read(
    files: tuple[TrustFile, ...],
    read: Callable[[bytes], tuple[Material, ...]],
    problems: list[Problem],
) -> tuple[Material, ...]:
    found: list[Material] = []
    for file in files:
        try:
            found += read(file.octets)
        except ValueError as error:
            what = f"cannot use {file.name}: {error}"
            problems.append(Problem(*file.place, what))
    return tuple(found)
