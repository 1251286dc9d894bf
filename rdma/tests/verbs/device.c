/*
 * A device behind verbs that is not there: libibverbs.so.1 with one RC device whose queue pairs reach each other inside this
 * process, at once. Programs that load libibverbs find it by LD_LIBRARY_PATH. Posting and polling go through the table of
 * functions of its context, as those of any device do, so what a program does up to that boundary is what it does with a card.
 *
 *   DPA_MOCK_SYSFS  its directory: `DIR/mock0` has what /sys/class/infiniband/DEVICE has of ports and addresses
 *   DPA_MOCK_GONE   a file: once it is there the device is taken out, at the next request
 *   DPA_MOCK_LACKS  words: `kernel`, `device`, `permission`, `memory`, `port`, `atomics`, `ethernet` (its port is of InfiniBand),
 *                   `haste` (a queue pair that has failed flushes what it has after a while), `ends` (messages with the immediate
 *                   data 0xe0d arrive half), `flush` (what such a message has taken is not flushed), `speed` (it reports messages
 *                   20 ms after they have arrived), `luck` (a message with the immediate data 0xbad0 has polling fail, 0xbad1 the
 *                   completion queue, 0xbad2 the receive queue of its peer), `calm` (while a queue pair that has failed is
 *                   destroyed, waiting work of another fails, which is said by its completion only), `room` (work is taken when
 *                   there are three queue pairs), `pace` (a queue pair that has failed flushes what it has when it is polled for
 *                   the eighth time), `thrift` (the number of a queue pair that is destroyed is the next one's),
 *                   `domains` (it has eight protection domains), `queues` (it has one completion queue)
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <infiniband/verbs.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define QUEUE_PAIRS 4096
#define REGIONS 4096
#define INLINE_BYTES 64
#define HALF 0xe0d
#define BREAKS_POLLING 0xbad0
#define BREAKS_COMPLETIONS 0xbad1
#define BREAKS_RECEIVES 0xbad2

/* The macros of the header would stand in the way of defining these. */
#undef ibv_query_port
#undef ibv_reg_mr_iova

struct region { struct ibv_mr mr; uint64_t iova; int access; };

struct completions {
	struct ibv_cq cq;
	struct ibv_wc *ring;
	unsigned capacity, first, count;
	bool armed, is_silent, is_broken;
	/* That are left until those that have failed flush. */
	unsigned polls;
};

struct receive { uint64_t id; struct ibv_sge place; };

struct receives {
	struct ibv_srq srq;
	struct receive *ring;
	unsigned capacity, first, count;
};

struct request { struct ibv_send_wr wr; struct ibv_sge place; uint8_t bytes[INLINE_BYTES]; };

struct pair {
	struct ibv_qp qp;
	uint32_t peer;
	int access;
	uint8_t rnr_retries;
	/* It has failed, and what it has is not flushed yet. */
	bool flushes;
	/* A message has arrived half, in this receive. */
	bool has_half;
	struct receive half;
	/* It has said that no receive of it is left. */
	bool has_said_last;
	/* Requests that wait for a receive of the peer, and those behind them. */
	struct request *waiting;
	unsigned capacity, first, count;
};

struct event { int kind; void *of; };

/* Each context hears of its own queue pairs only. */
struct opened { struct ibv_context context; int events[2]; };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct ibv_device device;
static struct pair *pairs[QUEUE_PAIRS];
static struct region *regions[REGIONS];
static uint8_t generations[REGIONS];
/* Queue pairs, ever. */
static unsigned made;
/* Protection domains that there are. */
static unsigned domains;
/* Completion queues that there are. */
static unsigned queues;

static bool lacks(const char *what)
{
	const char *all = getenv("DPA_MOCK_LACKS");
	return all && strstr(all, what);
}

/* One more of what there are so many of, if the device has few of them. */
static bool takes_one(unsigned *there, unsigned few, const char *what)
{
	if (__atomic_fetch_add(there, 1, __ATOMIC_SEQ_CST) < few || !lacks(what))
		return true;
	__atomic_fetch_sub(there, 1, __ATOMIC_SEQ_CST);
	errno = ENOMEM;
	return false;
}

