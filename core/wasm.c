/* What compilers call of a C library, for wasm32, where there is none; and where memory is free. */
#if defined(__wasm__)
#include <stddef.h>

#include "vqcore.h"

extern unsigned char __heap_base;

/* The first address that neither data nor the stack take. */
EXPORTED(uint32_t, vq_heap_base)(void) { return (uint32_t)(uintptr_t)&__heap_base; }

/* else they would be compiled into calls of themselves */
#define PLAIN __attribute__((no_builtin))

PLAIN void *memcpy(void *restrict to, const void *restrict from, size_t count) {
    unsigned char *t = to;
    const unsigned char *f = from;
    while (count--) *t++ = *f++;
    return to;
}

PLAIN void *memmove(void *to, const void *from, size_t count) {
    unsigned char *t = to;
    const unsigned char *f = from;
    if (t <= f)
        while (count--) *t++ = *f++;
    else
        while (count--) t[count] = f[count];
    return to;
}

PLAIN void *memset(void *to, int value, size_t count) {
    unsigned char *t = to;
    while (count--) *t++ = (unsigned char)value;
    return to;
}
#endif
