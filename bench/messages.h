/* The messages of one SIP call (RFC 3261), as a telephone writes them, composed from its number. */
#ifndef MESSAGES_H
#define MESSAGES_H

#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>

enum kind { INVITE, TRYING, RINGING, ANSWER, ACK, BYE, BYE_OK, KINDS };
enum side { CALLER, CALLEE };
enum { FIRST_MEDIA_PORT = 16384, MEDIA_PORTS = 24000, MAX_ADDRESSES = 256 };
/* Telephones on each side: the same people call again and again, as behind any PBX. A multiple
 * of the addresses, so that each telephone stays behind one. */
enum { TELEPHONES = 240 };

static const char BASE64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Calls take the addresses of each side in turn; the salt keeps the calls of two runs apart. */
static char address_texts[2][MAX_ADDRESSES][INET_ADDRSTRLEN];
static uint32_t address_count = 1, salt;
static const char *transport = "UDP", *uri_tail = ""; /* of a request's URI */

/* Texts are put together by hand: printf would cost more than sending them. */
static char *put(char *out, const char *text) {
    return stpcpy(out, text);
}

static char *put_hex(char *out, uint32_t value) {
    for (int shift = 28; shift >= 0; shift -= 4) *out++ = "0123456789abcdef"[value >> shift & 15];
    return out;
}

static char *put_decimal(char *out, uint32_t value, int digits) {
    for (int i = digits; i > 0; i--, value /= 10) out[i - 1] = '0' + value % 10;
    return out + digits;
}

/* Who takes part in a call: 8 digits after the prefix of the side. */
static char *put_user(char *out, enum side side, uint32_t number) {
    uint32_t telephone = (side == CALLER ? number : number * 7 + 3) % TELEPHONES;
    return put_decimal(put(out, side == CALLER ? "+4930" : "+4989"), telephone, 8);
}

static char *put_sdp(char *out, enum side side, uint32_t number, const char *address) {
    uint64_t state = ((uint64_t)salt << 32 | number) * 0x9E3779B97F4A7C15u + side + 1;
    out = put_decimal(put(out, "v=0\r\no=- 1"), number, 8);
    out = put(put(out, " 1 IN IP4 "), address);
    out = put(put(put(out, "\r\ns=-\r\nc=IN IP4 "), address), "\r\nt=0 0\r\nm=audio ");
    out = put_decimal(out, FIRST_MEDIA_PORT + 2 * (number / address_count % MEDIA_PORTS), 5);
    out = put(out, " RTP/SAVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n"
                   "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"
                   "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:");
    for (int i = 0; i < 40; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        *out++ = BASE64[state >> 58];
    }
    return put(out, "\r\na=ptime:20\r\na=sendrecv\r\n");
}

static char *put_via(char *out, enum kind kind, uint32_t number) {
    out = put(put(put(out, "Via: SIP/2.0/"), transport), " ");
    out = put(out, address_texts[CALLER][number % address_count]);
    out = put_hex(put_hex(put(out, ":5060;branch=z9hG4bK"), salt), number);
    return put(out, kind == ACK ? "a;rport\r\n" : kind == BYE ? "b;rport\r\n" : "i;rport\r\n");
}

static char *put_parties(char *out, uint32_t number, int tagged) {
    out = put_user(put(out, "From: \"Caller\" <sip:"), CALLER, number);
    out = put_hex(put_hex(put(out, "@caller.example>;tag=c"), salt), number);
    out = put_user(put(out, "\r\nTo: <sip:"), CALLEE, number);
    out = put(out, tagged ? "@callee.example>;tag=d" : "@callee.example>");
    if (tagged) out = put_hex(put_hex(out, number), salt);
    out = put_hex(put(out, "\r\nCall-ID: "), number);
    return put(put_hex(put(out, "-"), salt), "@caller.example\r\nCSeq: ");
}

/* One message of one call. *rows* are those that a proxy on the way has a say in: of a response
 * all Via and Record-Route rows, octet for octet, of a request its Route rows, if it has some. */
static int compose(char *start, enum kind kind, uint32_t number, const char *rows) {
    static const char *const LINES[KINDS] = {
        "INVITE sip:",          "SIP/2.0 100 Trying\r\n", "SIP/2.0 180 Ringing\r\n",
        "SIP/2.0 200 OK\r\n", "ACK sip:",               "BYE sip:",
        "SIP/2.0 200 OK\r\n"};
    int request = kind == INVITE || kind == ACK || kind == BYE;
    int bye = kind == BYE || kind == BYE_OK, with_sdp = kind == INVITE || kind == ANSWER;
    const char *callee = address_texts[CALLEE][number % address_count];
    const char *self = request ? address_texts[CALLER][number % address_count] : callee;
    char body[700], *out = put(start, LINES[kind]), *body_end = body;
    if (request) {
        out = put(put_user(out, CALLEE, number), "@");
        out = put(put(put(out, callee), ":5060"), uri_tail);
        out = put(out, " SIP/2.0\r\nMax-Forwards: 70\r\n");
    }
    if (request || !rows) out = put_via(out, bye ? BYE : kind, number);
    if (rows) out = put(out, rows);
    out = put_parties(out, number, kind != INVITE && kind != TRYING);
    out = put(out, kind == ACK ? "1 ACK\r\n" : bye ? "2 BYE\r\n" : "1 INVITE\r\n");
    if (with_sdp || kind == RINGING) {
        out = put_user(put(out, "Contact: <sip:"), request ? CALLER : CALLEE, number);
        out = put(put(put(out, "@"), self), ":5060>\r\n");
    }
    if (with_sdp) {
        body_end = put_sdp(body, request ? CALLER : CALLEE, number, self);
        out = put(out, "Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, UPDATE\r\n"
                       "Supported: replaces, timer\r\nContent-Type: application/sdp\r\n");
    }
    out = put(out, request ? "User-Agent: bench/1.0\r\n" : "Server: bench/1.0\r\n");
    out = put_decimal(put(out, "Content-Length: "), body_end - body, with_sdp ? 3 : 1);
    out = mempcpy(put(out, "\r\n\r\n"), body, body_end - body);
    return out - start;
}

#endif
