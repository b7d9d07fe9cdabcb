/* SPDX-License-Identifier: BSD-2-Clause */
/* leasehold cat */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

#define CAT_BYTES ((size_t)1 << 20)

static const struct cli_verb verb = {
    .name = "cat",
    .operands = "PATH...",
    .text = "Writes files to standard output, one after the other.\n",
    .example = "leasehold -p unix:/run/lh.sock cat /etc/motd\n",
    .min = 1,
    .max = -1,
    .paths = PATHS_ALL,
};

static int write_all(const char *buf, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDOUT_FILENO, buf, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

static int cat(struct lh_fs *fs, const char *path, char *buf)
{
	struct lh_file *file;
	uint64_t off = 0;
	ssize_t n;
	int err;

	err = lh_file_open(fs, path, O_RDONLY, 0, &file);
	if (err)
		return cli_error(err, "%s", path);
	for (n = lh_file_read(file, buf, CAT_BYTES, off); n > 0; n = lh_file_read(file, buf, CAT_BYTES, off)) {
		err = write_all(buf, (size_t)n);
		if (err)
			break;
		off += (uint64_t)n;
	}
	if (n < 0)
		cli_error((int)n, "%s", path);
	else if (err)
		cli_fail("standard output: %s", strerror(-err));
	lh_file_close(file);
	return n < 0 || err ? CLI_FAILED : CLI_OK;
}

int verb_cat(int argc, char **argv)
{
	char *buf = malloc(CAT_BYTES);
	int status = CLI_OK;
	struct lh_fs *fs;

	(void)cli_next(&verb, argc, argv);
	if (buf == NULL)
		return cli_error(-ENOMEM, "buffer");
	if (cli_open(&fs, false) != CLI_OK) {
		free(buf);
		return CLI_FAILED;
	}
	for (int i = optind; i < argc; i++) {
		if (cat(fs, argv[i], buf) != CLI_OK)
			status = CLI_FAILED;
	}
	free(buf);
	return cli_close(fs, status);
}
