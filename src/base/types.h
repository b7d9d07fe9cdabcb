/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Little-endian integers of the medium and the wire, half-open ranges, and arithmetic that cannot wrap.
 *
 * le16, le32 and le64 are one-member structs, so that a forgotten conversion does not compile.
 */
#ifndef LH_BASE_TYPES_H
#define LH_BASE_TYPES_H

#include <assert.h>
#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LH_BLOCK_SHIFT 12
#define LH_BLOCK_SIZE  4096u

typedef struct {
	uint16_t raw;
} le16;
typedef struct {
	uint32_t raw;
} le32;
typedef struct {
	uint64_t raw;
} le64;

static inline uint16_t le16_to(le16 v)
{
	return le16toh(v.raw);
}
static inline uint32_t le32_to(le32 v)
{
	return le32toh(v.raw);
}
static inline uint64_t le64_to(le64 v)
{
	return le64toh(v.raw);
}
static inline le16 le16_of(uint16_t v)
{
	return (le16){htole16(v)};
}
static inline le32 le32_of(uint32_t v)
{
	return (le32){htole32(v)};
}
static inline le64 le64_of(uint64_t v)
{
	return (le64){htole64(v)};
}

/* Half open: [start, end). Empty when start >= end. RANGE_MAX as end is infinity. */
struct range {
	uint64_t start;
	uint64_t end;
};
#define RANGE_MAX UINT64_MAX
#define RANGE_ALL ((struct range){0, RANGE_MAX})

static inline bool range_empty(struct range r)
{
	return r.start >= r.end;
}
static inline bool range_overlaps(struct range a, struct range b)
{
	return a.start < b.end && b.start < a.end;
}
static inline bool range_covers(struct range outer, struct range inner)
{
	return outer.start <= inner.start && inner.end <= outer.end;
}
static inline struct range range_cut(struct range a, struct range b)
{
	return (struct range){a.start > b.start ? a.start : b.start, a.end < b.end ? a.end : b.end};
}

/* The hull of both; r may be empty. */
static inline void range_join(struct range *r, struct range more)
{
	if (range_empty(*r))
		*r = more;
	else
		*r = (struct range){r->start < more.start ? r->start : more.start,
				    r->end > more.end ? r->end : more.end};
}

/* true when the result does not fit; *out is then undefined. */
#define add_overflows(a, b, out) __builtin_add_overflow((a), (b), (out))
#define mul_overflows(a, b, out) __builtin_mul_overflow((a), (b), (out))

static inline uint64_t round_down_u64(uint64_t v, uint64_t to)
{
	return v - v % to;
}
/* v must be at most UINT64_MAX - to. */
static inline uint64_t round_up_u64(uint64_t v, uint64_t to)
{
	return round_down_u64(v + to - 1, to);
}
static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}
static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

#define ARRAY_LEN(a)          (sizeof(a) / sizeof((a)[0]))
#define likely(x)             __builtin_expect(!!(x), 1)
#define unlikely(x)           __builtin_expect(!!(x), 0)
#define container_of(p, t, m) ((t *)((char *)(p)-offsetof(t, m)))

#endif
