/* An endpoint that costs next to nothing: it answers 204, counts, and is never what a benchmark waits for.
 *
 *     sink DELAY_US HANG SECONDS
 *
 * Listens on a free port of 127.0.0.1 and prints it. Each answer is DELAY_US late; with HANG 1 there is none. It ends
 * with its standard input, or after SECONDS. Events are the occurrences of "uuid" in the bodies; they count when their
 * request is answered.
 *
 *     GET /counts           what was counted, as JSON
 *     GET /wait?events=N    answered when so many events were
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST_FDS = 65536, READ = 262144, MOST_READY = 256 };

struct conn {
    char *in;           /* what was read and not yet understood */
    size_t used, room;
    size_t whole;       /* bytes of the request in front, 0 while unknown */
    size_t head;        /* of these, its head */
    uint32_t serial;    /* tells a connection from a later one with the same descriptor */
    int counted;
    uint64_t waits_for; /* events, for a /wait */
};

struct answer {
    int fd;
    uint32_t serial;
    uint64_t due, events;
};

static struct conn conns[MOST_FDS];
static struct answer *answers; /* a ring: all have the same delay, so the first is due first */
static size_t first_answer, answer_count, answer_room;
static uint64_t requests, connections, events, received, bytes, first_us, last_us, delay_us;
static int hang, poller, waiters;

static uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static uint64_t cpu_us(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 + u.ru_utime.tv_usec + u.ru_stime.tv_usec;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void drop(int fd) {
    struct conn *c = &conns[fd];
    waiters -= c->waits_for > 0;
    free(c->in);
    uint32_t serial = c->serial + 1;
    memset(c, 0, sizeof *c);
    c->serial = serial;
    close(fd);
}

static void say(int fd, const char *text, size_t size) {
    if (write(fd, text, size) != (ssize_t)size) shutdown(fd, SHUT_RDWR);
}

static void say_json(int fd, const char *json) {
    char text[1024];
    int size = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                        "Content-Length: %zu\r\n\r\n%s", strlen(json), json);
    say(fd, text, size);
}

static void say_counts(int fd) {
    char json[512];
    snprintf(json, sizeof json,
             "{\"requests\": %lu, \"connections\": %lu, \"events\": %lu, \"received\": %lu, \"bytes\": %lu, "
             "\"cpu_us\": %lu, \"first_us\": %lu, \"last_us\": %lu}",
             (unsigned long)requests, (unsigned long)connections, (unsigned long)events, (unsigned long)received,
             (unsigned long)bytes, (unsigned long)cpu_us(), (unsigned long)first_us, (unsigned long)last_us);
    say_json(fd, json);
}

static void tell_waiters(void) {
    for (int fd = 0; waiters && fd < MOST_FDS; fd++)
        if (conns[fd].waits_for && conns[fd].waits_for <= events) {
            conns[fd].waits_for = 0;
            waiters--;
            say_json(fd, "{}");
        }
}

static void settle(int fd, uint64_t count) {
    static const char text[] = "HTTP/1.1 204 No Content\r\n\r\n";
    events += count;
    last_us = now_us();
    say(fd, text, sizeof text - 1);
    if (waiters) tell_waiters();
}

static void answer_later(int fd, uint64_t count) {
    if (answer_count == answer_room) {
        size_t room = answer_room ? answer_room * 2 : 1024;
        struct answer *ring = malloc(room * sizeof *ring);
        for (size_t i = 0; i < answer_count; i++) ring[i] = answers[(first_answer + i) % answer_room];
        free(answers);
        answers = ring, answer_room = room, first_answer = 0;
    }
    struct answer *last = &answers[(first_answer + answer_count++) % answer_room];
    *last = (struct answer){fd, conns[fd].serial, now_us() + delay_us, count};
}

static void answer_due(void) {
    uint64_t now = now_us();
    while (answer_count && answers[first_answer].due <= now) {
        struct answer a = answers[first_answer];
        first_answer = (first_answer + 1) % answer_room;
        answer_count--;
        if (conns[a.fd].serial == a.serial && conns[a.fd].in) settle(a.fd, a.events);
    }
}

