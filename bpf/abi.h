/* What kernel and controller share: every struct, enum and limit, written once.
 *
 * ctl/mpbond/abi.py mirrors this file and tests/bpf/test_abi.py proves that both
 * agree, field by field. Padding is named and zero. Times are CLOCK_MONOTONIC
 * nanoseconds unless the name says otherwise; `__be` is wire order.
 */
#ifndef MPBOND_ABI_H
#define MPBOND_ABI_H

#ifndef MPBOND_HOST_TYPES /* bcc and the kernel headers have these already */
#include <linux/types.h>
#endif

#define MPB_ABI_VERSION 6

/* A table of 256 slots splits a bond's flows to within 0.4%, the uncertainty
 * ZeroTier's document states for its own allocation. */
#define MPB_SLOTS 256
/* Syncthing's limit of connections to a peer is also ours of paths. */
#define MPB_MAX_BOND_PATHS 128
/* That limit itself: UDP source ports of a node, and connections of one path. */
#define MPB_MAX_CONNECTIONS 128
#define MPB_NO_PATH 0xffff
#define MPB_NO_SLOT 0xffff
/* RTT samples kept per path: the mean of "the last 64" of the semantics. */
#define MPB_RTT_SAMPLES 64
/* Paths in one probe tick: a test run's packet must stay within a page. */
#define MPB_TICK_PATHS 1024
/* Reasons counted per CPU: room for the list in reasons.h to grow. */
#define MPB_REASON_STRIDE 64

/* Handshake messages: the longest, and how often one address may send any, with what
 * it may have saved up. Addresses share buckets by hash. */
#define MPB_HANDSHAKE_MAX 416
#define MPB_HANDSHAKE_BUCKETS 256
#define MPB_HANDSHAKE_HZ 20
#define MPB_HANDSHAKE_BURST 64
/* Control frames under one session: how many a second, and saved up. They are as long as
 * handshake messages at most, and take the same way to the controller. */
#define MPB_CONTROL_HZ 200
#define MPB_CONTROL_BURST 256

/* Copies remembered of a peer, in words of 32. */
#define MPB_WINDOW_WORDS 256

/* Rules of a policy for traffic that is sent twice, port ranges of a rule, and paths
 * that it is tried on: bounds of the verifier's time. */
#define MPB_REDUNDANT_RULES 8
#define MPB_RULE_RANGES 8
#define MPB_REDUNDANT_PATHS 8

/* ZeroTier's numbers. */
enum mpb_policy {
	MPB_POLICY_ACTIVE_BACKUP = 1,
	MPB_POLICY_BROADCAST = 2,
	MPB_POLICY_BALANCE_RR = 3,
	MPB_POLICY_BALANCE_XOR = 4,
	MPB_POLICY_BALANCE_AWARE = 5,
};

/* Flags of struct mpb_path. */
enum mpb_path_flag {
	MPB_PATH_USED = 1 << 0,	      /* the entry describes a path */
	MPB_PATH_ELIGIBLE = 1 << 1,   /* alive, upDelay served, link up */
	MPB_PATH_SPARE = 1 << 2,      /* only when no other is eligible */
	MPB_PATH_LINK_UP = 1 << 3,    /* carrier and administratively up */
	MPB_PATH_IPV6 = 1 << 4,	      /* outer family */
	MPB_PATH_GRO = 1 << 5,	      /* packets come in one by one: join them again */
	MPB_PATH_PEER_SPARE = 1 << 6, /* so by the peer, or for a nearer path: not echoed */
	MPB_PATH_LEAVE = 1 << 7,      /* balance-aware: its flows follow their slots at once */
	MPB_PATH_EXEMPT = 1 << 8,     /* the peer's rates do not hold for it: a local network */
};

/* What each end tells the other of a path, in its probes and answers. */
#define MPB_MARK_POLICY 0xff /* enum mpb_policy of what it sends by */
enum mpb_mark {
	MPB_MARK_SPARE = 1 << 8,
	MPB_MARK_SURPLUS = 1 << 16, /* it has refused connections of ours, lately */
	MPB_MARK_VALID = 1 << 30,   /* 0 in versions that say nothing */
};

