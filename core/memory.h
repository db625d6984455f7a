/* Parts of a caller's workspace. Internal. */
#ifndef VQ_MEMORY_H
#define VQ_MEMORY_H

#include <stdint.h>

#define ALIGNMENT 64

/* Bytes before the first part; without a workspace, where bytes are counted only, the most that it can be. */
static inline int64_t unaligned(const uint8_t *workspace) {
    return workspace ? -(intptr_t)workspace & (ALIGNMENT - 1) : ALIGNMENT;
}

/* The next part of a workspace; without one, only its bytes are counted. */
static inline void *take(uint8_t *workspace, int64_t *bytes, int64_t size) {
    void *part = workspace ? workspace + *bytes : 0;
    *bytes += (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return part;
}

#endif
