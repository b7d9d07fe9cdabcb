/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fio's external engine "leasehold": files of a pool in this process or of a server, by direct access under leases or
 *by calls. docs/fio.md says how it is used, examples/fio/ has jobs.
 *
 *	[job]
 *	ioengine=external:/usr/lib/x86_64-linux-gnu/leasehold/fio-leasehold.so
 *	pool=/dev/shm/a.pool
 *	filename=/data
 *
 * One lease over each file, got when it is opened. At a queue depth of 1, and for calls, fio's engine call does the
 * operation; deeper, lh_queue_* has up to iodepth of them outstanding. Buffers are the library's (lh_buffer_get), so
 * that a server's shared memory is filled in place.
 *
 * fio lays files out in its main process before jobs start, and jobs are processes unless thread=1. A pool has one
 * owner at a time, so the layout closes it again, and jobs that run at once on a pool in process must be threads: those
 * share one session (`sessions`). A pool in memory (mem:SIZE) is made by the job itself and ends with it.
 *
 * The headers are fio's own, of the version and configuration of the program; `ours` finds out when they are not.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <leasehold/leasehold.h>

#include "fio.h"
#include "optgroup.h"

#define DEPTH_MAX   256u /* lh_queue_new */
#define LAYOUT_STEP ((size_t)1 << 20)

enum way { DIRECT, FAULTING, CALLS };

struct options {
	void *pad; /* fio takes an offset of 0 for none */
	char *pool;
	unsigned int way, fabric;
	unsigned long long ring_bytes;
};

#define OPTION(n, ln, ...)                                                                                             \
	{                                                                                                              \
		.name = n, .lname = ln, .category = FIO_OPT_C_ENGINE, .group = FIO_OPT_G_INVALID, __VA_ARGS__          \
	}

static struct fio_option options[] = {
    OPTION("pool", "Pool or address", .type = FIO_OPT_STR_STORE, .off1 = offsetof(struct options, pool),
	   .help = "A pool's path, mem:SIZE, unix:PATH or tcp:HOST:PORT; default: $LEASEHOLD"),
    OPTION("access", "Way to the bytes", .type = FIO_OPT_STR, .off1 = offsetof(struct options, way), .def = "direct",
	   .help = "How files are read and written",
	   .posval =
	       {
		   {.ival = "direct", .oval = DIRECT, .help = "A lease over the whole file"},
		   {.ival = "faulting", .oval = FAULTING, .help = "The same with LH_LEASE_FAULTING: pins nothing"},
		   {.ival = "calls", .oval = CALLS, .help = "lh_file_read and lh_file_write"},
	       }),
    OPTION("fabric", "Data path to a server", .type = FIO_OPT_STR, .off1 = offsetof(struct options, fabric),
	   .def = "auto", .help = "How a server's memory is reached",
	   .posval =
	       {
		   {.ival = "auto", .oval = LH_FABRIC_AUTO, .help = "ring for unix:, stream for tcp:"},
		   {.ival = "ring", .oval = LH_FABRIC_RING, .help = "Shared memory"},
		   {.ival = "stream", .oval = LH_FABRIC_STREAM, .help = "A socket"},
		   {.ival = "none", .oval = LH_FABRIC_NONE, .help = "Calls only"},
	       }),
    OPTION("ring_bytes", "Shared memory for data", .type = FIO_OPT_STR_VAL,
	   .off1 = offsetof(struct options, ring_bytes), .def = "0", .help = "Of a ring; 0: the library's default"),
    {.name = NULL},
};

/* An open filesystem of this process, shared by its jobs. */
struct session {
	struct session *next;
	char *pool;
	unsigned users;
	pid_t pid; /* a job's process does not use what its parent opened */
	struct lh_fs *fs;
};

/* Of a job. */
struct job {
	struct session *session;
	struct lh_queue *queue; /* NULL: operations are done when queue() returns */
	struct lh_completion done[DEPTH_MAX];
};

/* Of an open file. */
struct place {
	struct lh_file *file;
	struct lh_lease *lease[2]; /* by ddir, DDIR_READ and DDIR_WRITE; NULL: not got yet, or by calls */
};

/* Guards the list, and is held while files are laid out, so that jobs do not do it twice. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct session *sessions;

extern struct ioengine_ops ioengine;

/* fio's errors are positive. Says what the library has to say. */
static int failed(struct thread_data *td, int err, const char *what, const char *which)
{
	const char *text = lh_error_text();

	log_err("leasehold: %s%s%s: %s\n", what, which[0] ? " " : "", which, text[0] ? text : strerror(-err));
	td_verror(td, -err, what);
	return -err;
}

