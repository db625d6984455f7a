/* What every processor of its kind has: SSE2, NEON, wasm's simd128, or plain C. */
#if defined(VQ_SCALAR)
#define UNIT scalar
#define LANES 1
#elif defined(__x86_64__)
#define UNIT sse2
#define LANES 4
#elif defined(__aarch64__)
#define UNIT neon
#define LANES 4
#elif defined(__wasm_simd128__)
#define UNIT simd128
#define LANES 4
#else
#define UNIT portable
#define LANES 4
#endif
#include "unit.h"

const Kernels *const vq_kernels_common = &NAMED(UNIT);
