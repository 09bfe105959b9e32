/* A flood beside the calls: messages prepared in a file, each sent once, from one address or many. */
#ifndef FORGED_H
#define FORGED_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Not that of the calls: what is answered stays out of their way. */
enum { FLOOD_PORT = 5062 };
/* Calls in the file have numbers from here on; one that arrives at the callee was let through. */
static const uint32_t FIRST_FORGED = 0xF0000000;

static struct {
    double rate, sent_s;
    uint32_t sources, sent, passed;
    struct in_addr first;
    int descriptor;
    unsigned char *next, *end; /* octets in two, then the message, and so on */
} flood = {.sources = 1};

/* Read the file as a whole; return 0 if it cannot be read. */
static int read_flood(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) return 0;
    long octets = ftell(file);
    rewind(file);
    flood.next = malloc(octets);
    int good = flood.next && fread(flood.next, 1, octets, file) == (size_t)octets;
    flood.end = flood.next + octets;
    fclose(file);
    return good;
}

/* Send one if it is due; at most at twice the rate, for what was late must not come in a burst. */
static void send_flood(double elapsed_s, struct sockaddr_in to) {
    if (flood.sent >= elapsed_s * flood.rate) return;
    if (flood.sent && elapsed_s - flood.sent_s < 0.5 / flood.rate) return;
    if (flood.end - flood.next < 2) return;
    size_t octets = flood.next[0] << 8 | flood.next[1];
    if (flood.end - flood.next - 2 < (ptrdiff_t)octets) return;
    struct iovec message = {flood.next + 2, octets};
    char control[CMSG_SPACE(sizeof(struct in_pktinfo))];
    struct msghdr header = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &message,
                            .msg_iovlen = 1, .msg_control = control,
                            .msg_controllen = sizeof control};
    struct cmsghdr *first = CMSG_FIRSTHDR(&header);
    first->cmsg_level = IPPROTO_IP, first->cmsg_type = IP_PKTINFO;
    first->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
    uint32_t source = ntohl(flood.first.s_addr) + flood.sent % flood.sources;
    struct in_pktinfo from = {.ipi_spec_dst = {htonl(source)}};
    memcpy(CMSG_DATA(first), &from, sizeof from);
    if (sendmsg(flood.descriptor, &header, 0) < 0 && errno == EINVAL) {
        perror("load: flood");
        exit(1);
    }
    flood.next += 2 + octets, flood.sent_s = elapsed_s, flood.sent++;
}

#endif