static const char *pool_of(struct thread_data *td)
{
	const struct options *o = td->eo;
	const char *env = getenv("LEASEHOLD");

	return o->pool ? o->pool : env;
}

static bool in_memory(struct thread_data *td)
{
	return strncmp(pool_of(td), "mem:", 4) == 0;
}

/* fio's names need not begin with a slash, the library's paths neither; they are the same then. */
static const char *path_of(const struct fio_file *f)
{
	return f->file_name;
}

/* --- sessions --- */

static int session_open(struct thread_data *td, struct session *s)
{
	const struct options *o = td->eo;
	struct lh_open_options open = {
	    .size = sizeof(open), .fabric = (enum lh_fabric)o->fabric, .ring_bytes = o->ring_bytes};
	int err = lh_fs_open(s->pool, &open, &s->fs);

	if (err == -EBUSY && !td->o.use_thread)
		log_err("leasehold: jobs that run at once on a pool in process share it with thread=1\n");
	return err;
}

/* Caller holds the lock. NULL after a message. */
static struct session *session_get(struct thread_data *td)
{
	struct session *s = sessions;
	int err;

	while (s && (strcmp(s->pool, pool_of(td)) != 0 || s->pid != getpid()))
		s = s->next;
	if (s) {
		s->users++;
		return s;
	}
	s = calloc(1, sizeof(*s));
	if (s)
		s->pool = strdup(pool_of(td));
	if (!s || !s->pool) {
		free(s);
		failed(td, -ENOMEM, "session", "");
		return NULL;
	}
	s->pid = getpid();
	s->users = 1;
	err = session_open(td, s);
	if (err) {
		failed(td, err, "cannot open", s->pool);
		free(s->pool);
		free(s);
		return NULL;
	}
	s->next = sessions;
	sessions = s;
	return s;
}

/* Caller holds the lock. */
static void session_put(struct session *s)
{
	struct session **at = &sessions;
	int err;

	if (--s->users > 0)
		return;
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	err = lh_fs_close(s->fs);
	if (err)
		log_err("leasehold: closing %s: %s\n", s->pool, lh_error_text());
	free(s->pool);
	free(s);
}

/* --- layout --- */

static int lay_bytes(struct thread_data *td, struct lh_fs *fs, struct lh_file *file, uint64_t from, uint64_t size)
{
	void *buf = lh_buffer_get(fs, LAYOUT_STEP);
	int err = buf ? 0 : -ENOMEM;

	while (!err && from < size && !td->terminate) {
		size_t n = size - from < LAYOUT_STEP ? (size_t)(size - from) : LAYOUT_STEP;
		ssize_t got;

		fill_io_buffer(td, buf, n, n);
		got = lh_file_write(file, buf, n, from);
		err = got < 0 ? (int)got : 0;
		from += got > 0 ? (uint64_t)got : 0;
	}
	lh_buffer_put(fs, buf);
	return err;
}

/* For jobs that only write: fio's fallocate=, and the size, because a lease is over what there is. */
static int lay_space(struct thread_data *td, struct lh_file *file, uint64_t size)
{
	int err = 0;

	switch (td->o.fallocate_mode) {
	case FIO_FALLOCATE_NONE:
	case FIO_FALLOCATE_TRUNCATE:
		break;
	case FIO_FALLOCATE_KEEP_SIZE:
		err = lh_file_allocate(file, 0, size, true);
		break;
	default:
		err = lh_file_allocate(file, 0, size, false);
		break;
	}
	return err ? err : lh_file_truncate(file, size);
}

/* The file has at least this size then, and says in *size what it has. Caller holds the lock. */
static int lay_out(struct thread_data *td, struct lh_fs *fs, struct fio_file *f, uint64_t want, uint64_t *size)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	bool bytes = td_read(td) || td->o.overwrite;
	struct lh_file *file;
	int err;

	err = lh_path_stat(fs, path_of(f), true, &st);
	*size = st.size;
	if (err && err != -ENOENT)
		return failed(td, err, "cannot look at", path_of(f));
	if (!err && st.size >= want)
		return 0;
	if (read_only || (err && !td->o.allow_create))
		return failed(td, -EROFS, "not allowed to lay out", path_of(f));
	err = lh_file_open(fs, path_of(f), O_RDWR | O_CREAT, 0644, &file);
	if (err)
		return failed(td, err, "cannot make", path_of(f));
	err = bytes ? lay_bytes(td, fs, file, st.size, want) : lay_space(td, file, want);
	if (!err && td->o.create_fsync)
		err = lh_file_sync(file);
	if (err)
		failed(td, err, "cannot lay out", path_of(f));
	else
		*size = want;
	lh_file_close(file);
	return err ? -err : 0;
}

