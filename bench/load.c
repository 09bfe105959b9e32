/* Plays whole SIP calls from one network namespace to another, through whatever stands between.
 *
 * One process holds both ends: it enters the callers' namespace, opens a socket, enters the
 * callees' and opens another. So it knows what was sent when, and needs no marks in the messages
 * to time each one. Nothing is ever sent twice: one lost packet is one lost call.
 *
 * A call is INVITE (SDES offer), 100, 180, 200 (SDES answer), ACK, BYE, 200. Call-ID, tags,
 * branches, keys and media ports differ in each call, and each SDP names the address its
 * packet comes from, so that a gateway that opens pinholes really opens them.
 *
 *   load CALLER-NETNS CALLEE-NETNS [options]      see usage() for the options
 *
 * Prints one JSON object. Reads no network but the two namespaces it is given.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "forged.h"
#include "messages.h"

enum { BATCH = 32, MESSAGE_OCTETS = 2048, ROWS_OCTETS = 512, RING = 1 << 18, SAMPLES = 1 << 21, SIP_PORT = 5060, NAP_US = 50 };

static const char *const KIND_NAMES[KINDS] = {"invite", "trying", "ringing", "answer",
                                              "ack",    "bye",    "bye-ok"};
static const double GIVE_UP_S = 1.0; /* RFC 3261 would retransmit after 0.5 s: it is lost */

/* What is known of one call; the table is a ring, older calls are over by then. */
struct call {
    uint32_t number;
    uint8_t live, arrived;
    double started_s, sent_s[KINDS];
    char routes[ROWS_OCTETS]; /* the way through the proxies, if they want to stay on it */
};

/* Messages on their way out of one socket. */
struct outbox {
    int descriptor, count;
    struct mmsghdr headers[BATCH];
    struct iovec octets[BATCH];
    struct sockaddr_in to[BATCH];
    char control[BATCH][CMSG_SPACE(sizeof(struct in_pktinfo))];
    char message[BATCH][MESSAGE_OCTETS];
};

static struct settings {
    double rate, seconds;
    int in_flight, hold, stamp, nap;
    uint32_t first, limit;
    struct in_addr caller, callee, via;
} set = {.in_flight = 256, .seconds = 2, .limit = UINT32_MAX};

static struct call calls[RING];
static struct outbox outboxes[2];
static float *samples[KINDS];
static int sample_count[KINDS];
static uint32_t next_number, oldest_number, begun, completed, lost, refused, refused_status;
static uint64_t sent_messages, received_messages;
static double last_end_s;

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t); /* the clock of the kernel's receive stamps */
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

#include "streams.h"

