"""What servers offered to whom (RFC 3329, TLS-32): bidding down shows, honest clients do not."""

from calls_builder import MALLORY, packet, read, request, response
from phones import ALICE, PROXY

from sipguard.calls.sec_agree import LISTS, Agreements
from sipguard.reason import Reason

STRONG = "ipsec-ike;q=0.1, tls;q=0.2"
AGREES = "Require: sec-agree\r\nProxy-Require: sec-agree\r\n"


def register(headers: str, *, branch: str = "r1", sender: str = ALICE) -> bytes:
    return request("REGISTER", branch=branch, sender=sender, headers=AGREES + headers)


def found(
    agreements: Agreements,
    headers: str,
    *,
    source: str = ALICE,
    transport: str = "udp",
) -> list[Reason]:
    """Return what is said of a client's request."""
    raw = register(headers)
    message, ids = read(raw)
    way = packet(raw, source, PROXY, transport=transport)
    return [finding.reason for finding in agreements.look(message, ids, way)]


def offer(agreements: Agreements, server: str, *, client: str = ALICE) -> list[Reason]:
    """Let a 494 with this list go by; return what is said of it."""
    raw = response(
        register("Security-Client: tls, ipsec-ike"), 494, headers=f"Security-Server: {server}"
    )
    message, ids = read(raw)
    way = packet(raw, PROXY, client)
    return [finding.reason for finding in agreements.answered(message, ids, way)]


def test_who_repeats_what_was_offered_is_honest() -> None:
    """Also before anything was offered here, and where nothing is agreed on at all."""
    agreements = Agreements()
    assert found(agreements, f"Security-Verify: {STRONG}") == []
    assert offer(agreements, STRONG) == []
    assert found(agreements, f"Security-Verify: {STRONG}\nSecurity-Client: tls") == []
    assert found(agreements, "Security-Client: tls") == []
    assert found(agreements, "") == []


def test_who_repeats_another_list_was_bid_down() -> None:
    """Somebody behind us took IPsec out of the list that went by here."""
    agreements = Agreements()
    offer(agreements, STRONG)
    assert found(agreements, "Security-Verify: tls;q=0.2") == [Reason.SECURITY_BID_DOWN]
    assert found(agreements, "Security-Verify: tls;q=0.2", source=MALLORY) == []


def test_two_telephones_behind_one_address_do_not_disturb_each_other() -> None:
    """Each has its own SPIs in its list; the last few are remembered."""
    agreements = Agreements()
    for number in range(LISTS):
        offer(agreements, f"ipsec-3gpp;spi-c={number}")
    assert found(agreements, "Security-Verify: ipsec-3gpp;spi-c=0") == []
    offer(agreements, "ipsec-3gpp;spi-c=99")
    assert found(agreements, "Security-Verify: ipsec-3gpp;spi-c=0") == [Reason.SECURITY_BID_DOWN]


def test_nobody_negotiates_where_tls_is_in_use() -> None:
    """But the request that TLS was agreed for says so, with Security-Verify."""
    agreements = Agreements()
    begun = found(agreements, "Security-Client: tls", transport="tls")
    assert begun == [Reason.SEC_AGREE_OVER_TLS]
    led = found(agreements, "Security-Client: tls\nSecurity-Verify: tls", transport="tls")
    assert led == []


def test_what_cannot_be_read_is_said() -> None:
    """On both ways; a tie leaves open what the server wants."""
    agreements = Agreements()
    assert found(agreements, "Security-Client: tls;q=9") == [Reason.BAD_SEC_AGREE]
    assert offer(agreements, "tls;q=9") == [Reason.BAD_SEC_AGREE]
    assert offer(agreements, "tls;q=0.1, digest;q=0.1") == [Reason.BAD_SEC_AGREE]


def test_a_flood_of_offers_has_a_bound() -> None:
    """The oldest go."""
    agreements = Agreements(capacity=64)
    for number in range(1000):
        offer(agreements, STRONG, client=f"10.0.{number // 250}.{number % 250}")
    assert len(agreements) <= 64
