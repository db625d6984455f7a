/* x86-64 with AVX2. Nothing else may be compiled for it: other processors load this file, too. */
#if defined(__x86_64__)
#include <stdint.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC target("avx2")
#endif
#define UNIT avx2
#define LANES 8
#include "unit.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
