/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pointers into a file, in place of mmap: sorts a file's numbers where they are, while another thread moves them about
 *in the pool and shares them with a clone.
 *
 *	cc pointers.c -lleasehold -lpthread && ./a.out [POOL]
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <leasehold/leasehold.h>

#define COUNT 200000u
#define BYTES (COUNT * sizeof(uint64_t))

static _Atomic bool stop;

static void check(int64_t result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "%s: %s\n", what, lh_error_text());
		exit(1);
	}
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void *mover(void *arg)
{
	struct lh_file *file = arg;
	struct lh_file *copy;

	check(lh_file_open(lh_file_fs(file), "/copy", O_RDWR | O_CREAT, 0644, &copy), "create");
	while (!stop) {
		check(lh_file_relocate(file, 0, BYTES), "relocate");
		check(lh_file_clone_range(copy, 0, file, 0, 0), "clone");
	}
	lh_file_close(copy);
	return NULL;
}

int main(int argc, char **argv)
{
	struct lh_map_stat stat = {.size = sizeof(stat)};
	struct lh_file *file;
	struct lh_fs *fs;
	pthread_t thread;
	uint64_t *numbers;
	uint64_t sum = 0;
	void *addr;

	check(lh_fs_open(argc > 1 ? argv[1] : "mem:64M", NULL, &fs), "open");
	check(lh_file_open(fs, "/numbers", O_RDWR | O_CREAT, 0644, &file), "create");
	check(lh_file_truncate(file, BYTES), "truncate");
	/* p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) would be: */
	check(lh_map(file, 0, BYTES, PROT_READ | PROT_WRITE, &addr), "map");
	numbers = addr;
	for (unsigned k = 0; k < COUNT; k++) {
		numbers[k] = (k + 1) * 0x9e3779b97f4a7c15u;
		sum += numbers[k];
	}
	pthread_create(&thread, NULL, mover, file);
	qsort(numbers, COUNT, sizeof(*numbers), compare);
	stop = true;
	pthread_join(thread, NULL);
	/* msync would be: */
	check(lh_map_sync(addr, BYTES), "sync");
	for (unsigned k = 0; k < COUNT; k++) {
		sum -= numbers[k];
		if (k > 0 && numbers[k - 1] > numbers[k])
			sum = 1;
	}
	check(lh_map_stat(&stat), "stat");
	printf("%u numbers sorted in place; %llu pages were taken away meanwhile and found again\n", COUNT,
	       (unsigned long long)stat.pages_taken);
	check(lh_unmap(addr), "unmap");
	lh_file_close(file);
	lh_fs_close(fs);
	return sum == 0 ? 0 : 1;
}
