/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Latency and bandwidth of every member, for tuning; not a test. The initiator is a process of its own (loop: the
 * same). usage: fabric_perf [stream-unix|stream-tcp|ring|loop ...]
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "fabric/fabric.h"
#include "member.h"

#define POOL_BYTES ((size_t)64 << 20)
#define DEPTH_MAX  16u
#define BUDGET_NS  (300 * NS_PER_MS) /* of one row */
#define SAMPLES    20000u

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t place(uint64_t i, uint64_t len)
{
	return i * 2654435761u % (POOL_BYTES / len) * len;
}

/* p50 in nanoseconds. */
static uint64_t latency(struct fabric_conn *c, uint64_t key, enum fabric_dir dir, uint64_t len, void *buf)
{
	static uint64_t took[SAMPLES];
	uint64_t end = clock_now_ns() + BUDGET_NS;
	unsigned n = 0;

	while (n < SAMPLES && clock_now_ns() < end) {
		struct fabric_op op = {.key = key, .offset = place(n, len), .buf = buf, .len = len, .dir = dir};
		struct fabric_op *ops[] = {&op};
		uint64_t start = clock_now_ns();

		op.flags = FABRIC_OP_WAITED;
		if (fabric_post(c, &op) || fabric_wait(c, ops, 1, UINT64_MAX) || op.status)
			exit(1);
		took[n++] = clock_now_ns() - start;
	}
	qsort(took, n, sizeof(took[0]), compare);
	return took[n / 2];
}

/* MB/s with 16 outstanding. */
static double bandwidth(struct fabric_conn *c, uint64_t key, enum fabric_dir dir, uint64_t len, void **bufs)
{
	struct fabric_op ops[DEPTH_MAX], *done[DEPTH_MAX];
	uint64_t start = clock_now_ns(), bytes = 0, i = 0;
	int n = DEPTH_MAX;

	for (unsigned k = 0; k < DEPTH_MAX; k++) {
		ops[k] = (struct fabric_op){.key = key, .buf = bufs[k], .len = len, .dir = dir};
		done[k] = &ops[k];
	}
	while (clock_now_ns() - start < BUDGET_NS) {
		for (int k = 0; k < n; k++) {
			done[k]->offset = place(i++, len);
			if (fabric_post(c, done[k]))
				exit(1);
		}
		n = fabric_reap(c, done, DEPTH_MAX, UINT64_MAX);
		for (int k = 0; k < n; k++) {
			if (done[k]->status)
				exit(1);
			bytes += len;
		}
	}
	bytes = bytes * 1000 / (clock_now_ns() - start);
	for (unsigned out = DEPTH_MAX - (unsigned)n; out > 0;)
		out -= (unsigned)fabric_reap(c, done, DEPTH_MAX, UINT64_MAX);
	return (double)bytes;
}

static void measure(const char *member, struct fabric_conn *c, uint64_t key)
{
	static const uint64_t sizes[] = {8, 4096, 65536, 1048576};
	static const char *const dirs[] = {"read", "write"};
	void *bufs[DEPTH_MAX];

	for (unsigned s = 0; s < 4; s++) {
		for (unsigned k = 0; k < DEPTH_MAX; k++) {
			bufs[k] = fabric_buffer_get(c, sizes[3]);
			if (!bufs[k])
				exit(1);
			memset(bufs[k], 1, sizes[3]);
		}
		for (int dir = FABRIC_OP_READ; dir <= FABRIC_OP_WRITE; dir++) {
			double us = (double)latency(c, key, (enum fabric_dir)dir, sizes[s], bufs[0]) / 1e3;
			double mbs = bandwidth(c, key, (enum fabric_dir)dir, sizes[s], bufs);

			printf("%-11s %-5s %8llu  %9.2f us  %8.0f MB/s\n", member, dirs[dir],
			       (unsigned long long)sizes[s], us, mbs);
		}
		for (unsigned k = 0; k < DEPTH_MAX; k++)
			fabric_buffer_put(c, bufs[k]);
	}
}

static void run(enum member member)
{
	struct fabric_key key;
	struct fabric_target *t;
	struct fabric_domain *d;
	struct fabric_path *path = NULL;
	struct member_link link;
	char *pool = mmap(NULL, POOL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	pid_t child = 0;

	member_link_make(member, &link);
	if (member != MEMBER_LOOP)
		child = fork();
	if (child == 0 && member != MEMBER_LOOP) {
		struct fabric_conn_options opt = {.ring_bytes = POOL_BYTES};
		struct fabric_conn *c = member_connect(&link, &opt);
		uint64_t number;

		if (read(link.talk[1], &number, sizeof(number)) != sizeof(number))
			exit(1);
		measure(member_name(member), c, number);
		fabric_conn_close(c);
		exit(0);
	}
	if (fabric_target_new(NULL, &t) || fabric_domain_new(t, &d) ||
	    fabric_expose(d, pool, POOL_BYTES, FABRIC_READ | FABRIC_WRITE, &key))
		exit(1);
	if (member == MEMBER_LOOP) {
		struct fabric_conn *c;

		if (fabric_loop_connect(d, NULL, &c))
			exit(1);
		measure(member_name(member), c, key.number);
		fabric_conn_close(c);
	} else {
		int status;

		path = member_attach(&link, d);
		if (write(link.talk[0], &key.number, sizeof(key.number)) != sizeof(key.number))
			exit(1);
		waitpid(child, &status, 0);
		fabric_path_close(path);
	}
	fabric_domain_free(d);
	fabric_target_free(t);
	member_link_close(&link);
	munmap(pool, POOL_BYTES);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int m = 0; m < MEMBERS; m++) {
		bool wanted = argc == 1;

		for (int i = 1; i < argc; i++)
			wanted |= strcmp(argv[i], member_name((enum member)m)) == 0;
		if (wanted)
			run((enum member)m);
	}
	return 0;
}
