/* SPDX-License-Identifier: BSD-2-Clause */
/* Cached leases of plain reads (L32): what the rest of the client has to do with them. */
#ifndef LH_CLIENT_CACHE_H
#define LH_CLIENT_CACHE_H

#include "client/client.h"

/* Without it (no_cache, no data path) reads go as calls. */
int client_cache_new(struct lh_fs *fs);
/* Every file was closed; calls may still be made. */
void client_cache_free(struct lh_fs *fs);
/* The file is about to be closed: nobody reads it any more. */
void client_cache_close(struct lh_file *file);
/* This session itself may have made the file shorter. Caller holds both locks; lease is a cached one. */
void client_cache_shrunk(struct lh_fs *fs, struct lh_lease *lease);
/* The application was refused a lease for want of pinned bytes: those of the cache go. true: there were some. */
bool client_cache_yield(struct lh_fs *fs);

/* lease.c, grant.c, io.c: what the cache needs of leases. */
struct lh_lease *client_lease_internal(struct lh_file *file);
/* One that was never in a list. */
void client_lease_internal_free(struct lh_lease *lease);
/* Ends it without a word to the server, which ends it with the handle. */
void client_lease_internal_end(struct lh_lease *lease);
/* Takes r out of the map and gives it back. Caller holds both locks. */
void client_lease_forget(struct lh_fs *fs, struct lh_lease *lease, struct range r);
/* Reads by key what one look at the map covers; 0: nothing is known at off, or its key is dead; -EAGAIN: it is known,
 * in so small pieces that a call is better. */
ssize_t client_lease_step(struct lh_lease *lease, char *buf, size_t len, uint64_t off);

#endif
