/* Where a path leads: what its ready-made header says, or what was learnt since.
 *
 * A path whose peer never moved costs one comparison here, and no look-up.
 */
#ifndef MPBOND_ENDPOINT_H
#define MPBOND_ENDPOINT_H

#include "maps.h"
#include "parse.h"

/* In the ready-made header: our address, the peer's, its port. */
#define HEADER_LOCAL_V4 12
#define HEADER_REMOTE_V4 16
#define HEADER_PORT_V4 22
#define HEADER_LOCAL_V6 8
#define HEADER_REMOTE_V6 24
#define HEADER_PORT_V6 42

/* What was learnt of the peer's address; 0 where the header holds. */
static __always_inline struct mpb_endpoint *moved_to(struct mpb_path *path)
{
	__u32 moved = path->moved;
	struct mpb_path_live *live;
	struct mpb_bond *bond;

	if (!moved)
		return 0;
	bond = bond_get(path->bond);
	if (!bond)
		return 0;
	live = path_live_get(bond->first_path + path->number);
	return live ? &live->moved[(moved - 1) & 1] : 0;
}

/* An address, zeros behind an IPv4 one, and a port. */
struct place {
	__u64 address[2];
	__be16 port;
};

static __always_inline int same_address(const __u64 *one, const __u64 *other)
{
	return one[0] == other[0] && one[1] == other[1];
}

static __always_inline int same_place(struct place *one, struct place *other)
{
	return same_address(one->address, other->address) && one->port == other->port;
}

static __always_inline void local_of_header(struct mpb_path *path, __u64 address[2])
{
	address[0] = address[1] = 0;
	if (path->flags & MPB_PATH_IPV6)
		__builtin_memcpy(address, path->header + HEADER_LOCAL_V6, 16);
	else
		__builtin_memcpy(address, path->header + HEADER_LOCAL_V4, 4);
}

static __always_inline void remote_of_header(struct mpb_path *path, struct place *place)
{
	place->address[0] = place->address[1] = 0;
	if (path->flags & MPB_PATH_IPV6) {
		__builtin_memcpy(place->address, path->header + HEADER_REMOTE_V6, 16);
		__builtin_memcpy(&place->port, path->header + HEADER_PORT_V6, 2);
	} else {
		__builtin_memcpy(place->address, path->header + HEADER_REMOTE_V4, 4);
		__builtin_memcpy(&place->port, path->header + HEADER_PORT_V4, 2);
	}
}

/* Where the path leads now. */
static __always_inline void remote_of_path(struct mpb_path *path, struct place *place)
{
	struct mpb_endpoint *moved = moved_to(path);

	if (!moved) {
		remote_of_header(path, place);
		return;
	}
	__builtin_memcpy(place->address, moved->address, sizeof(place->address));
	place->port = moved->port;
}

#endif