/* Devices and contexts. */

EXPORT struct ibv_device **ibv_get_device_list(int *count)
{
	struct ibv_device **list;
	const char *sysfs = getenv("DPA_MOCK_SYSFS");

	if (lacks("kernel")) {
		errno = ENOSYS;
		return NULL;
	}
	list = calloc(2, sizeof(*list));
	strcpy(device.name, "mock0");
	snprintf(device.ibdev_path, sizeof(device.ibdev_path), "%s/mock0", sysfs ? sysfs : "");
	if (!lacks("device"))
		list[0] = &device;
	if (count)
		*count = list[0] ? 1 : 0;
	return list;
}

EXPORT void ibv_free_device_list(struct ibv_device **list) { free(list); }

EXPORT const char *ibv_get_device_name(struct ibv_device *d) { return d->name; }

static int poll_cq(struct ibv_cq *cq, int most, struct ibv_wc *out);
static int req_notify_cq(struct ibv_cq *cq, int solicited);
static int post_srq_recv(struct ibv_srq *srq, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad);
static int post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad);

EXPORT struct ibv_context *ibv_open_device(struct ibv_device *d)
{
	struct opened *opened;
	struct ibv_context *context;

	if (lacks("permission")) {
		errno = EACCES;
		return NULL;
	}
	opened = calloc(1, sizeof(*opened));
	if (pipe(opened->events)) {
		free(opened);
		return NULL;
	}
	context = &opened->context;
	context->device = d;
	context->async_fd = opened->events[0];
	context->ops.poll_cq = poll_cq;
	context->ops.req_notify_cq = req_notify_cq;
	context->ops.post_srq_recv = post_srq_recv;
	context->ops.post_send = post_send;
	return context;
}

EXPORT int ibv_close_device(struct ibv_context *context)
{
	struct opened *opened = (struct opened *)context;

	close(opened->events[0]);
	if (opened->events[1] >= 0)
		close(opened->events[1]);
	free(opened);
	return 0;
}

EXPORT int ibv_query_device(struct ibv_context *context, struct ibv_device_attr *attr)
{
	memset(attr, 0, sizeof(*attr));
	attr->vendor_id = 0x1234;
	attr->max_qp_init_rd_atom = attr->max_qp_rd_atom = 16;
	attr->max_cqe = 1 << 16;
	attr->max_srq_wr = attr->max_qp_wr = 1 << 12;
	attr->phys_port_cnt = 1;
	attr->atomic_cap = lacks("atomics") ? IBV_ATOMIC_NONE : IBV_ATOMIC_HCA;
	return 0;
}

EXPORT int ibv_query_port(struct ibv_context *context, uint8_t port, struct _compat_ibv_port_attr *out)
{
	struct ibv_port_attr *attr = (struct ibv_port_attr *)out;

	attr->state = lacks("port") ? IBV_PORT_DOWN : IBV_PORT_ACTIVE;
	attr->active_mtu = attr->max_mtu = IBV_MTU_4096;
	attr->lid = lacks("ethernet") ? 7 : 0;
	attr->link_layer = lacks("ethernet") ? IBV_LINK_LAYER_INFINIBAND : IBV_LINK_LAYER_ETHERNET;
	return 0;
}

EXPORT int ibv_query_gid(struct ibv_context *context, uint8_t port, int index, union ibv_gid *gid)
{
	if (!lacks("ethernet")) {
		errno = EINVAL;
		return -1;
	}
	*gid = (union ibv_gid){ .raw = { 0xfe, 0x80, [15] = 7 } };
	return 0;
}

/* A device that is taken out says so; then its files tell of nothing but errors. */
static bool is_gone(struct ibv_context *context)
{
	struct opened *opened = (struct opened *)context;
	struct event fatal = { IBV_EVENT_DEVICE_FATAL, NULL };
	const char *file = getenv("DPA_MOCK_GONE");

	if (!file || access(file, F_OK))
		return false;
	pthread_mutex_lock(&lock);
	if (opened->events[1] >= 0) {
		if (write(opened->events[1], &fatal, sizeof(fatal)) != sizeof(fatal))
			abort();
		close(opened->events[1]);
		opened->events[1] = -1;
	}
	pthread_mutex_unlock(&lock);
	return true;
}