static int patience_ms(void) {
    if (!answer_count) return -1;
    uint64_t now = now_us(), due = answers[first_answer].due;
    return due <= now ? 0 : (int)((due - now + 999) / 1000);
}

static uint64_t count_events(const char *body, size_t size) {
    const char *end = body + size, *at = body;
    uint64_t count = 0;
    while ((at = memmem(at, end - at, "\"uuid\"", 6))) count++, at += 6;
    return count;
}

static void take_events(int fd, struct conn *c) {
    uint64_t count = count_events(c->in + c->head, c->whole - c->head);
    if (!requests++) first_us = now_us();
    if (!c->counted) c->counted = 1, connections++;
    received += count;
    bytes += c->whole;
    if (hang) return;
    if (delay_us) answer_later(fd, count);
    else settle(fd, count);
}

static void take_wait(int fd, struct conn *c) {
    c->waits_for = strtoull(c->in + strlen("GET /wait?events="), NULL, 10);
    waiters += c->waits_for > 0;
    if (!c->waits_for) say_json(fd, "{}");
    else tell_waiters();
}

static void take(int fd, struct conn *c) {
    if (!strncmp(c->in, "GET /counts", 11)) say_counts(fd);
    else if (!strncmp(c->in, "GET /wait?events=", 17)) take_wait(fd, c);
    else take_events(fd, c);
}

/* Find out how long the request in front is; 0 when it cannot be known yet. */
static size_t measure(struct conn *c) {
    char *end = memmem(c->in, c->used, "\r\n\r\n", 4);
    if (!end) return 0;
    c->head = end + 4 - c->in;
    size_t body = 0;
    for (char *line = c->in; line < end; line = (char *)memchr(line, '\n', end + 2 - line) + 1)
        if (!strncasecmp(line, "content-length:", 15)) body = strtoull(line + 15, NULL, 10);
    return c->head + body;
}

static void understand(int fd, struct conn *c) {
    while (c->used) {
        if (!c->whole) c->whole = measure(c);
        if (!c->whole || c->used < c->whole) return;
        take(fd, c);
        memmove(c->in, c->in + c->whole, c->used - c->whole);
        c->used -= c->whole;
        c->whole = 0;
    }
}

static void read_from(int fd) {
    struct conn *c = &conns[fd];
    if (c->room - c->used < READ + 1) {
        c->room = c->used * 2 + 2 * READ;
        c->in = realloc(c->in, c->room);
        if (!c->in) fail("realloc");
    }
    ssize_t size = read(fd, c->in + c->used, READ);
    if (size <= 0) {
        if (size == 0 || errno != EAGAIN) drop(fd);
        return;
    }
    c->used += size;
    c->in[c->used] = 0;
    understand(fd, c);
}

static void watch(int fd) {
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e)) fail("epoll_ctl");
}

static void greet(int listener) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MOST_FDS) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        conns[fd].in = malloc(conns[fd].room = 2 * READ);
        watch(fd);
    }
}

static int listen_on_loopback(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, size) || listen(fd, 4096)) fail("listen");
    getsockname(fd, (struct sockaddr *)&a, &size);
    printf("%d\n", ntohs(a.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    delay_us = strtoull(argv[1], NULL, 10);
    hang = atoi(argv[2]);
    alarm(atoi(argv[3]));
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max < MOST_FDS ? files.rlim_max : MOST_FDS;
    setrlimit(RLIMIT_NOFILE, &files);
    poller = epoll_create1(0);
    int listener = listen_on_loopback();
    watch(listener);
    watch(0);
    struct epoll_event ready[MOST_READY];
    for (;;) {
        int count = epoll_wait(poller, ready, MOST_READY, patience_ms());
        for (int i = 0; i < count; i++) {
            int fd = ready[i].data.fd;
            if (fd == 0) return 0;
            if (fd == listener) greet(fd);
            else read_from(fd);
        }
        answer_due();
    }
}