/* Flags of struct mpb_bond. */
enum mpb_bond_flag {
	MPB_BOND_USED = 1 << 0,
	MPB_BOND_DEVICE = 1 << 1,      /* packets pass mp0's qdisc and are cut there */
	MPB_BOND_NO_FLOWLETS = 1 << 2, /* flows follow their slots at once, reordered or not */
	MPB_BOND_REDUNDANT = 1 << 3,   /* has rules in its struct mpb_redundant */
};

/* The one entry of the node map: what every program needs to know. */
struct mpb_node {
	__u32 abi_version;
	__u32 cpus; /* stride of the per-CPU counters: possible CPUs */
	__u32 mp0_ifindex;
	__u32 far_ifindex;
	__u8 mp0_mac[6];
	__be16 port;
	__u32 paths; /* entries of the path map */
	__u32 bonds; /* entries of the bond map */
	__u64 hash_seed;
	__u64 stamp_offset;  /* random: stamps of an earlier run are out of range */
	__u64 build_id;	     /* of sources and sizes: may a controller adopt this? */
	__u64 handshake_tag; /* in a session number's place, as on the wire; 0 = no key pair */
	__u32 limiting;	     /* some peer has a rate */
	__u32 source_ports;  /* entries of `source_port` in use; 0 or 1 = `port` alone */
	__be16 source_port[MPB_MAX_CONNECTIONS]; /* of connection n, on every path; [0] is `port` */
};

/* One per peer: its rates. Written by the controller but for `recv_free_ns`. */
struct mpb_limit {
	__u32 send_class; /* in mp0's queue, as in skb->priority; 0 = no limit */
	__u32 pad;
	__u64 recv_ns_per_mib; /* how long 1 MiB takes; 0 = no limit */
	__u64 recv_burst_ns;   /* so much may come at once */
	__u64 recv_free_ns;    /* until when what has come takes */
};

/* One per peer, written by the controller. The paths of a bond lie side by
 * side in the path map, so `first_path` + the header's path number finds one. */
struct mpb_bond {
	__u32 flags;
	__u32 policy;
	__u32 generation; /* which of the two slot tables is live: 0 or 1 */
	__u32 first_path;
	__u32 path_count;
	__u32 order_count;	/* entries of `order` in use */
	__u32 preferred_count;	/* the leading ones that are no spares */
	__u32 packets_per_link; /* balance-rr; 0 = a random path for each packet */
	__u64 failover_ns;
	__u64 down_delay_ns;
	__u64 stall_ns;			 /* silence of all probing that counts as a stall */
	__u64 rtt_max_ns;		 /* slowest path's round trip: its answers' head start */
	__u64 tx_session[2];		 /* as in the header; 0 = none yet */
	__u64 tx_mac_key[4];		 /* two words for each */
	__u32 tx_live;			 /* which of the two is in use: 0 or 1 */
	__u32 metadata_path;		 /* its connection 0 is for metadata where it has others */
	__u64 peer_id;			 /* for a controller to come */
	__u16 order[MPB_MAX_BOND_PATHS]; /* who takes over, best first */
};

/* One per peer, written by the programs but for `failovers`. `clock_ns` runs only while probing
 * goes on, so a stalled controller ages no path: see liveness.h. */
struct mpb_bond_live {
	__u64 clock_ns;
	__u64 clock_read_ns;   /* when clock_ns was last advanced */
	__u64 clock_hold_ns;   /* it stands still until then */
	__u64 freshest_ns;     /* the newest proof of any path, in clock_ns */
	__u64 last_alive_path; /* the path of that proof */
	__u64 active_path;     /* what active-backup used last; MPB_NO_PATH at first */
	__u64 failovers;       /* by the controller: outlives it here */
	__u64 turn;	       /* balance-rr: packets sent; balance-aware: flows begun */
	__u64 sequence;	       /* broadcast: of the newest packet, modulo 2^32 on the wire */
	__u64 moved_flows;     /* times that a flow went to another path, for whatever cause */
	__u64 surplus;	       /* packets of the peer's on connections that were not agreed on */
	__u64 surplus_ns;      /* when the newest of them came; 0 = never */
};

/* One per peer: which of its copied packets have come, see copies.h. */
struct mpb_copies {
	__u64 word[MPB_WINDOW_WORDS];
	__u64 behind; /* packets older than the window, one after the other */
};

