// What nearest.cu asks of a warp's matrix units. tests/kernels/emulated_warp.h does the same on a CPU.

// scores (16 x 8, float32) plus rows (16 x 16, bfloat16) times codes (16 x 8, bfloat16)
__device__ static void add_product(float (&scores)[4], const unsigned (&rows)[4], const unsigned (&codes)[2]) {
    float sums[4];
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
        : "=f"(sums[0]), "=f"(sums[1]), "=f"(sums[2]), "=f"(sums[3])
        : "r"(rows[0]), "r"(rows[1]), "r"(rows[2]), "r"(rows[3]), "r"(codes[0]), "r"(codes[1]),
          "f"(scores[0]), "f"(scores[1]), "f"(scores[2]), "f"(scores[3]));
    for (int number = 0; number < 4; number++) scores[number] = sums[number];
}

// the lane's share of 8 codes, in one read
template <int SLICES>
__device__ static void load_fragment(unsigned (&codes)[SLICES][2], const unsigned* from) {
    if constexpr (SLICES == 1) {
        uint2 read = __ldg(reinterpret_cast<const uint2*>(from));
        codes[0][0] = read.x, codes[0][1] = read.y;
    } else {
        uint4 read = __ldg(reinterpret_cast<const uint4*>(from));
        codes[0][0] = read.x, codes[0][1] = read.y, codes[1][0] = read.z, codes[1][1] = read.w;
    }
}
