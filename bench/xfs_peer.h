/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * XFS on a loop device over a file on tmpfs, the peer of the *_xfs rows. It is mounted in a mount namespace of this
 * process alone, so that nothing of it is left however the process ends. Needs root and xfsprogs.
 */
#ifndef LH_BENCH_XFS_PEER_H
#define LH_BENCH_XFS_PEER_H

/* The mount point, made at the first call; NULL and the reason when it cannot be had here. Main thread only. */
const char *xfs_dir(char *why);
void xfs_finish(void);

#endif
