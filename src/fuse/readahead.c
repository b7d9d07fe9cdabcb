/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel reads ahead 128 KiB of a mount, whatever is asked for in the answer to INIT; a request takes up to 1 MiB.
 * Root may set it for a mounted filesystem (/sys/class/bdi), and a mount that root made does so for itself. Nobody else
 * can, and nothing is said then.
 */
#include "fuse/mount.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_AHEAD_KB "1024"

/* "MAJOR:MINOR" of what is mounted on dir last; not by stat(2), which would ask ourselves. */
static bool device_of(const char *dir, char *out, size_t size)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, device[32], point[4097];
	size_t room = 0;
	bool found = false;

	if (!f)
		return false;
	/* Names with blanks are written with escapes, and not found: no harm. */
	while (getline(&line, &room, f) > 0) {
		if (sscanf(line, "%*s %*s %31s %*s %4096s", device, point) == 2 && strcmp(point, dir) == 0) {
			snprintf(out, size, "%s", device);
			found = true;
		}
	}
	free(line);
	fclose(f);
	return found;
}

void read_ahead_more(const struct mount *m)
{
	char device[32], path[96];
	int fd;

	if (geteuid() != 0 || !device_of(m->opt->dir, device, sizeof(device)))
		return;
	snprintf(path, sizeof(path), "/sys/class/bdi/%s/read_ahead_kb", device);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (write(fd, READ_AHEAD_KB, strlen(READ_AHEAD_KB)) < 0)
		errno = 0; /* as slow as before */
	close(fd);
}
