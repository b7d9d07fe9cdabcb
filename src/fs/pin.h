/* SPDX-License-Identifier: BSD-2-Clause */
/* The fs's wrapper of a pin consumer: the arbiter drains through it, a change places the caller's own pins through it.
 */
#ifndef LH_FS_PIN_H
#define LH_FS_PIN_H

#include "fs/fs.h"

extern const struct lease_pin_ops pin_wrap_ops;
void *pin_wrap(const struct fs_pin *pin);
int pin_place(void *wrap, uint64_t lease, uint32_t seq, enum lease_mode mode, struct range range,
	      const struct fs_run *runs, unsigned count);

#endif
