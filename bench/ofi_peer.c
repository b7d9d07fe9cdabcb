/* SPDX-License-Identifier: BSD-2-Clause */
/* Set up as docs/benchmarks.md says; nothing here is tuned against libfabric: its defaults, its own polling. */
#include "ofi_peer.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>

#include "base/clock.h"

#define NAME_MAX_BYTES 256
#define CQ_SIZE        1024
#define SETUP_NS       (10 * NS_PER_SEC)
#define LOCAL_BYTES    ((size_t)32 << 20)

/* What the two processes tell each other over the socket pair. */
struct hello {
	char name[NAME_MAX_BYTES];
	uint64_t name_len, key, addr;
};

struct side {
	struct fi_info *info;
	struct fid_fabric *fabric;
	struct fid_domain *domain;
	struct fid_ep *ep;
	struct fid_pep *pep;
	struct fid_cq *cq;
	struct fid_eq *eq;
	struct fid_av *av;
	struct fid_mr *mr;
	void *buf;
	size_t len;
};

struct ofi_peer {
	struct side s;
	pid_t server;
	int sock;
	fi_addr_t to;
	uint64_t key, addr;
	size_t region;
};

static bool connected_type(const struct side *s)
{
	return s->info->ep_attr->type == FI_EP_MSG;
}

static int side_info(struct side *s, const char *provider, bool server)
{
	struct fi_info *hints = fi_allocinfo();
	bool tcp = strcmp(provider, "tcp") == 0;
	int err;

	if (!hints)
		return -ENOMEM;
	hints->caps = FI_RMA | FI_MSG;
	hints->ep_attr->type = tcp ? FI_EP_MSG : FI_EP_RDM;
	hints->mode = FI_CONTEXT;
	hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
	hints->domain_attr->threading = FI_THREAD_DOMAIN;
	hints->tx_attr->op_flags = FI_DELIVERY_COMPLETE;
	hints->fabric_attr->prov_name = strdup(provider);
	if (tcp)
		err = fi_getinfo(FI_VERSION(1, 17), "127.0.0.1", NULL, server ? FI_SOURCE : 0, hints, &s->info);
	else
		err = fi_getinfo(FI_VERSION(1, 17), NULL, NULL, 0, hints, &s->info);
	fi_freeinfo(hints);
	return err;
}

static int side_domain(struct side *s)
{
	struct fi_cq_attr cq = {.size = CQ_SIZE, .format = FI_CQ_FORMAT_CONTEXT, .wait_obj = FI_WAIT_NONE};
	struct fi_eq_attr eq = {.wait_obj = FI_WAIT_UNSPEC};
	struct fi_av_attr av = {.type = FI_AV_UNSPEC};
	int err = fi_fabric(s->info->fabric_attr, &s->fabric, NULL);

	if (!err)
		err = fi_domain(s->fabric, s->info, &s->domain, NULL);
	if (!err)
		err = fi_cq_open(s->domain, &cq, &s->cq, NULL);
	if (!err && connected_type(s))
		err = fi_eq_open(s->fabric, &eq, &s->eq, NULL);
	if (!err && !connected_type(s))
		err = fi_av_open(s->domain, &av, &s->av, NULL);
	return err;
}

static int side_endpoint(struct side *s, struct fi_info *info)
{
	int err = fi_endpoint(s->domain, info, &s->ep, NULL);

	if (!err)
		err = fi_ep_bind(s->ep, &s->cq->fid, FI_TRANSMIT | FI_RECV);
	if (!err && s->eq)
		err = fi_ep_bind(s->ep, &s->eq->fid, 0);
	if (!err && s->av)
		err = fi_ep_bind(s->ep, &s->av->fid, 0);
	if (!err)
		err = fi_enable(s->ep);
	return err;
}

static int side_register(struct side *s, size_t len, uint64_t access)
{
	s->buf = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (s->buf == MAP_FAILED)
		return -errno;
	s->len = len;
	memset(s->buf, 1, len);
	return fi_mr_reg(s->domain, s->buf, len, access, 0, 0x1ea5e, 0, &s->mr, NULL);
}