static void say(int kind, void *of, struct ibv_context *context)
{
	struct opened *opened = (struct opened *)context;
	struct event event = { kind, of };
	/* One that is gone has said so. */
	if (opened->events[1] < 0)
		return;
	if (write(opened->events[1], &event, sizeof(event)) < 0)
		abort();
}

EXPORT int ibv_get_async_event(struct ibv_context *context, struct ibv_async_event *out)
{
	struct event event;

	ssize_t got = read(((struct opened *)context)->events[0], &event, sizeof(event));

	if (got != sizeof(event)) {
		if (got >= 0)
			errno = EIO;
		return -1;
	}
	out->element.qp = event.of;
	out->event_type = event.kind;
	return 0;
}

EXPORT void ibv_ack_async_event(struct ibv_async_event *event) { }

EXPORT struct ibv_pd *ibv_alloc_pd(struct ibv_context *context)
{
	struct ibv_pd *pd;

	if (!takes_one(&domains, 8, "domains"))
		return NULL;
	pd = calloc(1, sizeof(*pd));
	pd->context = context;
	return pd;
}

EXPORT int ibv_dealloc_pd(struct ibv_pd *pd)
{
	__atomic_fetch_sub(&domains, 1, __ATOMIC_SEQ_CST);
	free(pd);
	return 0;
}

/* Memory. */

EXPORT struct ibv_mr *ibv_reg_mr_iova(struct ibv_pd *pd, void *addr, size_t length, uint64_t iova, int access)
{
	struct region *region;
	unsigned at = 1;

	if (lacks("memory")) {
		errno = ENOMEM;
		return NULL;
	}
	pthread_mutex_lock(&lock);
	while (at < REGIONS && regions[at])
		at++;
	if (at == REGIONS) {
		pthread_mutex_unlock(&lock);
		errno = ENOMEM;
		return NULL;
	}
	region = calloc(1, sizeof(*region));
	region->mr = (struct ibv_mr){ .context = pd->context, .pd = pd, .addr = addr, .length = length };
	region->mr.lkey = region->mr.rkey = at << 8 | ++generations[at];
	region->iova = iova;
	region->access = access;
	regions[at] = region;
	pthread_mutex_unlock(&lock);
	return &region->mr;
}

EXPORT int ibv_dereg_mr(struct ibv_mr *mr)
{
	pthread_mutex_lock(&lock);
	regions[mr->lkey >> 8] = NULL;
	pthread_mutex_unlock(&lock);
	free(mr);
	return 0;
}

/* The bytes of a range; none if the key does not allow it. */
static void *reach(struct ibv_pd *pd, uint32_t key, uint64_t from, uint64_t len, int access)
{
	struct region *region = key >> 8 < REGIONS ? regions[key >> 8] : NULL;

	if (!region || region->mr.rkey != key || region->mr.pd != pd || (region->access & access) != access)
		return NULL;
	if (from < region->iova || from - region->iova > region->mr.length || len > region->mr.length - (from - region->iova))
		return NULL;
	return (uint8_t *)region->mr.addr + (from - region->iova);
}

/* Completions. */

EXPORT struct ibv_comp_channel *ibv_create_comp_channel(struct ibv_context *context)
{
	struct ibv_comp_channel *channel = calloc(1, sizeof(*channel));
	int ends[2];

	if (pipe(ends)) {
		free(channel);
		return NULL;
	}
	channel->context = context;
	channel->fd = ends[0];
	channel->refcnt = ends[1];
	return channel;
}

EXPORT int ibv_destroy_comp_channel(struct ibv_comp_channel *channel)
{
	close(channel->fd);
	close(channel->refcnt);
	free(channel);
	return 0;
}

