"""The least a Python reader of NFQUEUE can do: take each packet's octets and accept it.

The yardstick for what sipguard itself costs. Run it as ``python accept_all.py QUEUE``.
"""

import sys

from netfilterqueue import NetfilterQueue, Packet

MAX_PACKETS = 8192
SOCKET_OCTETS = 16 << 20


def accept(packet: Packet) -> None:
    """Read it, judge nothing, let it pass."""
    packet.get_payload()
    packet.accept()


def main() -> None:
    """Serve the queue until the process is ended."""
    queue = NetfilterQueue()
    queue.bind(int(sys.argv[1]), accept, max_len=MAX_PACKETS, sock_len=SOCKET_OCTETS)
    queue.run()


if __name__ == "__main__":
    main()
