/* SPDX-License-Identifier: BSD-2-Clause */
/* A valid message of any type, filled from the table with values of a seeded generator. */
#ifndef TEST_PROTO_SAMPLE_H
#define TEST_PROTO_SAMPLE_H

#include "proto/internal.h"

#define SAMPLE_LIST 5u /* elements at most */

struct sample {
	uint64_t seed;
	char text[8192];
	union proto_element elements[SAMPLE_LIST]; /* packed by the element's size */
	char names[SAMPLE_LIST][310];              /* as much as one string of a sample has */
	union proto_body inner;                    /* of an AS or its answer */
};

uint64_t sample_next(struct sample *s);
/* Fills body with valid values for h (type, flags, status set). What it points to is in s. */
void sample_fill(struct sample *s, const struct proto_header *h, union proto_body *body);
/* Calls each() for every message that exists: requests, replies and error replies. */
void sample_each(void (*each)(const struct proto_header *h));

#endif
