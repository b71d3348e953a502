// What the optimizer does with many tensors in one launch. The counterparts on the CPU are ../../cpu/adam.rs,
// squares.rs and ../../finite.rs.
//
// Tensors come as tables of pointers. `first_blocks` [count + 1] tells the first block of each tensor and the number of
// blocks after them, and `lengths` [count] its elements.
#include "common.cuh"

// The elements of a tensor that one block works on.
#define BLOCK_ELEMENTS 4096

// The threads of a block.
#define THREADS 256

// The numbers of an update of one parameter, in the order of `Numbers` in ../adam.rs.
#define NUMBERS 9

// The tensor that this block works on: the last one whose first block is not behind this one. A tensor without elements
// has no block.
__device__ __forceinline__ unsigned tensor_of_block(const long long* first_blocks, unsigned count) {
    unsigned low = 0, high = count;
    while (high - low > 1) {
        const unsigned middle = (low + high) / 2;
        if (first_blocks[middle] <= static_cast<long long>(blockIdx.x)) low = middle;
        else high = middle;
    }
    return low;
}

// An update of Adam of `count` parameters. `olds` has parameter, first moment, second moment and gradient of each, and
// `news` the first three. Sets `not_finite` [1] to 1 if a new parameter or second moment is not finite: all threads
// that write there write the same number.
extern "C" __global__ void adam(const float* const* olds, float* const* news, const long long* lengths,
                                const long long* first_blocks, const float* numbers, unsigned count,
                                unsigned* not_finite) {
    const unsigned tensor = tensor_of_block(first_blocks, count);
    const float* const w = olds[4 * tensor];
    const float* const m = olds[4 * tensor + 1];
    const float* const v = olds[4 * tensor + 2];
    const float* const g = olds[4 * tensor + 3];
    float* const new_w = news[3 * tensor];
    float* const new_m = news[3 * tensor + 1];
    float* const new_v = news[3 * tensor + 2];
    const float* const own = numbers + NUMBERS * tensor;
    const float beta1 = own[0], rest1 = own[1], beta2 = own[2], rest2 = own[3], rate = own[4];
    const float second_factor = own[5], epsilon = own[6], gradient_factor = own[7], parameter_factor = own[8];
    const long long first = (static_cast<long long>(blockIdx.x) - first_blocks[tensor]) * BLOCK_ELEMENTS;
    const long long length = lengths[tensor];
    const long long last = first + BLOCK_ELEMENTS < length ? first + BLOCK_ELEMENTS : length;
    bool finite = true;
    for (long long i = first + threadIdx.x; i < last; i += THREADS) {
        const float gradient = gradient_factor * g[i] + parameter_factor * w[i];
        const float next_m = beta1 * m[i] + rest1 * gradient;
        const float next_v = beta2 * v[i] + rest2 * gradient * gradient;
        const float next_w = w[i] - rate * next_m / (sqrtf(next_v * second_factor) + epsilon);
        new_w[i] = next_w;
        new_m[i] = next_m;
        new_v[i] = next_v;
        // 0 times a finite number is 0, and 0 times anything else is NaN.
        finite = finite && next_w * 0.0f + next_v * 0.0f == 0.0f;
    }
    if (!finite) *not_finite = 1;
}

// Sets `not_finite` [1] to 1 if a number of `count` tensors is not finite.
extern "C" __global__ void all_finite(const float* const* tensors, const long long* lengths, const long long* first_blocks,
                                  unsigned count, unsigned* not_finite) {
    const unsigned tensor = tensor_of_block(first_blocks, count);
    const float* const values = tensors[tensor];
    const long long first = (static_cast<long long>(blockIdx.x) - first_blocks[tensor]) * BLOCK_ELEMENTS;
    const long long length = lengths[tensor];
    const long long last = first + BLOCK_ELEMENTS < length ? first + BLOCK_ELEMENTS : length;
    bool all = true;
    for (long long i = first + threadIdx.x; i < last; i += THREADS) all = all && values[i] * 0.0f == 0.0f;
    if (!all) *not_finite = 1;
}

// The sum of the squares of gradient + l2 * parameter over each piece of `piece` elements, in f64. `pairs` has gradient
// and parameter of each tensor, and `first_pieces` is what first_blocks is, with a block for each piece.
extern "C" __global__ void squares(const float* const* pairs, const float* l2s, const long long* lengths,
                                   const long long* first_pieces, long long piece, unsigned count, double* sums) {
    __shared__ double shared[THREADS];
    const unsigned tensor = tensor_of_block(first_pieces, count);
    const float* const gradient = pairs[2 * tensor];
    const float* const parameter = pairs[2 * tensor + 1];
    const float l2 = l2s[tensor];
    const long long first = (static_cast<long long>(blockIdx.x) - first_pieces[tensor]) * piece;
    const long long length = lengths[tensor];
    const long long last = first + piece < length ? first + piece : length;
    double sum = 0.0;
    for (long long i = first + threadIdx.x; i < last; i += THREADS) {
        const float value = l2 == 0.0f ? gradient[i] : gradient[i] + l2 * parameter[i];
        sum += static_cast<double>(value) * static_cast<double>(value);
    }
    shared[threadIdx.x] = sum;
    __syncthreads();
    for (unsigned half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) sums[blockIdx.x] = shared[0];
}