/* As fio's setup_files() will have it, which knows only what is there. 0: whatever is there. */
static uint64_t size_wanted(struct thread_data *td, struct fio_file *f, unsigned *extra)
{
	const struct thread_options *o = &td->o;
	uint64_t each = o->nr_files ? o->size / o->nr_files : o->size;

	if (o->file_size_low)
		return o->file_size_low == o->file_size_high ? o->file_size_low : get_rand_file_size(td);
	if (!o->size || o->size == -1ULL)
		return 0;
	if (*extra) {
		each += td_min_bs(td);
		--*extra;
	}
	return each + get_start_offset(td, f);
}

/* --- fio's calls --- */

/* Headers of another version or configuration: fields are elsewhere, and all that follows would be wrong. */
static bool ours(const struct thread_data *td)
{
	return td->io_ops == &ioengine && td->eo && td->o.iodepth >= 1 && td->o.nr_files <= td->files_size;
}

static int engine_check(struct thread_data *td)
{
	if (!ours(td)) {
		log_err("leasehold: this engine was built for another fio: build it with the headers of this one\n");
		return EINVAL;
	}
	if (!pool_of(td)) {
		log_err("leasehold: which pool? Give pool=POOL-OR-ADDRESS behind ioengine=, or set LEASEHOLD\n");
		return EINVAL;
	}
	if (td->o.iodepth > DEPTH_MAX || td->o.fill_device) {
		log_err("leasehold: %s\n",
			td->o.fill_device ? "fill_device is not supported" : "iodepth is at most 256");
		return EINVAL;
	}
	return 0;
}

static bool queues(struct thread_data *td)
{
	return td->o.iodepth > 1 && ((struct options *)td->eo)->way != CALLS;
}

/* Sizes of all files, laid out where they are too small; in fio's main process. */
static int engine_setup(struct thread_data *td)
{
	const struct thread_options *o = &td->o;
	struct session *s = NULL;
	struct fio_file *f;
	unsigned int i, extra = 0;
	int err = engine_check(td);

	if (err)
		return err;
	if (!queues(td))
		td->flags |= (unsigned long long)FIO_SYNCIO << TD_ENG_FLAG_SHIFT;
	if (!o->file_size_low && o->nr_files && o->size != -1ULL)
		extra = (unsigned)((o->size - o->size / o->nr_files * o->nr_files) / td_min_bs(td));
	pthread_mutex_lock(&lock);
	if (!in_memory(td)) {
		s = session_get(td);
		err = s ? 0 : EIO;
	}
	for_each_file(td, f, i)
	{
		uint64_t size, want = err ? 0 : size_wanted(td, f, &extra);

		if (err)
			break;
		f->filetype = FIO_TYPE_FILE;
		size = want;
		if (s)
			err = lay_out(td, s->fs, f, want, &size);
		f->real_file_size = size;
		fio_file_set_size_known(f);
	}
	if (s)
		session_put(s);
	pthread_mutex_unlock(&lock);
	return err;
}

static void engine_cleanup(struct thread_data *td)
{
	struct job *job = td->io_ops_data;

	if (!job)
		return;
	lh_queue_free(job->queue);
	pthread_mutex_lock(&lock);
	if (job->session)
		session_put(job->session);
	pthread_mutex_unlock(&lock);
	free(job);
	td->io_ops_data = NULL;
}

static int engine_init(struct thread_data *td)
{
	struct job *job = calloc(1, sizeof(*job));
	int err = engine_check(td);

	if (err || !job) {
		free(job);
		return err ? err : ENOMEM;
	}
	td->io_ops_data = job;
	pthread_mutex_lock(&lock);
	job->session = session_get(td);
	pthread_mutex_unlock(&lock);
	err = job->session ? 0 : -EIO;
	if (!err && queues(td)) {
		err = lh_queue_new(job->session->fs, td->o.iodepth, &job->queue);
		if (err)
			failed(td, err, "queue", "");
	}
	if (err)
		engine_cleanup(td);
	return -err;
}

/* --- files --- */

