/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From a checked request to its answer: which call carries it out, and where. The loop runs what takes microseconds and
 * waits for nobody; TRY calls go to a worker only when they find that they would have to wait; the rest goes there at
 * once.
 */
#include "server/calls.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

enum where { INLINE, TRY, WORKER };

struct entry {
	int (*call)(struct call *c);
	enum where where;
	bool changes; /* refused in read-only sessions */
};

#define TYPES 128u
/* A TRY call that took longer keeps the following ones out of the loop for a while. */
#define TRY_NS      NS_PER_MS
#define COOL_OFF_NS (100 * NS_PER_MS)
static const struct entry entries[TYPES] = {
    [PROTO_PING] = {call_ping, INLINE, false},
    [PROTO_CANCEL] = {call_cancel, INLINE, false},
    [PROTO_ACT] = {call_act, TRY, false},
    [PROTO_WATCH] = {call_watch, WORKER, false},
    [PROTO_FS_SYNC] = {call_fs_sync, WORKER, false},
    [PROTO_FS_STAT] = {call_fs_stat, WORKER, false},
    [PROTO_FS_LEASES] = {call_fs_leases, WORKER, false},
    [PROTO_FS_REVOKE] = {call_fs_revoke, WORKER, false},
    [PROTO_FS_LEASE_STATS] = {call_fs_lease_stats, INLINE, false},
    [PROTO_FS_SNAPSHOT] = {call_fs_snapshot, WORKER, true},
    [PROTO_FS_SNAPSHOT_DELETE] = {call_fs_snapshot_delete, WORKER, true},
    [PROTO_FS_SNAPSHOTS] = {call_fs_snapshots, WORKER, false},
    [PROTO_FS_LIMIT_SET] = {call_fs_limit_set, WORKER, true},
    [PROTO_FS_LIMIT_GET] = {call_fs_limit_get, WORKER, false},
    [PROTO_FS_LIMITS] = {call_fs_limits, WORKER, false},
    [PROTO_FS_LIMIT_CLEAR] = {call_fs_limit_clear, WORKER, true},
    [PROTO_FS_SESSIONS] = {call_fs_sessions, WORKER, false},
    [PROTO_FS_AUDIT] = {call_fs_audit, WORKER, false},
    [PROTO_FS_RESIZE] = {call_fs_resize, WORKER, true},
    [PROTO_FS_EVACUATE] = {call_fs_evacuate, WORKER, true},
    [PROTO_PATH_STAT] = {call_path_stat, TRY, false},
    [PROTO_PATH_MKDIR] = {call_path_mkdir, WORKER, true},
    [PROTO_PATH_RMDIR] = {call_path_rmdir, WORKER, true},
    [PROTO_PATH_UNLINK] = {call_path_unlink, WORKER, true},
    [PROTO_PATH_RENAME] = {call_path_rename, WORKER, true},
    [PROTO_PATH_LINK] = {call_path_link, WORKER, true},
    [PROTO_PATH_SYMLINK] = {call_path_symlink, WORKER, true},
    [PROTO_PATH_READLINK] = {call_path_readlink, TRY, false},
    [PROTO_PATH_CHMOD] = {call_path_chmod, WORKER, true},
    [PROTO_PATH_CHOWN] = {call_path_chown, WORKER, true},
    [PROTO_PATH_SET_TIMES] = {call_path_set_times, WORKER, true},
    [PROTO_PATH_MKNOD] = {call_path_mknod, WORKER, true},
    [PROTO_PATH_GETXATTR] = {call_path_getxattr, TRY, false},
    [PROTO_PATH_SETXATTR] = {call_path_setxattr, WORKER, true},
    [PROTO_PATH_LISTXATTR] = {call_path_listxattr, TRY, false},
    [PROTO_PATH_REMOVEXATTR] = {call_path_removexattr, WORKER, true},
    [PROTO_DIR_OPEN] = {call_dir_open, TRY, false},
    [PROTO_DIR_READ] = {call_dir_read, WORKER, false},
    [PROTO_DIR_CLOSE] = {call_handle_close, WORKER, false},
    [PROTO_DIR_LIST] = {call_dir_list, WORKER, false},
    [PROTO_FILE_OPEN] = {call_file_open, TRY, false}, /* by its flags */
    [PROTO_FILE_REOPEN] = {call_file_reopen, WORKER, false},
    [PROTO_FILE_CLOSE] = {call_handle_close, WORKER, false},
    [PROTO_FILE_STAT] = {call_file_stat, TRY, false},
    [PROTO_FILE_READ] = {call_file_read, TRY, false},
    [PROTO_FILE_WRITE] = {call_file_write, WORKER, true},
    [PROTO_FILE_TRUNCATE] = {call_file_truncate, WORKER, true},
    [PROTO_FILE_ALLOCATE] = {call_file_allocate, WORKER, true},
    [PROTO_FILE_SYNC] = {call_file_sync, WORKER, false},
    [PROTO_FILE_CLONE_RANGE] = {call_file_clone_range, WORKER, true},
    [PROTO_FILE_RELOCATE] = {call_file_relocate, WORKER, true},
    [PROTO_FILE_EXTENTS] = {call_file_extents, WORKER, false},
    [PROTO_FILE_DEDUPE_RANGE] = {call_file_dedupe_range, WORKER, true},
    [PROTO_FILE_EXCHANGE_RANGE] = {call_file_exchange_range, WORKER, true},
    [PROTO_FILE_COPY_RANGE] = {call_file_copy_range, WORKER, true},
    [PROTO_FILE_SEEK] = {call_file_seek, WORKER, false},
    [PROTO_FILE_LINK] = {call_file_link, WORKER, true},
    [PROTO_FILE_SETATTR] = {call_file_setattr, WORKER, true},
    [PROTO_FILE_DEFRAGMENT] = {call_file_defragment, WORKER, true},
    [PROTO_LEASE_GET] = {call_lease_get, TRY, false}, /* by its mode */
    [PROTO_LEASE_RELEASE] = {call_lease_release, INLINE, false},
    [PROTO_LEASE_CHANGE] = {call_lease_change, WORKER, false}, /* by its mode */
    [PROTO_LEASE_COMMIT] = {call_lease_commit, WORKER, true},
    [PROTO_LEASE_FAULT] = {call_lease_fault, WORKER, false},
};

