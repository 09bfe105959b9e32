"""Tell twistd about sipguard; the service itself is imported only when it is asked for."""

from twisted.application.service import ServiceMaker

sipguard = ServiceMaker(
    "sipguard",
    "sipguard.tap",
    "SIP-aware firewall: judges diverted packets, opens SRTP pinholes, explains every block.",
    "sipguard",
)

sipguard_web = ServiceMaker(
    "sipguard-web",
    "sipguard.web.tap",
    "Pages for the review of what sipguard blocked; a process of its own, without privileges.",
    "sipguard-web",
)
