"""From a policy file to a ``Policy``: everything checked, all that is wrong reported at once."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Final

from sipguard.policy import syntax
from sipguard.policy.advice import advise, advise_trust, advise_zones
from sipguard.policy.feeds import FeedLines
from sipguard.policy.media_path import check_media_path
from sipguard.policy.names import Names
from sipguard.policy.parse import parse_policy
from sipguard.policy.problems import Problems, Wrong, one_of, suggest
from sipguard.policy.resolve import Resolver
from sipguard.policy.rules import CHAINS, Chain, NamedSet, Policy, Rule, in_dialog_chain
from sipguard.policy.settings import REPEATED, apply_setting, first_stands
from sipguard.policy.syntax import Place, RuleLine
from sipguard.policy.tls import check_tls, read_tls
from sipguard.policy.trust import NothingToRead, TrustReader
from sipguard.policy.trust_files import TrustFiles, why
from sipguard.policy.trust_lines import TrustLines
from sipguard.policy.verdicts import build_rule
from sipguard.policy.web import check_web
from sipguard.policy.zones import ZoneReader, Zones

MAX_INCLUDES_DEEP: Final = 8
MAX_FILES: Final = 64
MAX_RULES: Final = 10_000

Read = Callable[[str], str]


def load_policy(name: str, read: Read, trusted: TrustReader | None = None) -> Policy:
    """Load a policy and all that it includes.

    Args:
        name: the file's name; other files are named relative to it.
        read: returns a file's text by name; raises ``OSError`` or
            ``ValueError`` where it cannot be read.
        trusted: reads the files that trust lines name; without it there
            are none.

    Raises:
        PolicyError: with every problem found, each with file, line and column.
    """
    problems = Problems()
    gathered = _Gathered(read, problems)
    gathered.file(name, None, ())
    names = Names(gathered.sets, problems)
    policy = _settings(Policy(file=name, files=tuple(gathered.files)), gathered, problems)
    zones = ZoneReader(gathered.zones, problems)
    resolver = Resolver(names, problems, zones)
    chains = _chains(gathered, resolver, policy, problems)
    reader = trusted or NothingToRead()
    trusts = TrustLines(reader, names, resolver.addresses, problems).read(gathered.trusts)
    feeds = FeedLines(problems).read(gathered.feeds)
    tls = read_tls(policy.tls, trusts.tls, TrustFiles(reader, problems))
    ports = {"sip-ports": policy.sip_ports, "tls-ports": policy.tls_ports}
    check_tls(tls, ports, gathered.settings, problems)
    web = {**ports, "ws-ports": policy.ws_ports, "wss-ports": policy.wss_ports}
    check_web(web, bool(policy.tls.named), gathered.settings, problems)
    policy = replace(policy, zones=Zones(zones.zones) if zones.zones else None)
    check_media_path(policy, gathered.settings, problems)
    problems.check()
    advise(chains, names, problems)
    advise_zones(zones, problems)
    advise_trust([line.condition for _, line in gathered.rules], trusts, problems)
    sets = (
        NamedSet(d.name.text, tuple(word.text for word in names.members(d.name, ())))
        for d in gathered.sets
    )
    return replace(
        policy,
        chains=chains,
        in_dialog=in_dialog_chain(chains["request"]),
        aib=trusts.aib,
        stir=trusts.stir,
        digest=trusts.digest,
        mikey=trusts.mikey,
        tls=tls,
        sets=tuple(sets),
        feeds=feeds,
        asks_proofs=any(rule.identity for chain in chains.values() for rule in chain.rules),
        rates_needed=tuple(sorted(resolver.rates)),
        warnings=tuple(sorted(problems.warnings)),
    )


class _Gathered:
    """The statements of a policy file and its includes, sorted by what they are."""

    def __init__(self, read: Read, problems: Problems) -> None:
        self._read = read
        self._problems = problems
        self.files: list[str] = []
        self.settings: list[syntax.Setting] = []
        self.feeds: list[syntax.Setting] = []
        self.sets: list[syntax.SetDefinition] = []
        self.zones: list[syntax.ZoneDefinition] = []
        self.trusts: list[syntax.TrustLine] = []
        self.rules: list[tuple[str, RuleLine]] = []

    def file(self, name: str, included_at: Place | None, above: tuple[str, ...]) -> None:
        """Take in one file; *above* are the files it is included from."""
        text = self._text(name, included_at or Place(name, 1, 1), above)
        if text is None:
            return
        chain = ""
        for statement in parse_policy(name, text, self._problems):
            match statement:
                case syntax.Include(file):
                    self.file(_beside(name, file.text), file.at, (*above, name))
                case syntax.ChainHead(word):
                    chain = self._chain(word)
                case RuleLine():
                    self.rules.append((chain, statement))
                case syntax.Setting():
                    is_feed = statement.name.text == "feed"
                    (self.feeds if is_feed else self.settings).append(statement)
                case syntax.SetDefinition():
                    self.sets.append(statement)
                case syntax.ZoneDefinition():
                    self.zones.append(statement)
                case syntax.TrustLine():
                    self.trusts.append(statement)

    def _text(self, name: str, at: Place, above: tuple[str, ...]) -> str | None:
        if name in above:
            self._problems.error(at, f"{name} includes itself", " -> ".join((*above, name)))
            return None
        if len(above) > MAX_INCLUDES_DEEP or len(self.files) >= MAX_FILES:
            what = f"more than {MAX_INCLUDES_DEEP} includes deep or {MAX_FILES} files in all"
            self._problems.error(at, what)
            return None
        try:
            text = self._read(name)
        except (OSError, ValueError) as error:
            self._problems.error(at, f"cannot read {name}: {why(error)}")
            return None
        self.files.append(name)
        return text

    def _chain(self, word: syntax.Word) -> str:
        if word.text in CHAINS:
            return word.text
        hint = suggest(word.text, CHAINS) or f"there are {one_of(CHAINS)}"
        self._problems.error(word.at, f"unknown chain {word.text}", hint)
        return ""


def _beside(name: str, other: str) -> str:
    """Return a file's name relative to the file that names it."""
    return str(PurePosixPath(name).parent / other)


def _settings(policy: Policy, gathered: _Gathered, problems: Problems) -> Policy:
    seen: dict[str, Place] = {}
    for setting in gathered.settings:
        name = setting.name
        if name.text in seen and name.text not in REPEATED:
            problems.error(name.at, f"{name.text} stands twice", first_stands(seen[name.text]))
            continue
        seen[name.text] = name.at
        try:
            policy = apply_setting(policy, setting)
        except Wrong as wrong:
            problems.add(wrong)
    return policy


def _chains(
    gathered: _Gathered, resolver: Resolver, policy: Policy, problems: Problems
) -> dict[str, Chain]:
    rules: dict[str, dict[str, Rule]] = {name: {} for name in CHAINS}
    for count, (chain, line) in enumerate(gathered.rules):
        if count >= MAX_RULES:
            problems.error(line.name.at, f"more than {MAX_RULES} rules")
            break
        if not chain:
            continue  # an unknown chain: said already
        rule = build_rule(line, chain, resolver, policy.media_idle_s, problems)
        earlier = rules[chain].get(line.name.text)
        if earlier is not None:
            what = f"rule {line.name.text} stands twice in chain {chain}"
            problems.error(line.name.at, what, f"first at {earlier.place}")
        else:
            rules[chain][line.name.text] = rule
    return {name: Chain(name, tuple(found.values())) for name, found in rules.items()}
