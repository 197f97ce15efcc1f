/* The bond on the wire: UDP payload = header, then an inner IP packet or a probe.
 *
 * Reads no map and no time.
 */
#ifndef MPBOND_WIRE_H
#define MPBOND_WIRE_H

#include "abi.h"

#define WIRE_VERSION 1

enum wire_type {
	WIRE_DATA = 0,
	WIRE_PROBE = 1,
	WIRE_ANSWER = 2,
	WIRE_HANDSHAKE = 3, /* between controllers, see handshake_messages.py */
	WIRE_CONTROL = 4,   /* between controllers, sealed, see control_seal.py */
};

enum wire_flag {
	WIRE_COPY = 1 << 0, /* data sent over every link: deliver its sequence once */
};

/* 16 bytes in front of everything. `session` is the receiver's key to the peer
 * and, being random, the proof of a data packet. */
struct wire_header {
	__u8 version_type; /* version in the high nibble, type in the low one */
	__u8 flags;	   /* enum wire_flag; a receiver refuses what it does not know */
	__u8 connection;   /* number of the connection on the path: ports may be rewritten */
	__u8 path_number;  /* the sender's, within the bond */
	__be32 sequence;   /* of probes and copies; else 0 */
	__be64 session;
} __attribute__((packed, aligned(4))); /* it follows 28 bytes of IPv4 and UDP */

/* A probe and its answer have the same size, so that an answer is made in
 * place. Stamps are opaque to everyone but the clock's owner and travel in the
 * owner's byte order; `mac` is SipHash-2-4 over header and body before it. */
struct wire_probe {
	__u64 sent_stamp;    /* prober's clock; echoed by the answer */
	__u64 answer_stamp;  /* answerer's clock; acknowledged by the next probe */
	__be32 hold_us;	     /* probe: how long ago that answer came */
	__be32 sent_packets; /* data on this path, low 32 bits */
	__be32 received_packets;
	__be32 marks; /* enum mpb_mark of the sender, of this path */
	__u64 mac;
};

/* The shortest control frame: header, counter, nothing, tag of ChaCha20-Poly1305. */
#define WIRE_CONTROL_MIN ((int)sizeof(struct wire_header) + 8 + 16)

#define WIRE_UDP_LEN 8
#define WIRE_OVERHEAD_V4 (20 + WIRE_UDP_LEN + (int)sizeof(struct wire_header))
#define WIRE_OVERHEAD_V6 (40 + WIRE_UDP_LEN + (int)sizeof(struct wire_header))
/* What the MAC covers, in 64-bit words: it fills whole words by design. */
#define WIRE_MAC_WORDS \
	((sizeof(struct wire_header) + sizeof(struct wire_probe) - sizeof(__u64)) / sizeof(__u64))

_Static_assert(sizeof(struct wire_header) == 16, "the header is 16 bytes on the wire");
_Static_assert(sizeof(struct wire_probe) == 40, "the probe is 40 bytes on the wire");
_Static_assert(WIRE_OVERHEAD_V4 == 44 && WIRE_OVERHEAD_V6 == 64, "docs/design.md states these");

/* The sender's number of the path. Hidden from the compiler: it would make a test of
 * the sign of "less than 128", which says nothing to the verifier. */
static __always_inline __u32 wire_path_number(struct wire_header *header)
{
	__u32 number = header->path_number;

	asm volatile("" : "+r"(number));
	return number;
}

static __always_inline __u8 wire_version_type(enum wire_type type)
{
	return (WIRE_VERSION << 4) | type;
}

#endif