static int lease_get(struct thread_data *td, struct fio_file *f, struct place *p, enum fio_ddir ddir)
{
	const struct options *o = td->eo;
	struct lh_lease_options l = {.size = sizeof(l), .flags = ddir == DDIR_READ ? LH_LEASE_READ : LH_LEASE_WRITE};
	int err;

	if (o->way == FAULTING)
		l.flags |= LH_LEASE_FAULTING;
	err = lh_lease_get(p->file, 0, f->real_file_size, &l, &p->lease[ddir]);
	if (err == -ENOMEM)
		log_err("leasehold: raise the limit of locked memory (ulimit -l), or use access=faulting\n");
	return err ? failed(td, err, "no lease on", path_of(f)) : 0;
}

static void place_close(struct thread_data *td, const struct fio_file *f, struct place *p)
{
	int err;

	lh_lease_release(p->lease[DDIR_READ]);
	lh_lease_release(p->lease[DDIR_WRITE]);
	err = lh_file_close(p->file);
	if (err)
		failed(td, err, "closing", path_of(f));
	free(p);
}

static int engine_open(struct thread_data *td, struct fio_file *f)
{
	const struct job *job = td->io_ops_data;
	const struct options *o = td->eo;
	bool writes = (td_write(td) || td_trim(td)) && !read_only;
	struct place *p = calloc(1, sizeof(*p));
	uint64_t size;
	int err = 0;

	if (!p)
		return failed(td, -ENOMEM, "open", path_of(f));
	if (in_memory(td)) {
		pthread_mutex_lock(&lock);
		err = lay_out(td, job->session->fs, f, f->real_file_size, &size);
		pthread_mutex_unlock(&lock);
	}
	if (!err) {
		err = lh_file_open(job->session->fs, path_of(f), writes ? O_RDWR : O_RDONLY, 0, &p->file);
		if (err)
			err = failed(td, err, "cannot open", path_of(f));
	}
	/* What the job is for; the other when it is needed (verify). */
	if (!err && o->way != CALLS && td_write(td))
		err = lease_get(td, f, p, DDIR_WRITE);
	if (!err && o->way != CALLS && td_read(td))
		err = lease_get(td, f, p, DDIR_READ);
	if (err) {
		place_close(td, f, p);
		return err;
	}
	FILE_SET_ENG_DATA(f, p);
	return 0;
}

static int engine_close(struct thread_data *td, struct fio_file *f)
{
	struct place *p = FILE_ENG_DATA(f);

	FILE_SET_ENG_DATA(f, NULL);
	if (p)
		place_close(td, f, p);
	return 0;
}

static int engine_unlink(struct thread_data *td, struct fio_file *f)
{
	struct session *s;
	int err = EIO;

	pthread_mutex_lock(&lock);
	s = session_get(td);
	if (s) {
		err = -lh_path_unlink(s->fs, path_of(f));
		session_put(s);
	}
	pthread_mutex_unlock(&lock);
	return err;
}

/* --- operations --- */

static void finished(struct thread_data *td, struct io_u *io_u, ssize_t result)
{
	io_u->error = result < 0 ? (unsigned)-result : 0;
	io_u->resid = result >= 0 && (size_t)result < io_u->xfer_buflen ? io_u->xfer_buflen - (size_t)result : 0;
	if (result < 0) {
		io_u_log_error(td, io_u);
		failed(td, (int)result, io_ddir_name(io_u->ddir), path_of(io_u->file));
	}
}

/* fsync= and the like, sync=1 and trims. */
static ssize_t other(struct place *p, const struct io_u *io_u)
{
	switch (io_u->ddir) {
	case DDIR_SYNC:
	case DDIR_DATASYNC:
		return lh_file_sync(p->file);
	case DDIR_SYNC_FILE_RANGE:
		return lh_file_commit(p->file, io_u->offset, io_u->xfer_buflen);
	case DDIR_TRIM:
		return lh_file_punch(p->file, io_u->offset, io_u->xfer_buflen);
	default:
		return -EOPNOTSUPP;
	}
}

static ssize_t transfer(struct thread_data *td, struct place *p, const struct io_u *io_u)
{
	struct lh_lease *lease = p->lease[io_u->ddir];
	ssize_t n;

	if (io_u->ddir == DDIR_READ)
		return lease ? lh_lease_read(lease, io_u->xfer_buf, io_u->xfer_buflen, io_u->offset)
			     : lh_file_read(p->file, io_u->xfer_buf, io_u->xfer_buflen, io_u->offset);
	n = lease ? lh_lease_write(lease, io_u->xfer_buf, io_u->xfer_buflen, io_u->offset)
		  : lh_file_write(p->file, io_u->xfer_buf, io_u->xfer_buflen, io_u->offset);
	if (n > 0 && td->o.sync_io) {
		int err = lh_file_commit(p->file, io_u->offset, (uint64_t)n);

		n = err ? err : n;
	}
	return n;
}