EXPORT struct ibv_cq *ibv_create_cq(struct ibv_context *context, int entries, void *of, struct ibv_comp_channel *channel, int vector)
{
	struct completions *queue;

	if (!takes_one(&queues, 1, "queues"))
		return NULL;
	queue = calloc(1, sizeof(*queue));
	queue->cq.context = context;
	queue->cq.channel = channel;
	queue->capacity = entries;
	queue->ring = calloc(entries, sizeof(*queue->ring));
	return &queue->cq;
}

EXPORT int ibv_destroy_cq(struct ibv_cq *cq)
{
	struct completions *queue = (struct completions *)cq;

	__atomic_fetch_sub(&queues, 1, __ATOMIC_SEQ_CST);
	free(queue->ring);
	free(queue);
	return 0;
}

EXPORT int ibv_get_cq_event(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **of)
{
	return read(channel->fd, cq, sizeof(*cq)) == sizeof(*cq) ? 0 : -1;
}

EXPORT void ibv_ack_cq_events(struct ibv_cq *cq, unsigned count) { }

static int req_notify_cq(struct ibv_cq *cq, int solicited)
{
	pthread_mutex_lock(&lock);
	((struct completions *)cq)->armed = true;
	pthread_mutex_unlock(&lock);
	return 0;
}

static void complete(struct ibv_cq *cq, const struct ibv_wc *wc)
{
	struct completions *queue = (struct completions *)cq;
	unsigned at = queue->first + queue->count;

	if (queue->count == queue->capacity)
		abort();
	queue->ring[at < queue->capacity ? at : at - queue->capacity] = *wc;
	queue->count++;
	if (queue->armed) {
		queue->armed = false;
		if (write(cq->channel->refcnt, &cq, sizeof(cq)) < 0)
			abort();
	}
}

struct late { struct ibv_cq *cq; struct ibv_wc wc; };

static void *completes_late(void *of)
{
	struct late *late = of;

	usleep(20 * 1000);
	pthread_mutex_lock(&lock);
	complete(late->cq, &late->wc);
	pthread_mutex_unlock(&lock);
	free(late);
	return NULL;
}

/* The queue must be there by then. */
static void complete_late(struct ibv_cq *cq, const struct ibv_wc *wc)
{
	struct late *late = malloc(sizeof(*late));
	pthread_t thread;

	*late = (struct late){ cq, *wc };
	if (pthread_create(&thread, NULL, completes_late, late) || pthread_detach(thread))
		abort();
}

static void flush(struct pair *pair);

static void flush_in_time(struct completions *queue)
{
	pthread_mutex_lock(&lock);
	if (queue->polls && --queue->polls == 0)
		for (unsigned at = 0; at < QUEUE_PAIRS; at++)
			if (pairs[at] && pairs[at]->flushes && pairs[at]->qp.send_cq == &queue->cq) {
				flush(pairs[at]);
				pairs[at]->flushes = false;
			}
	pthread_mutex_unlock(&lock);
}

static int poll_cq(struct ibv_cq *cq, int most, struct ibv_wc *out)
{
	struct completions *queue = (struct completions *)cq;
	int taken = 0;

	if (queue->is_broken)
		return -1;
	if (queue->polls)
		flush_in_time(queue);
	if (!__atomic_load_n(&queue->count, __ATOMIC_ACQUIRE) || queue->is_silent)
		return 0;
	pthread_mutex_lock(&lock);
	while (taken < most && queue->count) {
		out[taken++] = queue->ring[queue->first];
		queue->first = queue->first + 1 == queue->capacity ? 0 : queue->first + 1;
		queue->count--;
	}
	pthread_mutex_unlock(&lock);
	return taken;
}

/* Receives that queue pairs share. */

EXPORT struct ibv_srq *ibv_create_srq(struct ibv_pd *pd, struct ibv_srq_init_attr *attr)
{
	struct receives *queue = calloc(1, sizeof(*queue));

	queue->srq.context = pd->context;
	queue->srq.pd = pd;
	queue->capacity = attr->attr.max_wr;
	queue->ring = calloc(queue->capacity, sizeof(*queue->ring));
	return &queue->srq;
}

EXPORT int ibv_destroy_srq(struct ibv_srq *srq)
{
	free(((struct receives *)srq)->ring);
	free(srq);
	return 0;
}

