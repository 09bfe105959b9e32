"""The lines of a policy that are about SIP over WebSocket: ports, and origins of pages."""

import pytest

from sipguard.edge.from_policy import diversions_of
from sipguard.edge.plan import WS_LISTENER_PORT
from sipguard.errors import PolicyError
from sipguard.policy import load_policy
from sipguard.policy.rules import Policy

PORTS = "ws-ports 80 8080\n"


def policy_of(text: str) -> Policy:
    """Return the policy of these lines."""
    return load_policy("p", lambda _name: text)


def problems_of(text: str) -> list[str]:
    """Return what is wrong with them."""
    with pytest.raises(PolicyError) as caught:
        policy_of(text)
    return [str(problem) for problem in caught.value.problems]


def test_without_a_line_no_port_is_a_websockets() -> None:
    """Port 443 belongs to web servers until somebody says otherwise."""
    policy = policy_of("")
    assert (policy.ws_ports, policy.wss_ports, policy.ws_origins) == ((), (), ())
    assert [one.kind for one in diversions_of(policy)] == ["tcp"]


def test_ports_come_to_a_listener_of_their_own() -> None:
    """In clear at once; over TLS once there is a certificate."""
    found = {one.kind: one for one in diversions_of(policy_of(PORTS))}
    assert found["ws"].ports == (80, 8080)
    assert found["ws"].listener == WS_LISTENER_PORT
    assert diversions_of(policy_of(PORTS + "stream-transports refuse\n")) == ()


def test_origins_are_kept_as_browsers_send_them() -> None:
    """In lower case, without the scheme's own port (RFC 6454 section 6.2)."""
    policy = policy_of(
        PORTS + 'ws-origins { "https://Phone.example.com" "https://a.example:443" '
        '"http://b.example:8080" "http://[2001:db8::1]" "app://phone" null }\n'
    )
    assert policy.ws_origins == (
        "https://phone.example.com",
        "https://a.example",
        "http://b.example:8080",
        "http://[2001:db8::1]",
        "app://phone",
        "null",
    )
    assert policy_of(PORTS + "ws-origins any\n").ws_origins == ()
    assert policy_of(PORTS + 'ws-origins "https://a.example"\n').ws_origins == (
        "https://a.example",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ws-ports", "1:1: expected a port"),
        ("ws-ports 0", "1:10: 0 is not between 1 and 65535"),
        ("wss-ports 443", "1:1: wss-ports without tls-certificate"),
        ("ws-ports 5060", "1:1: port 5060 is both of ws-ports and of sip-ports"),
        ("ws-ports 5061", "1:1: port 5061 is both of ws-ports and of tls-ports"),
        ("ws-ports 80\nwss-ports 80", "2:1: port 80 is both of wss-ports and of ws-ports"),
        (PORTS + "ws-origins", "2:1: expected any, or origins in braces"),
        (PORTS + "ws-origins { }", "2:1: expected any, or origins in braces, found empty braces"),
        (PORTS + 'ws-origins { { "https://a.example" } }', "2:16: braces inside braces"),
        (PORTS + "ws-origins phone.example.com", "2:12: phone.example.com is no origin"),
        (
            PORTS + 'ws-origins { "https://a.example/phone" }',
            '2:14: https://a.example/phone is more than an origin (write "https://a.example")',
        ),
        (PORTS + 'ws-origins "https://a.example:0"', "2:12: port 0 of https://a.example:0"),
        (PORTS + 'ws-origins "https://*.example"', "2:12: https://*.example is no origin"),
        (PORTS + 'ws-origins "https://u@a.example"', "2:12: https://u@a.example is no origin"),
        (PORTS + 'ws-origins "https://a.example" "https://b.example"', "2:32: this is too much"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, said: str) -> None:
    """And with what to write instead."""
    assert any(said in problem for problem in problems_of(text)), problems_of(text)


def test_origins_without_ports_do_nothing() -> None:
    """A warning, since somebody may think that they protect him."""
    (warning,) = policy_of('ws-origins "https://a.example"\n').warnings
    assert "ws-origins does nothing without ws-ports or wss-ports" in str(warning)
