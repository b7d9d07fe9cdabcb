/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the rows through a mount work: ours over a pool on tmpfs, libfuse's passthrough_hp over tmpfs (built by
 * peer-passthrough), ext4 and XFS on loop devices. Each is mounted at first use, in a mount namespace of this process
 * alone; their servers die with it.
 */
#ifndef LH_BENCH_MOUNT_RIG_H
#define LH_BENCH_MOUNT_RIG_H

enum place { OURS, HP, HP_NOSPLICE, ON_EXT4, ON_XFS, PLACES };

extern const char *const place_names[PLACES];

/* An empty directory there that is ours; NULL and the reason when it cannot be had. Main thread only. */
const char *place_dir(enum place p, char *why);
/* Names and attributes that the kernel keeps are dropped (drop_caches 2), and the servers are done with hearing of it.
 */
void forget_names(void);
void mount_rig_finish(void);

#endif
