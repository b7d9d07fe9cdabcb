/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of fs/ share: the mounted filesystem, its inodes and handles.
 *
 * All inodes live in memory. One is freed when nothing counts it any more: no name (nlink 0) and no reference. Both
 * facts are in one word, so that exactly one thread sees the last of them go: unlink sets REF_ORPHAN, inode_put counts
 * down, and who reaches REF_ORPHAN | 0 reclaims. No reference can appear after that: names are gone, and the table
 * refuses.
 *
 * Invariants: an inode in the table is on the medium or its creator holds its lock; `gone` inodes are in neither.
 * Every log record that touches an inode's names or map carries the inode's attributes too, so that replay over a newer
 * (fuzzy) checkpoint may bring back an inode that a later record forgets again, and never meets an unknown one.
 */
#ifndef LH_FS_CORE_H
#define LH_FS_CORE_H

#include <dirent.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>

#include "base/lock.h"
#include "fs/alloc.h"
#include "fs/extmap.h"
#include "fs/fs.h"
#include "fs/journal.h"

#define ITABLE_SHARDS 64u
#define REF_ORPHAN    0x80000000u
#define MODE_PERM     07777u
#define TARGET_MAX    4095u /* bytes of a symlink */

struct dir;
struct xattrs;
struct freeze;
struct limits;
struct claims;
struct keeper;
struct watches;

/* Caller's lock: `lock` unless said otherwise. */
struct inode {
	struct rwlock lock;
	struct inode_attr attr; /* atime_ns: atomic stores also under the shared lock */
	struct lease_anchor anchor;
	struct inode *next;      /* ITABLE */
	struct inode *next_dead; /* of the one walk that got its last reference */
	_Atomic uint32_t refs;   /* handles and walkers; REF_ORPHAN: no name is left */
	uint32_t nlink;
	uint8_t type;      /* DT_*, never changes */
	bool gone;         /* forgotten, or never came to be */
	bool linkable;     /* made without a name, which it may get (O_TMPFILE) */
	bool may_share;    /* some of its blocks may belong to another file too */
	bool remapped;     /* POOL_MSYNC: blocks changed their place in files by a record that may not be durable yet */
	bool tail_stale;   /* old bytes may lie behind the end of file, in its block */
	bool reached;      /* mount: hangs below the root */
	_Atomic bool lazy; /* attr is newer than the log: times of reads and of writes in place */
	uint64_t dirty_off; /* written in place and not flushed: [dirty_off, dirty_end) bytes */
	uint64_t dirty_end;
	uint64_t charged;      /* blocks that limits count as its own; kept only while there are limits */
	struct xattrs *xattrs; /* NULL: it has none */
	union {
		struct extmap map; /* DT_REG */
		struct dir *dir;   /* DT_DIR */
		struct {
			char *target;
			uint32_t target_len;
		}; /* DT_LNK */
	};
};

struct itable_shard {
	struct lock lock;
	struct inode **buckets;
	uint32_t bucket_count, room; /* in use; allocated */
	uint32_t low;                /* the highest power of two up to bucket_count */
	uint32_t count;
	uint32_t walkers;      /* buckets are not joined meanwhile */
	struct inode *unnamed; /* removed directories that are still open, by `next`; not counted */
};

