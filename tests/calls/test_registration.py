"""Bindings: who registered what from where, and for how long."""

from sipguard.calls.registration import LONGEST_EXPIRES_S, Registrations

AOR = b"sip:alice@example.com"
HOME, ELSEWHERE = b"\xc0\x00\x02\x0a", b"\xc0\x00\x02\x42"


def test_another_host_is_foreign_while_the_binding_lasts() -> None:
    """The name belongs to whoever the registrar accepted, until it runs out."""
    bindings = Registrations(10)
    assert not bindings.is_foreign(AOR, ELSEWHERE, 0.0)
    bindings.accepted(AOR, HOME, 60, 0.0)
    assert bindings.is_foreign(AOR, ELSEWHERE, 59.0)
    assert not bindings.is_foreign(AOR, HOME, 59.0)
    assert not bindings.is_foreign(AOR, ELSEWHERE, 61.0)
    assert not bindings.is_foreign(b"sip:bob@example.com", ELSEWHERE, 1.0)


def test_zero_seconds_remove_a_binding() -> None:
    """The phone signed off; the next one may sign on from anywhere."""
    bindings = Registrations(10)
    bindings.accepted(AOR, HOME, 60, 0.0)
    bindings.accepted(AOR, HOME, 0, 1.0)
    assert not bindings.is_foreign(AOR, ELSEWHERE, 2.0)
    assert len(bindings) == 0


def test_a_binding_made_with_credentials_is_the_registrars_to_guard() -> None:
    """It will ask the newcomer; only where nobody was asked the first one keeps the name."""
    bindings = Registrations(10)
    bindings.accepted(AOR, HOME, 60, 0.0, proven=True)
    assert not bindings.is_foreign(AOR, ELSEWHERE, 1.0)
    bindings.accepted(AOR, HOME, 60, 2.0, proven=False)
    assert bindings.is_foreign(AOR, ELSEWHERE, 3.0)


def test_the_last_accepted_host_holds_the_name() -> None:
    """The registrar let it move (with credentials), so we follow."""
    bindings = Registrations(10)
    bindings.accepted(AOR, HOME, 60, 0.0)
    bindings.accepted(AOR, ELSEWHERE, 60, 30.0)
    assert not bindings.is_foreign(AOR, ELSEWHERE, 70.0)
    assert bindings.is_foreign(AOR, HOME, 70.0)


def test_a_refresh_prolongs() -> None:
    """Phones refresh half-way; the binding must not vanish from under them."""
    bindings = Registrations(10)
    for now_s in range(0, 600, 30):
        bindings.accepted(AOR, HOME, 60, float(now_s))
        bindings.expire(float(now_s))
    assert bindings.is_foreign(AOR, ELSEWHERE, 620.0)
    bindings.expire(700.0)
    assert len(bindings) == 0


def test_no_binding_for_a_century() -> None:
    """The number in Expires is the peer's; how long we believe it is ours."""
    bindings = Registrations(10)
    bindings.accepted(AOR, HOME, 2**32 - 1, 0.0)
    assert bindings.is_foreign(AOR, ELSEWHERE, LONGEST_EXPIRES_S - 1.0)
    assert not bindings.is_foreign(AOR, ELSEWHERE, LONGEST_EXPIRES_S + 1.0)


def test_bindings_are_bounded() -> None:
    """A thousand accounts cost what ten cost."""
    bindings = Registrations(10)
    for number in range(1000):
        bindings.accepted(b"sip:%d@example.com" % number, HOME, 60, 0.0)
    assert len(bindings) == 10
