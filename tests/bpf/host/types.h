/* The kernel's types and attributes, for our headers on the host. */
#ifndef MPBOND_HOST_TYPES_H
#define MPBOND_HOST_TYPES_H

#include <stddef.h>
#include <stdint.h>

#define MPBOND_HOST_TYPES
#undef __always_inline /* the C library has one without `inline` */
#define __always_inline inline __attribute__((always_inline))

typedef uint8_t __u8;
typedef uint16_t __u16;
typedef uint32_t __u32;
typedef unsigned long long __u64;
typedef int32_t __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u64 __be64;

#endif