/* What a packet is that is sent over two links: all of it must be true. A mask of 0
 * and the range 0..65535 are true of any. */
struct mpb_rule {
	__u8 tos;
	__u8 tos_mask;
	__u8 protocol;
	__u8 protocol_mask;
	__u32 max_size; /* of the IP packet in bytes */
	__u32 range_count;
	__u16 low[MPB_RULE_RANGES]; /* ports, the source's or the destination's */
	__u16 high[MPB_RULE_RANGES];
};

/* One per peer, written by the controller: balance-*'s `redundant`. */
struct mpb_redundant {
	__u32 rule_count;
	__u32 path_count;
	__u16 path[MPB_REDUNDANT_PATHS]; /* best first, a path of each link before its second */
	struct mpb_rule rule[MPB_REDUNDANT_RULES];
};

/* One table of slots: (bond * 2 + generation) -> path of each slot. */
struct mpb_slots {
	__u16 path[MPB_SLOTS];
};

/* One per path, written by the controller. `header` is the outer header ready
 * made: IPv4 or IPv6, UDP, bond header; tx fills in lengths and checksum. */
struct mpb_path {
	__u32 flags;
	__u32 ifindex;
	__u32 bond;
	__u32 next_hop_family; /* AF_INET, AF_INET6 */
	__u8 next_hop[16];     /* IPv4 in the first four bytes */
	__u32 header_len;      /* 44 or 64 */
	__u32 checksum;	       /* IPv4 header sum without length and TOS */
	__u8 header[64];
	__u32 number; /* index within the bond: what the header says */
	/* How long a packet is on its way out, over what the bond's fastest path takes:
	 * hardly ever less, hardly ever more. Measured; see flowlets.h. */
	__u32 forward_least_us;
	__u32 forward_most_us;
	__u32 connections; /* each a UDP source port of its own; 0 counts as 1 */
	/* Where the peer has gone: 0 = `header` holds, else 1 + which of `moved` in the live
	 * part does. Set by rx alone, cleared by the controller: see roaming.h. */
	__u32 moved;
	__u32 pad;
};

/* A remote address that was learnt. `checksum` as in struct mpb_path. */
struct mpb_endpoint {
	__u8 address[16];      /* IPv4 in the first four bytes */
	__u8 next_hop[16];     /* by the controller, which knows the link's routes */
	__u32 next_hop_family; /* 0 = not told yet: the kernel's own routes are asked */
	__u32 checksum;
	__be16 port;
	__u16 pad0;
	__u32 pad;
};

/* One per path, written by the programs. */
struct mpb_path_live {
	__u64 proof_ns;	    /* newest proof of life, on the bond's clock */
	__u64 proof_at_ns;  /* the same on CLOCK_MONOTONIC, for listings */
	__u64 answer_stamp; /* peer's stamp in its newest answer: acknowledged next */
	__u64 answer_at_ns; /* when that answer came */
	__u64 acked_stamp;  /* our newest answer stamp that the peer acknowledged */
	__u64 last_in_ns;   /* newest probe or answer that passed its check; 0 = never */
	__u64 last_out_ns;  /* newest probe sent */
	__u64 probes_sent;  /* the low half is the probe's sequence number */
	__u64 probes_answered;
	__u64 answered_mask; /* bit n: probe answered_highest - n was answered */
	__u32 answered_highest;
	__u32 pad0;
	__u32 rtt_count; /* samples ever taken; the ring's head is this mod 64 */
	__u32 rtt_ns[MPB_RTT_SAMPLES];
	__u32 peer_sent_packets;     /* low 32 bits, from the peer's probes */
	__u32 peer_received_packets; /* low 32 bits */
	__u32 peer_marks;	     /* enum mpb_mark; 0 = nothing heard */
	/* Way out alone, in step with rtt_ns: the peer's stamp on receiving the probe
	 * less ours on sending it. The clocks' difference is in it, the same for all
	 * paths of the bond: only differences between paths mean something. */
	__u64 forward_ns[MPB_RTT_SAMPLES];
	/* Data packets sent, low 32 bits, when probe number n modulo 64 left. */
	__u32 sent_at[MPB_RTT_SAMPLES];
	/* Of the newest answered probe: data sent until it left, and how much of that
	 * the peer had received when it came: both of the same moment on the path. */
	__u32 paired_sent;
	__u32 paired_received;
	__u64 checked;		      /* probes and answers from this path's far end that passed */
	__u64 failed;		      /* packets from there that failed a check */
	struct mpb_endpoint moved[2]; /* one in use, the other to be written next */
	__u64 moved_at_ns;
	__u32 moves;
	__u32 peer_path; /* 1 + the peer's number of this path; 0 = not heard yet */
};