static void side_close(struct side *s)
{
	if (s->mr)
		fi_close(&s->mr->fid);
	if (s->ep)
		fi_close(&s->ep->fid);
	if (s->pep)
		fi_close(&s->pep->fid);
	if (s->av)
		fi_close(&s->av->fid);
	if (s->eq)
		fi_close(&s->eq->fid);
	if (s->cq)
		fi_close(&s->cq->fid);
	if (s->domain)
		fi_close(&s->domain->fid);
	if (s->fabric)
		fi_close(&s->fabric->fid);
	if (s->info)
		fi_freeinfo(s->info);
	if (s->buf && s->buf != MAP_FAILED)
		munmap(s->buf, s->len);
}

static int eq_expect(struct side *s, uint32_t want, struct fi_eq_cm_entry *entry)
{
	uint64_t until = clock_now_ns() + SETUP_NS;

	while (clock_now_ns() < until) {
		uint32_t event = 0;
		ssize_t n = fi_eq_read(s->eq, &event, entry, sizeof(*entry), 0);

		if (n > 0)
			return event == want ? 0 : -EPROTO;
		if (n != -FI_EAGAIN)
			return (int)n;
		fi_cq_read(s->cq, NULL, 0);
	}
	return -ETIMEDOUT;
}

static int send_all(int sock, const void *buf, size_t len)
{
	return send(sock, buf, len, MSG_NOSIGNAL) == (ssize_t)len ? 0 : -EPIPE;
}

static int recv_all(int sock, void *buf, size_t len)
{
	return recv(sock, buf, len, MSG_WAITALL) == (ssize_t)len ? 0 : -EPIPE;
}

static int server_listen(struct side *s, struct hello *me)
{
	size_t len = sizeof(me->name);
	int err = fi_passive_ep(s->fabric, s->info, &s->pep, NULL);

	if (!err)
		err = fi_pep_bind(s->pep, &s->eq->fid, 0);
	if (!err)
		err = fi_listen(s->pep);
	if (!err)
		err = fi_getname(&s->pep->fid, me->name, &len);
	me->name_len = len;
	return err;
}

static int server_name(struct side *s, struct hello *me)
{
	size_t len = sizeof(me->name);
	int err = side_endpoint(s, s->info);

	if (!err)
		err = fi_getname(&s->ep->fid, me->name, &len);
	me->name_len = len;
	return err;
}

static int server_accept(struct side *s)
{
	struct fi_eq_cm_entry entry;
	int err = eq_expect(s, FI_CONNREQ, &entry);

	if (err)
		return err;
	err = side_endpoint(s, entry.info);
	if (!err)
		err = fi_accept(s->ep, NULL, 0);
	fi_freeinfo(entry.info);
	if (!err)
		err = eq_expect(s, FI_CONNECTED, &entry);
	return err;
}

/* The server process: sets up, then polls until it is killed. */
static void server_main(const char *provider, size_t region, int sock)
{
	struct side s = {0};
	struct hello me = {0};
	int err;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	err = side_info(&s, provider, true);
	if (!err)
		err = side_domain(&s);
	if (!err)
		err = connected_type(&s) ? server_listen(&s, &me) : server_name(&s, &me);
	if (!err)
		err = side_register(&s, region, FI_REMOTE_READ | FI_REMOTE_WRITE | FI_SEND | FI_RECV);
	if (!err) {
		me.key = fi_mr_key(s.mr);
		me.addr = (s.info->domain_attr->mr_mode & FI_MR_VIRT_ADDR) ? (uint64_t)(uintptr_t)s.buf : 0;
		err = send_all(sock, &me, sizeof(me));
	}
	if (!err && connected_type(&s))
		err = server_accept(&s);
	while (!err) {
		struct fi_cq_entry entry;
		ssize_t n = fi_cq_read(s.cq, &entry, 1);

		if (n < 0 && n != -FI_EAGAIN && n != -FI_EAVAIL)
			err = (int)n;
	}
	_exit(1);
}

static int client_connect(struct ofi_peer *p, const char *provider)
{
	struct side *s = &p->s;
	struct fi_eq_cm_entry entry;
	struct hello peer;
	int err = recv_all(p->sock, &peer, sizeof(peer));

	if (!err)
		err = side_info(s, provider, false);
	if (!err)
		err = side_domain(s);
	if (!err)
		err = side_endpoint(s, s->info);
	if (!err)
		err = side_register(s, LOCAL_BYTES, FI_READ | FI_WRITE | FI_SEND | FI_RECV);
	if (err)
		return err;
	p->key = peer.key;
	p->addr = peer.addr;
	p->to = FI_ADDR_UNSPEC;
	if (!connected_type(s))
		return fi_av_insert(s->av, peer.name, 1, &p->to, 0, NULL) == 1 ? 0 : -EINVAL;
	err = fi_connect(s->ep, peer.name, NULL, 0);
	return err ? err : eq_expect(s, FI_CONNECTED, &entry);
}

