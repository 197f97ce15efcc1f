/* SipHash-2-4 over whole 64-bit words (Aumasson, Bernstein 2012). Pure. */
#ifndef MPBOND_SIPHASH_H
#define MPBOND_SIPHASH_H

#define SIP_ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
#define SIP_ROUND(v0, v1, v2, v3)           \
	do {                                \
		v0 += v1;                   \
		v1 = SIP_ROTL(v1, 13) ^ v0; \
		v0 = SIP_ROTL(v0, 32);      \
		v2 += v3;                   \
		v3 = SIP_ROTL(v3, 16) ^ v2; \
		v0 += v3;                   \
		v3 = SIP_ROTL(v3, 21) ^ v0; \
		v2 += v1;                   \
		v1 = SIP_ROTL(v1, 17) ^ v2; \
		v2 = SIP_ROTL(v2, 32);      \
	} while (0)

/* `count` must be a constant at every call: the loop is unrolled. */
static __always_inline __u64 siphash_words(const __u64 key[2], const __u64 *words, int count)
{
	__u64 v0 = 0x736f6d6570736575ULL ^ key[0];
	__u64 v1 = 0x646f72616e646f6dULL ^ key[1];
	__u64 v2 = 0x6c7967656e657261ULL ^ key[0];
	__u64 v3 = 0x7465646279746573ULL ^ key[1];
	__u64 last = (__u64)count * 8 << 56;

#pragma unroll
	for (int i = 0; i < count; i++) {
		v3 ^= words[i];
		SIP_ROUND(v0, v1, v2, v3);
		SIP_ROUND(v0, v1, v2, v3);
		v0 ^= words[i];
	}
	v3 ^= last;
	SIP_ROUND(v0, v1, v2, v3);
	SIP_ROUND(v0, v1, v2, v3);
	v0 ^= last;
	v2 ^= 0xff;
	SIP_ROUND(v0, v1, v2, v3);
	SIP_ROUND(v0, v1, v2, v3);
	SIP_ROUND(v0, v1, v2, v3);
	SIP_ROUND(v0, v1, v2, v3);
	return v0 ^ v1 ^ v2 ^ v3;
}

#endif
