/* x86-64 with AVX512. Nothing else may be compiled for it: other processors load this file, too. */
#if defined(__x86_64__)
#include <stdint.h>
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#endif
#define UNIT avx512
#define LANES 16
#include "unit.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