static void work_waiting(void);

static int post_srq_recv(struct ibv_srq *srq, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	struct receives *queue = (struct receives *)srq;
	struct receive taken;
	int code = 0;

	pthread_mutex_lock(&lock);
	for (; wr; wr = wr->next) {
		if (queue->count == queue->capacity) {
			*bad = wr;
			code = ENOMEM;
			break;
		}
		taken = (struct receive){ .id = wr->wr_id };
		if (wr->num_sge)
			taken.place = wr->sg_list[0];
		/* As some devices take it. */
		if (wr->num_sge && !taken.place.length)
			taken.place.length = 1u << 31;
		queue->ring[(queue->first + queue->count++) % queue->capacity] = taken;
	}
	work_waiting();
	pthread_mutex_unlock(&lock);
	return code;
}

/* Queue pairs. */

EXPORT struct ibv_qp *ibv_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
	static unsigned last = 16;
	struct pair *pair = calloc(1, sizeof(*pair));

	pair->qp = (struct ibv_qp){ .context = pd->context, .pd = pd, .send_cq = attr->send_cq, .recv_cq = attr->recv_cq, .srq = attr->srq };
	pair->capacity = attr->cap.max_send_wr;
	pair->waiting = calloc(pair->capacity, sizeof(*pair->waiting));
	attr->cap.max_inline_data = INLINE_BYTES;
	pthread_mutex_lock(&lock);
	made++;
	if (lacks("thrift"))
		last = 16;
	do
		last = last + 1 < QUEUE_PAIRS ? last + 1 : 17;
	while (pairs[last]);
	pair->qp.qp_num = last;
	pairs[last] = pair;
	pthread_mutex_unlock(&lock);
	return &pair->qp;
}

static void fail(struct pair *pair);

EXPORT int ibv_modify_qp(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask)
{
	struct pair *pair = (struct pair *)qp;

	pthread_mutex_lock(&lock);
	if (mask & IBV_QP_ACCESS_FLAGS)
		pair->access = attr->qp_access_flags;
	if (mask & IBV_QP_DEST_QPN)
		pair->peer = attr->dest_qp_num;
	if (mask & IBV_QP_RNR_RETRY)
		pair->rnr_retries = attr->rnr_retry;
	if (attr->qp_state == IBV_QPS_ERR)
		fail(pair);
	qp->state = attr->qp_state;
	pthread_mutex_unlock(&lock);
	return 0;
}

EXPORT int ibv_query_qp(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask, struct ibv_qp_init_attr *made)
{
	attr->qp_state = qp->state;
	return 0;
}

static void done(struct pair *pair, const struct ibv_send_wr *wr, int status, uint32_t len)
{
	static const uint8_t opcodes[] = {
		[IBV_WR_RDMA_READ] = IBV_WC_RDMA_READ,
		[IBV_WR_SEND] = IBV_WC_SEND,
		[IBV_WR_SEND_WITH_IMM] = IBV_WC_SEND,
		[IBV_WR_SEND_WITH_INV] = IBV_WC_SEND,
		[IBV_WR_RDMA_WRITE] = IBV_WC_RDMA_WRITE,
		[IBV_WR_RDMA_WRITE_WITH_IMM] = IBV_WC_RDMA_WRITE,
		[IBV_WR_ATOMIC_CMP_AND_SWP] = IBV_WC_COMP_SWAP,
		[IBV_WR_ATOMIC_FETCH_AND_ADD] = IBV_WC_FETCH_ADD,
	};
	struct ibv_wc wc = { .wr_id = wr->wr_id, .status = status, .opcode = opcodes[wr->opcode], .byte_len = len, .qp_num = pair->qp.qp_num };
	complete(pair->qp.send_cq, &wc);
}

