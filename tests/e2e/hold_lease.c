/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For scripts: gets a lease that answers no recall, says "holding NUMBER", and holds it until standard input ends. Then
 *it tries the lease once more and says "gone" or "kept".
 *
 *	hold_lease ADDRESS PATH read|write
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <leasehold/leasehold.h>

static int complain(const char *what)
{
	fprintf(stderr, "hold_lease: %s: %s\n", what, lh_error_text());
	return 1;
}

int main(int argc, char **argv)
{
	struct lh_lease_options opt = {.size = sizeof(opt), .flags = LH_LEASE_MANUAL};
	struct lh_lease_state state = {.size = sizeof(state)};
	struct lh_lease *lease;
	struct lh_file *file;
	struct lh_fs *fs;
	char byte = 0;
	ssize_t n;
	bool writing;

	if (argc != 4)
		return 2;
	writing = strcmp(argv[3], "write") == 0;
	opt.flags |= writing ? LH_LEASE_WRITE : LH_LEASE_READ;
	if (lh_fs_open(argv[1], NULL, &fs) != 0)
		return complain(argv[1]);
	if (lh_file_open(fs, argv[2], O_RDWR, 0, &file) != 0)
		return complain(argv[2]);
	if (lh_lease_get(file, 0, 65536, &opt, &lease) != 0 || lh_lease_state(lease, &state) != 0)
		return complain("lease");
	printf("holding %llu\n", (unsigned long long)state.number);
	fflush(stdout);
	while (getchar() != EOF) {
	}
	n = writing ? lh_lease_write(lease, &byte, 1, 0) : lh_lease_read(lease, &byte, 1, 0);
	puts(n == 1 ? "kept" : "gone");
	lh_lease_release(lease);
	lh_file_close(file);
	return lh_fs_close(fs) == 0 ? 0 : complain("closing");
}
