/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Filesystems of the kernel on a loop device over a file on tmpfs: XFS, the peer of the *_xfs rows, and ext4. Mounted
 * in a mount namespace of this process alone, so that nothing of them is left however the process ends. Need root, and
 * xfsprogs or e2fsprogs.
 */
#ifndef LH_BENCH_LOOP_PEER_H
#define LH_BENCH_LOOP_PEER_H

enum loop_kind { LOOP_XFS, LOOP_EXT4, LOOP_KINDS };

/* The mount point, made at the first call; NULL and the reason when it cannot be had here. Main thread only. */
const char *loop_dir(enum loop_kind kind, char *why);
void loop_finish(void);

/* From now on what this process mounts is seen by itself and its children alone, and ends with them. Again: nothing.
 * 0, or -errno and the reason. Main thread only. */
int own_mounts(char *why);
/* Runs a program and waits, its stderr thrown away; its exit status, or -errno. */
int run_program(char *const argv[]);

#endif
