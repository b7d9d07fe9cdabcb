/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/two.h"

#include <fcntl.h>

void two_parse(struct two *t, const struct cli_verb *verb, int argc, char **argv)
{
	int key;

	*t = (struct two){0};
	for (key = cli_next(verb, argc, argv); key != -1; key = cli_next(verb, argc, argv)) {
		if (key == TWO_FROM)
			t->off[0] = cli_size(optarg, "--from");
		else if (key == TWO_TO)
			t->off[1] = cli_size(optarg, "--to");
		else if (key == TWO_LENGTH)
			t->length = cli_size(optarg, "--length");
		else
			t->nowait = true;
		t->length_given |= key == TWO_LENGTH;
	}
	t->path[0] = argv[optind];
	t->path[1] = argv[optind + 1];
}

int two_open(struct two *t, struct lh_fs *fs, int first_flags, int second_flags)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	int err;

	lh_fs_set_nowait(fs, t->nowait);
	err = lh_file_open(fs, t->path[0], first_flags, 0, &t->file[0]);
	if (!err)
		err = lh_file_stat(t->file[0], &st);
	if (err)
		return cli_error(err, "%s", t->path[0]);
	if (!t->length_given)
		t->length = st.size > t->off[0] ? st.size - t->off[0] : 0;
	err = lh_file_open(fs, t->path[1], second_flags, st.mode & 0777, &t->file[1]);
	return err ? cli_error(err, "%s", t->path[1]) : CLI_OK;
}

void two_close(struct two *t)
{
	lh_file_close(t->file[1]);
	lh_file_close(t->file[0]);
}