static int open_socket(const char *namespace, int port) {
    stream_enter(namespace);
    int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    int room = 32 << 20, on = 1;
    setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    setsockopt(descriptor, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
    if (set.stamp) setsockopt(descriptor, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (descriptor < 0 || bind(descriptor, (struct sockaddr *)&any, sizeof any)) die("bind");
    return descriptor;
}

/* The address of one end of a call: calls take the addresses of a side in turn. */
static struct in_addr address_of(enum side side, uint32_t number) {
    uint32_t base = ntohl(side == CALLER ? set.caller.s_addr : set.callee.s_addr);
    return (struct in_addr){htonl(base + number % address_count)};
}

static void flush(struct outbox *box) {
    if (streams.count) {
        stream_flush();
        return;
    }
    int done = 0;
    while (done < box->count) {
        int n = sendmmsg(box->descriptor, box->headers + done, box->count - done, 0);
        if (n > 0) done += n;
        else if (errno == EPERM || errno == ECONNREFUSED) done++; /* an ICMP error of before */
        else if (errno != EINTR && errno != EAGAIN && errno != ENOBUFS) die("sendmmsg");
    }
    box->count = 0;
}

static void post(enum kind kind, uint32_t number, const struct sockaddr_in *to, const char *rows) {
    enum side side = kind == INVITE || kind == ACK || kind == BYE ? CALLER : CALLEE;
    struct outbox *box = &outboxes[side];
    if (streams.count) {
        char message[MESSAGE_OCTETS];
        int octets = compose(message, kind, number, rows);
        stream_post(side == CALLER ? &streams.callers[number % streams.count] : streams.arrived_by,
                    message, octets);
        sent_messages++;
        calls[number % RING].sent_s[kind] = set.stamp ? now_s() : 0;
        if (set.stamp) stream_flush();
        return;
    }
    int i = box->count;
    box->octets[i].iov_base = box->message[i];
    box->octets[i].iov_len = compose(box->message[i], kind, number, rows);
    box->to[i] = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(SIP_PORT)};
    if (to) box->to[i] = *to;
    else if (side == CALLEE) box->to[i].sin_addr = address_of(CALLER, number);
    else box->to[i].sin_addr = set.via.s_addr ? set.via : address_of(CALLEE, number);
    struct msghdr *header = &box->headers[i].msg_hdr;
    *header = (struct msghdr){.msg_name = &box->to[i], .msg_namelen = sizeof box->to[i],
                              .msg_iov = &box->octets[i], .msg_iovlen = 1,
                              .msg_control = box->control[i],
                              .msg_controllen = sizeof box->control[i]};
    struct cmsghdr *control = CMSG_FIRSTHDR(header);
    control->cmsg_level = IPPROTO_IP;
    control->cmsg_type = IP_PKTINFO;
    control->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
    struct in_pktinfo from = {.ipi_spec_dst = address_of(side, number)};
    memcpy(CMSG_DATA(control), &from, sizeof from);
    box->count++, sent_messages++;
    calls[number % RING].sent_s[kind] = set.stamp ? now_s() : 0;
    if (box->count == BATCH || set.stamp) flush(box); /* a timed message waits for no other */
}

static void begin(double at_s) {
    uint32_t number = next_number++;
    struct call *call = &calls[number % RING];
    call->number = number, call->live = 1, call->arrived = 0;
    call->started_s = at_s, call->routes[0] = 0;
    begun++;
    post(INVITE, number, NULL, NULL);
}

static void finish(struct call *call) {
    int all = set.hold ? (1 << BYE) - 1 : (1 << KINDS) - 1;
    call->live = 0;
    if (call->arrived == all) completed++, last_end_s = now_s();
    else lost++;
}

/* Give up the calls that wait too long; numbers grow with time, so the oldest come first. */
static void give_up(double before_s) {
    for (; oldest_number != next_number; oldest_number++) {
        struct call *call = &calls[oldest_number % RING];
        if (call->live && call->started_s > before_s) return;
        if (call->live) call->live = 0, lost++;
    }
}

static int read_kind(const char *message, int octets) {
    if (!memcmp(message, "INVITE ", 7)) return INVITE;
    if (!memcmp(message, "ACK ", 4)) return ACK;
    if (!memcmp(message, "BYE ", 4)) return BYE;
    if (memcmp(message, "SIP/2.0 ", 8)) return KINDS;
    int status = atoi(message + 8);
    const char *cseq = memmem(message, octets, "\r\nCSeq: ", 8);
    if (status == 100) return TRYING;
    if (status == 180) return RINGING;
    if (status == 200 && cseq) return cseq[8] == '1' ? ANSWER : BYE_OK;
    refused++, refused_status = status;
    return KINDS;
}

/* Append the rows of that name to *out*, each as *as*; in reverse order, if wanted. */
static void copy_rows(char *out, const char *message, const char *name, const char *as,
                      int backwards) {
    char found[ROWS_OCTETS];
    size_t used = 0, name_octets = strlen(name);
    for (const char *end, *row = strstr(message, "\r\n"); row; row = end) {
        end = strstr(row + 2, "\r\n");
        if (!end || end == row + 2) break;
        size_t octets = end - row - 2 - name_octets;
        if (strncmp(row + 2, name, name_octets)) continue;
        if (used + octets + strlen(as) + 3 > sizeof found) break;
        char one[ROWS_OCTETS];
        int length = sprintf(one, "%s%.*s\r\n", as, (int)octets, row + 2 + name_octets);
        if (backwards) memmove(found + length, found, used);
        memcpy(backwards ? found : found + used, one, length);
        used += length;
    }
    found[used] = 0;
    if (strlen(out) + used < ROWS_OCTETS) strcat(out, found);
}

static void take(const char *message, int octets, const struct sockaddr_in *from, double at_s) {
    received_messages++;
    int kind = read_kind(message, octets);
    const char *call_id = memmem(message, octets, "\r\nCall-ID: ", 11);
    if (kind == KINDS || !call_id) return;
    uint32_t number = strtoul(call_id + 11, NULL, 16);
    if (flood.rate > 0 && number >= FIRST_FORGED) {
        flood.passed++;
        return;
    }
    struct call *call = &calls[number % RING];
    if (!call->live || call->number != number || call->arrived & 1 << kind) return;
    call->arrived |= 1 << kind;
    if (set.stamp && sample_count[kind] < SAMPLES)
        samples[kind][sample_count[kind]++] = (at_s - call->sent_s[kind]) * 1e6;
    char rows[ROWS_OCTETS] = "";
    if (kind == INVITE || kind == BYE) copy_rows(rows, message, "Via:", "Via:", 0);
    if (kind == INVITE) {
        post(TRYING, number, from, rows);
        copy_rows(rows, message, "Record-Route:", "Record-Route:", 0);
        post(RINGING, number, from, rows);
        post(ANSWER, number, from, rows);
    } else if (kind == ANSWER) {
        copy_rows(call->routes, message, "Record-Route:", "Route:", 1);
        post(ACK, number, NULL, call->routes);
    } else if (kind == ACK && !set.hold) post(BYE, number, NULL, call->routes);
    else if (kind == BYE) post(BYE_OK, number, from, rows);
    else if (kind == ACK || kind == BYE_OK) finish(call);
}

static void drain(int descriptor) {
    static char message[BATCH][MESSAGE_OCTETS], control[BATCH][64];
    static struct sockaddr_in from[BATCH];
    static struct iovec octets[BATCH];
    static struct mmsghdr headers[BATCH];
    for (int i = 0; i < BATCH; i++) {
        octets[i] = (struct iovec){message[i], MESSAGE_OCTETS - 1};
        headers[i].msg_hdr = (struct msghdr){.msg_name = &from[i], .msg_namelen = sizeof from[i],
                                             .msg_iov = &octets[i], .msg_iovlen = 1,
                                             .msg_control = control[i],
                                             .msg_controllen = set.stamp ? sizeof control[i] : 0};
    }
    int count = recvmmsg(descriptor, headers, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < count; i++) {
        double at_s = 0;
        struct cmsghdr *stamp = CMSG_FIRSTHDR(&headers[i].msg_hdr);
        if (set.stamp && stamp) {
            struct timespec t;
            memcpy(&t, CMSG_DATA(stamp), sizeof t);
            at_s = t.tv_sec + t.tv_nsec * 1e-9;
        }
        message[i][headers[i].msg_len] = 0;
        take(message[i], headers[i].msg_len, &from[i], at_s);
    }
}

/* How many calls may begin now: by the clock, or as many as the flight has room for. */
static int due(double elapsed_s) {
    if (elapsed_s >= set.seconds || begun >= set.limit) return 0;
    int64_t room = set.rate > 0 ? (int64_t)(elapsed_s * set.rate) - begun
                                : (int64_t)set.in_flight - (begun - completed - lost);
    if (room > set.limit - begun) room = set.limit - begun;
    return room < 0 ? 0 : room > BATCH ? BATCH : room;
}

/* Spins where there is nothing to do: the gateway would pay for waking us, packet by packet. A nap
 * leaves the core to others instead; the kernel stamps what comes meanwhile. */
static void play(double start_s) {
    for (uint64_t before = 0;; before = received_messages) {
        if (set.nap && before == received_messages) usleep(NAP_US);
        double at_s = now_s();
        int over = at_s - start_s >= set.seconds || begun >= set.limit;
        if (over && completed + lost >= begun) return;
        give_up(at_s - GIVE_UP_S);
        if (flood.rate > 0 && !over) {
            struct sockaddr_in callee = {.sin_family = AF_INET, .sin_port = htons(SIP_PORT),
                                         .sin_addr = address_of(CALLEE, flood.sent)};
            send_flood(at_s - start_s, callee);
        }
        int room = due(at_s - start_s);
        for (int i = 0; i < room; i++) begin(at_s);
        flush(&outboxes[CALLER]);
        streams.count ? stream_drain(CALLEE) : drain(outboxes[CALLEE].descriptor);
        flush(&outboxes[CALLEE]);
        flush(&outboxes[CALLER]); /* a BYE goes out when the callee has its ACK */
        streams.count ? stream_drain(CALLER) : drain(outboxes[CALLER].descriptor);
        flush(&outboxes[CALLER]);
    }
}

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void print_percentiles(const char *name, float *values, int count) {
    qsort(values, count, sizeof *values, by_size);
    printf(",\"%s\":{\"count\":%d", name, count);
    static const double SHARES[] = {0.5, 0.9, 0.99, 1};
    static const char *const NAMES[] = {"p50", "p90", "p99", "max"};
    for (int i = 0; i < 4; i++)
        printf(",\"%s\":%.1f", NAMES[i], count ? values[(int)(SHARES[i] * (count - 1))] : 0.0);
    printf("}");
}

static void report(double start_s) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu_s = used.ru_utime.tv_sec + used.ru_stime.tv_sec +
                   (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
    printf("{\"begun\":%u,\"completed\":%u,\"lost\":%u,\"refused\":%u,\"refused_status\":%u,"
           "\"sent\":%llu,\"received\":%llu,\"elapsed_s\":%.6f,\"cpu_s\":%.6f,"
           "\"forged\":%u,\"forged_passed\":%u",
           begun, completed, lost, refused, refused_status, (unsigned long long)sent_messages,
           (unsigned long long)received_messages, last_end_s > start_s ? last_end_s - start_s : 0,
           cpu_s, flood.sent, flood.passed);
    if (set.stamp) {
        int total = 0;
        for (int kind = 0; kind < KINDS; kind++) total += sample_count[kind];
        float *all = malloc((total + 1) * sizeof *all);
        int at = 0;
        for (int kind = 0; kind < KINDS; kind++) {
            memcpy(all + at, samples[kind], sample_count[kind] * sizeof *all);
            at += sample_count[kind];
            print_percentiles(KIND_NAMES[kind], samples[kind], sample_count[kind]);
        }
        print_percentiles("all", all, total);
    }
    printf("}\n");
}

static void usage(void) {
    fprintf(stderr,
            "load CALLER-NETNS CALLEE-NETNS -a CALLER-ADDRESS -b CALLEE-ADDRESS [-n ADDRESSES]\n"
            "     [-v PROXY-ADDRESS] [-t SECONDS] [-c CALLS] [-r CALLS-PER-SECOND | -w IN-FLIGHT]\n"
            "     [-f FIRST-CALL-NUMBER] [-s SALT] [-l: time messages] [-k: keep calls up] [-p: nap]\n"
            "     [-T TCP-CONNECTIONS: then read SECONDS RATE IN-FLIGHT from each line of input]\n"
            "     [-x MESSAGES-FILE -y FORGED-PER-SECOND -u FIRST-SOURCE -z SOURCES]\n");
    exit(2);
}

int main(int argc, char **argv) {
    if (argc < 3) usage();
    optind = 3;
    for (int option; (option = getopt(argc, argv, "a:b:n:v:t:c:r:w:f:s:x:y:u:z:T:lkp")) > 0;) switch (option) {
        case 'a': if (!inet_aton(optarg, &set.caller)) usage(); break;
        case 'b': if (!inet_aton(optarg, &set.callee)) usage(); break;
        case 'v': if (!inet_aton(optarg, &set.via)) usage(); break;
        case 'n': address_count = atoi(optarg); break;
        case 't': set.seconds = atof(optarg); break;
        case 'c': set.limit = strtoul(optarg, NULL, 10); break;
        case 'r': set.rate = atof(optarg); break;
        case 'w': set.in_flight = atoi(optarg); break;
        case 'f': set.first = strtoul(optarg, NULL, 10); break;
        case 's': salt = strtoul(optarg, NULL, 10); break;
        case 'x': if (!read_flood(optarg)) die(optarg); break;
        case 'y': flood.rate = atof(optarg); break;
        case 'u': if (!inet_aton(optarg, &flood.first)) usage(); break;
        case 'z': flood.sources = strtoul(optarg, NULL, 10); break;
        case 'T': streams.count = atoi(optarg); break;
        case 'l': set.stamp = 1; break;
        case 'k': set.hold = 1; break;
        case 'p': set.nap = 1; break;
        default: usage();
        }
    if (!set.caller.s_addr || !set.callee.s_addr) usage();
    if (flood.rate > 0 && (!flood.next || !flood.first.s_addr || !flood.sources)) usage();
    if (address_count < 1 || address_count > MAX_ADDRESSES) usage();
    for (uint32_t i = 0; i < 2 * address_count; i++) {
        struct in_addr address = address_of(i % 2, i / 2);
        inet_ntop(AF_INET, &address, address_texts[i % 2][i / 2], INET_ADDRSTRLEN);
    }
    for (int kind = 0; (set.stamp || streams.count) && kind < KINDS; kind++)
        if (!(samples[kind] = malloc(SAMPLES * sizeof(float)))) die("memory");
    next_number = oldest_number = set.first;
    if (streams.count) {
        transport = "TCP", uri_tail = ";transport=tcp";
        stream_open(argv[1], argv[2], set.via);
        play_by_line();
        return 0;
    }
    outboxes[CALLER].descriptor = open_socket(argv[1], SIP_PORT);
    if (flood.rate > 0) flood.descriptor = open_socket(argv[1], FLOOD_PORT);
    outboxes[CALLEE].descriptor = open_socket(argv[2], SIP_PORT);
    double start_s = now_s();
    play(start_s);
    report(start_s);
    return 0;
}