/* Messages of the protocol that this server has no call for. */
static int call_absent(struct call *c)
{
	return fail(-EOPNOTSUPP, "%s: this server does not have it", proto_type_name(c->header->type));
}
static const struct entry absent = {call_absent, INLINE, false};

static const struct entry *entry_of(const struct proto_header *h)
{
	return entries[h->type].call ? &entries[h->type] : &absent;
}

/* P18: what must always get through is not counted. */
static bool is_counted(unsigned type)
{
	return type != PROTO_LEASE_RELEASE && type != PROTO_PING && type != PROTO_CANCEL;
}

void call_answering(struct call *c)
{
	changes_answering(c->session);
	if (c->counted)
		atomic_fetch_sub(&c->session->outstanding, 1);
	c->counted = false;
}

const char *call_path(struct call *c, unsigned which, struct proto_str s)
{
	bool fits = proto_str_copy(s, c->path[which], sizeof(c->path[which]));

	assert(fits);
	(void)fits;
	return c->path[which];
}

int call_ping(struct call *c)
{
	return 0;
}

/* What was sent before it counts, whether it waits already or not (P65). Without a number: all of that. */
int call_cancel(struct call *c)
{
	uint64_t request = c->in->cancel.request;

	if (request)
		lease_interrupt(c->session->leases, request, false);
	else
		lease_interrupt_below(c->session->leases, c->header->seq);
	return 0;
}

/* P39: an administrator's work on the pool does not end with him. */
static uint64_t tag_of(const struct proto_header *h)
{
	bool stays = h->type == PROTO_FS_RESIZE || h->type == PROTO_FS_EVACUATE;

	return h->seq | (stays ? LEASE_TAG_STAYS : 0);
}

static void answer(struct call *c, int result)
{
	struct session *s = c->session;
	union proto_body error = {0};
	struct proto_header h = *c->header;

	call_answering(c);
	if (c->as)
		h.type = PROTO_AS;
	if (result) {
		error.error.text = proto_str_of(fail_text());
		output_reply(s, &h, result, &error);
		return;
	}
	call_tell(c);
	if (c->as)
		call_as_answer(c, &h);
	else
		output_reply(s, &h, 0, &c->out);
}

/* Returns false for CALL_LATER: nothing was answered. c is the caller's memory; its big path buffers are not cleared.
 */
static bool run(struct call *c, const struct entry *e)
{
	struct session *s = c->session;
	int result;

	fail_clear();
	result = c->as ? call_as(c) : 0;
	if (!result && e->changes && s->read_only)
		result = fail(-EROFS, "%s: this session was opened read-only", proto_type_name(c->header->type));
	else if (!result)
		result = e->call(c);
	if (result == CALL_LATER) {
		assert(!c->may_wait);
		return false;
	}
	if (result != CALL_ANSWERED)
		answer(c, result);
	free(c->scratch);
	return true;
}

/* A request, and if it came inside an AS, who it is done as. */
struct request {
	struct proto_header header;
	union proto_body in, as;
	bool has_as;
};

/* of: the message's own body, which r keeps. */
static void request_init(struct request *r, const struct proto_header *h, const union proto_body *of)
{
	r->has_as = h->type == PROTO_AS;
	if (r->has_as) {
		r->as = *of;
		proto_inner_decode(h, &of->as.inner, &r->header, &r->in);
	} else {
		r->header = *h;
		r->in = *of;
	}
}