/* Waiting work of some queue pair has been tried too often. */
static void give_up_some(void)
{
	for (unsigned at = 0; at < QUEUE_PAIRS; at++) {
		struct pair *pair = pairs[at];

		if (!pair || !pair->count || pair->qp.state != IBV_QPS_RTS)
			continue;
		done(pair, &pair->waiting[pair->first].wr, IBV_WC_RETRY_EXC_ERR, 0);
		pair->first = (pair->first + 1) % pair->capacity;
		pair->count--;
		pair->qp.state = IBV_QPS_ERR;
		pair->has_said_last = true;
		return;
	}
}

EXPORT int ibv_destroy_qp(struct ibv_qp *qp)
{
	struct pair *pair = (struct pair *)qp;

	pthread_mutex_lock(&lock);
	pairs[qp->qp_num] = NULL;
	if (qp->state == IBV_QPS_ERR && lacks("calm"))
		give_up_some();
	pthread_mutex_unlock(&lock);
	free(pair->waiting);
	/* Events that name it may still be under way, so it stays. */
	return 0;
}

static void flush(struct pair *pair)
{
	struct ibv_wc half = { .wr_id = pair->half.id, .status = IBV_WC_WR_FLUSH_ERR, .qp_num = pair->qp.qp_num };

	for (; pair->count; pair->count--) {
		done(pair, &pair->waiting[pair->first].wr, IBV_WC_WR_FLUSH_ERR, 0);
		pair->first = (pair->first + 1) % pair->capacity;
	}
	if (pair->has_half && lacks("flush"))
		return;
	if (pair->has_half)
		complete(pair->qp.recv_cq, &half);
	pair->has_half = false;
	if (pair->qp.srq && pair->peer && !pair->has_said_last) {
		pair->has_said_last = true;
		say(IBV_EVENT_QP_LAST_WQE_REACHED, &pair->qp, pair->qp.context);
	}
}

/* A queue pair that is destroyed meanwhile says nothing any more. Its memory stays. */
static void *flush_late(void *of)
{
	struct pair *pair = of;

	usleep(50 * 1000);
	pthread_mutex_lock(&lock);
	if (pairs[pair->qp.qp_num] == pair)
		flush(pair);
	pair->flushes = false;
	pthread_mutex_unlock(&lock);
	return NULL;
}

/* To ERR: what waits is flushed. */
static void fail(struct pair *pair)
{
	pthread_t thread;

	pair->qp.state = IBV_QPS_ERR;
	if (lacks("pace")) {
		pair->flushes = true;
		((struct completions *)pair->qp.send_cq)->polls = 8;
	} else if (!lacks("haste")) {
		flush(pair);
	} else if (!pair->flushes) {
		pair->flushes = true;
		if (pthread_create(&thread, NULL, flush_late, pair) || pthread_detach(thread))
			abort();
	}
}

/* The next receive of a queue pair gets this. 0, or the status of the sender. `-1`: there is no receive; `-2`: it goes on for ever. */
static int receive(struct pair *to, const struct ibv_send_wr *wr, const void *bytes, uint32_t len, bool carries)
{
	struct receives *queue = (struct receives *)to->qp.srq;
	struct ibv_wc wc = { .qp_num = to->qp.qp_num, .byte_len = len };
	struct receive taken;
	void *place;

	if (to->has_half)
		return -2;
	if (!queue || !queue->count)
		return -1;
	taken = queue->ring[queue->first];
	queue->first = (queue->first + 1) % queue->capacity;
	queue->count--;
	if (wr->opcode == IBV_WR_SEND_WITH_IMM && wr->imm_data == htobe32(HALF) && lacks("ends")) {
		to->has_half = true;
		to->half = taken;
		return -2;
	}
	wc.wr_id = taken.id;
	wc.opcode = carries ? IBV_WC_RECV : IBV_WC_RECV_RDMA_WITH_IMM;
	if (wr->opcode == IBV_WR_SEND_WITH_INV) {
		wc.wc_flags = IBV_WC_WITH_INV;
		wc.invalidated_rkey = wr->invalidate_rkey;
	} else if (wr->opcode != IBV_WR_SEND) {
		wc.wc_flags = IBV_WC_WITH_IMM;
		wc.imm_data = wr->imm_data;
	}
	if (carries && len) {
		place = len > taken.place.length ? NULL : reach(to->qp.pd, taken.place.lkey, taken.place.addr, len, IBV_ACCESS_LOCAL_WRITE);
		if (!place) {
			wc.status = len > taken.place.length ? IBV_WC_LOC_LEN_ERR : IBV_WC_LOC_PROT_ERR;
			complete(to->qp.recv_cq, &wc);
			fail(to);
			return len > taken.place.length ? IBV_WC_REM_INV_REQ_ERR : IBV_WC_REM_OP_ERR;
		}
		memcpy(place, bytes, len);
	}
	if (lacks("speed"))
		complete_late(to->qp.recv_cq, &wc);
	else
		complete(to->qp.recv_cq, &wc);
	return 0;
}

