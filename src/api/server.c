/* SPDX-License-Identifier: BSD-2-Clause */
/* Serving a filesystem of this process to others. */
#include "api/check.h"

int lh_server_start(struct lh_fs *fs, const char *address, const struct lh_server_options *opt, struct lh_server **out)
{
	struct lh_server_options o;
	int err = api_fs(fs, __func__);

	if (!err)
		err = api_given(out, "out", __func__);
	if (err)
		return err;
	*out = NULL;
	err = api_path(address, __func__);
	if (!err)
		err = api_take(&o, sizeof(o), opt, "lh_server_options");
	if (!err)
		err = api_mode(o.socket_mode, __func__);
	if (err)
		return err;
	if (o.spin_ns > API_NS_MAX)
		return fail(-EINVAL, "%s: spin_ns is longer than a year", __func__);
	if (lh_fs_is_remote(fs))
		return fail(-EOPNOTSUPP,
			    "%s %s: only a pool that this process opened can be served, not another server's", __func__,
			    address);
	return (int)api_result(server_start(fs, address, &o, out), __func__, address);
}

const char *lh_server_address(const struct lh_server *server)
{
	return server ? server_address(server) : "";
}

void lh_server_stop(struct lh_server *server)
{
	if (server)
		server_stop(server);
}
