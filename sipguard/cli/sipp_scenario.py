"""A signed request as a scenario for SIPp, which sends it and plays the rest of the call.

SIPp fills in Via and the body's length alone; everything that is signed stands
there as it was signed. So each scenario is one call, within the time its Date
allows.
"""

from typing import Final

from sipguard.cli.message_file import MessageFile
from sipguard.errors import EdgeError

_HEAD: Final = """\
<?xml version="1.0" encoding="ISO-8859-1" ?>
<!DOCTYPE scenario SYSTEM "sipp.dtd">
<!-- sipp -sf THIS_FILE -cid_str '{call_id}' -m 1 TARGET -->
<scenario name="signed {method}">
"""
_VIA: Final = "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]"


def sipp_scenario(message: MessageFile) -> str:
    """Return the scenario that sends *message*, and for an INVITE its ACK and BYE.

    Raises:
        EdgeError: it is no request, or holds what SIPp cannot keep as it is.
    """
    ids = message.parsed().ids
    if ids is None or not message.is_request:
        raise EdgeError("a scenario for SIPp begins with a request")
    try:
        text = message.octets.decode("ascii")
    except UnicodeDecodeError:
        raise EdgeError("SIPp cannot send octets that are not ASCII: add --base64") from None
    if "[" in text or "]" in text or "--" in ids.call_id.decode():
        raise EdgeError(
            "SIPp takes [...] for its own words (so no IPv6 address), and the Call-ID "
            "must hold no --"
        )
    method = ids.method.decode()
    lines = [message.start.decode().strip(), _VIA]
    for row in message.rows:
        if row.name == b"content-length":
            lines.append("Content-Length: [len]")
        elif row.name != b"via":
            lines += row.octets.decode().rstrip("\r\n").split("\r\n")
    signed = _send([*lines, "", *message.body.decode().split("\r\n")], "500")
    parts = [_HEAD.format(call_id=ids.call_id.decode(), method=method), signed]
    if method != "INVITE":
        return "".join([*parts, _receive(200), "</scenario>\n"])
    uri = message.start.split(b" ")[1].decode()
    parts += [_receive(status, optional=True) for status in (100, 180, 183)]
    parts += [_receive(200), _send(_inside(message, "ACK", uri, ids.cseq))]
    parts += ['  <pause milliseconds="1000"/>\n']
    parts += [_send(_inside(message, "BYE", uri, ids.cseq + 1), "500"), _receive(200)]
    return "".join([*parts, "</scenario>\n"])


def _inside(message: MessageFile, method: str, uri: str, cseq: int) -> list[str]:
    return [
        f"{method} {uri} SIP/2.0",
        _VIA,
        "Max-Forwards: 70",
        f"From: {message.value(b'from').decode()}",
        f"To: {message.value(b'to').decode()}[peer_tag_param]",
        f"Call-ID: {message.value(b'call-id').decode()}",
        f"CSeq: {cseq} {method}",
        "Content-Length: 0",
        "",
    ]


def _send(lines: list[str], retransmit_ms: str = "") -> str:
    again = f' retrans="{retransmit_ms}"' if retransmit_ms else ""
    text = "\n".join(lines)
    return f"  <send{again}>\n    <![CDATA[\n\n{text}\n]]>\n  </send>\n"


def _receive(status: int, *, optional: bool = False) -> str:
    more = ' optional="true"' if optional else ' rtd="true"' if status == 200 else ""
    return f'  <recv response="{status}"{more}></recv>\n'
