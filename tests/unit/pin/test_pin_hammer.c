/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: L12, L31: threads that use pointers into a file while others relocate, clone, snapshot, punch, cut and rewrite
 *it see its bytes of now, zeroes where it was cut or punched, SIGBUS beyond the end, and never a byte of another file.
 *
 *	test_pin_hammer POOL [SECONDS] [SEED]		POOL: "mem:64M", or a file that is made
 *
 * The file has two halves. The lower one is never cut: every word there is what its only writer stored last, through
 *the pointer, whoever asks. In the upper one a word is its own mark or zero. A third file fills freed blocks with
 *poison.
 */
#include "pin_test.h"

#include <setjmp.h>
#include <signal.h>

#include "pin/trap.h"

#define HALF    ((uint64_t)3 << 20)
#define SIZE    (2 * HALF)
#define THREADS 3u
#define POISON  0xdeadbeefcafef00dull

static struct lh_fs *fs;
static struct lh_file *file;
static uint8_t *base;
static atomic_bool stop;
static atomic_ulong reads, writes, signals, changes;
static _Thread_local sigjmp_buf jump;
static _Thread_local volatile sig_atomic_t armed;

#define die(...)                                                                                                       \
	do {                                                                                                           \
		fprintf(stderr, __VA_ARGS__);                                                                          \
		fputc('\n', stderr);                                                                                   \
		_exit(1);                                                                                              \
	} while (0)
#define must(call)                                                                                                     \
	do {                                                                                                           \
		int64_t result_ = (int64_t)(call);                                                                     \
		if (result_ < 0)                                                                                       \
			die("%s: %lld: %s", #call, (long long)result_, lh_error_text());                               \
	} while (0)

static void on_bus(int sig, siginfo_t *si, void *uc)
{
	(void)si;
	(void)uc;
	if (!armed)
		_exit(sig);
	siglongjmp(jump, 1);
}

static uint64_t random_next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static uint64_t mark(uint64_t off)
{
	return off * 0x9e3779b97f4a7c15ull | 1;
}

/* false: SIGBUS. */
static bool touch(uint64_t off, bool write, uint64_t *value)
{
	volatile uint64_t *word = (void *)(base + off);

	if (sigsetjmp(jump, 1) != 0) {
		armed = 0;
		atomic_fetch_add(&signals, 1);
		return false;
	}
	armed = 1;
	if (write)
		*word = *value;
	else
		*value = *word;
	armed = 0;
	return true;
}

/* Pages of the lower half whose number is mine modulo THREADS have what I stored. */
static void lower(unsigned id, uint64_t *seed, uint64_t *mine)
{
	uint64_t pages = HALF / BLOCK / THREADS;
	uint64_t k = random_next(seed) % pages;
	uint64_t off = (k * THREADS + id) * BLOCK + random_next(seed) % 8 * 8;
	uint64_t *known = &mine[k * 8 + off % BLOCK / 8];
	uint64_t value = 0;

	if (random_next(seed) % 2) {
		value = random_next(seed);
		if (!touch(off, true, &value))
			die("SIGBUS for a write at %llu, inside the file", (unsigned long long)off);
		*known = value;
		atomic_fetch_add(&writes, 1);
	}
	if (random_next(seed) % 8 == 0)
		must(lh_file_read(file, &value, 8, off));
	else if (!touch(off, false, &value))
		die("SIGBUS for a read at %llu, inside the file", (unsigned long long)off);
	if (value != *known)
		die("word at %llu is %llx, %llx was stored", (unsigned long long)off, (unsigned long long)value,
		    (unsigned long long)*known);
	atomic_fetch_add(&reads, 1);
}

static void upper(uint64_t *seed)
{
	uint64_t off = HALF + random_next(seed) % (HALF / 8) * 8;
	uint64_t value = mark(off);

	if (random_next(seed) % 3 == 0 && !touch(off, true, &value))
		return;
	if (!touch(off, false, &value))
		return;
	if (value != 0 && value != mark(off))
		die("word at %llu is %llx: %s", (unsigned long long)off, (unsigned long long)value,
		    value == POISON ? "another file's" : "nobody's");
	atomic_fetch_add(&reads, 1);
}

struct user {
	unsigned id;
	uint64_t seed;
};

static void *user_main(void *arg)
{
	struct user *u = arg;
	uint64_t *mine = calloc(HALF / BLOCK / THREADS * 8, sizeof(*mine));

	while (!stop) {
		lower(u->id, &u->seed, mine);
		upper(&u->seed);
	}
	free(mine);
	return NULL;
}

/* Freed blocks get other bytes as soon as possible. */
static void *poison_main(void *arg)
{
	static uint64_t block[BLOCK / 8];
	struct lh_file *f = file_make(fs, "/poison");

	(void)arg;
	for (unsigned k = 0; k < BLOCK / 8; k++)
		block[k] = POISON;
	while (!stop) {
		for (unsigned k = 0; k < 512 && !stop; k++)
			must(lh_file_write(f, block, BLOCK, (uint64_t)k * BLOCK));
		must(lh_file_truncate(f, 0));
		usleep(500);
	}
	ok(lh_file_close(f));
	return NULL;
}

static void change(struct stranger *s, struct lh_file *copy, uint64_t *seed, unsigned round)
{
	uint64_t at = random_next(seed) % (SIZE / BLOCK - 64) * BLOCK;
	uint64_t len = (1 + random_next(seed) % 64) * BLOCK;
	uint64_t up = HALF + at / 2 / BLOCK * BLOCK;
	char name[32];

	switch (random_next(seed) % 8) {
	case 0:
		must(fs_relocate(s->handle, &s->who, at, len, NULL));
		break;
	case 1:
		must(lh_file_relocate(file, at, len));
		break;
	case 2:
		/* The destination has room: the file may be shorter just now. */
		if (lh_file_clone_range(copy, 0, file, 0, HALF) < 0)
			die("clone: %s", lh_error_text());
		break;
	case 3:
		must(fs_allocate(s->handle, &s->who, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, up, len));
		break;
	case 4:
		must(lh_file_punch(file, up, len));
		break;
	case 5:
		must(fs_truncate(s->handle, &s->who, up));
		break;
	case 6:
		must(lh_file_truncate(file, up));
		must(lh_file_truncate(file, SIZE));
		break;
	case 7:
		if (round % 8)
			break;
		snprintf(name, sizeof(name), "/snap-%u", round);
		must(lh_fs_snapshot(fs, "/dir", name, LH_SNAPSHOT_READ_ONLY));
		must(lh_fs_snapshot_delete(fs, name));
		break;
	}
	must(lh_file_truncate(file, SIZE));
	atomic_fetch_add(&changes, 1);
}

static struct lh_fs *pool_open_or_make(const char *where)
{
	struct lh_make_options opt = {.size = sizeof(opt), .pool_size = 64 << 20, .overwrite = true};
	struct lh_fs *out;

	if (strncmp(where, "mem:", 4) != 0)
		must(lh_pool_make(where, &opt));
	must(lh_fs_open(where, NULL, &out));
	return out;
}

static void hammer(unsigned seconds, uint64_t seed)
{
	uint64_t end = clock_now_ns() + seconds * 1000000000ull;
	struct user users[THREADS];
	pthread_t threads[THREADS], poison;
	struct lh_file *copy = file_make(fs, "/copy");
	struct stranger s;

	stranger_open(&s, fs, "/dir/file");
	for (unsigned k = 0; k < THREADS; k++) {
		users[k] = (struct user){.id = k, .seed = seed + k + 1};
		pthread_create(&threads[k], NULL, user_main, &users[k]);
	}
	pthread_create(&poison, NULL, poison_main, NULL);
	for (unsigned round = 0; clock_now_ns() < end; round++)
		change(&s, copy, &seed, round);
	stop = true;
	for (unsigned k = 0; k < THREADS; k++)
		pthread_join(threads[k], NULL);
	pthread_join(poison, NULL);
	stranger_close(&s);
	ok(lh_file_close(copy));
}

int main(int argc, char **argv)
{
	const char *where = argc > 1 ? argv[1] : "mem:64M";
	unsigned seconds = argc > 2 ? (unsigned)atoi(argv[2]) : 5;
	uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 0) : clock_now_ns() | 1;
	struct sigaction sa = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};
	struct lh_map_stat st = {.size = sizeof(st)};
	char path[64] = "";
	void *addr;

