"""By which interface a TCP connection came in, as the kernel remembers it of the SYN."""

import socket

import pytest
from netns import A4, A6, B4, B6, Host, Lab

from sipguard.edge.stream.arrival import interface_of


@pytest.mark.kernel
@pytest.mark.parametrize("address", ["10.9.2.1", "fd09:2::1"])
def test_a_connection_tells_the_interface_it_came_in_by(lab: Lab, address: str) -> None:
    """Not the one that has the address: the weak host model lets any take it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    from_a, from_b = (A6, B6) if ":" in address else (A4, B4)

    def listen() -> socket.socket:
        made = socket.socket(family)
        made.bind((address, 5060))
        made.listen()
        made.settimeout(3)
        return made

    def connect(host: Host, source: str) -> socket.socket:
        return host.run(lambda: socket.create_connection((address, 5060), 3, (source, 0)))

    with lab.router.run(listen) as listener:
        for host, source, interface in ((lab.a, from_a, "ra"), (lab.b, from_b, "rb")):
            with connect(host, source):
                assert lab.router.run(lambda: _told(listener)) == interface


def _told(listener: socket.socket) -> str:
    with listener.accept()[0] as accepted:
        return interface_of(accepted)


def test_what_is_no_connection_came_in_by_none() -> None:
    """A UDP socket has no SYN, and a closed one has nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        assert interface_of(made) == ""
    assert interface_of(made) == ""
