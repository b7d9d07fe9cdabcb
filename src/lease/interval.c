/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The interval index, a B+ tree.
 *
 * Keys are (start, address of the piece): many leases may begin at the same byte. Invariants:
 *  - the keys below child i are not less than key i of the node, and less than key i + 1;
 *  - end i of an inner node is the greatest end below child i, exactly;
 *  - a node other than the root is never empty; nodes that fall below NODE_FEW are joined with a neighbour when both
 * fit.
 *
 * The root leaf of a small index is small (ROOT_FIRST entries) and grows: most files have few leases, and a node of
 * full size for each would cost more than the leases.
 *
 * Insertion takes the memory that it may need before it changes anything; removal needs none.
 */
#include "lease/interval.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lease/lease.h"

#define NODE_FULL  32u
#define NODE_FEW   8u
#define ROOT_FIRST 4u
#define CACHE_LINE 64u
/* With at least NODE_FEW children a node, more than memory can hold. */
#define DEPTH_MAX 24u

struct interval_node {
	uint16_t count, cap;
	bool leaf;
	/* Of each entry: the key (start, tie), the (greatest) end, the child or piece. Leaves have tags instead of
	 * ties: there the tie is the piece's own address. */
	uint64_t *end;
	void **at;
	uint64_t *tie, *tag; /* the same place */
	uint64_t start[];
};

struct key {
	uint64_t start, tie;
};

/* From the root to a leaf: the nodes, and the entry taken in each. */
struct path {
	unsigned depth; /* nodes */
	struct interval_node *node[DEPTH_MAX];
	unsigned slot[DEPTH_MAX];
};

static struct key key_of(const struct piece *p)
{
	return (struct key){p->range.start, (uintptr_t)p};
}

static struct interval_node *node_new(unsigned cap, bool leaf)
{
	struct interval_node *n = malloc(sizeof(*n) + 4 * (size_t)cap * sizeof(uint64_t));

	_Static_assert(sizeof(void *) == sizeof(uint64_t), "entries are eight bytes");
	if (!n)
		return NULL;
	n->count = 0;
	n->cap = (uint16_t)cap;
	n->leaf = leaf;
	n->end = n->start + cap;
	n->at = (void **)(n->end + cap);
	n->tie = n->tag = n->end + 2 * (size_t)cap;
	return n;
}

static struct key entry_key(const struct interval_node *n, unsigned i)
{
	return (struct key){n->start[i], n->leaf ? (uintptr_t)n->at[i] : n->tie[i]};
}

static bool key_less(struct key a, struct key b)
{
	return a.start != b.start ? a.start < b.start : a.tie < b.tie;
}

