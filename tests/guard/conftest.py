"""The strict policy at work, and one call under it."""

import pytest
from exchange import Call, Exchange


@pytest.fixture
def exchange() -> Exchange:
    """The strict policy as shipped, and a clock."""
    return Exchange()


@pytest.fixture
def call(exchange: Exchange) -> Call:
    """An answered call with media; an attacker has heard every octet of it."""
    made = Call(exchange)
    made.establish()
    assert made.has_media
    return made