/* The peer refuses: its queue pair fails, and says so. */
static int refuse(struct pair *to, int kind, int status)
{
	say(kind, &to->qp, to->qp.context);
	fail(to);
	return status;
}

static int atomic_on(struct pair *to, const struct ibv_send_wr *wr, void *original)
{
	uint64_t at = wr->wr.atomic.remote_addr, *word;

	if (at % 8)
		return refuse(to, IBV_EVENT_QP_REQ_ERR, IBV_WC_REM_INV_REQ_ERR);
	word = reach(to->qp.pd, wr->wr.atomic.rkey, at, 8, IBV_ACCESS_REMOTE_ATOMIC);
	if (!word)
		return refuse(to, IBV_EVENT_QP_ACCESS_ERR, IBV_WC_REM_ACCESS_ERR);
	memcpy(original, word, 8);
	if (wr->opcode == IBV_WR_ATOMIC_FETCH_AND_ADD)
		__atomic_store_n(word, *word + wr->wr.atomic.compare_add, __ATOMIC_RELEASE);
	else if (*word == wr->wr.atomic.compare_add)
		__atomic_store_n(word, wr->wr.atomic.swap, __ATOMIC_RELEASE);
	return 0;
}

static void put(void *to, const void *from, uint32_t len)
{
	if (len == 8 && (uintptr_t)to % 8 == 0) {
		uint64_t word;
		memcpy(&word, from, 8);
		__atomic_store_n((uint64_t *)to, word, __ATOMIC_RELEASE);
	} else {
		memmove(to, from, len);
	}
}

/* Does one request. 0, the status it ends with, or less: it waits. */
static int work(struct pair *pair, const struct ibv_send_wr *wr, const struct ibv_sge *place, void *inside, uint32_t *len)
{
	struct pair *to = pair->peer < QUEUE_PAIRS ? pairs[pair->peer] : NULL;
	bool reads = wr->opcode == IBV_WR_RDMA_READ || wr->opcode == IBV_WR_ATOMIC_FETCH_AND_ADD || wr->opcode == IBV_WR_ATOMIC_CMP_AND_SWP;
	bool writes = wr->opcode == IBV_WR_RDMA_WRITE || wr->opcode == IBV_WR_RDMA_WRITE_WITH_IMM;
	void *local = inside, *remote;

	*len = wr->num_sge ? place->length : 0;
	if (!inside && *len && !(local = reach(pair->qp.pd, place->lkey, place->addr, *len, reads ? IBV_ACCESS_LOCAL_WRITE : 0)))
		return IBV_WC_LOC_PROT_ERR;
	if (!to || to->peer != pair->qp.qp_num || (to->qp.state != IBV_QPS_RTR && to->qp.state != IBV_QPS_RTS))
		return IBV_WC_RETRY_EXC_ERR;
	if (reads && wr->opcode != IBV_WR_RDMA_READ)
		return atomic_on(to, wr, local);
	if (reads || (writes && *len)) {
		remote = reach(to->qp.pd, wr->wr.rdma.rkey, wr->wr.rdma.remote_addr, *len, reads ? IBV_ACCESS_REMOTE_READ : IBV_ACCESS_REMOTE_WRITE);
		if (!remote)
			return refuse(to, IBV_EVENT_QP_ACCESS_ERR, IBV_WC_REM_ACCESS_ERR);
		if (wr->opcode == IBV_WR_RDMA_WRITE_WITH_IMM && !((struct receives *)to->qp.srq)->count)
			return -1;
		put(reads ? local : remote, reads ? remote : local, *len);
	}
	if (wr->opcode == IBV_WR_RDMA_WRITE || reads)
		return 0;
	return receive(to, wr, local, *len, !writes);
}

