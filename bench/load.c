/* SPDX-License-Identifier: MIT
 *
 * Open-loop SMTP load: message k is due at k / rate seconds, one session each, whatever became of those before it.
 *
 * A thread takes the next message, sleeps until it is due, holds the whole session with blocking calls and notes two
 * times: MAIL to the final 250, and due to the final 250. The second shows a server that stalls, which a generator
 * that waits for it would hide. Talks to 127.0.0.0/8 only. Prints one JSON object.
 *
 *     load PORT MESSAGES RATE SIZE THREADS
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_in server;
static int messages, size;
static double rate, start;
static atomic_int next_message, failed;
static double *transaction, *total;
static char *content;
static size_t content_length;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void sleep_until(double when)
{
    struct timespec t = { (time_t)when, (long)((when - (time_t)when) * 1e9) };
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

/* Send octets, if any, and read one reply, however many lines it has: 1 when its code begins with `wanted`. */
static int say(int fd, const char *data, size_t length, char wanted)
{
    char reply[8192];
    size_t have = 0;
    while (length > 0) {
        ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);
        if (sent <= 0)
            return 0;
        data += sent;
        length -= sent;
    }
    for (;;) {
        ssize_t got = recv(fd, reply + have, sizeof reply - 1 - have, 0);
        if (got <= 0)
            return 0;
        have += got;
        reply[have] = 0;
        if (have == sizeof reply - 1)
            return 0;
        for (char *line = reply, *end; (end = strchr(line, '\n')) != NULL; line = end + 1)
            if (end - line >= 4 && line[3] != '-')
                return line[0] == wanted;
    }
}

static int command(int fd, const char *line, char wanted)
{
    return say(fd, line, strlen(line), wanted);
}

static int one_session(int number, double due)
{
    int yes = 1, good = 0, fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval limit = { 30, 0 };
    double began;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&server, sizeof server) == 0 && say(fd, "", 0, '2')
        && command(fd, "EHLO load.test\r\n", '2')) {
        began = now();
        if (command(fd, "MAIL FROM:<sender@load.test>\r\n", '2') && command(fd, "RCPT TO:<user@sink.test>\r\n", '2')
            && command(fd, "DATA\r\n", '3') && say(fd, content, content_length, '2')) {
            transaction[number] = now() - began;
            total[number] = now() - due;
            good = 1;
            command(fd, "QUIT\r\n", '2');
        }
    }
    close(fd);
    return good;
}

static void *work(void *unused)
{
    int number;
    while ((number = atomic_fetch_add(&next_message, 1)) < messages) {
        double due = start + number / rate;
        sleep_until(due);
        if (!one_session(number, due))
            atomic_fetch_add(&failed, 1);
    }
    return unused;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print(const char *name, double *times)
{
    /* failed ones are 0 and lie in front after sorting */
    int bad = atomic_load(&failed), count = messages - bad;
    double *good = times + bad;
    qsort(times, messages, sizeof *times, by_value);
    printf("\"%s\": {\"p50\": %.3f, \"p90\": %.3f, \"p99\": %.3f, \"max\": %.3f}", name,
        count ? good[count / 2] * 1e3 : 0, count ? good[(int)(count * .9)] * 1e3 : 0,
        count ? good[(int)(count * .99)] * 1e3 : 0, count ? good[count - 1] * 1e3 : 0);
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: load PORT MESSAGES RATE SIZE THREADS\n");
        return 2;
    }
    int threads = atoi(argv[5]);
    pthread_t *ids = calloc(threads, sizeof *ids);
    const char *header = "From: sender@load.test\r\nTo: user@sink.test\r\nSubject: load\r\n\r\n";
    server.sin_family = AF_INET;
    server.sin_port = htons(atoi(argv[1]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    messages = atoi(argv[2]);
    rate = atof(argv[3]);
    size = atoi(argv[4]);
    transaction = calloc(messages, sizeof *transaction);
    total = calloc(messages, sizeof *total);
    content = malloc(size + 128);
    content_length = sprintf(content, "%s", header);
    while (content_length < (size_t)size)
        content_length += sprintf(content + content_length, "%.*s\r\n",
            (int)(size - content_length < 72 ? size - content_length : 72),
            "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0123456789");
    content_length += sprintf(content + content_length, ".\r\n");
    start = now() + 0.05;
    for (int i = 0; i < threads; i++)
        pthread_create(&ids[i], NULL, work, NULL);
    for (int i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    printf("{\"accepted\": %d, \"failed\": %d, \"seconds\": %.4f, ", messages - atomic_load(&failed),
        atomic_load(&failed), now() - start);
    print("transaction_ms", transaction);
    printf(", ");
    print("total_ms", total);
    printf("}\n");
    return atomic_load(&failed) ? 1 : 0;
}
