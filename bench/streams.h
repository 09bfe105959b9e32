/* The same calls over TCP: connections from the callers' namespace to the callees', whole messages
 * out of what comes by them. A call's requests take the connection of its number, its responses the
 * connection that the request came by, as RFC 3261 section 18.2.2 wants. */
#ifndef STREAMS_H
#define STREAMS_H

#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>

enum { IN_OCTETS = 1 << 15, OUT_OCTETS = 1 << 19, EVENTS = 256, CONNECTS_PER_S = 500 };

struct stream {
    int descriptor, in_used, out_used, is_dirty;
    char *in, *out; /* the latter only while something waits to be sent */
};

static struct {
    int count, listener, epolls[2], dirty_count, most_dirty, limit;
    struct stream *callers, *arrived_by, **dirty;
} streams;

static void stream_watch(struct stream *one, enum side side) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = one};
    if (epoll_ctl(streams.epolls[side], EPOLL_CTL_ADD, one->descriptor, &event)) die("epoll_ctl");
}

static void stream_fill(struct stream *one, int descriptor) {
    int on = 1;
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    *one = (struct stream){.descriptor = descriptor, .in = malloc(IN_OCTETS)};
    if (!one->in) die("memory");
}

static void stream_flush_one(struct stream *one) {
    if (one->descriptor < 0) one->out_used = 0;
    int done = 0;
    while (done < one->out_used) {
        int n = send(one->descriptor, one->out + done, one->out_used - done, MSG_NOSIGNAL);
        if (n > 0) done += n;
        else if (errno == EAGAIN) break;
        else if (errno != EINTR) done = one->out_used; /* it is gone; its calls are lost */
    }
    memmove(one->out, one->out + done, one->out_used - done);
    one->out_used -= done;
}

/* What a full connection does not take yet waits for the next turn. */
static void stream_flush(void) {
    int kept = 0;
    for (int i = 0; i < streams.dirty_count; i++) {
        struct stream *one = streams.dirty[i];
        stream_flush_one(one);
        if (one->out_used) streams.dirty[kept++] = one;
        else one->is_dirty = 0, free(one->out), one->out = NULL;
    }
    streams.dirty_count = kept;
}

static void stream_post(struct stream *one, const char *message, int octets) {
    if (!one->out && !(one->out = malloc(OUT_OCTETS))) die("memory");
    if (one->out_used + octets > OUT_OCTETS) stream_flush_one(one);
    if (one->out_used + octets > OUT_OCTETS) return; /* lost */
    memcpy(one->out + one->out_used, message, octets);
    one->out_used += octets;
    if (one->is_dirty) return;
    if (streams.dirty_count == streams.most_dirty) {
        streams.most_dirty = 2 * streams.most_dirty + 64;
        streams.dirty = realloc(streams.dirty, streams.most_dirty * sizeof *streams.dirty);
        if (!streams.dirty) die("memory");
    }
    one->is_dirty = 1;
    streams.dirty[streams.dirty_count++] = one;
}

static void take(const char *message, int octets, const struct sockaddr_in *from, double at_s);

/* Hand on what is whole; keep-alives are skipped. */
static void stream_split(struct stream *one, double at_s) {
    char *at = one->in, *end = one->in + one->in_used;
    for (;;) {
        while (at + 1 < end && at[0] == '\r' && at[1] == '\n') at += 2;
        char *head_end = memmem(at, end - at, "\r\n\r\n", 4);
        if (!head_end) break;
        char *length = memmem(at, head_end - at, "\r\nContent-Length: ", 18);
        char *message_end = head_end + 4 + (length ? atoi(length + 18) : 0);
        if (message_end > end) break;
        char next = *message_end;
        *message_end = 0;
        streams.arrived_by = one;
        take(at, message_end - at, NULL, at_s);
        *message_end = next;
        at = message_end;
    }
    memmove(one->in, at, end - at);
    one->in_used = end - at;
}

static void stream_accept(void) {
    for (int got; (got = accept4(streams.listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        struct stream *one = malloc(sizeof *one);
        if (!one) die("memory");
        stream_fill(one, got);
        stream_watch(one, CALLEE);
    }
}

static void stream_drain(enum side side) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(streams.epolls[side], events, EVENTS, 0);
    for (int i = 0; i < count; i++) {
        struct stream *one = events[i].data.ptr;
        if (!one) {
            stream_accept();
            continue;
        }
        int room = IN_OCTETS - 1 - one->in_used;
        int n = recv(one->descriptor, one->in + one->in_used, room, 0);
        if (n > 0) {
            one->in_used += n;
            stream_split(one, now_s());
        } else if (n == 0 || errno != EAGAIN) close(one->descriptor), one->descriptor = -1;
    }
}

static void stream_connect(struct stream *one, struct in_addr from, struct in_addr to) {
    int descriptor = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr = from};
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_addr = to, .sin_port = htons(SIP_PORT)};
    setsockopt(descriptor, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(descriptor, (struct sockaddr *)&here, sizeof here)) die("bind");
    if (connect(descriptor, (struct sockaddr *)&there, sizeof there)) die("connect");
    fcntl(descriptor, F_SETFL, O_NONBLOCK);
    stream_fill(one, descriptor);
    stream_watch(one, CALLER);
}

static void stream_enter(const char *namespace) {
    char path[128];
    snprintf(path, sizeof path, "/var/run/netns/%s", namespace);
    int entry = open(path, O_RDONLY | O_CLOEXEC);
    if (entry < 0 || setns(entry, CLONE_NEWNET)) die(path);
    close(entry);
}

static struct in_addr address_of(enum side side, uint32_t number);

/* Open them at a pace that no limit on new connections minds. */
static void stream_open(const char *caller, const char *callee, struct in_addr via) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    streams.epolls[CALLER] = epoll_create1(0), streams.epolls[CALLEE] = epoll_create1(0);
    streams.callers = calloc(streams.count, sizeof *streams.callers);
    stream_enter(callee);
    int on = 1;
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(SIP_PORT)};
    streams.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(streams.listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(streams.listener, (struct sockaddr *)&any, sizeof any)) die("bind");
    if (listen(streams.listener, 4096)) die("listen");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(streams.epolls[CALLEE], EPOLL_CTL_ADD, streams.listener, &event)) die("epoll_ctl");
    stream_enter(caller);
    for (int i = 0; i < streams.count; i++) {
        stream_connect(&streams.callers[i], address_of(CALLER, i),
                       via.s_addr ? via : address_of(CALLEE, i));
        stream_drain(CALLEE);
        usleep(1000000 / CONNECTS_PER_S);
    }
}

static void play(double start_s);
static void report(double start_s);

/* Over the connections that stand: one play for each line of input, one object for each play. */
static void play_by_line(void) {
    printf("ready\n");
    fflush(stdout);
    while (scanf("%lf %lf %d %d", &set.seconds, &set.rate, &set.in_flight, &set.stamp) == 4) {
        begun = completed = lost = refused = refused_status = 0;
        sent_messages = received_messages = 0, last_end_s = 0;
        memset(sample_count, 0, sizeof sample_count);
        double start_s = now_s();
        play(start_s);
        report(start_s);
        fflush(stdout);
    }
}

#endif
