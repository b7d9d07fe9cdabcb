/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The conformance test of the fabric, the same for every member: L12 (no access after a revocation), L13 (a stalled
 * peer delays nobody), L16 (a revoked key costs nothing else), L17 (access masks), L33 (keys that
 * are looked up for every chunk), L39 (peers are checked).
 *
 * usage: conformance MEMBER [SEED [REVOCATIONS]]
 */
#include "conformance.h"

#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"

#define ROUNDS     10000u
#define GUARD_PAGE 4096u

uint64_t test_seed;

uint64_t test_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

unsigned char *pool_map(void)
{
	unsigned char *p = mmap(NULL, POOL_BYTES + 2 * GUARD_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED, "mmap");
	MUST(mprotect(p + GUARD_PAGE, POOL_BYTES, PROT_READ | PROT_WRITE));
	memset(p + GUARD_PAGE, POOL_GUARD, POOL_BYTES);
	return p + GUARD_PAGE;
}

void pool_unmap(unsigned char *pool)
{
	munmap(pool - GUARD_PAGE, POOL_BYTES + 2 * GUARD_PAGE);
}

size_t bytes_differ(const unsigned char *mem, size_t from, size_t to, unsigned char want)
{
	uint64_t word, wide = want * 0x0101010101010101ull;

	for (; from + sizeof(word) <= to; from += sizeof(word)) {
		memcpy(&word, mem + from, sizeof(word));
		if (word != wide)
			break;
	}
	while (from < to && mem[from] == want)
		from++;
	return from;
}

int op_run(struct fabric_conn *c, enum fabric_dir dir, uint64_t key, uint64_t offset, void *buf, uint64_t len)
{
	struct fabric_op op = {.key = key, .offset = offset, .buf = buf, .len = len, .dir = dir};
	struct fabric_op *ops[] = {&op};
	int err;

	op.flags = FABRIC_OP_WAITED;
	err = fabric_post(c, &op);
	if (!err)
		err = fabric_wait(c, ops, 1, WAIT_NS);
	CHECK(err != -ETIMEDOUT, "an operation got no answer");
	return err ? err : op.status;
}

int main(int argc, char **argv)
{
	enum member m = MEMBERS;

	for (int i = 0; argc >= 2 && i < MEMBERS; i++) {
		if (strcmp(argv[1], member_name((enum member)i)) == 0)
			m = (enum member)i;
	}
	if (m == MEMBERS) {
		fprintf(stderr, "usage: conformance stream-unix|stream-tcp|ring|loop [SEED [REVOCATIONS]]\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	test_seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 0;
	if (test_seed == 0)
		test_seed = clock_now_ns() | 1;
	printf("conformance of %s, seed %#llx\n", member_name(m), (unsigned long long)test_seed);
	test_refusals(m);
	test_bad_memory(m);
	if (m == MEMBER_STREAM_UNIX || m == MEMBER_STREAM_TCP)
		test_hostile_stream(m);
	if (m == MEMBER_RING)
		test_hostile_ring();
	test_peer_death(m);
	test_faulting(m);
	test_hammer(m, argc > 3 ? (unsigned)strtoul(argv[3], NULL, 0) : ROUNDS);
	printf("conformance of %s: good\n", member_name(m));
	return 0;
}
