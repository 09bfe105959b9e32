/* Sends media into one network namespace, as many streams in turn as asked for.
 *
 * The packets are those of G.711 with SRTP, 20 ms each, written whole and put on the link
 * without a queue: the generator must be quicker than what forwards them. It waits for nobody
 * and hears nothing; what arrived, the far end's interface has counted.
 *
 *   media NETNS INTERFACE OWN-MAC ROUTER-MAC SOURCE DESTINATION HOSTS STREAMS SECONDS RATE
 *
 * Stream n goes to address n mod HOSTS from DESTINATION on, and to port 16384 + 2 (n / HOSTS),
 * from the same port. RATE 0 is as fast as it goes. Prints one JSON object.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <net/ethernet.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, FIRST_PORT = 16384, MEDIA_OCTETS = 12 + 160 + 10 };

struct frame {
    struct ethhdr link;
    struct iphdr ip;
    struct udphdr udp;
    uint8_t media[MEDIA_OCTETS];
} __attribute__((packed));

static struct frame frames[BATCH];
static struct mmsghdr headers[BATCH];
static struct iovec octets[BATCH];

static void die(const char *what) {
    fprintf(stderr, "media: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static int open_link(const char *namespace, const char *interface) {
    char path[128];
    snprintf(path, sizeof path, "/var/run/netns/%s", namespace);
    int entry = open(path, O_RDONLY | O_CLOEXEC);
    if (entry < 0 || setns(entry, CLONE_NEWNET)) die(path);
    close(entry);
    int descriptor = socket(AF_PACKET, SOCK_RAW, 0), on = 1;
    struct sockaddr_ll link = {.sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(interface)};
    if (descriptor < 0 || !link.sll_ifindex) die(interface);
    if (bind(descriptor, (struct sockaddr *)&link, sizeof link)) die("bind");
    setsockopt(descriptor, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on);
    return descriptor;
}

static void read_mac(uint8_t *mac, const char *text) {
    if (sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", mac, mac + 1, mac + 2, mac + 3, mac + 4,
               mac + 5) != 6)
        die(text);
}

static uint16_t header_checksum(const struct iphdr *ip) {
    const uint16_t *words = (const uint16_t *)ip;
    uint32_t sum = 0;
    for (unsigned i = 0; i < sizeof *ip / 2; i++) sum += words[i];
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return ~sum;
}

static void prepare(const char *own, const char *router, const char *source) {
    for (int i = 0; i < BATCH; i++) {
        struct frame *frame = &frames[i];
        read_mac(frame->link.h_source, own);
        read_mac(frame->link.h_dest, router);
        frame->link.h_proto = htons(ETH_P_IP);
        frame->ip = (struct iphdr){.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP};
        frame->ip.tot_len = htons(sizeof *frame - sizeof frame->link);
        frame->ip.saddr = inet_addr(source);
        frame->udp.len = htons(sizeof frame->udp + sizeof frame->media); /* no checksum: RFC 768 */
        frame->media[0] = 0x80;
        octets[i] = (struct iovec){.iov_base = frame, .iov_len = sizeof *frame};
        headers[i].msg_hdr = (struct msghdr){.msg_iov = &octets[i], .msg_iovlen = 1};
    }
}

static void address(struct frame *frame, uint32_t destination, uint32_t hosts, uint32_t stream) {
    uint16_t port = htons(FIRST_PORT + 2 * (stream / hosts));
    frame->udp.source = frame->udp.dest = port;
    frame->ip.daddr = htonl(destination + stream % hosts);
    frame->ip.check = 0;
    struct iphdr ip = frame->ip;
    frame->ip.check = header_checksum(&ip);
}

int main(int argc, char **argv) {
    if (argc != 11) {
        fprintf(stderr, "media NETNS INTERFACE OWN-MAC ROUTER-MAC SOURCE DESTINATION HOSTS STREAMS"
                        " SECONDS RATE\n");
        return 2;
    }
    int descriptor = open_link(argv[1], argv[2]);
    prepare(argv[3], argv[4], argv[5]);
    uint32_t destination = ntohl(inet_addr(argv[6])), hosts = atoi(argv[7]);
    uint32_t streams = atoi(argv[8]), stream = 0;
    double seconds = atof(argv[9]), rate = atof(argv[10]), start_s = now_s(), at_s;
    uint64_t sent = 0;
    while ((at_s = now_s()) < start_s + seconds) {
        if (rate > 0 && sent > (at_s - start_s) * rate) {
            nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
            continue;
        }
        for (int i = 0; i < BATCH; i++) {
            address(&frames[i], destination, hosts, stream);
            if (++stream == streams) stream = 0;
        }
        for (int done = 0; done < BATCH;) {
            int n = sendmmsg(descriptor, headers + done, BATCH - done, 0);
            if (n > 0) done += n, sent += n;
            else if (errno == ENOBUFS || errno == EAGAIN) done++; /* the link was full */
            else if (errno != EINTR) die("sendmmsg");
        }
    }
    printf("{\"sent\":%llu,\"elapsed_s\":%.6f}\n", (unsigned long long)sent, now_s() - start_s);
    return 0;
}
