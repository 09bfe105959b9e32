"""Diverted connections as this kernel can have them: their route, or what there is without."""

import dataclasses
from collections.abc import Callable
from typing import Final

from twisted.logger import Logger

from sipguard.edge import programs
from sipguard.edge.plan import Plan, StreamTransports
from sipguard.edge.routing import routings

log: Final = Logger()


def divert(plan: Plan, undo: list[Callable[[], None]], *, zones_by_nft: bool) -> Plan:
    """Put the route of diverted connections in force; return the plan that can be.

    Args:
        plan: What is wanted.
        undo: Gets the steps that take it back.
        zones_by_nft: Whether nft can ask by which IPsec a packet came.

    Raises:
        EdgeError: it was refused.
    """
    if plan.diversions and not programs.has_nft_streams(plan.table):
        log.error("this kernel lacks nft_tproxy or nft_socket: SIP over TCP is refused, not judged")
        plan = dataclasses.replace(plan, diversions=(), stream_transports=StreamTransports.REFUSE)
    elif plan.diversions and plan.ipsec_zones and not zones_by_nft:
        log.warn("this kernel's nft cannot ask for IPsec: no connection is of a zone by request id")
    for routing in routings(plan) if plan.diversions or programs.has_ip() else ():
        if not plan.diversions:
            undo.append(routing.install if routing.is_there else routing.remove)
            routing.remove()
        elif not routing.is_there:
            undo.append(routing.remove)
            routing.install()
    return plan
