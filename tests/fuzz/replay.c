/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: every input of the corpus, found by fuzzing or made by hand, keeps the promises of its target.
 *
 *	fuzz_X FILE-OR-DIRECTORY...		fuzz_X --seeds DIRECTORY	writes inputs to begin with
 */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static unsigned count;

static int replay_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	struct stat st;
	uint8_t *data;
	size_t size;

	if (f == NULL || fstat(fileno(f), &st) != 0) {
		perror(path);
		return 1;
	}
	data = malloc((size_t)st.st_size + 1);
	size = data != NULL ? fread(data, 1, (size_t)st.st_size, f) : 0;
	fclose(f);
	/* A crash names its file. */
	if (getenv("FUZZ_TRACE") != NULL)
		fprintf(stderr, "%s\n", path);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	count++;
	return 0;
}

static int replay(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *e;
	char name[4096];
	int bad = 0;

	if (dir == NULL)
		return replay_file(path);
	while ((e = readdir(dir)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
		bad |= replay_file(name);
	}
	closedir(dir);
	return bad;
}

int main(int argc, char **argv)
{
	int bad = 0;

	setenv("LEASEHOLD_LOG", "error", 1);
	if (argc == 3 && strcmp(argv[1], "--seeds") == 0)
		return fuzz_seeds(argv[2]) != 0;
	for (int i = 1; i < argc; i++)
		bad |= replay(argv[i]);
	printf("%u inputs\n", count);
	return bad || count == 0;
}
