/* SPDX-License-Identifier: BSD-2-Clause */
/* The description of the messages: what table.c fills and proto.c and text.c walk through. */
#ifndef LH_PROTO_INTERNAL_H
#define LH_PROTO_INTERNAL_H

#include "proto/proto.h"

enum field_kind {
	FIELD_U32,
	FIELD_U64,
	FIELD_I32,
	FIELD_I64,
	FIELD_B16,
	FIELD_STR,
	FIELD_DATA,
	FIELD_RANGE,
	FIELD_LIST,
	FIELD_INNER
};

/* One field of a body, in wire order. */
struct field {
	enum field_kind kind;
	const char *name;
	size_t offset; /* in union proto_body, or in union proto_element */
	/* U32: allowed values. STR, DATA: bytes. LIST: hi elements. INNER: hi bytes, lo PROTO_REPLY or 0 */
	uint64_t lo, hi;
	const struct shape *element; /* LIST */
};
struct shape {
	const struct field *fields;
	unsigned count;
	size_t host_size; /* elements: sizeof the struct */
	bool plain_name;  /* elements: their string is a name of a directory entry; empty only where that is allowed */
};
struct type_info {
	const char *name;
	uint16_t type;
	const struct shape *request, *reply; /* reply NULL: it has none */
};

union proto_element {
	struct proto_run run;
	struct proto_extent extent;
	struct proto_dirent dirent;
	struct proto_lease_info lease_info;
	struct proto_snapshot_info snapshot_info;
	struct proto_session_info session_info;
	struct proto_audit audit;
	struct proto_limit limit;
	struct proto_lost lost;
	struct proto_listed_entry listed_entry;
	struct proto_group group;
	struct proto_attr attr;
	struct proto_change change;
};

extern const struct shape proto_shape_error, proto_shape_run, proto_shape_extent, proto_shape_dirent,
    proto_shape_lease_info, proto_shape_session_info, proto_shape_audit, proto_shape_snapshot_info, proto_shape_limit,
    proto_shape_lost, proto_shape_listed_entry, proto_shape_group, proto_shape_attr, proto_shape_change;

/* NULL: unknown. */
const struct type_info *proto_type_info(unsigned type);
/* The body that this header announces; NULL when there is no such message. */
const struct shape *proto_body_shape(const struct proto_header *h);
/* Reads one element; cursor is a byte position. */
bool proto_element_next(const struct proto_list *l, const struct shape *shape, uint32_t *cursor, void *out);

#endif
