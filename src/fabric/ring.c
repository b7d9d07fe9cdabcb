/* SPDX-License-Identifier: BSD-2-Clause */
#include "fabric/ring.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/error.h"
#include "fabric/status.h"

/* volatile: the compiler must neither read shared bytes a second time nor skip the copy. */
void ring_snatch(void *to, const void *shared, size_t len)
{
	const volatile uint64_t *from = shared;
	uint64_t *out = to;

	assert(len % sizeof(uint64_t) == 0);
	for (size_t i = 0; i < len / sizeof(uint64_t); i++)
		out[i] = from[i];
}

int ring_map_make(int fd, size_t len, bool populate, struct ring_map *out)
{
	char *base = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | (populate ? MAP_POPULATE : 0), fd, 0);

	if (base == MAP_FAILED)
		return fail(-errno, "fabric: the ring's memory cannot be mapped");
	*out = (struct ring_map){
	    .base = base,
	    .len = len,
	    .head = (struct ring_w_header *)base,
	    .sq = (struct ring_w_entry *)(base + RING_SQ_START),
	    .cq = (struct ring_w_completion *)(base + RING_CQ_START),
	    .arena = base + RING_ARENA_START,
	    .arena_len = len - RING_ARENA_START,
	};
	return 0;
}

void ring_map_drop(struct ring_map *m)
{
	munmap(m->base, m->len);
}

void ring_header_encode(uint64_t arena_len, struct ring_w_header *out)
{
	*out = (struct ring_w_header){
	    .rh_magic = le64_of(RING_MAGIC),
	    .rh_version = le32_of(RING_VERSION),
	    .rh_entries = le32_of(RING_ENTRIES),
	    .rh_arena_start = le64_of(RING_ARENA_START),
	    .rh_arena_length = le64_of(arena_len),
	    .rh_target_sleeps = le32_of(1),
	};
}

const char *ring_header_decode(const struct ring_w_header *w, uint64_t len)
{
	uint64_t arena = le64_to(w->rh_arena_length);

	if (le64_to(w->rh_magic) != RING_MAGIC)
		return "F20: ring without its magic";
	if (le32_to(w->rh_version) != RING_VERSION)
		return "F20: ring of an unknown version";
	if (le32_to(w->rh_entries) != RING_ENTRIES || le64_to(w->rh_arena_start) != RING_ARENA_START)
		return "F20: ring of another geometry";
	if (arena < RING_ARENA_LEAST || arena > RING_ARENA_MOST || arena % RING_ARENA_UNIT != 0)
		return "F20: arena too small, too large or uneven";
	if (arena != len - RING_ARENA_START)
		return "F20: arena and memory differ in size";
	return NULL;
}

void ring_request_encode(const struct ring_request *r, struct ring_w_entry *out)
{
	*out = (struct ring_w_entry){
	    .sq_key = le64_of(r->key),
	    .sq_offset = le64_of(r->offset),
	    .sq_length = le64_of(r->len),
	    .sq_arena = le64_of(r->arena),
	    .sq_tag = le32_of(r->tag),
	    .sq_type = r->dir == FABRIC_OP_READ ? RING_READ : RING_WRITE,
	};
}

const char *ring_request_decode(const struct ring_w_entry *w, uint64_t arena_len, struct ring_request *out)
{
	static const uint8_t zero[sizeof(w->sq_zero)];

	*out = (struct ring_request){
	    .dir = w->sq_type == RING_READ ? FABRIC_OP_READ : FABRIC_OP_WRITE,
	    .tag = le32_to(w->sq_tag),
	    .key = le64_to(w->sq_key),
	    .offset = le64_to(w->sq_offset),
	    .len = le64_to(w->sq_length),
	    .arena = le64_to(w->sq_arena),
	};
	if (w->sq_type != RING_READ && w->sq_type != RING_WRITE)
		return "F24: entry of unknown type";
	if (memcmp(w->sq_zero, zero, sizeof(zero)) != 0)
		return "F24: reserved bytes of an entry are not zero";
	if (request_absurd(out->offset, out->len))
		return "F3: length over the limit, or offset + length wraps";
	if (out->arena > arena_len || out->len > arena_len - out->arena)
		return "F24: entry outside the arena";
	return NULL;
}
