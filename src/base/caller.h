/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whom the calls of this thread act for: what lh_thread_caller was given, for both backends; NULL: the session itself.
 * Only a pointer, because thread-local memory of a shared library is short.
 */
#ifndef LH_BASE_CALLER_H
#define LH_BASE_CALLER_H

struct lh_caller;

extern _Thread_local struct lh_caller *thread_caller;

#endif
