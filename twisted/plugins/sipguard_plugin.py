"""Tell twistd about sipguard; the service itself is imported only when it is asked for."""

from twisted.application.service import ServiceMaker

sipguard = ServiceMaker(
    "sipguard",
    "sipguard.tap",
    "SIP-aware firewall: judges diverted packets, opens SRTP pinholes, explains every block.",
    "sipguard",
)
