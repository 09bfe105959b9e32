"""A SIP server over TLS for the end-to-end tests, on Python's own ssl: answers every request 200.

Usage: tls_server.py ADDRESS PORT CERTIFICATE-AND-KEY [CLIENTS' AUTHORITY]
"""

import re
import socket
import ssl
import sys
import threading

_ECHOED = re.compile(rb"^(?:Via|From|To|Call-ID|CSeq):.*\r\n", re.MULTILINE)


def main() -> None:
    """Serve until killed; say READY once."""
    address, port, certificate, *authority = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if authority:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority[0])
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, int(port)), family=family) as listener:
        print("READY", flush=True)
        while True:
            made, peer = listener.accept()
            threading.Thread(target=_serve, args=(context, made, peer), daemon=True).start()


def _serve(context: ssl.SSLContext, made: socket.socket, peer: object) -> None:
    names: list[str] = []
    try:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context.sni_callback = lambda _tls, name, _context: names.append(str(name))
        with context.wrap_socket(made, server_side=True) as tls:
            shown = (tls.getpeercert() or {}).get("subject", "")
            print("PEER", peer, names, tls.version(), tls.session_reused, shown, flush=True)
            while octets := tls.recv(65536):
                head = b"".join(_ECHOED.findall(octets))
                tls.sendall(b"SIP/2.0 200 OK\r\n" + head + b"Content-Length: 0\r\n\r\n")
    except OSError as error:
        print("FAILED", error, flush=True)


if __name__ == "__main__":
    main()