/* How many entries are not greater than k. */
static unsigned entries_upto(const struct interval_node *n, struct key k)
{
	unsigned low = 0, high = n->count;

	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (key_less(k, entry_key(n, mid)))
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

/* The leaf where k is or belongs; the leaf's slot is the entry with k, or the one that k comes behind (-1 + 1 = 0). */
static void path_to(const struct interval_index *ix, struct key k, struct path *path)
{
	struct interval_node *n = ix->root;

	path->depth = 0;
	for (;;) {
		unsigned upto = entries_upto(n, k);

		assert(path->depth < DEPTH_MAX);
		path->node[path->depth] = n;
		path->slot[path->depth++] = n->leaf ? upto : upto ? upto - 1 : 0;
		if (n->leaf)
			return;
		n = n->at[path->slot[path->depth - 1]];
	}
}

/* The same for a piece that is in the index: the leaf's slot is its. */
static void path_of(const struct interval_index *ix, const struct piece *p, struct path *path)
{
	unsigned *slot;

	path_to(ix, key_of(p), path);
	slot = &path->slot[path->depth - 1];
	assert(*slot > 0 && path->node[path->depth - 1]->at[*slot - 1] == p);
	--*slot;
}

static uint64_t node_end(const struct interval_node *n)
{
	uint64_t end = 0;

	for (unsigned i = 0; i < n->count; i++)
		end = max_u64(end, n->end[i]);
	return end;
}

/* Sets the greatest ends above the path's node `level`. */
static void ends_fix(const struct path *path, unsigned level)
{
	for (; level > 0; level--) {
		struct interval_node *above = path->node[level - 1];
		uint64_t end = node_end(path->node[level]);

		if (above->end[path->slot[level - 1]] == end)
			return;
		above->end[path->slot[level - 1]] = end;
	}
}

/* k.tie of a leaf's entry: its tag. */
static void entry_put(struct interval_node *n, unsigned i, struct key k, uint64_t end, void *at)
{
	size_t behind = n->count - i;

	assert(n->count < n->cap);
	memmove(&n->start[i + 1], &n->start[i], behind * sizeof(n->start[0]));
	memmove(&n->end[i + 1], &n->end[i], behind * sizeof(n->end[0]));
	memmove(&n->at[i + 1], &n->at[i], behind * sizeof(n->at[0]));
	memmove(&n->tie[i + 1], &n->tie[i], behind * sizeof(n->tie[0]));
	n->tie[i] = k.tie;
	n->start[i] = k.start;
	n->end[i] = end;
	n->at[i] = at;
	n->count++;
}

static void entry_take(struct interval_node *n, unsigned i)
{
	size_t behind = n->count - i - 1u;

	memmove(&n->start[i], &n->start[i + 1], behind * sizeof(n->start[0]));
	memmove(&n->end[i], &n->end[i + 1], behind * sizeof(n->end[0]));
	memmove(&n->at[i], &n->at[i + 1], behind * sizeof(n->at[0]));
	memmove(&n->tie[i], &n->tie[i + 1], behind * sizeof(n->tie[0]));
	n->count--;
}

/* Appends the entries of from, from its entry first on. */
static void entries_move(struct interval_node *to, struct interval_node *from, unsigned first)
{
	unsigned n = from->count - first;

	assert(to->leaf == from->leaf && to->count + n <= to->cap);
	memcpy(&to->start[to->count], &from->start[first], n * sizeof(to->start[0]));
	memcpy(&to->end[to->count], &from->end[first], n * sizeof(to->end[0]));
	memcpy(&to->at[to->count], &from->at[first], n * sizeof(to->at[0]));
	memcpy(&to->tie[to->count], &from->tie[first], n * sizeof(to->tie[0]));
	to->count = (uint16_t)(to->count + n);
	from->count = (uint16_t)first;
}

void interval_init(struct interval_index *ix)
{
	*ix = (struct interval_index){0};
}

void interval_fini(struct interval_index *ix)
{
	assert(ix->count == 0);
	free(ix->root);
	ix->root = NULL;
}

/* --- insertion --- */

/* Room in a root that is a small leaf: 0, -ENOMEM. */
static int root_grow(struct interval_index *ix)
{
	struct interval_node *n = ix->root, *bigger;

	if (n && (n->count < n->cap || !n->leaf || n->cap == NODE_FULL))
		return 0;
	bigger = node_new(n ? n->cap * 2u : ROOT_FIRST, true);
	if (!bigger)
		return -ENOMEM;
	if (n)
		entries_move(bigger, n, 0);
	free(n);
	ix->root = bigger;
	return 0;
}

/* The nodes that splitting the path takes: one for each full node at its end, and a root above a full root. */
struct spare {
	unsigned count;
	struct interval_node *node[DEPTH_MAX + 1];
};

static int spare_get(const struct path *path, struct spare *spare)
{
	unsigned level = path->depth;

	spare->count = 0;
	while (level > 0 && path->node[level - 1]->count == NODE_FULL) {
		spare->node[spare->count] = node_new(NODE_FULL, path->node[level - 1]->leaf);
		if (!spare->node[spare->count])
			goto undo;
		spare->count++;
		level--;
	}
	if (level == 0) {
		spare->node[spare->count] = node_new(NODE_FULL, false);
		if (!spare->node[spare->count])
			goto undo;
		spare->count++;
	}
	return 0;
undo:
	while (spare->count)
		free(spare->node[--spare->count]);
	return -ENOMEM;
}

/*
 * Puts an entry into the path's node `level` at slot i, splitting what is full, from there upwards. spare: used from
 * used on.
 */
static void put_split(struct interval_index *ix, struct path *path, unsigned level, unsigned i, struct key k,
		      uint64_t end, void *at, struct spare *spare, unsigned used)
{
	struct interval_node *n = path->node[level], *right;
	unsigned half;

	if (n->count < n->cap) {
		entry_put(n, i, k, end, at);
		ends_fix(path, level);
		return;
	}
	right = spare->node[used++];
	/* At the end, as appending leases come: the left node stays nearly full. */
	half = i == n->count ? n->count - NODE_FEW : n->count / 2u;
	entries_move(right, n, half);
	if (i > half)
		entry_put(right, i - half, k, end, at);
	else
		entry_put(n, i, k, end, at);
	if (level == 0) {
		struct interval_node *root = spare->node[used++];

		entry_put(root, 0, entry_key(n, 0), node_end(n), n);
		entry_put(root, 1, entry_key(right, 0), node_end(right), right);
		ix->root = root;
		return;
	}
	ends_fix(path, level);
	put_split(ix, path, level - 1, path->slot[level - 1] + 1, entry_key(right, 0), node_end(right), right, spare,
		  used);
}

int interval_insert(struct interval_index *ix, struct piece *p, uint64_t tag)
{
	struct key k = key_of(p);
	struct spare spare;
	struct path path;
	int err = root_grow(ix);

	if (err)
		return err;
	path_to(ix, k, &path);
	err = spare_get(&path, &spare);
	if (err)
		return err;
	/* The first key of a subtree may become less. */
	for (unsigned level = 0; level + 1 < path.depth; level++) {
		struct interval_node *n = path.node[level];

		if (path.slot[level] == 0 && key_less(k, entry_key(n, 0))) {
			n->start[0] = k.start;
			n->tie[0] = k.tie;
		}
	}
	put_split(ix, &path, path.depth - 1, path.slot[path.depth - 1], (struct key){k.start, tag}, p->range.end, p,
		  &spare, 0);
	ix->count++;
	return 0;
}

/* --- removal --- */

/* Takes the empty node of the level out of the one above it. */
static void node_drop(struct interval_index *ix, struct path *path, unsigned level)
{
	struct interval_node *n = path->node[level];

	if (level == 0)
		return; /* the root, empty: it stays for the next one */
	free(n);
	entry_take(path->node[level - 1], path->slot[level - 1]);
	if (path->node[level - 1]->count == 0)
		node_drop(ix, path, level - 1);
	else
		ends_fix(path, level - 1);
}

/* Joins the node of the level with a neighbour when both fit into one with room to spare. */
static void node_join(struct interval_index *ix, struct path *path, unsigned level)
{
	struct interval_node *above, *left, *right;
	unsigned i;

	if (level == 0 || path->node[level]->count >= NODE_FEW)
		return;
	above = path->node[level - 1];
	if (above->count < 2)
		return;
	i = path->slot[level - 1];
	i = i + 1u < above->count ? i : i - 1;
	left = above->at[i];
	right = above->at[i + 1];
	if (left->count + right->count > NODE_FULL * 3u / 4)
		return;
	entries_move(left, right, 0);
	free(right);
	above->end[i] = max_u64(above->end[i], above->end[i + 1]);
	entry_take(above, i + 1);
	node_join(ix, path, level - 1);
}

static void root_shrink(struct interval_index *ix)
{
	struct interval_node *n = ix->root;

	while (!n->leaf && n->count == 1) {
		ix->root = n->at[0];
		free(n);
		n = ix->root;
	}
	/* The last one went: what stays for the next is small. */
	if (ix->count == 0 && (!n->leaf || n->cap > ROOT_FIRST)) {
		free(n);
		ix->root = NULL;
	}
}

void interval_remove(struct interval_index *ix, struct piece *p)
{
	struct interval_node *leaf;
	struct path path;
	unsigned level;

	path_of(ix, p, &path);
	level = path.depth - 1;
	leaf = path.node[level];
	entry_take(leaf, path.slot[level]);
	ix->count--;
	if (leaf->count == 0) {
		node_drop(ix, &path, level);
	} else {
		ends_fix(&path, level);
		node_join(ix, &path, level);
	}
	root_shrink(ix);
}

void interval_set_end(struct interval_index *ix, struct piece *p, uint64_t end)
{
	struct path path;

	path_of(ix, p, &path);
	p->range.end = end;
	path.node[path.depth - 1]->end[path.slot[path.depth - 1]] = end;
	ends_fix(&path, path.depth - 1);
}

void interval_set_tag(struct interval_index *ix, struct piece *p, uint64_t tag)
{
	struct path path;

	path_of(ix, p, &path);
	path.node[path.depth - 1]->tag[path.slot[path.depth - 1]] = tag;
}

/* --- queries --- */

/* The first entry from i on that ends behind `after`; n->count: none. */
static unsigned entry_behind(const struct interval_node *n, unsigned i, uint64_t after)
{
	while (i < n->count && n->end[i] <= after)
		i++;
	return i;
}

/*
 * The first piece below entry i of n, or behind it in n, that overlaps. The first that ends behind range.start is the
 * answer, or there is none: what comes later starts later.
 */
static struct piece *first_from(const struct interval_node *n, unsigned i, struct range range)
{
	for (;;) {
		i = entry_behind(n, i, range.start);
		if (i == n->count || n->start[i] >= range.end)
			return NULL;
		if (n->leaf)
			return n->at[i];
		n = n->at[i];
		i = 0;
	}
}

struct piece *interval_first(const struct interval_index *ix, struct range range)
{
	return range_empty(range) || !ix->count ? NULL : first_from(ix->root, 0, range);
}

struct piece *interval_next(const struct interval_index *ix, const struct piece *p, struct range range)
{
	struct path path;

	path_of(ix, p, &path);
	for (unsigned level = path.depth; level > 0; level--) {
		const struct interval_node *n = path.node[level - 1];
		unsigned i = entry_behind(n, path.slot[level - 1] + 1, range.start);

		if (i < n->count)
			return first_from(n, i, range);
	}
	return NULL;
}

struct conflict {
	struct range range;
	unsigned modes;
	bool faulting; /* faulting leases count */
	uint64_t owner;
};

static bool tag_conflicts(const struct conflict *c, uint64_t tag)
{
	return (tag & c->modes & LEASE_ANY_MODE) && tag >> 8 != c->owner && (c->faulting || !(tag & LEASE_FAULTING));
}

/*
 * The lines of a node that a query looks at are fetched all at once, not one after the other: far down nothing is in a
 * cache. As if it were of full size; of a smaller one some are fetched for nothing.
 */
static void node_fetch(const struct interval_node *n)
{
	const char *tags = (const char *)&n->start[3u * NODE_FULL];

	for (const char *line = (const char *)n; line < (const char *)&n->start[2u * NODE_FULL]; line += CACHE_LINE)
		__builtin_prefetch(line);
	for (const char *line = tags; line < tags + NODE_FULL * sizeof(uint64_t); line += CACHE_LINE)
		__builtin_prefetch(line);
}

static bool conflict_below(const struct interval_node *n, const struct conflict *c)
{
	node_fetch(n);
	for (unsigned i = entry_behind(n, 0, c->range.start); i < n->count;
	     i = entry_behind(n, i + 1, c->range.start)) {
		if (n->start[i] >= c->range.end)
			return false;
		if (n->leaf ? tag_conflicts(c, n->tag[i]) : conflict_below(n->at[i], c))
			return true;
	}
	return false;
}

bool interval_conflict(const struct interval_index *ix, struct range range, unsigned modes, uint64_t owner)
{
	const struct conflict c = {range, modes, modes & LEASE_FAULTING, owner};

	return !range_empty(range) && ix->count && conflict_below(ix->root, &c);
}
