/* SPDX-License-Identifier: MIT
 *
 * SMTP load and an SMTP sink over STARTTLS, with OpenSSL. Talks on 127.0.0.1 only; certificates are not checked.
 *
 *     tls load PORT SESSIONS MESSAGES SIZE THREADS 12|13 full|resumed
 *     tls sink PORT CERTIFICATE KEY resume|full
 *
 * load: so many sessions over all threads, each with STARTTLS, MESSAGES transactions (0: none) of SIZE octets and QUIT;
 * a resumed session takes up the last one of its thread. Prints {"sessions", "resumed", "failed", "seconds"}.
 * sink: takes everything and writes "sess=N mesg=N resumed=N" again and again to its standard output.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_in address;
static SSL_CTX *context;
static int sessions, messages, want_resumed;
static atomic_int next_session, done_sessions, done_messages, resumed, failed;
static char *content;
static size_t content_length;

struct talk {
    int fd;
    SSL *ssl;
    char buffer[65536];
    size_t have;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int put(struct talk *talk, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t sent = talk->ssl ? SSL_write(talk->ssl, data, (int)length) : send(talk->fd, data, length, MSG_NOSIGNAL);
        if (sent <= 0)
            return 0;
        data += sent;
        length -= sent;
    }
    return 1;
}

static int get(struct talk *talk)
{
    size_t room = sizeof talk->buffer - 1 - talk->have;
    ssize_t got = 0;
    if (room > 0)
        got = talk->ssl ? SSL_read(talk->ssl, talk->buffer + talk->have, (int)room)
                        : recv(talk->fd, talk->buffer + talk->have, room, 0);
    if (got <= 0)
        return 0;
    talk->have += got;
    talk->buffer[talk->have] = 0;
    return 1;
}

static int say(struct talk *talk, const char *data, size_t length, char wanted)
{
    if (!put(talk, data, length))
        return 0;
    for (talk->have = 0;;) {
        if (!get(talk))
            return 0;
        for (char *line = talk->buffer, *end; (end = strchr(line, '\n')) != NULL; line = end + 1)
            if (end - line >= 4 && line[3] != '-')
                return line[0] == wanted;
    }
}

static int command(struct talk *talk, const char *line, char wanted)
{
    return say(talk, line, strlen(line), wanted);
}

static int one_session(struct talk *talk, SSL_SESSION **kept)
{
    int yes = 1, good = 0;
    struct timeval limit = { 60, 0 };
    talk->fd = socket(AF_INET, SOCK_STREAM, 0);
    talk->ssl = NULL;
    setsockopt(talk->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(talk->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(talk->fd, (struct sockaddr *)&address, sizeof address) == 0 && say(talk, "", 0, '2')
        && command(talk, "EHLO load.test\r\n", '2') && command(talk, "STARTTLS\r\n", '2')) {
        talk->ssl = SSL_new(context);
        SSL_set_fd(talk->ssl, talk->fd);
        SSL_set_tlsext_host_name(talk->ssl, "mx.bench.test");
        if (want_resumed && *kept)
            SSL_set_session(talk->ssl, *kept);
        if (SSL_connect(talk->ssl) == 1 && command(talk, "EHLO load.test\r\n", '2')) {
            good = 1;
            resumed += SSL_session_reused(talk->ssl);
            for (int k = 0; k < messages && good; k++)
                good = command(talk, "MAIL FROM:<sender@load.test>\r\n", '2')
                    && command(talk, "RCPT TO:<user@sink.test>\r\n", '2') && command(talk, "DATA\r\n", '3')
                    && say(talk, content, content_length, '2');
            command(talk, "QUIT\r\n", '2');
            if (want_resumed) {
                SSL_SESSION_free(*kept);
                *kept = SSL_get1_session(talk->ssl);
                SSL_set_shutdown(talk->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
            }
        }
        SSL_free(talk->ssl);
    }
    close(talk->fd);
    return good;
}

static void *load_thread(void *unused)
{
    struct talk *talk = calloc(1, sizeof *talk);
    SSL_SESSION *kept = NULL;
    while (atomic_fetch_add(&next_session, 1) < sessions)
        if (one_session(talk, &kept))
            done_sessions++;
        else
            failed++;
    return unused;
}

/* OpenSSL builds and checks the chain of a certificate that nobody asked it to verify. */
static int take_any(X509_STORE_CTX *unused, void *unused_too)
{
    return 1;
}

