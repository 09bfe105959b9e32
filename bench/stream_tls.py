"""SIP over TLS: what an idle connection takes, and how many begin in a second.

How each figure is taken:

- *memory of an idle TLS connection*: the gateway's resident memory with so many connections, each
  shaken hands on both legs and used for one keep-alive that came back, less the memory before, by
  their number. A connection through the gateway is two of TLS: it accepts one and makes one. So
  from this is taken what OpenSSL itself takes for two: the same number of connections, an accepting
  and a connecting end of each, with buffers in memory and the same contexts, in one process that
  has no sockets and no Twisted. Beside it stands what is left beyond two legs of a bare
  Twisted echo server. Without the right to raise the limit on open files there are as many
  connections as it allows: a gateway needs two for each.
- *TLS handshakes*: clients connect, shake hands, send a keep-alive, see it come back and close, so
  many at a time, for some seconds. A bare Twisted echo server on the gateway's core, with the same
  contexts, does one handshake for each; the gateway does two, and only when both are over the
  keep-alive comes back. No session is resumed on either leg, but in the one figure that says so:
  there the server resumes sessions, as servers do, and the clients begin anew all the same.
  Compared is the processor time of one handshake, because the machine's other work comes and
  goes; handshakes by the clock stand beside it. All that a connection costs (sockets, the onward
  connect, verifying the server's chain and name, judging) is on the gateway's side of it. To
  connect costs twice what to accept does, with or without us, so what has a limit is the
  comparison to a bare Twisted relay: an echo that accepts and connects with the same contexts and
  verification, and looks at nothing.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from bench.gateways import POLICY, Running, Variant, gateway
from bench.kernel import GATEWAY_CORE, GENERATOR_CORE, await_quiet
from bench.network import (
    ATTACKERS,
    CALLEE,
    CALLER,
    CALLER_SIDE,
    FIRST_ATTACKER,
    FIRST_CALLEE,
    run,
    within,
)
from bench.report import Figure, progress, spread
from bench.signers import Holder, authority, certify, key_of
from bench.stream_peers import NAME

IDLE: Final = 10_000
IDLE_LIMIT_KB: Final = 40.0
HANDSHAKE_LIMIT: Final = 0.6
AT_ONCE: Final = 32
PORT: Final = 5061
_OTHER_FILES: Final = 256
_SETTLE_S: Final = 2.0
HERE: Final = Path(__file__).parent
# What the thirty rules need to take connections from few addresses, and to end TLS.
_LINES: Final = """keep-alive-rate 100000/s
trust tls ca "tls-ca.pem"
tls-certificate "tls-gateway.pem" key "tls-gateway.key"
tls-clients none
"""
_MANY: Final = "max-connections 12000\nmax-connections-per-source 2000\n"


def write_policy(folder: Path, *, few: bool = False) -> Path:
    """Write the thirty rules with what streams need, and certificates made for this run.

    With *few*, the limits on connections stay the default.
    """
    root = authority("root of the streams", "p-256")
    for name in ("gateway", "server"):
        holder = _for_tls(root)
        key = holder.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for file, octets in (
            (folder / f"tls-{name}.pem", holder.pem),
            (folder / f"tls-{name}.key", key),
            (folder / f"tls-{name}.both", holder.pem + key),
        ):
            file.touch(0o600)
            file.write_bytes(octets)
    (folder / "tls-ca.pem").write_bytes(root.pem)
    policy = folder / ("few-streams.policy" if few else "streams.policy")
    lines = _LINES if few else _MANY + _LINES
    policy.write_text(POLICY.read_text().replace("default drop\n", f"default drop\n{lines}", 1))
    return policy


def _for_tls(issuer: Holder) -> Holder:
    key = key_of("p-256", "tls")
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.SubjectAlternativeName([x509.DNSName(NAME)]), False),
        (x509.ExtendedKeyUsage(purposes), False),
    ]
    name = "root of the streams"
    return Holder(key, certify("streams", key.public_key(), name, issuer.key, extensions))


def echo(policy: Path) -> Variant:
    """Return the bare Twisted server."""
    command = (sys.executable, "-P", "-m", "bench.tls_echo", "serve", str(policy), str(PORT))
    return Variant("bare Twisted echo", command=command, proxy=CALLER_SIDE, socket="tcp :13C5 ")


def relay(policy: Path) -> Variant:
    """Return the bare Twisted relay."""
    command = (sys.executable, "-P", "-m", "bench.tls_echo", "relay", str(policy), str(PORT))
    bare = echo(policy)
    return bare._replace(name="bare Twisted relay", command=(*command, FIRST_CALLEE))


# --- both ends


@contextmanager
def _server(certificate: Path, *, resumes: bool = False) -> Iterator[None]:
    """Run the callees' TLS server, which *resumes* sessions or does not."""
    command = _peers(CALLEE, "serve", str(PORT), str(certificate), *(["resumes"] * resumes))
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE.parent
    ) as process:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise RuntimeError("the TLS server did not start")
        yield
        process.communicate()


@contextmanager
def _clients(variant: Variant, *words: object) -> Iterator[dict[str, float]]:
    """Run the callers' TLS clients; yield what they told, while they hold what they have."""
    role, amount, *rest = map(str, words)
    to = (variant.proxy or FIRST_CALLEE, str(PORT))
    command = _peers(CALLER, role, *to, amount, FIRST_ATTACKER, str(ATTACKERS), *rest)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE.parent
    ) as process:
        if process.stdout is None:
            raise RuntimeError("no pipe")
        yield json.loads(process.stdout.readline())
        process.communicate("end\n")


