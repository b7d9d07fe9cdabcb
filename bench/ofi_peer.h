/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libfabric as the peer: a server process that exposes one plain region, and this process as the initiator of one-sided
 * reads and writes with delivery completion. Both sides poll, which is libfabric's fastest way of waiting.
 */
#ifndef LH_BENCH_OFI_PEER_H
#define LH_BENCH_OFI_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OFI_DEPTH_MAX 64

struct ofi_peer;

/* provider "tcp" (FI_EP_MSG) or "shm" (FI_EP_RDM). NULL, with the reason in why, when it cannot run here. */
struct ofi_peer *ofi_peer_start(const char *provider, size_t region, char *why, size_t why_len);
void ofi_peer_stop(struct ofi_peer *p);
/* The server process spins; it is stopped while somebody else is measured. */
void ofi_peer_pause(struct ofi_peer *p);
void ofi_peer_resume(struct ofi_peer *p);
/* count operations of len bytes at random aligned offsets, depth outstanding; lat_ns (count entries, may be NULL) gets
 * each one's time when depth is 1. 0 or -errno. */
int ofi_peer_run(struct ofi_peer *p, bool write, size_t len, unsigned depth, unsigned count, uint64_t *lat_ns);

#endif