/* One per path of the peer's, by its number: what its probes have shown. By `seen` and
 * `newest` none counts twice; from where it came is only written down where that is no
 * path of ours. */
struct mpb_far {
	__u64 made_ns;	   /* of the session that the rest was heard under */
	__u64 seen;	   /* bit n: probe newest - n has come */
	__u64 acked_stamp; /* newest of our answers that was acknowledged */
	__u64 at_ns;	   /* when a probe came from elsewhere; 0 = never */
	__u32 newest;
	__u32 ifindex;
	__u8 remote[16]; /* IPv4 in the first four bytes */
	__u8 local[16];
	__u32 family; /* AF_INET, AF_INET6 */
	__be16 port;
	__u16 pad;
};

/* Per path and CPU: index = path * cpus + cpu. A super-packet counts its
 * segments; bytes are those of the inner IP packets as handed over. */
struct mpb_path_stats {
	__u64 tx_packets;
	__u64 tx_bytes;
	__u64 rx_packets;
	__u64 rx_bytes;
	__u64 last_rx_ns;
	__u64 last_tx_ns;
	__u64 pad[2];
};

/* Prefix -> peer. IPv4 prefixes are 32 + length bits long, IPv6 the same. */
struct mpb_prefix_key {
	__u32 prefix_len; /* family included */
	__u32 family;	  /* AF_INET, AF_INET6 */
	__u8 address[16];
};

struct mpb_prefix {
	__u32 bond;
};

/* Flow -> path. The key is a 64-bit mix of the inner 5-tuple and the bond: two
 * flows that collide only share a path. */
struct mpb_flow {
	__u16 path;
	__u16 slot;   /* where it began; balance-aware keeps to it */
	__u32 seen_s; /* coarse CLOCK_MONOTONIC seconds of a recent packet */
};

/* Session number (as on the wire) -> peer. */
struct mpb_session {
	__u32 bond;
	__u32 heard;	       /* the peer has used it: 0 or 1 */
	__u32 connections;     /* what was agreed on for each path: no more are let in; 0 counts as 1 */
	__u32 offered;	       /* what this end had asked for, for a controller to come */
	__u64 made_ns;	       /* 0: of a shared key, so no control frames come under it */
	__u64 control_next_ns; /* when the next control frame would be in time */
	__u64 rx_mac_key[2];
	__u16 local_path[MPB_MAX_BOND_PATHS]; /* peer's path number -> our path */
};

/* Which path a peer's probe came in on. */
struct mpb_remote_key {
	__u32 bond;
	__u32 ifindex;
	__u8 address[16]; /* IPv4 in the first four bytes */
	__u8 local[16];	  /* a link with two addresses has a path from each */
	__u32 family;
	__be16 port;
	__u16 pad;
};

struct mpb_remote {
	__u32 path;
};

/* Local addresses of our paths: an unknown session to one of these is ours to
 * drop, any other is somebody's packet passing through. */
struct mpb_local_key {
	__u32 family;
	__u8 address[16];
};

struct mpb_local {
	__u32 paths;
};

/* A handshake message, or a control frame, on its way to the controller, as it came. */
struct mpb_handshake {
	__u32 ifindex;
	__u32 family;	 /* AF_INET, AF_INET6 */
	__u8 remote[16]; /* IPv4 in the first four bytes */
	__u8 local[16];
	__be16 port; /* the remote one */
	__u16 len;
	__u32 pad;
	__u8 message[MPB_HANDSHAKE_MAX]; /* from the bond header on */
};

/* The packet of a probe tick, as the controller hands it to a test run. */
struct mpb_tick {
	__u8 ethernet[14];
	__u16 count;
	__u16 path[MPB_TICK_PATHS];
};

#endif