static enum fio_q_status enqueue(struct thread_data *td, const struct job *job, struct place *p, struct io_u *io_u)
{
	struct lh_lease *lease = p->lease[io_u->ddir];
	int err;

	if (io_u->ddir == DDIR_READ)
		err = lh_queue_read(job->queue, lease, io_u->xfer_buf, io_u->xfer_buflen, io_u->offset, io_u);
	else
		err = lh_queue_write(job->queue, lease, io_u->xfer_buf, io_u->xfer_buflen, io_u->offset, io_u);
	if (err == 0)
		return FIO_Q_QUEUED;
	if (err == -EBUSY)
		return FIO_Q_BUSY;
	finished(td, io_u, err);
	return FIO_Q_COMPLETED;
}

static enum fio_q_status engine_queue(struct thread_data *td, struct io_u *io_u)
{
	const struct job *job = td->io_ops_data;
	struct place *p = FILE_ENG_DATA(io_u->file);
	ssize_t n;

	fio_ro_check(td, io_u);
	if (io_u->ddir != DDIR_READ && io_u->ddir != DDIR_WRITE) {
		n = other(p, io_u);
		finished(td, io_u, n < 0 ? n : (ssize_t)io_u->xfer_buflen);
		return FIO_Q_COMPLETED;
	}
	if (!p->lease[io_u->ddir] && ((struct options *)td->eo)->way != CALLS &&
	    lease_get(td, io_u->file, p, io_u->ddir)) {
		io_u->error = td->error;
		return FIO_Q_COMPLETED;
	}
	/* What must be durable when it completes is not left to the queue. */
	if (job->queue && !(io_u->ddir == DDIR_WRITE && td->o.sync_io))
		return enqueue(td, job, p, io_u);
	n = transfer(td, p, io_u);
	if (n == (ssize_t)io_u->xfer_buflen)
		return FIO_Q_COMPLETED; /* fio has cleared error and resid */
	finished(td, io_u, n);
	return FIO_Q_COMPLETED;
}

/* The library's queue has no timeout: it ends with the operations, whose deadlines are the leases'. */
static int engine_getevents(struct thread_data *td, unsigned int min, unsigned int max, const struct timespec *t)
{
	struct job *job = td->io_ops_data;

	(void)t;
	return lh_queue_wait(job->queue, min, job->done, max < DEPTH_MAX ? max : DEPTH_MAX);
}

static struct io_u *engine_event(struct thread_data *td, int event)
{
	const struct job *job = td->io_ops_data;
	const struct lh_completion *c = &job->done[event];
	struct io_u *io_u = c->cookie;

	if (c->result != (ssize_t)io_u->xfer_buflen)
		finished(td, io_u, c->result);
	return io_u;
}

static int engine_buffers(struct thread_data *td, size_t bytes)
{
	const struct job *job = td->io_ops_data;

	td->orig_buffer = lh_buffer_get(job->session->fs, bytes);
	if (!td->orig_buffer)
		log_err("leasehold: no room for %zu bytes of buffers; of a ring: raise ring_bytes\n", bytes);
	return td->orig_buffer ? 0 : ENOMEM;
}

static void engine_buffers_free(struct thread_data *td)
{
	const struct job *job = td->io_ops_data;

	if (job)
		lh_buffer_put(job->session->fs, td->orig_buffer);
	td->orig_buffer = NULL;
}

/* fio looks for this name. */
__attribute__((visibility("default"))) struct ioengine_ops ioengine = {
    .name = "leasehold",
    .version = FIO_IOOPS_VERSION,
    .flags = FIO_DISKLESSIO | FIO_NOEXTEND | FIO_NODISKUTIL | FIO_NO_OFFLOAD,
    .setup = engine_setup,
    .init = engine_init,
    .cleanup = engine_cleanup,
    .open_file = engine_open,
    .close_file = engine_close,
    .unlink_file = engine_unlink,
    .queue = engine_queue,
    .getevents = engine_getevents,
    .event = engine_event,
    .iomem_alloc = engine_buffers,
    .iomem_free = engine_buffers_free,
    .options = options,
    .option_struct_size = sizeof(struct options),
};