def _peers(namespace: str, *words: str) -> list[str]:
    command = within(namespace, "taskset", "-c", str(GENERATOR_CORE), sys.executable, "-P")
    return [*command, "-m", "bench.stream_peers", *words]


# --- memory


def connections_possible(wanted: int) -> int:
    """Return how many connections the limit on open files leaves to a gateway."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, (most - _OTHER_FILES) // 2)


def _idle_kb(variant: Variant, count: int) -> float:
    """Return what one of so many connections takes in the process that ends them."""
    with gateway(variant, GATEWAY_CORE) as running:
        with _clients(variant, "hold", 200, AT_ONCE):  # what is made once is there by then
            pass
        time.sleep(_SETTLE_S)
        before_mb = running.resident_mb()
        with _clients(variant, "hold", count, AT_ONCE) as told:
            if told["failed"]:
                raise RuntimeError(f"{told['failed']} of {count} TLS connections failed")
            return (running.resident_mb() - before_mb) * 1024 / count


def idle(variant: Variant, policy: Path, count: int) -> list[Figure]:
    """Hold idle TLS connections through the gateway."""
    server = policy.with_name("tls-server.both")
    count = connections_possible(count)
    progress(f"{count:,} idle TLS connections")
    command = (sys.executable, "-P", "-m", "bench.tls_echo", "pairs", str(policy), str(count))
    openssl_kb = json.loads(run(*command))["kb"]
    bare_kb = _idle_kb(echo(policy), count)
    with _server(server):
        ours_kb = _idle_kb(variant, count)
    what = f"memory of an idle TLS connection, of {count:,}"
    shown = f"{ours_kb:.1f} KB for two legs, OpenSSL alone {openssl_kb:.1f} KB"
    bare = f"two of them {2 * bare_kb:.1f} KB"
    return [
        Figure(f"{what}: beyond OpenSSL", ours_kb - openssl_kb, "KB", below=IDLE_LIMIT_KB,
               detail=shown),
        Figure(f"{what}: beyond two legs of a bare Twisted echo", ours_kb - 2 * bare_kb, "KB",
               detail=bare),
    ]  # fmt: skip


# --- handshakes


class Sample(NamedTuple):
    """Handshakes of one gateway in one round."""

    cpu_us: float  # of one
    by_clock: float  # in a second


def _churn(running: Running, handshakes: int, seconds: float) -> Sample:
    with _clients(running.variant, "churn", 0.5, AT_ONCE):
        pass
    time.sleep(_SETTLE_S / 2)
    before_s = running.cpu_s()
    with _clients(running.variant, "churn", seconds, AT_ONCE) as told:
        time.sleep(_SETTLE_S / 2)  # for those under way
        spent_s = running.cpu_s() - before_s
    done = told["served"] * handshakes
    if told["failed"] > 0.01 * told["served"] or not done:
        raise RuntimeError(f"TLS through {running.variant.name}: {told}")
    return Sample(spent_s * 1e6 / done, done / told["elapsed_s"])


def handshakes(variant: Variant, policy: Path, rounds: int, seconds: float) -> list[Figure]:
    """Open and close TLS connections through the gateway and to bare servers, in turns."""
    resumed = f"{variant.name}, resumed onward"
    turns = (
        (echo(policy).name, echo(policy), 1, False),
        (relay(policy).name, relay(policy), 2, False),
        (variant.name, variant, 2, False),
        (resumed, variant, 2, True),
    )
    found: dict[str, list[Sample]] = {name: [] for name, *_ in turns}
    for number in range(rounds):
        await_quiet()
        for name, one, count, resumes in turns:
            server = _server(policy.with_name("tls-server.both"), resumes=resumes)
            with server, gateway(one, GATEWAY_CORE) as running:
                sample = _churn(running, count, seconds)
            found[name].append(sample)
            progress(
                f"round {number + 1} of {rounds}: {name}: {sample.cpu_us:.0f} us of CPU "
                f"for a TLS handshake, {sample.by_clock:,.0f}/s"
            )
    bare, relayed, ours, again = found.values()
    figures = []
    for name, others, own, above in (
        ("relay's", relayed, ours, HANDSHAKE_LIMIT),
        ("echo's", bare, ours, None),
        ("echo's, sessions with the server resumed", bare, again, None),
    ):
        ratios = [other.cpu_us / one.cpu_us for other, one in zip(others, own, strict=True)]
        detail = f"{median(one.cpu_us for one in own):.0f} us, bare "
        detail += f"{median(other.cpu_us for other in others):.0f} us; {spread(ratios)}"
        what = f"TLS handshakes per CPU second, to a bare Twisted {name}"
        figures.append(Figure(what, median(ratios), "x", above=above, detail=detail))
    rate = median(own.by_clock for own in ours)
    by_clock = f"bare echo {median(other.by_clock for other in bare):,.0f}, "
    by_clock += f"relay {median(other.by_clock for other in relayed):,.0f}"
    return [*figures, Figure("TLS handshakes/s by the clock, both legs", rate, "", detail=by_clock)]