struct fs {
	struct pool *pool;
	struct alloc *alloc;
	struct journal *journal;
	struct lease_arbiter *arbiter;
	struct inode *root;
	uint32_t extents_max; /* of one file */
	bool read_only;
	bool has_thread;
	bool journal_ready;     /* replay is over, hints are welcome */
	struct inode *replayed; /* replay: of the last item */
	int apply_error;        /* replay: -ENOMEM, when that and not damage stopped it */
	struct run *bad;        /* replay: bad runs found so far (evacuate.h) */
	unsigned bad_count;
	_Atomic bool space_busy;       /* the pool is resized or evacuated */
	struct inode *_Atomic orphans; /* could not be reclaimed yet, by next_dead */
	_Atomic bool orphans_busy;
	uint64_t name_seed;
	pthread_t thread;
	struct lock rename; /* RENAME: parents of directories */
	struct freeze *freeze;
	struct limits *limits;
	struct watches *watches;     /* watch.h */
	_Atomic uint32_t watched;    /* how many watches there are */
	_Atomic uint64_t watched_by; /* the session of the only one; 0: there are several, or it has none */
	struct claims *claims;       /* claims.h */
	struct keeper *keeper;       /* keeper.h */
	struct lease_clock clock;    /* the arbiter's */
	uint64_t exclusive_max_ns;   /* the arbiter's, too */
	_Atomic uint64_t next_ino;
	_Atomic uint64_t files, handles;
	_Atomic bool lazy_left;                   /* sync_all: the log does not know all attributes */
	_Atomic uint64_t hazard_seq, settled_seq; /* POOL_MSYNC, see hazard_note */
	_Atomic int64_t checkpoint_bytes, checkpoint_hinted;
	struct itable_shard table[ITABLE_SHARDS];
};

/* --- watch.c: what those who keep copies must hear (watch.h) --- */

/* What became of an inode: nothing that anybody could see, or that a name or an event of its own tells; content or
 * size; the rest that stat(2) and getxattr(2) show. */
#define CHANGED_NOTHING 0u
#define CHANGED_DATA    1u
#define CHANGED_ATTR    2u

int watches_init(struct fs *fs);
void watches_fini(struct fs *fs);
void watch_note(struct fs *fs, uint64_t ino, unsigned what, const struct fs_caller *who);
void watch_note_name(struct fs *fs, uint64_t dir, const char *name, unsigned len, const struct fs_caller *who);
/* struct lease_options.writer. */
void watch_writer(void *ctx, uint64_t object, uint64_t session);

static inline bool is_watched(struct fs *fs)
{
	return unlikely(atomic_load_explicit(&fs->watched, memory_order_relaxed) != 0);
}
/*
 * Under INODE exclusive, with the change in memory, or about to be before it is dropped. who: whose watch need not
 * hear; NULL: nobody's.
 */
static inline void inode_changed(struct fs *fs, const struct inode *i, unsigned what, const struct fs_caller *who)
{
	if (what && is_watched(fs))
		watch_note(fs, i->anchor.object, what, who);
}
/* The same of a directory: the name is there now, gone, or means something else. */
static inline void name_changed(struct fs *fs, const struct inode *dir, const char *name, unsigned len,
				const struct fs_caller *who)
{
	if (is_watched(fs))
		watch_note_name(fs, dir->anchor.object, name, len, who);
}

/*
 * New attributes: everything but the number, which never changes and is read without INODE too. When the end grows into
 * another block, nothing old is behind it there. Caller holds INODE exclusively. what, who: as inode_changed. Whatever
 * changes something sets attributes, so that nothing is changed in silence.
 */
static inline void inode_attr_set(struct fs *fs, struct inode *i, const struct inode_attr *to, unsigned what,
				  const struct fs_caller *who)
{
	const size_t from = offsetof(struct inode_attr, size);

	static_assert(offsetof(struct inode_attr, ino) == 0, "the number comes first");
	assert(i->attr.ino == to->ino);
	if (to->size > i->attr.size && to->size >> LH_BLOCK_SHIFT != i->attr.size >> LH_BLOCK_SHIFT)
		i->tail_stale = false;
	memcpy((char *)&i->attr + from, (const char *)to + from, sizeof(*to) - from);
	inode_changed(fs, i, what, who);
}

struct fs_handle {
	struct fs *fs;
	struct inode *inode;
	bool readable, writable, append;
};

/* --- inode.c: life and the table --- */

