/* Which sequence numbers were seen: a sliding window of 64, as in RFC 6479. Pure. */
#ifndef MPBOND_WINDOW_H
#define MPBOND_WINDOW_H

#define WINDOW_SIZE 64

/* Returns 1 and marks `sequence` if it is new and not older than the window.
 * Numbers are compared modulo 2^32; `mask` 0 means that none was seen yet. */
static __always_inline int window_accept(__u32 *highest, __u64 *mask, __u32 sequence)
{
	__s32 ahead = (__s32)(sequence - *highest);
	__u64 bit;

	if (!*mask || ahead > 0) {
		*mask = (*mask && ahead < WINDOW_SIZE) ? *mask << ahead : 0;
		*mask |= 1;
		*highest = sequence;
		return 1;
	}
	if (ahead <= -WINDOW_SIZE)
		return 0;
	bit = 1ULL << -ahead;
	if (*mask & bit)
		return 0;
	*mask |= bit;
	return 1;
}

#endif
