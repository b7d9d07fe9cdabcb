/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pins of devices, the in-process side of lh_pin_*: what local.h embeds for them, and who calls whom.
 *
 * device.c is the public calls, device_part.c the consumer under the arbiter (place, drain, gone) and the thread that
 * answers recalls.
 */
#ifndef LH_LOCAL_DEVICE_H
#define LH_LOCAL_DEVICE_H

#include <pthread.h>
#include <stdatomic.h>

#include <bsd/sys/queue.h>
#include <bsd/sys/tree.h>

#include "api/backend.h"
#include "base/lock.h"
#include "lease/lease.h"

/* Grants behind one pin before a fault replaces them by one. */
#define DEVICE_PARTS_MAX 16u
/* How often a pin may lose its lease while it is attached before the caller hears of it. */
#define DEVICE_TRIES_MAX 64u

struct device_part;
RB_HEAD(device_tree, device_part);
RB_PROTOTYPE(device_tree, device_part, by_number, device_part_compare)
TAILQ_HEAD(device_parts, device_part);
TAILQ_HEAD(device_pins, lh_pin);

/* Of one lh_fs; all under its table lock. The thread is started by the first pin. */
struct local_devices {
	struct device_tree parts; /* by the arbiter's number */
	struct device_parts pending;
	struct cond wake;
	pthread_t thread;
	bool started, stop;
};

struct lease_recall;

/* device_part.c */
/* Of every pin, but for the name. */
extern const struct lease_pin_ops device_pin_ops;
void devices_init(struct lh_fs *fs);
/* No pin is left. */
void devices_fini(struct lh_fs *fs);
int devices_start(struct lh_fs *fs);
/* Under table: the notice is for a pin of a device, if it is for anything. true: it is to be released at once. */
bool device_recalled(struct lh_fs *fs, const struct lease_recall *r);
void device_release(struct lh_fs *fs, uint64_t number, struct range range);
/* One more grant of the pin over the range, which nothing of it reaches. -ENODATA: beyond the end of file. */
int device_part_get(struct lh_pin *pin, struct range range);
/* Gives the range back in all grants of the pin. */
void device_parts_release(struct lh_pin *pin, struct range range);

/* device.c */
int local_pin_get(struct lh_file *file, uint64_t off, uint64_t len, const struct lh_pin_options *opt,
		  const struct lh_pin_device *device, void *ctx, struct lh_pin **out);
int local_pin_fault(struct lh_pin *pin, uint64_t off, uint64_t len);
int local_pin_commit(struct lh_pin *pin, uint64_t off, uint64_t len);
int local_file_commit(struct lh_file *file, uint64_t off, uint64_t len);
int local_pin_state(struct lh_pin *pin, struct lh_pin_state *out);
int local_pin_release(struct lh_pin *pin);
/* L24: the file is being closed. */
void devices_release(struct lh_file *file);

/* Bytes that the device reaches; a hole reads as zeroes. */
struct device_piece {
	uint64_t off, len, pool_off;
	bool hole;
};

struct lh_pin {
	struct lh_pin_head head;
	struct lh_fs *fs;
	TAILQ_ENTRY(lh_pin) in_file;
	struct lh_pin_device device;
	struct lease_pin_ops ops; /* the same for all, but for the name */
	char name[32];
	void *ctx;
	struct range range; /* whole blocks */
	enum lease_mode mode;
	bool nowait, exclusive;
	bool at_once; /* LH_LEASE_NOW: the thread that breaks lets the device go, without a notice to another one */
	uint64_t deadline_ns, max_age_ns;
	atomic_ullong recalls;

	struct lock lock; /* held while a callback of the device runs */
	struct cond turn;
	bool faulting;
	struct device_piece *pieces; /* ascending, apart */
	unsigned count, capacity;
	struct device_parts parts; /* grants of the arbiter; their ranges are apart */
	unsigned part_count;
	uint64_t attaches, detaches, faults;
};

struct device_part {
	RB_ENTRY(device_part) by_number;
	TAILQ_ENTRY(device_part) in_pin;
	TAILQ_ENTRY(device_part) in_pending;
	struct lh_pin *pin;
	uint64_t number;      /* 0: not placed yet */
	struct range pending; /* hull of what was recalled and not released yet; empty: not in the list */
	atomic_uint refs;     /* the arbiter's until gone(), the getter's while it gets */
	bool ended;           /* under table */
};

#endif