static int load(char **argv)
{
    int threads = atoi(argv[6]), version = strcmp(argv[7], "12") ? TLS1_3_VERSION : TLS1_2_VERSION;
    size_t size = atoi(argv[5]);
    pthread_t *ids = calloc(threads, sizeof *ids);
    double start;
    sessions = atoi(argv[3]);
    messages = atoi(argv[4]);
    want_resumed = !strcmp(argv[8], "resumed");
    context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(context, version);
    SSL_CTX_set_max_proto_version(context, version);
    SSL_CTX_set_session_cache_mode(context, want_resumed ? SSL_SESS_CACHE_CLIENT : SSL_SESS_CACHE_OFF);
    SSL_CTX_set_cert_verify_callback(context, take_any, NULL);
    content = malloc(size + 256);
    content_length = sprintf(content, "From: sender@load.test\r\nTo: user@sink.test\r\nSubject: load\r\n\r\n");
    while (content_length < size)
        content_length += sprintf(content + content_length, "%.70s\r\n",
            "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0123456789");
    content_length += sprintf(content + content_length, ".\r\n");
    start = now();
    for (int i = 0; i < threads; i++)
        pthread_create(&ids[i], NULL, load_thread, NULL);
    for (int i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    printf("{\"sessions\": %d, \"resumed\": %d, \"failed\": %d, \"seconds\": %.4f}\n", done_sessions, resumed, failed,
        now() - start);
    return failed ? 1 : 0;
}

/* One line of the client without its end, or NULL. */
static char *line_of(struct talk *talk, size_t *used)
{
    char *end;
    memmove(talk->buffer, talk->buffer + *used, talk->have + 1 - *used);
    talk->have -= *used;
    *used = 0;
    while ((end = strstr(talk->buffer, "\r\n")) == NULL)
        if (!get(talk))
            return NULL;
    *end = 0;
    *used = end + 2 - talk->buffer;
    return talk->buffer;
}

static int take_content(struct talk *talk, size_t *used)
{
    size_t scanned;
    memmove(talk->buffer, talk->buffer + *used, talk->have + 1 - *used);
    talk->have -= *used;
    *used = 0;
    for (scanned = 0;;) {
        char *end = strstr(talk->buffer + scanned, "\r\n.\r\n");
        if (end) {
            *used = end + 5 - talk->buffer;
            return 1;
        }
        if (talk->have > 32768) { /* content without NUL: keep what may be the beginning of the end */
            memmove(talk->buffer, talk->buffer + talk->have - 4, 5);
            talk->have = 4;
        }
        scanned = talk->have > 4 ? talk->have - 4 : 0;
        if (!get(talk))
            return 0;
    }
}

static void *sink_thread(void *argument)
{
    struct talk *talk = argument;
    size_t used = 0;
    char *line;
    put(talk, "220 sink.test ESMTP\r\n", 21);
    while ((line = line_of(talk, &used)) != NULL) {
        const char *reply = "250 2.0.0 ok\r\n";
        if (!strncasecmp(line, "EHLO", 4))
            reply = talk->ssl ? "250-sink.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
                              : "250-sink.test\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 8BITMIME\r\n";
        else if (!strncasecmp(line, "STARTTLS", 8)) {
            put(talk, "220 2.0.0 go\r\n", 14);
            talk->ssl = SSL_new(context);
            SSL_set_fd(talk->ssl, talk->fd);
            if (SSL_accept(talk->ssl) != 1)
                break;
            resumed += SSL_session_reused(talk->ssl);
            talk->have = used = 0;
            talk->buffer[0] = 0;
            continue;
        } else if (!strncasecmp(line, "DATA", 4)) {
            put(talk, "354 go\r\n", 8);
            if (!take_content(talk, &used))
                break;
            done_messages++;
        } else if (!strncasecmp(line, "QUIT", 4)) {
            put(talk, "221 2.0.0 bye\r\n", 15);
            break;
        }
        if (!put(talk, reply, strlen(reply)))
            break;
    }
    if (talk->ssl) {
        SSL_set_shutdown(talk->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        SSL_free(talk->ssl);
    }
    close(talk->fd);
    free(talk);
    return NULL;
}

static void *tell(void *unused)
{
    for (;; usleep(20000)) {
        printf("sess=%d mesg=%d resumed=%d \n", done_sessions, done_messages, resumed);
        fflush(stdout);
    }
    return unused;
}

static int sink(char **argv)
{
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    pthread_t id;
    context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate_chain_file(context, argv[3]);
    SSL_CTX_use_PrivateKey_file(context, argv[4], SSL_FILETYPE_PEM);
    SSL_CTX_set_session_id_context(context, (const unsigned char *)"sink", 4);
    if (strcmp(argv[5], "resume")) {
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(context, 0);
    }
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 1000) != 0) {
        perror("bind");
        return 1;
    }
    pthread_create(&id, NULL, tell, NULL);
    for (;;) {
        struct talk *talk = calloc(1, sizeof *talk);
        talk->fd = accept(listener, NULL, NULL);
        if (talk->fd < 0)
            continue;
        setsockopt(talk->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        done_sessions++;
        pthread_create(&id, NULL, sink_thread, talk);
        pthread_detach(id);
    }
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (argc > 2)
        address.sin_port = htons(atoi(argv[2]));
    if (argc == 9 && !strcmp(argv[1], "load"))
        return load(argv);
    if (argc == 6 && !strcmp(argv[1], "sink"))
        return sink(argv);
    fprintf(stderr, "usage: tls load PORT SESSIONS MESSAGES SIZE THREADS 12|13 full|resumed\n"
                    "       tls sink PORT CERTIFICATE KEY resume|full\n");
    return 2;
}
