/* SPDX-License-Identifier: BSD-2-Clause */
/* Limits of lh_uring_*; uring.c has them with liburing, uring_none.c says that there is none. */
#ifndef LH_PIN_URING_H
#define LH_PIN_URING_H

#include <leasehold/leasehold.h>

#define URING_DEPTH_MAX 4096u

#endif
