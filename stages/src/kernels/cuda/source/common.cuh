// What the kernels share.
//
// The kernels are written in a subset of CUDA C++ that a plain C++ compiler also compiles, with the few names of CUDA
// that ../emulated/shim.h gives it. There are no warp operations, no atomic operations and no textures. Sums are taken
// in an order that the sizes alone decide, so that two runs give the same bits.
//
// The compiler must not join a multiplication and an addition into one rounding (build.rs says `--fmad=false`): with
// that, a kernel gives the numbers that its counterpart on the CPU gives, wherever both add in the same order.
#pragma once


// The threads of a block that work on one row of numbers, as threadIdx.x, and the rows that a block works on, as
// threadIdx.y.
#define LANES 32
#define SEGMENTS 8

// The element of the launch, counted over all blocks, that this thread computes.
__device__ __forceinline__ long long element_of_thread() {
    return static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
}

// e^x for f32, by the operations of stages/src/kernels/exp.rs in their order.
__device__ __forceinline__ float quick_exp(float x) {
    const float overflow = 88.72284f;
    const float underflow = -103.97208f;
    const float rounder = 12582912.0f;
    float bounded = x > overflow ? overflow : x;
    bounded = bounded < underflow ? underflow : bounded;
    const float shifted = bounded * 1.44269504088896340736f + rounder;
    const float whole = shifted - rounder;
    const float rest = (bounded - whole * 0.6933594f) - whole * -2.1219444e-4f;
    float sum = 1.9875691e-4f;
    sum = sum * rest + 1.3981999e-3f;
    sum = sum * rest + 8.333452e-3f;
    sum = sum * rest + 4.1665796e-2f;
    sum = sum * rest + 0.16666666f;
    sum = sum * rest + 0.5f;
    const float power = (sum * (rest * rest) + rest) + 1.0f;
    // The difference of the bits is taken without a sign, because that of a NaN does not fit a signed number.
    const int n = static_cast<int>(__float_as_uint(shifted) - __float_as_uint(rounder));
    const int half = n >> 1;
    const float first = __uint_as_float((static_cast<unsigned>(half) + 127u) << 23);
    const float second =
        __uint_as_float((static_cast<unsigned>(n) - static_cast<unsigned>(half) + 127u) << 23);
    const float value = power * first * second;
    if (x >= overflow) return __uint_as_float(0x7f800000u);
    if (x < underflow) return 0.0f;
    return value;
}

// 1 / (1 + e^-x), without overflow on either side.
__device__ __forceinline__ float sigmoid(float x) {
    const float e = quick_exp(-fabsf(x));
    return (x >= 0.0f ? 1.0f : e) / (1.0f + e);
}

// The bits of the bf16 number next to x, of two equally near ones the even one. A NaN stays a NaN.
__device__ __forceinline__ unsigned short round_to_bf16(float x) {
    const unsigned bits = __float_as_uint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<unsigned short>((bits >> 16) | 0x40u);
    return static_cast<unsigned short>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// The largest of the numbers that the lanes of a segment bring, for all of them. Every thread of the block must call it.
__device__ __forceinline__ float largest_of_lanes(float value) {
    __shared__ float shared[SEGMENTS][LANES];
    shared[threadIdx.y][threadIdx.x] = value;
    __syncthreads();
    for (unsigned half = LANES / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            const float other = shared[threadIdx.y][threadIdx.x + half];
            if (other > shared[threadIdx.y][threadIdx.x]) shared[threadIdx.y][threadIdx.x] = other;
        }
        __syncthreads();
    }
    const float result = shared[threadIdx.y][0];
    __syncthreads();
    return result;
}

// The sum of the numbers that the lanes of a segment bring, for all of them. Every thread of the block must call it.
template <typename Number>
__device__ __forceinline__ Number sum_of_lanes(Number value) {
    __shared__ Number shared[SEGMENTS][LANES];
    shared[threadIdx.y][threadIdx.x] = value;
    __syncthreads();
    for (unsigned half = LANES / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) shared[threadIdx.y][threadIdx.x] += shared[threadIdx.y][threadIdx.x + half];
        __syncthreads();
    }
    const Number result = shared[threadIdx.y][0];
    __syncthreads();
    return result;
}
