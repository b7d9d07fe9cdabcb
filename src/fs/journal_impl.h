/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The journal's insides, shared by its files:
 *   journal.c   life, start of a generation, statistics       journal_txn.c   building items
 *   journal_append.c  segments, records, commit               journal_sync.c  POOL_MSYNC's sync and its thread
 *   recovery.c  journal_open and journal_format               checkpoint.c    the checkpoint
 *
 * Segments: `live` from the checkpoint's start to the current one, `spares` taken from the allocator and not yet in
 * use. The first spare is announced in the current segment's header (format 5.1), so a switch needs two: one to switch
 * to, one to announce there. Memory and space are got without JOURNAL (ALLOC is outside of it), in segment_refill.
 */
#ifndef LH_FS_JOURNAL_IMPL_H
#define LH_FS_JOURNAL_IMPL_H

#include <bsd/sys/queue.h>

#include "base/clock.h"
#include "base/lock.h"
#include "format/format.h"
#include "fs/journal.h"
#include "fs/scan.h"

#define DATA_RANGES_MAX   256u
#define SEGMENT_BYTES_MIN (64u << 10)
#define SEGMENT_BYTES_MAX (1u << 20)
#define LOG_WANTS_CHECKPOINT                                                                                           \
	((uint64_t)64 << 20)                       /* log bytes, unless the checkpoint is larger or the pool is small  \
						    */
#define LOG_POOL_SHARE        16u                  /* the log wants a checkpoint at 1/16 of the pool */
#define UNSYNCED_MAX          ((uint64_t)16 << 20) /* POOL_MSYNC: record bytes in memory that wake the sync thread */
#define FLIGHT_MAX            64u                  /* records that are being stored at the same time */
#define CHECKPOINT_BACKOFF_NS (NS_PER_SEC)         /* after a failed one */

struct segment {
	STAILQ_ENTRY(segment) entry;
	struct run run;
	uint64_t first_seq;
	/* POOL_MSYNC: what the pool will hold, until it does. Bytes [0, synced) are in the pool and durable. */
	uint8_t *shadow;
	uint64_t filled, synced, goal;
};
STAILQ_HEAD(segment_queue, segment);

/* Up to this number all is stored and fenced, or will be when `landed` and all before it are. */
struct flight {
	uint64_t seq;
	bool landed;
};

struct data_range {
	uint64_t off, end;
};

struct journal {
	struct pool *pool;
	struct alloc *alloc;
	bool msync, read_only, started, was_clean, copy_bad;
	bool cut; /* the log is damaged: this is what was before */
	uint32_t segment_blocks;
	struct super super;

	/* Under JOURNAL from here on. */
	struct lock lock;
	int error; /* stays: the medium failed */
	char error_text[200];
	bool closed; /* a clean checkpoint was written */
	uint64_t generation, salt;
	uint64_t seq, durable_seq; /* of the last record appended; known durable */
	uint64_t next_ino;
	struct segment_queue live, spares;
	struct segment *current; /* last of live */
	uint64_t at;             /* where its next record goes */
	unsigned spare_count;
	uint64_t log_bytes, records, checkpoints;
	/* Cache-flush and volatile pools: records that got their place and are being stored, in order, a ring. */
	struct flight flight[FLIGHT_MAX];
	unsigned flight_first, flight_count;
	struct cond flew; /* durable_seq rose, or all is over */

	/* journal_sync: one at a time is syncing. */
	struct cond synced;
	bool syncing;
	struct data_range data[DATA_RANGES_MAX];
	unsigned data_count;
	bool data_all;
	uint64_t data_notes, data_durable; /* calls of journal_data; those that are durable */
	uint64_t unsynced_bytes;
	struct cond tick;
	bool has_thread, thread_stop;
	pthread_t thread;
	uint64_t interval_ns;

	/* The checkpoint: one at a time. */
	struct cond work; /* also: a checkpoint ended, or may begin */
	unsigned holds;   /* no checkpoint begins */
	bool work_wanted, stopping, checkpointing;
	bool has_worker;              /* somebody calls journal_wait_work in a loop */
	uint64_t checkpoint_attempts; /* ended ones, good or not */
	uint64_t backoff_until_ns;
	uint64_t restart_records;    /* `records` when the checkpoint that is being made began */
	bool unchanged;              /* no record since the published one began: its items are all there is */
	struct checkpoint_head head; /* the published one */
	struct run *chunks;
	uint64_t chunk_count;

	/* Recovery's end, for journal_mark_space and journal_start. */
	struct scan_segment *old_segments;
	uint64_t old_segment_count;
	uint64_t old_end_offset;
};

static inline uint64_t run_bytes(struct run r)
{
	return r.blocks << LH_BLOCK_SHIFT;
}
static inline uint64_t run_offset(struct run r)
{
	return r.start << LH_BLOCK_SHIFT;
}

/* One more spare segment, from the reserve as alloc_take_meta says. No lock held. -ENOSPC, -ENOMEM. */
int segment_refill(struct journal *j, enum alloc_use use);
void segment_free(struct segment *s);
/* Gives back the space and memory of all in the queue. No lock held. */
void segments_release(struct journal *j, struct segment_queue *q);
/* Under JOURNAL, with two spares: ends the current segment by a link and goes on in the first spare. */
void segment_switch(struct journal *j);
/* Under JOURNAL, with two spares: makes the first spare the current segment and writes its header; nothing links to it
 * yet. */
void segment_begin(struct journal *j, uint64_t first_seq);
/* Under JOURNAL: whether records can be accepted. */
int journal_state(const struct journal *j);
/* Under JOURNAL, with fail_text() telling why: nothing is accepted any more, because it is not known what the medium
 * holds. The first reason stays. Returns err. */
int journal_broken(struct journal *j, int err);
/* Under JOURNAL, which is dropped meanwhile: all records up to this one have landed, or the journal is broken. */
void flight_wait(struct journal *j, uint64_t seq);
/* Under JOURNAL: asks the owner's thread for a checkpoint. */
void journal_want_work(struct journal *j);
/* The block with the header, durable, and published. Frees nothing. */
int head_publish(struct journal *j, const struct checkpoint_head *h);
uint64_t checkpoint_threshold(const struct journal *j);
/* Stops and joins journal_set_interval's thread. */
void interval_stop(struct journal *j);

#endif
