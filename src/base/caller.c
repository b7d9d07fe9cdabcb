/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/caller.h"

_Thread_local struct lh_caller *thread_caller;