/* A new inode with one reference and no name, not in the table. attr->mode decides the type. -ENOMEM. */
int inode_new(struct fs *fs, const struct inode_attr *attr, struct inode **out);
void inode_free(struct inode *i);
void inode_get(struct inode *i);
/* Drops a reference. The last one of an orphan reclaims it: breaks leases, waits, writes a record. No lock held. */
void inode_put(struct fs *fs, struct inode *i);
/* Tries again what inode_put could not reclaim for want of memory or log space. No lock held. */
void orphans_reclaim(struct fs *fs);
/* Under INODE exclusive: the name that went was the last one. */
void inode_orphan(struct inode *i);
/* Under INODE exclusive, with the caller's reference: one more name; an inode without one is no orphan any more. */
void inode_named(struct inode *i);
/* Under INODE exclusive, with the caller's reference the only one: nobody has it open and nobody leases it. */
bool inode_unused(const struct inode *i);
/* Under INODE exclusive, after a durable record with FORGET: blocks and table entry go; memory with the last reference.
 */
void inode_forgotten(struct fs *fs, struct inode *i, uint64_t seq);
/* DT_* of a mode; DT_UNKNOWN when it is none that we keep. */
uint8_t mode_type(uint32_t mode);
void inode_attr_read(const struct inode *i, struct fs_attr *out);
/* While nobody changes it, but readers touch its access time: a copy. */
struct inode_attr inode_attr_copy(const struct inode *i);
/* For who->attr: nothing when the caller does not want it. Takes INODE shared. */
void inode_tell(struct inode *i, const struct fs_caller *who);
/* Under INODE shared at least: somebody read it. relatime: noted only when it tells something new. */
void inode_touch_atime(struct fs *fs, struct inode *i);

/* --- itable.c --- */

int itable_init(struct fs *fs);
/* Mount: so many inodes are about to come. */
void itable_presize(struct fs *fs, uint64_t inodes);
void itable_fini(struct fs *fs);
void itable_add(struct fs *fs, struct inode *i);
void itable_remove(struct fs *fs, struct inode *i);
/*
 * A directory that lost its name is in no table and no longer on the medium, but for who has it open its number goes on
 * to mean it (fstat through a mount comes with the number): itable_get finds it until it is freed.
 */
void itable_unnamed(struct fs *fs, struct inode *i);
void itable_unnamed_free(struct fs *fs, struct inode *i);
/* With a reference, or NULL. */
struct inode *itable_get(struct fs *fs, uint64_t ino);
/* Whether others than `owner` have leases of these modes on it (lease_conflicts). No lock but of an outer rank held. */
bool itable_leased(struct fs *fs, uint64_t ino, unsigned modes, const struct lease_session *owner);
/* Without a reference: mount only, single threaded. */
struct inode *itable_peek(struct fs *fs, uint64_t ino);
/* Mount: asks for the memory that itable_peek will look at: the bucket, or (inode) the first inode of its chain. */
void itable_prefetch(struct fs *fs, uint64_t ino, bool inode);
/* Between them an inode that is in the table keeps its place behind a walk of buckets by ascending index. */
void itable_walk_begin(struct fs *fs);
void itable_walk_end(struct fs *fs);
/*
 * Calls each() for every inode with a reference and no lock held; stops at the first error. Orphans whose last
 * reference the walk got are handed back in *dead, to be reclaimed by inodes_put_dead when their records may be
 * written.
 */
int itable_each(struct fs *fs, int (*each)(void *ctx, struct inode *i), void *ctx, struct inode **dead);
void inodes_put_dead(struct fs *fs, struct inode *dead);

/* alloc_take; when space only waits for records to be durable, makes them so. */
int blocks_take(struct fs *fs, uint64_t want, uint64_t goal, struct run *out);
/* The same for few blocks without which what was promised cannot be kept: from the reserve when there are no others. */
int blocks_take_promised(struct fs *fs, uint64_t want, uint64_t goal, struct run *out);

