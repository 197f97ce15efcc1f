/* The pure headers under ASan and UBSan, driven line by line from standard input:
 *
 *   reset             an empty window                          no answer
 *   window SEQUENCE   window_accept()                          ACCEPTED HIGHEST MASK
 *   siphash K0 K1 W0 .. W5   SipHash-2-4 of six words          MAC
 *
 * All numbers hexadecimal. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "types.h"

#include "siphash.h"
#include "window.h"

int main(void)
{
	__u64 key[2], words[6], mask = 0;
	__u32 highest = 0, sequence;
	char command[16];

	while (scanf("%15s", command) == 1) {
		if (!strcmp(command, "reset")) {
			highest = 0;
			mask = 0;
		} else if (!strcmp(command, "window") && scanf("%" SCNx32, &sequence) == 1) {
			int accepted = window_accept(&highest, &mask, sequence);

			printf("%d %" PRIx32 " %llx\n", accepted, highest, mask);
		} else if (!strcmp(command, "siphash") && scanf("%llx %llx", &key[0], &key[1]) == 2) {
			for (int i = 0; i < 6; i++)
				if (scanf("%llx", &words[i]) != 1)
					return 1;
			printf("%llx\n", siphash_words(key, words, 6));
		} else {
			return 1;
		}
	}
	return 0;
}
