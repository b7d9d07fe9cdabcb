/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mount_untar, mount_clone, mount_build: what people do on a filesystem, in a mount of ours and in one of libfuse's
 * passthrough_hp, in turn; ext4 and XFS on loop devices reported besides. The materials are made once, on tmpfs: a tar
 * of the kernel's headers for programs (a thousand small files), a git repository of the same, a C project of 24 files.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/types.h"
#include "bench.h"
#include "loop_peer.h"
#include "mount_rig.h"

#define COMMAND_BYTES 4096
#define TRIAL_ROUNDS  3u
#define ROWS          3u

enum job { UNTAR, CLONE, BUILD };

/* $J: the materials; $D: a new directory to work in. HOME and the system's configuration of git are not asked. */
static const char *const job_commands[ROWS] = {
    [UNTAR] = "mkdir $D && tar -xf $J/tree.tar -C $D",
    [CLONE] = "git clone -q file://$J/repo $D && test -s $D/include/linux/fuse.h",
    [BUILD] = "cp -r $J/project $D && make -s -C $D && test \"$($D/program)\" = 24",
};

static const char *const materials =
    "set -e; mkdir $J $J/repo $J/project; cp -r /usr/include/linux /usr/include/asm-generic $J/repo/ 2>/dev/null\n"
    "mkdir $J/repo/include; mv $J/repo/linux $J/repo/asm-generic $J/repo/include/\n"
    "tar -cf $J/tree.tar -C $J/repo include\n"
    "git -c init.defaultBranch=main init -q $J/repo; git -C $J/repo add -A\n"
    "git -C $J/repo -c user.name=bench -c user.email=bench@localhost commit -q -m tree\n"
    "cd $J/project; i=0; calls=\n"
    "while [ $i -lt 24 ]; do\n"
    "	{ echo '#include <stdio.h>'; echo '#include <stdlib.h>'; echo '#include <string.h>'; k=0\n"
    "	  while [ $k -lt 20 ]; do echo \"int f${i}_$k(int x) { char b[64]; snprintf(b, sizeof(b), \\\"%d\\\", x); "
    "return "
    "(int)strlen(b); }\"; k=$((k + 1)); done; } >f$i.c\n"
    "	calls=\"$calls + f${i}_0($i % 10)\"; i=$((i + 1))\n"
    "done\n"
    "i=0; { while [ $i -lt 24 ]; do echo \"int f${i}_0(int x);\"; i=$((i + 1)); done; echo '#include <stdio.h>'\n"
    "  echo \"int main(void) { printf(\\\"%d\\\\n\\\", 0$calls); return 0; }\"; } >main.c\n"
    "printf 'program: $(patsubst %%.c,%%.o,$(wildcard *.c))\\n\\tcc -o $@ $^\\n' >Makefile\n";

static struct facts {
	double loop[PLACES];
} facts[ROWS];

static struct {
	char dir[160];
	bool made;
	unsigned rounds;
} env;

static int shell(const char *command)
{
	char *const argv[] = {"sh", "-c", (char *)command, NULL};
	int err = run_program(argv);

	return err > 0 ? -EIO : err;
}

static int materials_make(char *why)
{
	int err;

	if (env.made)
		return 0;
	if (!tmpfs_dir())
		return bench_skip(why, -ENOENT, "/dev/shm cannot be written");
	snprintf(env.dir, sizeof(env.dir), "%s/jobs", tmpfs_dir());
	setenv("J", env.dir, 1);
	setenv("GIT_CONFIG_GLOBAL", "/dev/null", 1);
	setenv("GIT_CONFIG_NOSYSTEM", "1", 1);
	err = shell(materials);
	env.made = !err;
	return err ? bench_skip(why, err, "needs git, make, a C compiler, tar and /usr/include/linux") : 0;
}

static int job_round(const struct row *r, enum place p, double *out)
{
	char why[WHY_MAX], work[256];
	const char *dir = place_dir(p, why);
	char *const remove_it[] = {"rm", "-rf", work, NULL};
	uint64_t start;
	int err;

	if (!dir)
		return -ENODEV;
	snprintf(work, sizeof(work), "%s/job-%u", dir, env.rounds++);
	setenv("D", work, 1);
	start = clock_now_ns();
	err = shell(job_commands[r->depth]);
	*out = (double)(clock_now_ns() - start) / 1e6;
	if (run_program(remove_it) && !err)
		err = -EIO;
	return err;
}

static int job_ready(const struct row *r, char *why)
{
	int err = materials_make(why);

	if (err)
		return err;
	return place_dir(OURS, why) && place_dir(HP, why) ? 0 : -ENODEV;
}

static int job_ours(const struct row *r, double *out)
{
	return job_round(r, OURS, out);
}

static int job_peer(const struct row *r, double *out)
{
	return job_round(r, HP, out);
}

static void job_done(const struct row *r)
{
	for (enum place p = ON_EXT4; p < PLACES; p++) {
		double v[TRIAL_ROUNDS];
		bool works = true;

		for (unsigned i = 0; i < TRIAL_ROUNDS && works; i++)
			works = job_round(r, p, &v[i]) == 0;
		facts[r->depth].loop[p] = works ? quantile(v, TRIAL_ROUNDS, 0.5) : 0;
	}
}

static void job_report(const struct row *r)
{
	printf("    ext4 %.3g, XFS %.3g %s\n", facts[r->depth].loop[ON_EXT4], facts[r->depth].loop[ON_XFS], r->unit);
}

static json_t *job_details(const struct row *r)
{
	return json_pack("{sf sf}", "ext4", facts[r->depth].loop[ON_EXT4], "xfs", facts[r->depth].loop[ON_XFS]);
}

#define JOB_ROW(n, job)                                                                                                \
	{                                                                                                              \
		.name = n, .unit = "ms", .peer_name = "libfuse's passthrough_hp over tmpfs", .goal = 1.0,              \
		.ready = job_ready, .ours = job_ours, .peer = job_peer, .done = job_done, .report = job_report,        \
		.details = job_details, .depth = job                                                                   \
	}

const struct row job_rows[] = {
    JOB_ROW("mount_untar", UNTAR),
    JOB_ROW("mount_clone", CLONE),
    JOB_ROW("mount_build", BUILD),
};
static_assert(ARRAY_LEN(job_rows) == ROWS, "each has its facts");
const unsigned job_row_count = ROWS;

void job_finish(void)
{
	char *const remove_it[] = {"rm", "-rf", env.dir, NULL};

	if (env.dir[0])
		(void)run_program(remove_it);
}