#if !BUSGUARD_WORKS
	puts("the thread sanitizer does not hand on a signal from inside its own memcpy: skipped");
	return 77;
#endif
	if (!TRAP_WORKS)
		return 77;
	sigaction(SIGBUS, &sa, NULL);
	if (strcmp(where, "tmpfs") == 0 || strcmp(where, "file") == 0) {
		snprintf(path, sizeof(path), "%s/lh-hammer-%d.pool", *where == 't' ? "/dev/shm" : "/var/tmp", getpid());
		where = path;
	}
	fs = pool_open_or_make(where);
	must(lh_path_mkdir(fs, "/dir", 0755));
	file = file_make(fs, "/dir/file");
	must(lh_file_truncate(file, SIZE));
	must(lh_map(file, 0, SIZE + HALF, PROT_READ | PROT_WRITE, &addr));
	base = addr;
	hammer(seconds, seed);
	must(lh_map_sync(addr, SIZE));
	must(lh_map_stat(&st));
	printf(
	    "seed %llu: %lu reads and %lu writes by pointer, %lu changes, %llu faults, %llu pages taken, %lu SIGBUS\n",
	    (unsigned long long)seed, reads, writes, changes, (unsigned long long)st.faults,
	    (unsigned long long)st.pages_taken, signals);
	ok(lh_unmap(addr));
	ok(lh_file_close(file));
	ok(lh_fs_close(fs));
	if (path[0]) {
		char line[128];

		if (lh_pool_check(path, stderr, false) != 0)
			die("the pool is damaged");
		snprintf(line, sizeof(line), "%s", path);
		unlink(line);
	}
	return changes > 0 && st.pages_taken > 0 ? 0 : 1;
}
