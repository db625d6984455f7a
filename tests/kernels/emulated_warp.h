// A warp on a CPU, as far as vqcodec/kernels/nearest.cu needs one: 32 lanes take turns, each up to where they exchange
// something, which happens when all have come there. What lanes hold of matrices is as in the PTX ISA, "Matrix
// Fragments for mma.m16n8k16".

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

using std::fabs;
using std::max;
using std::min;

#define __device__
#define __global__
#define __launch_bounds__(...)

struct Index {
    int x;
};
static Index threadIdx, blockIdx;

// ---- lanes that take turns ----

static const int LANES = 32;
static ucontext_t main_context, lane_context[LANES];
static bool is_done[LANES];
// of two exchanges one after the other, as some lanes may be at the next one already
static char given[2][LANES][64];
static int exchanges[LANES];

template <typename T>
static const char (*exchange(const T& value))[64] {
    int lane = threadIdx.x % LANES, turn = exchanges[lane]++ % 2;
    static_assert(sizeof(T) <= 64, "too much for an exchange");
    std::memcpy(given[turn][lane], &value, sizeof(T));
    Index thread = threadIdx;
    swapcontext(&lane_context[lane], &main_context);
    threadIdx = thread;
    return given[turn];
}

template <typename T>
static T from_lane(const char (*all)[64], int lane) {
    T value;
    std::memcpy(&value, all[lane], sizeof(T));
    return value;
}

// ---- the intrinsics ----

template <typename To, typename From>
static To bits_of(From value) {
    static_assert(sizeof(To) == sizeof(From), "another size");
    To made;
    std::memcpy(&made, &value, sizeof(To));
    return made;
}
static unsigned __float_as_uint(float x) { return bits_of<unsigned>(x); }
static int __float_as_int(float x) { return bits_of<int>(x); }
static float __uint_as_float(unsigned x) { return bits_of<float>(x); }
static float __int_as_float(int x) { return bits_of<float>(x); }
static double __longlong_as_double(long long x) { return bits_of<double>(x); }
static double __dadd_rn(double a, double b) { return a + b; }
static double __dsub_rn(double a, double b) { return a - b; }
static double __dmul_rn(double a, double b) { return a * b; }
static double __ddiv_rn(double a, double b) { return a / b; }
static int __ffs(unsigned x) { return __builtin_ffs((int)x); }

template <typename T>
static T __shfl_sync(unsigned, T value, int lane) {
    return from_lane<T>(exchange(value), lane);
}
template <typename T>
static T __shfl_xor_sync(unsigned, T value, int bits) {
    return from_lane<T>(exchange(value), (threadIdx.x % LANES) ^ bits);
}
static unsigned __ballot_sync(unsigned, bool value) {
    auto all = exchange(value);
    unsigned made = 0;
    for (int lane = 0; lane < LANES; lane++) made |= (unsigned)from_lane<bool>(all, lane) << lane;
    return made;
}

struct Fragments {
    unsigned rows[4], codes[2];
};

static float bfloat16(unsigned pair, int half) {
    return __uint_as_float(half ? pair & 0xffff0000u : pair << 16);
}

static void add_product(float (&scores)[4], const unsigned (&rows)[4], const unsigned (&codes)[2]) {
    Fragments mine;
    std::memcpy(mine.rows, rows, sizeof rows);
    std::memcpy(mine.codes, codes, sizeof codes);
    auto all = exchange(mine);
    int lane = threadIdx.x % LANES;
    for (int number = 0; number < 4; number++) {
        int row = lane / 4 + number / 2 * 8, column = lane % 4 * 2 + number % 2;
        for (int k = 0; k < 16; k++) {
            Fragments of_row = from_lane<Fragments>(all, row % 8 * 4 + k % 8 / 2);
            Fragments of_column = from_lane<Fragments>(all, column * 4 + k % 8 / 2);
            scores[number] += bfloat16(of_row.rows[row / 8 + k / 8 * 2], k % 2) * bfloat16(of_column.codes[k / 8], k % 2);
        }
    }
}

template <int SLICES>
static void load_fragment(unsigned (&codes)[SLICES][2], const unsigned* from) {
    std::memcpy(codes, from, sizeof codes);
}

// ---- the start ----

extern "C" void nearest(const float*, const float*, const double*, const unsigned*, const float*, long long*, int, int, int);

static struct {
    const float *z, *codes;
    const double* squares;
    const unsigned* fragments;
    const float* roundings;
    long long* indices;
    int count, size, chunks;
} call;

static void one_lane() {
    nearest(call.z, call.codes, call.squares, call.fragments, call.roundings, call.indices, call.count, call.size, call.chunks);
    is_done[threadIdx.x % LANES] = true;
}

static void one_warp(int block, int warp, std::vector<char>& stacks) {
    const size_t size = stacks.size() / LANES;
    for (int lane = 0; lane < LANES; lane++) {
        is_done[lane] = false, exchanges[lane] = 0;
        getcontext(&lane_context[lane]);
        lane_context[lane].uc_stack.ss_sp = stacks.data() + lane * size;
        lane_context[lane].uc_stack.ss_size = size;
        lane_context[lane].uc_link = &main_context;
        makecontext(&lane_context[lane], one_lane, 0);
    }
    while (std::count(is_done, is_done + LANES, false))
        for (int lane = 0; lane < LANES; lane++) {
            if (is_done[lane]) continue;
            blockIdx.x = block, threadIdx.x = warp * LANES + lane;
            swapcontext(&main_context, &lane_context[lane]);
        }
}

extern "C" void emulate(const float* z, const float* codes, const double* squares, const unsigned* fragments,
                        const float* roundings, long long* indices, int count, int size, int chunks, int blocks, int warps) {
    call = {z, codes, squares, fragments, roundings, indices, count, size, chunks};
    std::vector<char> stacks(LANES << 16);
    for (int block = 0; block < blocks; block++)
        for (int warp = 0; warp < warps; warp++) one_warp(block, warp, stacks);
}
