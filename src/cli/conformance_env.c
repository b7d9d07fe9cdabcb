/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The frame of a case: sessions, stamped files, leases, tasks, and what is said about them. What a case takes from here
 * is given back after it; a case that fails ends the process instead, so that there is nothing to repair.
 *
 * Stamps: every 32 bytes of a file say whose they are and where they belong, so that one foreign byte is seen wherever
 * it lands, and its owner is known.
 */
#include "cli/conformance.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/types.h"

#define EVENT_WITHIN_MS 10000
#define IO_MAX          (256 * CF_KIB)

const char *cf_way_name(enum cf_way way)
{
	static const char *const names[] = {"process", "unix", "tcp"};

	return names[way];
}

/* --- what is said --- */

/* Any thread; the process ends with it. Running it twice at once is harmless: both end the process. */
static _Noreturn void end_case(struct cf *c, enum cf_result how, const char *text)
{
	snprintf(c->result->saw, sizeof(c->result->saw), "%s", text);
	c->result->result = how;
	_exit(1);
}

void cf_fail(struct cf *c, const char *fmt, ...)
{
	char text[CF_SAW_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	end_case(c, CF_FAILED, text);
}

void cf_skip(struct cf *c, const char *fmt, ...)
{
	char text[CF_SAW_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	end_case(c, CF_SKIPPED, text);
}

void cf_absent(struct cf *c, const char *what)
{
	char text[CF_SAW_MAX];

	snprintf(text, sizeof(text), "not in this version: %s", what);
	end_case(c, CF_ABSENT, text);
}

void cf_saw(struct cf *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->result->saw, sizeof(c->result->saw), fmt, ap);
	va_end(ap);
}

int64_t cf_check(struct cf *c, int64_t result, const char *call)
{
	if (result == -EOPNOTSUPP)
		cf_absent(c, lh_error_text()[0] ? lh_error_text() : call);
	if (result < 0)
		cf_fail(c, "%s: %s (%s)", call, strerror((int)-result), lh_error_text());
	return result;
}

static const char *value_text(int64_t v, char buf[48])
{
	if (v < 0 && v > -4096)
		snprintf(buf, 48, "%s", strerrorname_np((int)-v) ? strerrorname_np((int)-v) : "?");
	else
		snprintf(buf, 48, "%lld", (long long)v);
	return buf;
}

void cf_check_is(struct cf *c, int64_t result, int64_t want, const char *call)
{
	char got[48], wanted[48];

	if (result == want)
		return;
	if (result == -EOPNOTSUPP)
		cf_absent(c, lh_error_text()[0] ? lh_error_text() : call);
	cf_fail(c, "%s: %s instead of %s (%s)", call, value_text(result, got), value_text(want, wanted),
		result < 0 ? lh_error_text() : "");
}

uint64_t cf_draw(struct cf *c, uint64_t below)
{
	c->seed ^= c->seed << 13;
	c->seed ^= c->seed >> 7;
	c->seed ^= c->seed << 17;
	return below ? c->seed % below : c->seed;
}

void cf_sleep(uint64_t ns)
{
	struct timespec ts = {(time_t)(ns / NS_PER_SEC), (long)(ns % NS_PER_SEC)};

	while (nanosleep(&ts, &ts) != 0 && errno == EINTR)
		;
}

unsigned cf_scaled(const struct cf *c, unsigned n, unsigned min)
{
	double v = n * c->config->scale;

	return v < min ? min : (unsigned)v;
}

/* --- what is given back --- */

static void keep(struct cf *c, int kind, struct lh_file *file, void *what)
{
	pthread_mutex_lock(&c->lock);
	if (c->kept == CF_KEEP_MAX)
		cf_fail(c, "the case keeps more than %u things", CF_KEEP_MAX);
	c->keep[c->kept].kind = kind;
	c->keep[c->kept].file = file;
	c->keep[c->kept++].what = what;
	pthread_mutex_unlock(&c->lock);
}

static void forget(struct cf *c, const void *what)
{
	pthread_mutex_lock(&c->lock);
	for (unsigned i = c->kept; i-- > 0;) {
		if (c->keep[i].what != what)
			continue;
		memmove(&c->keep[i], &c->keep[i + 1], (c->kept - i - 1) * sizeof(c->keep[0]));
		c->kept--;
		break;
	}
	pthread_mutex_unlock(&c->lock);
}

void cf_keep_child(struct cf *c, struct cf_child *h)
{
	keep(c, CF_KEEP_CHILD, NULL, h);
}

void cf_keep_file(struct cf *c, struct lh_file *file)
{
	keep(c, CF_KEEP_FILE, NULL, file);
}

/* After a case, in the reverse order: children, leases, files, sessions. */
void cf_give_back(struct cf *c)
{
	for (unsigned i = c->kept; i-- > 0;) {
		struct cf_keep *k = &c->keep[i];

		switch (k->kind) {
		case CF_KEEP_CHILD:
			cf_child_kill(k->what);
			break;
		case CF_KEEP_LEASE:
			lh_lease_release(k->what);
			break;
		case CF_KEEP_FILE:
			lh_file_close(k->what);
			break;
		case CF_KEEP_SESSION:
			if (k->what != c->local)
				lh_fs_close(k->what);
			break;
		}
	}
	c->kept = 0;
}

/* --- sessions --- */

const char *cf_address(const struct cf *c, enum cf_end end)
{
	if (c->local != NULL && end != CF_END_TCP)
		return lh_server_address(c->by_unix);
	if (c->local != NULL)
		return lh_server_address(c->by_tcp);
	return end == CF_END_TCP ? c->config->tcp_address : c->config->unix_address;
}

struct lh_fs *cf_session_with(struct cf *c, enum cf_end end, const struct lh_open_options *opt, const char *address)
{
	struct lh_open_options o = {.size = sizeof(o)};
	struct lh_fs *fs = NULL;

	if (end == CF_END_LOCAL)
		return c->local;
	/* Calls are calls: cached leases are a rule of their own (L32). */
	o.no_cache = true;
	if (opt != NULL)
		o = *opt;
	o.fabric = end == CF_END_RING ? LH_FABRIC_RING : LH_FABRIC_STREAM;
	if (o.ring_bytes == 0)
		o.ring_bytes = 4 * CF_MIB;
	OK(c, lh_fs_open(address != NULL ? address : cf_address(c, end), &o, &fs));
	keep(c, CF_KEEP_SESSION, NULL, fs);
	return fs;
}

struct lh_fs *cf_session(struct cf *c, enum cf_end end)
{
	return cf_session_with(c, end, NULL, NULL);
}

void cf_session_close(struct cf *c, struct lh_fs *fs)
{
	forget(c, fs);
	OK(c, lh_fs_close(fs));
}

/* Revoking what nobody has asks for the permission only. */
bool cf_admin(struct cf *c, struct lh_fs *fs)
{
	struct lh_revoke_filter f = {.size = sizeof(f), .number = UINT64_MAX};
	int n = lh_fs_revoke(fs, &f);

	if (n < 0 && n != -EPERM)
		OK(c, n);
	return n >= 0;
}

/* --- stamps --- */

static uint64_t cell_sum(uint64_t owner, uint64_t number, uint64_t version)
{
	uint64_t x = owner * 0x9e3779b97f4a7c15ull ^ number * 0xbf58476d1ce4e5b9ull ^ version * 0x94d049bb133111ebull;

	x ^= x >> 31;
	return (x * 0x2545f4914f6cdd1dull) ^ 0x4c48636f6e66ull;
}

void cf_stamp(void *buf, size_t len, uint64_t owner, uint64_t off, uint64_t version)
{
	for (size_t i = 0; i < len / CF_CELL; i++) {
		uint64_t number = off / CF_CELL + i;
		uint64_t cell[4] = {owner, number, version, cell_sum(owner, number, version)};

		memcpy((char *)buf + i * CF_CELL, cell, CF_CELL);
	}
}

void cf_look(const void *buf, size_t len, uint64_t owner, uint64_t off, struct cf_seen *seen)
{
	for (size_t i = 0; i < len / CF_CELL; i++) {
		uint64_t number = off / CF_CELL + i, cell[4];

		memcpy(cell, (const char *)buf + i * CF_CELL, CF_CELL);
		if (cell[0] == owner && cell[1] == number && cell[3] == cell_sum(owner, number, cell[2])) {
			if (seen->own == 0 || cell[2] < seen->low)
				seen->low = cell[2];
			if (seen->own == 0 || cell[2] > seen->high)
				seen->high = cell[2];
			seen->own++;
		} else if ((cell[0] | cell[1] | cell[2] | cell[3]) == 0) {
			seen->zero++;
		} else {
			if (seen->foreign == 0) {
				seen->bad_off = off + i * CF_CELL;
				seen->bad_owner = cell[0];
			}
			seen->foreign++;
		}
	}
}

uint64_t cf_cells_of(const void *buf, size_t len, uint64_t owner)
{
	uint64_t n = 0, cell[4];

	for (size_t i = 0; i < len / CF_CELL; i++) {
		memcpy(cell, (const char *)buf + i * CF_CELL, CF_CELL);
		n += cell[0] == owner && cell[3] == cell_sum(cell[0], cell[1], cell[2]);
	}
	return n;
}

/* --- files --- */

uint64_t cf_owner(struct cf *c)
{
	/* Never the same in two cases, nor in two runs. */
	return (c->config->seed << 24 ^ (uint64_t)getpid() << 40) + ++c->serial;
}

void cf_fill(struct cf *c, struct lh_file *file, uint64_t off, uint64_t len, uint64_t owner, uint64_t version)
{
	uint64_t at = 0;
	void *buf = malloc(IO_MAX);

	NEED(c, buf != NULL, "no memory for %llu bytes", (unsigned long long)IO_MAX);
	while (at < len) {
		uint64_t n = min_u64(IO_MAX, len - at);

		cf_stamp(buf, n, owner, off + at, version);
		IS(c, lh_file_write(file, buf, n, off + at), (int64_t)n);
		at += n;
	}
	free(buf);
}

struct lh_file *cf_make(struct cf *c, struct lh_fs *fs, uint64_t size, struct cf_made *made)
{
	struct lh_file *file = NULL;

	made->owner = cf_owner(c);
	made->size = size;
	snprintf(made->path, sizeof(made->path), "%s/%u.%d", c->config->work, c->serial, (int)getpid());
	OK(c, lh_file_open(fs, made->path, O_RDWR | O_CREAT | O_EXCL, 0666, &file));
	keep(c, CF_KEEP_FILE, NULL, file);
	cf_fill(c, file, 0, size, made->owner, 1);
	return file;
}

struct lh_file *cf_open(struct cf *c, struct lh_fs *fs, const struct cf_made *made, int flags)
{
	struct lh_file *file = NULL;

	OK(c, lh_file_open(fs, made->path, flags, 0666, &file));
	keep(c, CF_KEEP_FILE, NULL, file);
	return file;
}

void cf_close(struct cf *c, struct lh_file *file)
{
	forget(c, file);
	/* Its leases end with it, and so do their handles. */
	pthread_mutex_lock(&c->lock);
	for (unsigned i = c->kept; i-- > 0;) {
		if (c->keep[i].kind != CF_KEEP_LEASE || c->keep[i].file != file)
			continue;
		memmove(&c->keep[i], &c->keep[i + 1], (c->kept - i - 1) * sizeof(c->keep[0]));
		c->kept--;
	}
	pthread_mutex_unlock(&c->lock);
	OK(c, lh_file_close(file));
}

static void all_own(struct cf *c, const void *buf, uint64_t len, uint64_t owner, uint64_t off, const char *how)
{
	struct cf_seen s = {0};

	cf_look(buf, len, owner, off, &s);
	if (s.foreign)
		cf_fail(c, "%s: a foreign cell at byte %llu, its owner %llx and not %llx", how,
			(unsigned long long)s.bad_off, (unsigned long long)s.bad_owner, (unsigned long long)owner);
	if (s.zero)
		cf_fail(c, "%s: %llu cells of zeroes instead of data in [%llu, +%llu)", how, (unsigned long long)s.zero,
			(unsigned long long)off, (unsigned long long)len);
}

void cf_same(struct cf *c, struct lh_file *file, uint64_t off, uint64_t len, uint64_t owner)
{
	void *buf = malloc(len);

	NEED(c, buf != NULL, "no memory for %llu bytes", (unsigned long long)len);
	IS(c, lh_file_read(file, buf, len, off), (int64_t)len);
	all_own(c, buf, len, owner, off, "read by a call");
	free(buf);
}

void cf_lease_same(struct cf *c, struct lh_lease *lease, uint64_t off, uint64_t len, uint64_t owner)
{
	void *buf = malloc(len);

	NEED(c, buf != NULL, "no memory for %llu bytes", (unsigned long long)len);
	IS(c, lh_lease_read(lease, buf, len, off), (int64_t)len);
	all_own(c, buf, len, owner, off, "read through the lease");
	free(buf);
}

struct lh_stat cf_stat(struct cf *c, struct lh_file *file)
{
	struct lh_stat st = {.size_of = sizeof(st)};

	OK(c, lh_file_stat(file, &st));
	return st;
}

/* --- leases --- */

int cf_try_lease(struct cf *c, struct lh_file *file, uint64_t off, uint64_t len, const struct lh_lease_options *opt,
		 struct lh_lease **out)
{
	int err = lh_lease_get(file, off, len, opt, out);

	/* A version that does not know a kind of lease says so in words. */
	if (err == -EINVAL && opt->flags & (LH_LEASE_FAULTING | LH_LEASE_EXCLUSIVE) &&
	    strstr(lh_error_text(), "unknown bits") != NULL)
		cf_absent(c, opt->flags & LH_LEASE_FAULTING ? "faulting leases" : "exclusive leases");
	if (!err)
		keep(c, CF_KEEP_LEASE, file, *out);
	return err;
}

struct lh_lease *cf_lease_within(struct cf *c, struct lh_file *file, uint64_t off, uint64_t len, uint32_t flags,
				 uint64_t deadline_ns)
{
	struct lh_lease_options o = {.size = sizeof(o), .flags = flags, .deadline_ns = deadline_ns};
	struct lh_lease *lease = NULL;

	if (c->variant.faulting)
		o.flags |= LH_LEASE_FAULTING;
	OK(c, cf_try_lease(c, file, off, len, &o, &lease));
	return lease;
}

struct lh_lease *cf_lease(struct cf *c, struct lh_file *file, uint64_t off, uint64_t len, uint32_t flags)
{
	return cf_lease_within(c, file, off, len, flags, CF_LONG);
}

void cf_release(struct cf *c, struct lh_lease *lease)
{
	forget(c, lease);
	OK(c, lh_lease_release(lease));
}

struct lh_lease_state cf_state(struct cf *c, struct lh_lease *lease)
{
	struct lh_lease_state s = {.size = sizeof(s)};

	OK(c, lh_lease_state(lease, &s));
	return s;
}

struct lh_lease_extent cf_key(struct cf *c, struct lh_lease *lease)
{
	struct lh_lease_extent e = {0};
	int n = (int)OK(c, lh_lease_extents(lease, &e, 1));

	NEED(c, n == 1 && e.key != 0, "the lease has no key");
	return e;
}

struct lh_lease_stats cf_stats(struct cf *c, struct lh_fs *fs)
{
	struct lh_lease_stats s = {.size = sizeof(s)};

	OK(c, lh_fs_lease_stats(fs, &s));
	return s;
}

struct lh_event cf_event(struct cf *c, struct lh_fs *fs)
{
	struct pollfd p = {.fd = lh_event_fd(fs), .events = POLLIN};
	struct lh_event e = {.size = sizeof(e)};

	NEED(c, poll(&p, 1, EVENT_WITHIN_MS) == 1, "no recall came within %d s", EVENT_WITHIN_MS / 1000);
	IS(c, lh_event_next(fs, &e), 1);
	return e;
}

bool cf_no_event(struct lh_fs *fs)
{
	struct lh_event e = {.size = sizeof(e)};

	return lh_event_next(fs, &e) == 0;
}

bool cf_until(bool (*cond)(void *arg), void *arg, uint64_t within_ns)
{
	uint64_t end = clock_now_ns() + within_ns;

	while (!cond(arg)) {
		if (clock_now_ns() > end)
			return false;
		cf_sleep(2 * NS_PER_MS);
	}
	return true;
}

/* --- tasks --- */

static void *task_thread(void *arg)
{
	struct cf_task *t = arg;

	t->began_ns = clock_now_ns();
	t->result = t->run(t);
	t->took_ns = clock_now_ns() - t->began_ns;
	snprintf(t->text, sizeof(t->text), "%s", t->result < 0 ? lh_error_text() : "");
	atomic_store(&t->done, true);
	return NULL;
}

void cf_go(struct cf *c, struct cf_task *t)
{
	t->c = c;
	t->result = 0;
	atomic_store(&t->done, false);
	NEED(c, pthread_create(&t->thread, NULL, task_thread, t) == 0, "no thread");
}

int64_t cf_join(struct cf *c, struct cf_task *t)
{
	pthread_join(t->thread, NULL);
	if (t->result == -EOPNOTSUPP)
		cf_absent(c, t->text);
	return t->result;
}

int64_t cf_run_relocate(struct cf_task *t)
{
	return lh_file_relocate(t->file, t->off, t->len);
}

int64_t cf_run_truncate(struct cf_task *t)
{
	return lh_file_truncate(t->file, t->off);
}

int64_t cf_run_punch(struct cf_task *t)
{
	return lh_file_punch(t->file, t->off, t->len);
}

/* --- numbers --- */

void cf_number(struct cf *c, struct cf_numbers *n, uint64_t v)
{
	if (n->count == n->room) {
		n->room = n->room ? 2 * n->room : 256;
		n->v = reallocarray(n->v, n->room, sizeof(*n->v));
		NEED(c, n->v != NULL, "no memory for %u numbers", n->room);
	}
	n->v[n->count++] = v;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

uint64_t cf_percentile(struct cf_numbers *n, double p)
{
	if (n->count == 0)
		return 0;
	qsort(n->v, n->count, sizeof(*n->v), by_value);
	return n->v[min_u64((uint64_t)(p / 100 * n->count), n->count - 1)];
}

void cf_numbers_free(struct cf_numbers *n)
{
	free(n->v);
	*n = (struct cf_numbers){0};
}
