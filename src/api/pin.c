/* SPDX-License-Identifier: BSD-2-Clause */
/* The calls on pins of devices. Only a pool in this process has them. */
#include "api/check.h"

#include <errno.h>
#include <string.h>

#define PIN_NAME_MAX 31u
#define PIN_MODES    (LH_LEASE_READ | LH_LEASE_WRITE)
#define PIN_FLAGS    (PIN_MODES | LH_LEASE_NOWAIT | LH_LEASE_NOW | LH_LEASE_EXCLUSIVE)

static inline const struct lh_backend *pin_be(const struct lh_pin *pin)
{
	return ((const struct lh_pin_head *)pin)->be;
}

static int check_pin(const struct lh_pin *pin, const char *call)
{
	fail_clear();
	return pin ? 0 : fail(-EINVAL, "%s: pin is NULL", call);
}

static int check_options(struct lh_pin_options *o, const char *call)
{
	uint32_t mode = o->flags & PIN_MODES;

	if (o->flags & ~PIN_FLAGS)
		return fail(-EINVAL, "%s: flags %#x: a device's pin knows READ, WRITE, NOWAIT, NOW and EXCLUSIVE", call,
			    o->flags);
	if (mode == PIN_MODES)
		return fail(-EINVAL, "%s: LH_LEASE_READ and LH_LEASE_WRITE at once; get one pin for each", call);
	if (mode == 0)
		o->flags |= LH_LEASE_READ;
	if (o->deadline_ns > API_NS_MAX || o->max_age_ns > API_NS_MAX)
		return fail(-EINVAL, "%s: a time is longer than a year; they are in nanoseconds", call);
	return 0;
}

static int check_device(const struct lh_pin_device *d, const char *call)
{
	if (!d->attach || !d->detach)
		return fail(-EINVAL, "%s: a device needs attach and detach", call);
	if (!d->name || !d->name[0] || strlen(d->name) > PIN_NAME_MAX)
		return fail(-EINVAL, "%s: a device needs a name of 1 to %u bytes", call, PIN_NAME_MAX);
	return 0;
}

/* len 0 is allowed. */
static int check_range(uint64_t off, uint64_t len, const char *call)
{
	if (off > INT64_MAX || len > INT64_MAX - off)
		return fail(-EINVAL, "%s: the range reaches past the largest file", call);
	return 0;
}

int lh_pin_get(struct lh_file *file, uint64_t off, uint64_t len, const struct lh_pin_options *opt,
	       const struct lh_pin_device *device, void *ctx, struct lh_pin **out)
{
	struct lh_pin_options o;
	struct lh_pin_device d;
	int err = api_file(file, __func__);

	if (!err)
		err = api_given(out, "out", __func__);
	if (!err)
		err = api_given(device, "device", __func__);
	if (err)
		return err;
	*out = NULL;
	err = api_take(&o, sizeof(o), opt, "lh_pin_options");
	if (!err)
		err = check_options(&o, __func__);
	if (!err)
		err = api_take(&d, sizeof(d), device, "lh_pin_device");
	if (!err)
		err = check_device(&d, __func__);
	if (!err && len == 0)
		err = fail(-EINVAL, "%s: the range is empty", __func__);
	if (!err)
		err = check_range(off, len, __func__);
	if (!err && !file_be(file)->pin_get)
		err = fail(-EOPNOTSUPP, "%s: devices reach pools of this process only; open the pool by its path",
			   __func__);
	if (err)
		return err;
	return (int)api_result(file_be(file)->pin_get(file, off, len, &o, &d, ctx, out), __func__, NULL);
}

int lh_pin_fault(struct lh_pin *pin, uint64_t off, uint64_t len)
{
	int err = check_pin(pin, __func__);

	if (!err)
		err = check_range(off, len, __func__);
	if (err)
		return err;
	return (int)api_result(pin_be(pin)->pin_fault(pin, off, len), __func__, NULL);
}

int lh_pin_commit(struct lh_pin *pin, uint64_t off, uint64_t len)
{
	int err = check_pin(pin, __func__);

	if (!err)
		err = check_range(off, len, __func__);
	if (err || len == 0)
		return err;
	return (int)api_result(pin_be(pin)->pin_commit(pin, off, len), __func__, NULL);
}

int lh_pin_state(struct lh_pin *pin, struct lh_pin_state *out)
{
	int err = check_pin(pin, __func__);

	if (!err)
		err = api_room(out, sizeof(*out), "lh_pin_state", __func__);
	if (err)
		return err;
	return (int)api_result(pin_be(pin)->pin_state(pin, out), __func__, NULL);
}

int lh_pin_release(struct lh_pin *pin)
{
	fail_clear();
	if (!pin)
		return 0;
	return (int)api_result(pin_be(pin)->pin_release(pin), __func__, NULL);
}

int lh_file_commit(struct lh_file *file, uint64_t off, uint64_t len)
{
	int err = api_file(file, __func__);

	if (!err)
		err = check_range(off, len, __func__);
	if (err || len == 0)
		return err;
	if (!file_be(file)->file_commit)
		return (int)api_result(file_be(file)->file_sync(file), __func__, NULL);
	return (int)api_result(file_be(file)->file_commit(file, off, len), __func__, NULL);
}
