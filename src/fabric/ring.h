/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ring member's shared memory, docs/protocol-fabric.md. Both sides are hostile to each other: whoever reads the
 * other's bytes copies them out first, and looks at the copy only.
 */
#ifndef LH_FABRIC_RING_H
#define LH_FABRIC_RING_H

#include <stdatomic.h>

#include "base/types.h"
#include "fabric/fabric.h"

#define RING_MAGIC       0x3130474e4952484cull /* "LHRING01" */
#define RING_VERSION     1u
#define RING_ENTRIES     256u
#define RING_SQ_START    4096u
#define RING_CQ_START    20480u
#define RING_ARENA_START 65536u
#define RING_ARENA_UNIT  4096u
#define RING_ARENA_LEAST 262144u
#define RING_ARENA_MOST  ((uint64_t)1 << 30)
#define RING_READ        1
#define RING_WRITE       2
#define RING_CLOSED      1u

static_assert(RING_ENTRIES == FABRIC_DEPTH_MAX, "protocol-fabric F6");

/* What is written by one side is on cache lines of its own, two because processors fetch pairs. */
struct ring_w_header {
	le64 rh_magic;
	le32 rh_version;
	le32 rh_entries;
	le64 rh_arena_start;
	le64 rh_arena_length;
	uint8_t rh_pad0[96];
	le32 rh_sq_tail;
	uint8_t rh_pad1[124];
	le32 rh_cq_head;
	uint8_t rh_pad2[124];
	le32 rh_conn_sleeps;
	uint8_t rh_pad3[124];
	le32 rh_cq_tail;
	uint8_t rh_pad4[124];
	le32 rh_target_sleeps;
	uint8_t rh_pad5[124];
	le32 rh_closed;
};
static_assert(offsetof(struct ring_w_header, rh_sq_tail) == 128, "protocol-fabric: ring");
static_assert(offsetof(struct ring_w_header, rh_cq_head) == 256, "protocol-fabric: ring");
static_assert(offsetof(struct ring_w_header, rh_conn_sleeps) == 384, "protocol-fabric: ring");
static_assert(offsetof(struct ring_w_header, rh_cq_tail) == 512, "protocol-fabric: ring");
static_assert(offsetof(struct ring_w_header, rh_target_sleeps) == 640, "protocol-fabric: ring");
static_assert(offsetof(struct ring_w_header, rh_closed) == 768, "protocol-fabric: ring");

struct ring_w_entry {
	le64 sq_key;
	le64 sq_offset;
	le64 sq_length;
	le64 sq_arena;
	le32 sq_tag;
	uint8_t sq_type;
	uint8_t sq_zero[27];
};
static_assert(sizeof(struct ring_w_entry) == 64, "protocol-fabric: submission entry");
static_assert(offsetof(struct ring_w_entry, sq_type) == 36, "protocol-fabric: submission entry");
static_assert(RING_SQ_START + RING_ENTRIES * sizeof(struct ring_w_entry) <= RING_CQ_START, "protocol-fabric: ring");

struct ring_w_completion {
	le32 cq_tag;
	le32 cq_status;
	le64 cq_zero;
};
static_assert(sizeof(struct ring_w_completion) == 16, "protocol-fabric: completion entry");
static_assert(RING_CQ_START + RING_ENTRIES * sizeof(struct ring_w_completion) <= RING_ARENA_START,
	      "protocol-fabric: ring");

/* One side's mapping. */
struct ring_map {
	char *base;
	size_t len;
	struct ring_w_header *head;
	struct ring_w_entry *sq;
	struct ring_w_completion *cq;
	char *arena;
	uint64_t arena_len;
};

struct ring_request {
	enum fabric_dir dir;
	uint32_t tag;
	uint64_t key, offset, len, arena;
};

static inline uint32_t ring_load(const le32 *shared)
{
	return le32toh(__atomic_load_n(&shared->raw, __ATOMIC_ACQUIRE));
}
static inline void ring_store(le32 *shared, uint32_t v)
{
	__atomic_store_n(&shared->raw, htole32(v), __ATOMIC_RELEASE);
}
/* Between a store of ours and a look at the other's flag or counter (F26). */
static inline void ring_fence(void)
{
	atomic_thread_fence(memory_order_seq_cst);
}

/* Copies len bytes (a multiple of 8) out of shared memory, each once. */
void ring_snatch(void *to, const void *shared, size_t len);

/* Maps fd of len bytes and sets the pointers; arena_len is what remains. populate: touch every page. */
int ring_map_make(int fd, size_t len, bool populate, struct ring_map *out);
void ring_map_drop(struct ring_map *m);

void ring_header_encode(uint64_t arena_len, struct ring_w_header *out);
/* NULL, or the broken rule: the geometry of a memfd of len bytes. Looks at the first 32 bytes. */
const char *ring_header_decode(const struct ring_w_header *w, uint64_t len);
void ring_request_encode(const struct ring_request *r, struct ring_w_entry *out);
const char *ring_request_decode(const struct ring_w_entry *w, uint64_t arena_len, struct ring_request *out);

#endif