/* Up to four inodes, locked exclusively in ascending order. NULLs and repetitions are skipped. */
struct lockset {
	struct inode *in[4];
	unsigned count;
};
void lockset_add(struct lockset *s, struct inode *i);
void lockset_take(struct lockset *s);
void lockset_drop(struct lockset *s);

/* --- apply.c: replay, and the end of mount --- */

extern const struct journal_apply fs_apply;
/* After replay: names to inodes, link counts, directory tree, blocks. 0, -EUCLEAN with the rule, -ENOMEM. */
int apply_finish(struct fs *fs);

/* --- walk.c: checkpoints --- */

int walk_checkpoint(struct fs *fs, bool clean);
/*
 * After an operation that gives space back got `err`: when a checkpoint may have made room in the log, true, and the
 * operation tries again. No lock held. *tries starts at 0.
 */
bool walk_made_room(struct fs *fs, int err, unsigned *tries);
/* The same for an operation that takes space, by an item larger than a block: only when there is space, in pieces. */
bool walk_joined_room(struct fs *fs, int err, unsigned *tries);
/* Keeps the running estimate of the next checkpoint's size. */
void walk_account(struct fs *fs, int64_t bytes);
/* What an inode takes of it, without names and extents. */
int64_t walk_inode_bytes(const struct inode *i);
#define WALK_INODE_BYTES  96
#define WALK_DIRENT_BYTES 48
#define WALK_EXTENT_BYTES 48

/* --- sync.c --- */

/* The content of all files, and with_attr what the log does not know of their attributes, is durable on return. */
int sync_all(struct fs *fs, bool with_attr);

/* --- io.c --- */

int64_t time_now(void);
/*
 * POOL_MSYNC: bytes stored in place may reach the medium before a record that was committed earlier. That is wrong
 * where only that record made them changeable: bytes behind the end after a cut, and blocks whose other owner gave them
 * up. So such records are noted, and made durable before bytes are stored in such places.
 */
void hazard_note(struct fs *fs, uint64_t seq);
int hazard_settle(struct fs *fs);
/* Under INODE exclusive: hazard_note for a record that gave blocks of i, which stay in use, another place in a file. */
void hazard_remapped(struct fs *fs, struct inode *i, uint64_t seq);
/* Under INODE exclusive, before bytes are stored in place inside the file. */
int hazard_settle_in_place(struct fs *fs, struct inode *i);
/*
 * I1: commits a record that names content, or a size over it. The flushed content is fenced first: inside one epoch the
 * record could reach the medium before what it names.
 */
int commit_content(struct fs *fs, struct jtxn *t, uint64_t *seq);
/* After a pool call said -EIO: the same, and fail_text() names the file's bytes too. */
int media_error(const struct inode *i, uint64_t off, uint64_t len);
/* Under INODE exclusive: bytes written in place. */
void inode_dirty(struct inode *i, uint64_t off, uint64_t end);
/* Under both INODE exclusive: `to` has blocks of `from` now, range r of it at to_off; what is not flushed goes along.
 */
void inode_dirty_as(struct inode *to, uint64_t to_off, const struct inode *from, struct range r);
/* Under INODE: the attributes after a change of content by this caller, but for the size. */
struct inode_attr attr_changed(const struct inode *i, const struct fs_caller *who);

/* Without a lock: attr.ino is written anew with all of attr. */
static inline uint64_t ino_of(const struct inode *i)
{
	return i->anchor.object;
}
static inline uint64_t block_of(uint64_t byte)
{
	return byte >> LH_BLOCK_SHIFT;
}
static inline uint64_t block_up(uint64_t byte)
{
	return (byte >> LH_BLOCK_SHIFT) + ((byte & (LH_BLOCK_SIZE - 1)) != 0);
}
static inline uint64_t block_bytes(uint64_t blocks)
{
	return blocks << LH_BLOCK_SHIFT;
}

#endif
