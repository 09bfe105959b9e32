"""``python -m demo``: each case through the real gateway, with what was expected and what seen."""

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType

from demo import offline
from demo.cases import CASES
from demo.clients import missing_programs
from demo.gateway import STRICT, Gateway, kernel_lacks, machine_lacks
from demo.media_cases import SDES_CASES, keyed_cases, media_policy
from demo.media_cases import SHIPPED as SECURE
from demo.network import Network, NetworkUnavailable
from demo.programs import until
from demo.signed_cases import AUTHORITY, SHIPPED, signed_outcomes, signed_policy
from demo.signing import Authority
from demo.stage import Outcome, Say, Stage, narrator, shout, staged, summed_up, workshop
from demo.stream_cases import STREAM_CASES, stream_policy

TIME_LIMIT_S = 115  # the demo promises to end within two minutes
RECORD_S = 5  # how long a record may take into the store
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)


class Interrupted(BaseException):
    """A signal asked us to end; everything is cleaned up on the way out."""


def main() -> int:
    """Run the demo; 0 only if every case held."""
    reason = machine_lacks()
    if missing := missing_programs():
        reason = reason or f"not installed: {' and '.join(missing)}"
    try:
        with _ended_by_signals():
            return offline.run(reason) if reason else _live_if_possible()
    except Interrupted as error:
        shout(f"{error}: everything is cleaned up")
        return 1
    except (RuntimeError, OSError) as error:
        shout(f"the demo failed: {error}")
        return 1


def _live_if_possible() -> int:
    try:
        return _live(narrator())
    except NetworkUnavailable as error:
        return offline.run(str(error))


def _live(say: Say) -> int:
    print("sipguard demo: third-party telephones on both sides of a real gateway\n")
    with workshop() as work, contextlib.ExitStack() as stack:
        say("building network namespaces for caller, gateway, callee and a stranger")
        network = stack.enter_context(Network())
        if reason := kernel_lacks(network):
            raise NetworkUnavailable(reason)
        say(f"starting twistd -n sipguard --policy {STRICT.relative_to(STRICT.parents[1])}")
        gateway = stack.enter_context(Gateway(network, work))
        stage = stack.enter_context(staged(network, work, say, gateway))
        outcomes = [_shown(case(stage)) for case in (*CASES, *SDES_CASES)]
        _show_the_morning_after(stage, gateway, _is_forged_bye)
        gateway.stop()
        gateway.policy = media_policy(work)
        say(f"starting again with policies/{SECURE.name}, which wants keys that nobody can read")
        gateway.start()
        outcomes += [_shown(case(stage)) for case in keyed_cases(stage)]
        _show_the_morning_after(stage, gateway, _is_swapped_certificate)
        gateway.stop()
        say("making a trial authority with sipguard identity, and certificates for two callers")
        authority = Authority(work / AUTHORITY)
        gateway.policy = signed_policy(work, network)
        say(f"starting again with policies/{SHIPPED.name}, which wants callers proven")
        gateway.start()
        outcomes += [_shown(case()) for case in signed_outcomes(stage, authority)]
        _show_the_morning_after(stage, gateway, _is_wrong_signer)
        gateway.stop()
        gateway.policy = stream_policy(work, network, authority)
        say(f"starting again with policies/{STRICT.name} and a certificate for TLS")
        gateway.start()
        outcomes += [_shown(case(stage, authority)) for case in STREAM_CASES]
        _show_the_morning_after(stage, gateway, _is_wrong_server)
        say("cleaning up")
    return summed_up(outcomes)


def _shown(outcome: Outcome) -> Outcome:
    print(outcome.line(), flush=True)
    return outcome


def _show_the_morning_after(
    stage: Stage, gateway: Gateway, wanted: Callable[[dict[str, object]], bool]
) -> None:
    """Show what the reviewer of blocked calls sees: the list, and one call explained."""
    stage.say("what was blocked, and why")
    until(lambda: any(map(wanted, gateway.blocked_records())), RECORD_S)
    print("\n$ sipguard blocked")
    print(gateway.ask("blocked").stdout)
    for record in gateway.blocked_records():
        if wanted(record):
            identity = str(record["id"])
            print(f"$ sipguard explain {identity}")
            print(gateway.ask("explain", identity).stdout)
            return


def _is_forged_bye(record: dict[str, object]) -> bool:
    return record.get("method") == "BYE"


def _is_swapped_certificate(record: dict[str, object]) -> bool:
    return record.get("reason") == "dtls-fingerprint"


def _is_wrong_signer(record: dict[str, object]) -> bool:
    return record.get("reason") == "aib-wrong-signer"


def _is_wrong_server(record: dict[str, object]) -> bool:
    return record.get("reason") == "tls-wrong-name"


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Turn the first ending signal, or the time limit, into one clean way out."""

    def end(number: int, _: FrameType | None) -> None:
        for again in ENDINGS:
            signal.signal(again, signal.SIG_IGN)  # cleaning up is not interrupted
        late = number == signal.SIGALRM
        raise Interrupted(f"longer than {TIME_LIMIT_S} s" if late else "interrupted")

    before = {number: signal.signal(number, end) for number in ENDINGS}
    signal.alarm(TIME_LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        for number, action in before.items():
            signal.signal(number, action)


if __name__ == "__main__":
    sys.exit(main())
