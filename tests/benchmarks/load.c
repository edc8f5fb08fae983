/* Sends the same request over kept connections as fast as the answers come, and says how long they took.
 *
 *     load PORT AT_ONCE REQUESTS SECONDS <request
 *
 * So many requests are under way at once, on twice as many connections: the one that has rested longest is next. A
 * connection that was used again at once would be served again at once by a gevent server, and all others would wait.
 * Prints JSON: requests answered, failures (no answer, or a status other than 2xx), seconds, and latencies in us. It
 * ends after REQUESTS answers and failures, or after SECONDS.
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
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST_CONNECTIONS = 1024, MOST_REQUEST = 4 << 20, MOST_ANSWER = 65536 };

struct conn {
    int fd;
    size_t sent, used;
    uint64_t began;
    char in[MOST_ANSWER];
};

static struct conn *conns, **resting; /* a ring of those without a request */
static int first_resting, resting_count, conn_count;
static char *request;
static size_t request_size;
static uint64_t *latencies, begun, answered, failed, wanted;
static int poller, port;

static uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void watch(struct conn *c, uint32_t what, int how) {
    struct epoll_event e = {.events = what, .data.ptr = c};
    epoll_ctl(poller, how, c->fd, &e);
}

static void open_conn(struct conn *c) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&a, sizeof a)) {
        perror("connect");
        exit(1);
    }
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    watch(c, EPOLLIN, EPOLL_CTL_ADD);
}

static void go_on(struct conn *c) {
    ssize_t size = write(c->fd, request + c->sent, request_size - c->sent);
    if (size > 0) c->sent += size;
    watch(c, c->sent < request_size ? EPOLLIN | EPOLLOUT : EPOLLIN, EPOLL_CTL_MOD);
}

static void rest(struct conn *c) {
    resting[(first_resting + resting_count++) % conn_count] = c;
}

static void begin(void) {
    if (begun >= wanted || !resting_count) return;
    struct conn *c = resting[first_resting];
    first_resting = (first_resting + 1) % conn_count;
    resting_count--;
    begun++;
    c->sent = c->used = 0;
    c->began = now_us();
    go_on(c);
}

static int is_whole(struct conn *c) {
    char *end = memmem(c->in, c->used, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t body = 0;
    for (char *line = c->in; line < end; line = (char *)memchr(line, '\n', end + 2 - line) + 1)
        if (!strncasecmp(line, "content-length:", 15)) body = strtoull(line + 15, NULL, 10);
    return c->used >= (size_t)(end + 4 - c->in) + body;
}

static void give_up(struct conn *c) {
    close(c->fd);
    open_conn(c);
    if (!c->began) return; /* it rests, and still does */
    failed++;
    c->began = 0;
    rest(c);
    begin();
}

static void hear(struct conn *c) {
    ssize_t size = read(c->fd, c->in + c->used, MOST_ANSWER - c->used - 1);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) {
        give_up(c);
        return;
    }
    c->used += size;
    c->in[c->used] = 0;
    if (!is_whole(c)) return;
    if (c->in[9] == '2') latencies[answered++] = now_us() - c->began;
    else failed++;
    c->began = 0;
    rest(c);
    begin();
}

static int by_size(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t quantile(double part) {
    return answered ? latencies[(uint64_t)(part * (answered - 1))] : 0;
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    port = atoi(argv[1]);
    int at_once = atoi(argv[2]), seconds = atoi(argv[4]);
    conn_count = 2 * at_once;
    wanted = strtoull(argv[3], NULL, 10);
    if (at_once < 1 || conn_count > MOST_CONNECTIONS) return 2;
    request = malloc(MOST_REQUEST);
    request_size = fread(request, 1, MOST_REQUEST, stdin);
    latencies = calloc(wanted + 1, sizeof *latencies);
    conns = calloc(conn_count, sizeof *conns);
    resting = calloc(conn_count, sizeof *resting);
    poller = epoll_create1(0);
    alarm(seconds + 5);
    uint64_t start = now_us(), deadline = start + seconds * 1000000ull;
    for (int i = 0; i < conn_count; i++) open_conn(&conns[i]), rest(&conns[i]);
    for (int i = 0; i < at_once; i++) begin();
    struct epoll_event ready[MOST_CONNECTIONS];
    while (answered + failed < wanted && now_us() < deadline) {
        int n = epoll_wait(poller, ready, MOST_CONNECTIONS, 100);
        for (int i = 0; i < n; i++) {
            struct conn *c = ready[i].data.ptr;
            if (ready[i].events & EPOLLOUT) go_on(c);
            if (ready[i].events & ~EPOLLOUT) hear(c);
        }
    }
    double took = (now_us() - start) / 1e6;
    qsort(latencies, answered, sizeof *latencies, by_size);
    printf("{\"answered\": %lu, \"failed\": %lu, \"begun\": %lu, \"seconds\": %.6f, \"p50_us\": %lu, \"p99_us\": %lu, "
           "\"max_us\": %lu}\n",
           (unsigned long)answered, (unsigned long)failed, (unsigned long)begun, took, (unsigned long)quantile(0.5),
           (unsigned long)quantile(0.99), (unsigned long)quantile(1.0));
    return 0;
}
