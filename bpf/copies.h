/* Copies of a broadcast packet: which numbers have come already.
 *
 * A word covers 32 numbers: its upper half says which 32, its lower half which of
 * them have come. Links are received on different CPUs, so a word is only ever
 * changed by compare-and-swap; there is no window's edge to move. A word holds its
 * bits until numbers a whole window (8,192) newer take it over.
 */
#ifndef MPBOND_COPIES_H
#define MPBOND_COPIES_H

#include "maps.h"

/* Each failure means that another CPU got its packet in. */
#define COPY_TRIES 16
/* A sender that began anew may count from behind the window. So many packets of
 * that kind, with none in the window between, and the window is forgotten. */
#define COPIES_BEHIND 64

static __always_inline void copies_forget(struct mpb_copies *copies)
{
	/* Volatile: the compiler would call memset, which BPF has not. */
	for (int i = 0; i < MPB_WINDOW_WORDS; i++)
		*(volatile __u64 *)&copies->word[i] = 0;
	copies->behind = 0;
}

/* Does a word hold numbers newer than group `group` of 32? Groups are numbered
 * modulo 2^27; a word without bits holds none. */
static __always_inline int holds_newer(__u64 word, __u32 group)
{
	return word && (__s32)(((__u32)(word >> 32) - group) << 5) > 0;
}

/* Is a number behind the window to be dropped? */
static __always_inline int behind(struct mpb_copies *copies)
{
	copies->behind++;
	if (copies->behind <= COPIES_BEHIND)
		return 1;
	copies_forget(copies);
	return 0;
}

/* GO_ON for the first copy of `sequence`, else why it is dropped. */
static __always_inline int copies_take(struct mpb_copies *copies, __u32 sequence)
{
	volatile __u64 *word = &copies->word[(sequence / 32) % MPB_WINDOW_WORDS];
	__u64 bit = 1ULL << (sequence % 32);
	__u32 group = sequence / 32;

	if (holds_newer(*word, group) && behind(copies))
		return REASON_rx_copy_late;
	for (int i = 0; i < COPY_TRIES; i++) {
		__u64 old = *word;
		__u64 same = (old >> 32) == group ? old : 0;

		if (same & bit)
			return REASON_rx_duplicate;
		if (holds_newer(old, group))
			return REASON_rx_copy_late;
		if (__sync_val_compare_and_swap(word, old, ((__u64)group << 32) | same | bit) == old) {
			if (copies->behind)
				copies->behind = 0;
			return GO_ON;
		}
	}
	return REASON_rx_duplicate;
}

#endif
