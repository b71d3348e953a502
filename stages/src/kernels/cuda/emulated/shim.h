// The names of CUDA that the kernels use, for a plain C++ compiler. Each thread of a block runs until it ends or comes to a
// barrier, and then the next one runs. Blocks run one after another.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#define FRAMEWISE_EMULATED
#define __global__
#define __device__
#define __forceinline__ inline
// Blocks run one at a time, so that what all calls of a function share is what a block shares.
#define __shared__ static

struct Dimensions {
    unsigned x, y, z;
};

extern Dimensions threadIdx, blockIdx, blockDim, gridDim;

void __syncthreads();

inline unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
