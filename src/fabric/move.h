/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Moving bytes into and out of exposed memory. Several peers may read and write the same bytes at once, as with any
 * remote direct memory: what they then see is theirs to sort out, and no decision of ours is taken on these bytes. So
 * these accesses, and only these, are hidden from the thread sanitizer.
 */
#ifndef LH_FABRIC_MOVE_H
#define LH_FABRIC_MOVE_H

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/busguard.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FABRIC_TSAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define FABRIC_TSAN 1
#endif

#ifdef FABRIC_TSAN
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);

static inline void race_hide(void)
{
	AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
	AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
}
static inline void race_show(void)
{
	AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
	AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
}
#else
static inline void race_hide(void)
{
}
static inline void race_show(void)
{
}
#endif

static inline void move_copy(void *to, const void *from, size_t len)
{
	race_hide();
	memcpy(to, from, len);
	race_show();
}

/* The same where one side is exposed memory, which may fail (BUSGUARD_*): 0 or -EIO. */
static inline int move_exposed(void *to, const void *from, size_t len, unsigned side)
{
	int err;

	race_hide();
	err = busguard_copy(to, from, len, side);
	race_show();
	return err;
}

/* Never waits. Bytes, 0 at the end of the stream, or -errno; -EAGAIN: nothing there. */
static inline ssize_t move_recv(int fd, struct iovec *iov, size_t count)
{
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = count};
	ssize_t n;

	race_hide();
	n = recvmsg(fd, &msg, MSG_DONTWAIT);
	race_show();
	return n < 0 ? -errno : n;
}

/* Never waits. flags: MSG_MORE or 0. */
static inline ssize_t move_send(int fd, struct iovec *iov, size_t count, int flags)
{
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = count};
	ssize_t n;

	race_hide();
	n = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL | flags);
	race_show();
	return n < 0 ? -errno : n;
}

#endif