struct ofi_peer *ofi_peer_start(const char *provider, size_t region, char *why, size_t why_len)
{
	struct ofi_peer *p = calloc(1, sizeof(*p));
	int pair[2];
	int err;

	if (!p || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
		free(p);
		snprintf(why, why_len, "no memory or no sockets");
		return NULL;
	}
	fflush(NULL);
	p->server = fork();
	if (p->server == 0) {
		close(pair[0]);
		server_main(provider, region, pair[1]);
	}
	close(pair[1]);
	p->sock = pair[0];
	p->region = region;
	err = p->server < 0 ? -errno : client_connect(p, provider);
	if (err) {
		snprintf(why, why_len, "libfabric %s: %s", provider, fi_strerror(-err));
		ofi_peer_stop(p);
		return NULL;
	}
	return p;
}

void ofi_peer_stop(struct ofi_peer *p)
{
	if (!p)
		return;
	if (p->server > 0) {
		kill(p->server, SIGKILL);
		waitpid(p->server, NULL, 0);
	}
	close(p->sock);
	side_close(&p->s);
	free(p);
}

void ofi_peer_pause(struct ofi_peer *p)
{
	if (p)
		kill(p->server, SIGSTOP);
}

void ofi_peer_resume(struct ofi_peer *p)
{
	if (p)
		kill(p->server, SIGCONT);
}

/* The contract is delivery: a write has completed when its bytes are in the target's memory. tcp ignores the default
 * flags. */
static ssize_t post_write(struct ofi_peer *p, const struct iovec *iov, void *desc, uint64_t off, struct fi_context *ctx)
{
	struct fi_rma_iov rma = {.addr = p->addr + off, .len = iov->iov_len, .key = p->key};
	struct fi_msg_rma msg = {.msg_iov = iov,
				 .desc = &desc,
				 .iov_count = 1,
				 .addr = p->to,
				 .rma_iov = &rma,
				 .rma_iov_count = 1,
				 .context = ctx};

	return fi_writemsg(p->s.ep, &msg, FI_DELIVERY_COMPLETE | FI_COMPLETION);
}

static ssize_t post(struct ofi_peer *p, bool write, size_t len, unsigned slot, uint64_t off, struct fi_context *ctx)
{
	struct iovec iov = {(uint8_t *)p->s.buf + (size_t)slot * len, len};
	void *desc = fi_mr_desc(p->s.mr);

	if (write)
		return post_write(p, &iov, desc, off, ctx);
	return fi_read(p->s.ep, iov.iov_base, len, desc, p->to, p->addr + off, p->key, ctx);
}

int ofi_peer_run(struct ofi_peer *p, bool write, size_t len, unsigned depth, unsigned count, uint64_t *lat_ns)
{
	struct fi_context ctx[OFI_DEPTH_MAX];
	unsigned char idle[OFI_DEPTH_MAX];
	unsigned idle_count = 0, posted = 0, finished = 0;
	uint64_t places = p->region / len, seed = 88172645463325252ull, started = 0;

	if (depth > OFI_DEPTH_MAX || depth * len > LOCAL_BYTES)
		return -EINVAL;
	while (idle_count < depth) {
		idle[idle_count] = (unsigned char)idle_count;
		idle_count++;
	}
	while (finished < count) {
		struct fi_cq_entry done[OFI_DEPTH_MAX];
		ssize_t n;

		while (idle_count && posted < count) {
			unsigned slot = idle[idle_count - 1];

			seed ^= seed << 13;
			seed ^= seed >> 7;
			seed ^= seed << 17;
			started = clock_now_ns();
			n = post(p, write, len, slot, seed % places * len, &ctx[slot]);
			if (n == -FI_EAGAIN)
				break;
			if (n)
				return (int)n;
			idle_count--;
			posted++;
		}
		n = fi_cq_read(p->s.cq, done, depth);
		if (n == -FI_EAGAIN)
			continue;
		if (n < 0)
			return (int)n;
		for (ssize_t i = 0; i < n; i++) {
			idle[idle_count++] = (unsigned char)((struct fi_context *)done[i].op_context - ctx);
			if (lat_ns && depth == 1)
				lat_ns[finished] = clock_now_ns() - started;
			finished++;
		}
	}
	return 0;
}
