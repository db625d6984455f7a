/* Which unit of the processor computes. */
#include "kernels.h"

extern const Kernels *const vq_kernels_common;
#if defined(__x86_64__) && !defined(VQ_SCALAR)
extern const Kernels vq_kernels_avx2, vq_kernels_avx512;
#endif

/* Best first. */
static int32_t find(const Kernels *found[3]) {
    int32_t count = 0;
#if defined(__x86_64__) && !defined(VQ_SCALAR)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
        found[count++] = &vq_kernels_avx512;
    if (__builtin_cpu_supports("avx2")) found[count++] = &vq_kernels_avx2;
#endif
    found[count++] = vq_kernels_common;
    return count;
}

static const Kernels *chosen;

const Kernels *vq_kernels(void) {
    const Kernels *found[3];
    if (!chosen) {
        find(found);
        chosen = found[0];
    }
    return chosen;
}

EXPORTED(int32_t, vq_core_version)(void) { return VQ_CORE_VERSION; }

EXPORTED(const char *, vq_unit_name)(int32_t number) {
    const Kernels *found[3];
    return number >= 0 && number < find(found) ? found[number]->name : 0;
}

EXPORTED(const char *, vq_unit)(void) { return vq_kernels()->name; }

EXPORTED(int32_t, vq_unit_choose)(const char *name) {
    const Kernels *found[3];
    const int32_t count = find(found);
    for (int32_t number = 0; number < count; number++) {
        const char *a = found[number]->name, *b = name;
        while (*a && *a == *b) a++, b++;
        if (*a == *b) {
            chosen = found[number];
            return 0;
        }
    }
    return -1;
}
