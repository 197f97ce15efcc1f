/* bcc's dialect for a plain clang, so that warnings can be errors and editors see
 * real types: see .ci/check-bpf. Nothing here is compiled into the programs.
 *
 * Declarations only, after bcc's helpers.h. Not declared: redirect_neigh, which
 * encap.h brings itself.
 */
#ifndef MPBOND_BCC_STUB_H
#define MPBOND_BCC_STUB_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <stddef.h>

#undef __always_inline /* user space's does not always inline */
#define __always_inline inline __attribute__((always_inline))

#define bpf_htons(x) __builtin_bswap16(x)
#define bpf_ntohs(x) __builtin_bswap16(x)
#define bpf_htonl(x) __builtin_bswap32(x)
#define bpf_ntohl(x) __builtin_bswap32(x)

/* bcc rewrites calls through these pointers into calls of the map helpers. */
#define BPF_F_TABLE(kind, key_type, leaf_type, name, size, map_flags)                                \
	struct name##_table_t {                                                                      \
		key_type key;                                                                        \
		leaf_type leaf;                                                                      \
		leaf_type *(*lookup)(key_type *);                                                    \
		int (*update)(key_type *, leaf_type *);                                              \
		__u32 max_entries;                                                                   \
		int flags;                                                                           \
	};                                                                                           \
	__attribute__((section("maps/" kind))) struct name##_table_t name = { .max_entries = (size), \
									      .flags = (map_flags) }

#define BPF_TABLE(kind, key_type, leaf_type, name, size) BPF_F_TABLE(kind, key_type, leaf_type, name, size, 0)

#define BPF_RINGBUF_OUTPUT(name, pages)                      \
	struct name##_table_t {                              \
		int key;                                     \
		__u32 leaf;                                  \
		int (*ringbuf_output)(void *, __u64, __u64); \
		void *(*ringbuf_reserve)(__u64);             \
		void (*ringbuf_discard)(void *, __u64);      \
		void (*ringbuf_submit)(void *, __u64);       \
		__u32 max_entries;                           \
	};                                                   \
	__attribute__((section("maps/ringbuf"))) struct name##_table_t name = { .max_entries = (pages)*4096 }

__u64 bpf_ktime_get_ns(void);
__u64 bpf_ktime_get_coarse_ns(void);
__u32 bpf_get_prandom_u32(void);
__u32 bpf_get_smp_processor_id(void);

int bpf_redirect(int ifindex, __u32 flags);
int bpf_clone_redirect(struct __sk_buff *skb, int ifindex, __u32 flags);
int bpf_skb_adjust_room(struct __sk_buff *skb, __s32 len_diff, __u32 mode, __u64 flags);
int bpf_skb_change_head(struct __sk_buff *skb, __u32 len, __u64 flags);
int bpf_skb_change_proto(struct __sk_buff *skb, __be16 proto, __u64 flags);
int bpf_skb_change_tail(struct __sk_buff *skb, __u32 len, __u64 flags);
int bpf_skb_load_bytes(const struct __sk_buff *skb, __u32 offset, void *to, __u32 len);
int bpf_skb_pull_data(struct __sk_buff *skb, __u32 len);
int bpf_skb_store_bytes(struct __sk_buff *skb, __u32 offset, const void *from, __u32 len, __u64 flags);
int bpf_xdp_adjust_head(struct xdp_md *xdp, int delta);

#endif