/* The peer's receive queue, which has the message already. */
static void break_receives_of(struct pair *pair)
{
	struct pair *to = pairs[pair->peer];

	if (to)
		say(IBV_EVENT_SRQ_ERR, to->qp.srq, to->qp.context);
}

/* True if it is over. */
static bool try(struct pair *pair, const struct ibv_send_wr *wr, const struct ibv_sge *place, void *inside)
{
	uint32_t len;
	int status = work(pair, wr, place, inside, &len);

	/* A device asks again after a time that is long for what is done meanwhile: few retries are none here, many are without end. */
	if (status == -2 || (status < 0 && pair->rnr_retries > 4))
		return false;
	if (status < 0)
		status = IBV_WC_RNR_RETRY_EXC_ERR;
	done(pair, wr, status, len);
	if (!status && wr->opcode == IBV_WR_SEND_WITH_IMM && wr->imm_data == htobe32(BREAKS_RECEIVES) && lacks("luck"))
		break_receives_of(pair);
	if (status)
		pair->qp.state = IBV_QPS_ERR;
	return true;
}

static void work_waiting(void)
{
	for (unsigned at = 0; at < QUEUE_PAIRS; at++) {
		struct pair *pair = pairs[at];

		while (pair && pair->count && pair->qp.state == IBV_QPS_RTS) {
			struct request *first = &pair->waiting[pair->first];

			if (!try(pair, &first->wr, &first->place, first->wr.send_flags & IBV_SEND_INLINE ? first->bytes : NULL))
				break;
			pair->first = (pair->first + 1) % pair->capacity;
			pair->count--;
			if (pair->qp.state == IBV_QPS_ERR)
				fail(pair);
		}
	}
}

/* What is asked for is broken. */
static void break_of(struct ibv_qp *qp, uint32_t what)
{
	struct completions *queue = (struct completions *)qp->send_cq;

	if (what == BREAKS_POLLING)
		queue->is_broken = true;
	if (what == BREAKS_COMPLETIONS) {
		queue->is_silent = true;
		say(IBV_EVENT_CQ_ERR, &queue->cq, qp->context);
	}
}

/* A device without room for work; who asks it all the time asks for ever. */
static bool has_no_room(void)
{
	static unsigned asked;

	if (made >= 3 || !lacks("room"))
		return false;
	if (asked++ == 20000)
		abort();
	return true;
}

static int post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	struct pair *pair = (struct pair *)qp;
	int code = 0;

	if (is_gone(qp->context)) {
		*bad = wr;
		return EIO;
	}
	pthread_mutex_lock(&lock);
	for (; wr; wr = wr->next) {
		bool inside = wr->send_flags & IBV_SEND_INLINE;
		struct request *kept;

		if (has_no_room()) {
			*bad = wr;
			code = ENOMEM;
			break;
		}
		if (wr->opcode == IBV_WR_SEND_WITH_IMM && lacks("luck"))
			break_of(qp, be32toh(wr->imm_data));
		if (qp->state == IBV_QPS_ERR && !pair->flushes) {
			done(pair, wr, IBV_WC_WR_FLUSH_ERR, 0);
			continue;
		}
		if (!pair->count && qp->state != IBV_QPS_ERR && try(pair, wr, wr->sg_list, inside ? (void *)wr->sg_list->addr : NULL))
			continue;
		if (pair->count == pair->capacity) {
			*bad = wr;
			code = ENOMEM;
			break;
		}
		kept = &pair->waiting[(pair->first + pair->count++) % pair->capacity];
		kept->wr = *wr;
		if (wr->num_sge)
			kept->place = wr->sg_list[0];
		if (inside)
			memcpy(kept->bytes, (void *)wr->sg_list->addr, wr->sg_list->length);
	}
	pthread_mutex_unlock(&lock);
	return code;
}