static void call_init(struct call *c, struct session *s, const struct request *r)
{
	const struct proto_header *h = &r->header;

	c->session = s;
	c->header = h;
	c->in = &r->in;
	c->as = r->has_as ? &r->as.as : NULL;
	c->attr.ino = 0;
	memset(&c->out, 0, sizeof(c->out));
	c->who = (struct fs_caller){
	    .cred = s->cred, .session = s->leases, .nowait = h->flags & PROTO_NOWAIT, .tag = tag_of(h)};
	c->counted = is_counted(h->type);
	c->scratch = NULL;
}

/* What a READ's answer may take of the output's room while it is made (P20). */
static size_t reserve_of(const struct proto_header *h, const union proto_body *in)
{
	return h->type == PROTO_FILE_READ ? in->file_read.len : 0;
}

/* --- on a worker --- */

static void job_free(struct job *job)
{
	free(job->message);
	free(job);
}

static void job_run(struct job *job)
{
	struct session *s = job->session;
	union proto_body body;
	struct request r;
	struct call c;
	size_t reserved;
	const char *rule = proto_body_decode(&job->header, job->message + PROTO_HEADER_SIZE, &body);

	assert(!rule); /* our own copy of what was checked */
	(void)rule;
	request_init(&r, &job->header, &body);
	reserved = reserve_of(&r.header, &r.in);
	if (!atomic_load(&s->gone)) {
		call_init(&c, s, &r);
		c.may_wait = true;
		run(&c, entry_of(&r.header));
	}
	if (reserved) {
		atomic_fetch_sub(&s->reserved, reserved);
		output_kick(s);
	}
	job_free(job);
	session_put(s);
}

static struct job *job_new(struct session *s, const struct proto_header *h, const uint8_t *message, bool owned)
{
	struct job *job = malloc(sizeof(*job));

	if (!job)
		return NULL;
	*job = (struct job){.session = s, .run = job_run, .header = *h};
	if (owned) {
		job->message = (uint8_t *)message;
		return job;
	}
	job->message = malloc(h->length);
	if (!job->message) {
		free(job);
		return NULL;
	}
	memcpy(job->message, message, h->length);
	return job;
}

/* A request that no worker can be found for is answered as such. */
static void refuse(struct session *s, const struct proto_header *h, size_t reserved)
{
	union proto_body body = {0};

	body.error.text = proto_str_of("the server has no memory for another request");
	if (is_counted(h->type))
		atomic_fetch_sub(&s->outstanding, 1);
	atomic_fetch_sub(&s->reserved, reserved);
	output_reply(s, h, -ENOMEM, &body);
}

static enum dispatch_result to_worker(struct session *s, const struct proto_header *h, const union proto_body *in,
				      const uint8_t *message, bool owned)
{
	bool lane = h->type == PROTO_LEASE_RELEASE;
	size_t reserved = reserve_of(h, in);
	struct job *job = job_new(s, h, message, owned);

	atomic_fetch_add(&s->reserved, reserved);
	if (!job) {
		refuse(s, h, reserved);
		return DISPATCH_DONE;
	}
	session_get(s);
	if (workers_submit(lane ? s->server->lane : s->server->workers, job,
			   lane ? 0 : s->server->limits.running_max) == 0)
		return owned ? DISPATCH_TOOK : DISPATCH_DONE;
	refuse(s, h, reserved);
	session_put(s);
	if (owned)
		job->message = NULL;
	job_free(job);
	return DISPATCH_DONE;
}

/* --- in the loop --- */

static bool run_here(struct call *c, const struct entry *e)
{
	struct lh_server *server = c->session->server;
	uint64_t begin, end;
	bool answered;

	if (e->where == INLINE)
		return run(c, e);
	begin = clock_now_ns();
	if (begin < server->no_tries_before_ns)
		return false;
	answered = run(c, e);
	end = clock_now_ns();
	if (end - begin > TRY_NS)
		server->no_tries_before_ns = end + COOL_OFF_NS;
	return answered;
}

enum dispatch_result dispatch(struct session *s, const struct proto_header *h, union proto_body *body,
			      const uint8_t *message, bool owned)
{
	const struct entry *e;
	enum where where;
	struct request r;
	struct call c;

	request_init(&r, h, body);
	e = entry_of(&r.header);
	where = e->where;
	if (is_counted(h->type) && atomic_fetch_add(&s->outstanding, 1) >= s->server->limits.outstanding_max)
		return DISPATCH_FULL;
	/* A wide WRITE lease may have gigabytes to flush when it is given back. */
	if (h->type == PROTO_LEASE_RELEASE && atomic_load(&s->wide_writes))
		where = WORKER;
	if (where != WORKER) {
		call_init(&c, s, &r);
		c.may_wait = false;
		if (run_here(&c, e))
			return DISPATCH_DONE;
	}
	return to_worker(s, h, body, message, owned);
}
