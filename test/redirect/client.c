//go:build ignore

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client MODE THREADS COUNT: makes THREADS times COUNT connections to destinations of its own choice and sends over each
 * the destination it asked for. Prints "sent N failed N peer N": connections that took the message, that did not, and
 * whose getpeername() differed. MODE:
 *
 *   plain nonblock mapped v6   connect(), send()
 *   fastopen                   sendto(MSG_FASTOPEN)
 *   fastopen-connect           TCP_FASTOPEN_CONNECT, connect(), send()
 *   reset                      connect() from one of a few source ports, send(), reset at once, the same port again
 *   flood                      reset over both families and v4-mapped, in turn
 *   time                       connect() alone; prints the nanoseconds of all of them instead
 *
 * Destinations are pseudo-random over 10.0.0.0/8 and 2001:db8::/32, ports over 1024 to 65535; "time" uses argv[4] and [5].
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 16, REUSED_PORTS = 8, FIRST_REUSED = 20000, WAIT_MS = 5000 };

struct message {
	struct in6_addr address;
	in_port_t port; /* network order, as in the address */
} __attribute__((packed));

union destination {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

static const char *mode;
static long count;
static atomic_long sent, failed, differing;

static int is(const char *name)
{
	return !strcmp(mode, name);
}

static socklen_t length_of(const union destination *to)
{
	return to->any.sa_family == AF_INET ? sizeof(to->in) : sizeof(to->in6);
}

enum shape { V4, V6, MAPPED };

static enum shape shape_of(long round)
{
	if (is("v6"))
		return V6;
	if (is("mapped"))
		return MAPPED;
	return is("flood") ? round % 3 : V4;
}

/* Chooses a destination and writes it into the message in one form, v4-mapped for IPv4. */
static void choose(enum shape shape, unsigned *seed, union destination *to, struct message *message)
{
	uint32_t ip4 = htonl(0x0a000000 | (rand_r(seed) & 0xffffff));
	in_port_t port = htons(1024 + rand_r(seed) % 64512);

	memset(to, 0, sizeof(*to));
	memset(message, 0, sizeof(*message));
	message->port = port;
	if (shape == V6) {
		inet_pton(AF_INET6, "2001:db8::", &message->address);
	} else {
		message->address.s6_addr[10] = message->address.s6_addr[11] = 0xff;
	}
	memcpy(&message->address.s6_addr[12], &ip4, sizeof(ip4));
	if (shape == V4) {
		to->in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = ip4 };
	} else {
		to->in6.sin6_family = AF_INET6;
		to->in6.sin6_port = port;
		to->in6.sin6_addr = message->address;
	}
}

/* The next of this thread's few source ports; TIME_WAIT is never entered, since every connection ends by reset. */
static int bind_reused(int fd, enum shape shape, int thread, long round)
{
	in_port_t port = htons(FIRST_REUSED + thread * REUSED_PORTS + round % REUSED_PORTS);
	union destination from = { 0 };
	int one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	from.any.sa_family = shape == V4 ? AF_INET : AF_INET6;
	from.in.sin_port = port; /* the same offset in both */
	if (shape == V4)
		from.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (shape == MAPPED)
		inet_pton(AF_INET6, "::ffff:127.0.0.1", &from.in6.sin6_addr);
	if (shape == V6)
		from.in6.sin6_addr = in6addr_loopback;
	return bind(fd, &from.any, length_of(&from));
}

static int finish_connect(int fd)
{
	struct pollfd ready = { .fd = fd, .events = POLLOUT };
	socklen_t length = sizeof(int);
	int error = ETIMEDOUT;

	if (poll(&ready, 1, WAIT_MS) > 0)
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
	errno = error;
	return error ? -1 : 0;
}

static int deliver(int fd, const union destination *to, const struct message *message)
{
	int one = 1;

	if (is("fastopen"))
		return sendto(fd, message, sizeof(*message), MSG_FASTOPEN, &to->any, length_of(to)) == sizeof(*message);
	if (is("fastopen-connect"))
		setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof(one));
	if (connect(fd, &to->any, length_of(to)) && (errno != EINPROGRESS || finish_connect(fd)))
		return 0;
	return send(fd, message, sizeof(*message), MSG_NOSIGNAL) == sizeof(*message);
}

static void compare_peer(int fd, const union destination *to)
{
	union destination peer = { 0 };
	socklen_t length = sizeof(peer);

	errno = 0;
	if (!getpeername(fd, &peer.any, &length) && !memcmp(&peer, to, length_of(to)))
		return;
	if (!differing++)
		perror("getpeername"); /* "Success": another address */
}

static void close_with_reset(int fd)
{
	struct linger none = { .l_onoff = 1 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	close(fd);
}

static void one_connection(int thread, long round, unsigned *seed)
{
	struct pollfd closed = { .events = POLLIN };
	int at_once = is("reset") || is("flood");
	enum shape shape = shape_of(round);
	union destination to;
	struct message message;
	int fd = socket(shape == V4 ? AF_INET : AF_INET6, SOCK_STREAM | (is("nonblock") ? SOCK_NONBLOCK : 0), 0);

	choose(shape, seed, &to, &message);
	if (fd < 0 || (at_once && bind_reused(fd, shape, thread, round)) || !deliver(fd, &to, &message)) {
		if (!failed++)
			perror(mode);
	} else {
		sent++;
		if (!at_once) {
			compare_peer(fd, &to);
			closed.fd = fd;
			poll(&closed, 1, WAIT_MS);
		}
	}
	close_with_reset(fd);
}

static void *run(void *argument)
{
	int thread = (long)argument;
	unsigned seed = thread * 7919 + 13;

	for (long round = 0; round < count; round++)
		one_connection(thread, round, &seed);
	return NULL;
}

static long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000L + time.tv_nsec;
}

static int time_connect(const char *address, const char *port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };
	long total = 0;

	inet_pton(AF_INET, address, &to.sin_addr);
	for (long round = 0; round < count; round++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		long start = now();

		if (connect(fd, (struct sockaddr *)&to, sizeof(to))) {
			perror("connect");
			return 1;
		}
		total += now() - start;
		close_with_reset(fd);
	}
	printf("%ld\n", total);
	return 0;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	int n;

	if (argc < 4)
		return 2;
	mode = argv[1];
	n = atoi(argv[2]);
	count = atol(argv[3]);
	if (is("time"))
		return argc == 6 ? time_connect(argv[4], argv[5]) : 2;
	if (n > THREADS)
		return 2;
	for (long i = 0; i < n; i++)
		pthread_create(&threads[i], NULL, run, (void *)i);
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	printf("sent %ld failed %ld peer %ld\n", sent, failed, differing);
	return 0;
}
