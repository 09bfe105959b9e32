"""A SIP telephone over WebSocket for the end-to-end tests, on the websockets library.

Usage: ws_phone.py URI [--subprotocol NAME] [--origin ORIGIN] [--ca FILE] [--oversize] [--binary]

Registers, asks for an answer to OPTIONS, says goodbye; prints a line for each thing it learns.
"""

import argparse
import ssl
import uuid

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

HOST = f"{uuid.uuid4().hex[:12]}.invalid"  # as a browser calls itself (RFC 7118 section 5)


def main() -> None:
    """Run once."""
    parser = argparse.ArgumentParser()
    parser.add_argument("uri")
    parser.add_argument("--subprotocol", default="sip")
    parser.add_argument("--origin")
    parser.add_argument("--ca")
    parser.add_argument("--oversize", action="store_true")
    parser.add_argument("--binary", action="store_true")
    asked = parser.parse_args()
    context = ssl.create_default_context(cafile=asked.ca) if asked.ca else None
    try:
        with connect(
            asked.uri,
            ssl=context,
            origin=Origin(asked.origin) if asked.origin else None,
            subprotocols=[Subprotocol(asked.subprotocol)],
            proxy=None,
            close_timeout=3,
        ) as phone:
            print("OPEN", phone.subprotocol, flush=True)
            _talk(phone, asked)
            print("GOODBYE", flush=True)
    except InvalidStatus as error:
        print("STATUS", error.response.status_code, flush=True)
    except ConnectionClosed as error:
        print("CLOSED", error.rcvd.code if error.rcvd else None, flush=True)
    except (InvalidHandshake, OSError) as error:
        print("FAILED", type(error).__name__, error, flush=True)


def _talk(phone: ClientConnection, asked: argparse.Namespace) -> None:
    transport = "WSS" if asked.uri.startswith("wss") else "WS"
    if asked.oversize:
        phone.send("MESSAGE sip:x SIP/2.0\r\n" + "x" * 70_000)
        phone.recv(timeout=5)
    for number, method in enumerate(("REGISTER", "OPTIONS"), 1):
        text = request(method, number, transport)
        phone.send(text.encode() if asked.binary else text)
        answer = phone.recv(timeout=5)
        kind = "text" if isinstance(answer, str) else "octets"
        shown = answer if isinstance(answer, str) else answer.decode()
        print(method, kind, shown.split("\r\n")[0], flush=True)
    phone.ping().wait(3)
    print("PONG", flush=True)


def request(method: str, number: int, transport: str) -> str:
    """Return a request as JsSIP writes it."""
    return "\r\n".join(
        [
            f"{method} sip:example.com SIP/2.0",
            f"Via: SIP/2.0/{transport} {HOST};branch=z9hG4bK{number}0815",
            "Max-Forwards: 69",
            "To: <sip:alice@example.com>",
            "From: <sip:alice@example.com>;tag=kq1",
            f"Call-ID: {HOST[:8]}{number}",
            f"CSeq: {number} {method}",
            f"Contact: <sip:k3v@{HOST};transport=ws>;+sip.ice;reg-id=1;"
            '+sip.instance="<urn:uuid:6e5f39b4-3d2c-4f67-9c54-9a4f7b1d0b6e>";expires=600',
            "Expires: 600",
            "Supported: path,gruu,outbound",
            "User-Agent: JsSIP 3.10.1",
            "Content-Length: 0",
            "",
            "",
        ]
    )


if __name__ == "__main__":
    main()
