// From the bytes of a file to operands of products. The counterparts on the CPU are ../../cpu/vlad/dequantize.rs and
// frames.rs.
//
// A feature is q * 4/255 - 2 + offset for a byte q, times a scale for its column where there is one. `scale` [width] is
// not read unless `is_scaled`.
#include "common.cuh"

// The rows that one thread computes of its column, for which it works out the line of the column once.
#define ROWS_OF_THREAD 16

// The features [rows, width] of bytes. Blocks: x over columns, y over runs of 16 rows.
extern "C" __global__ void features(const unsigned char* bytes, const float* scale, unsigned is_scaled, double offset,
                                    long long rows, long long width, float* x) {
    const long long column = element_of_thread();
    if (column >= width) return;
    const double own = is_scaled ? static_cast<double>(scale[column]) : 1.0;
    const float factor = static_cast<float>(own * 4.0 / 255.0);
    const float shift = static_cast<float>(own * (offset - 2.0));
    const long long first = static_cast<long long>(blockIdx.y) * ROWS_OF_THREAD;
    for (long long row = first; row < rows && row < first + ROWS_OF_THREAD; row++) {
        const long long place = row * width + column;
        x[place] = static_cast<float>(bytes[place]) * factor + shift;
    }
}

// Each byte less 128 as bf16, which holds it exactly.
extern "C" __global__ void codes(const unsigned char* bytes, long long elements, unsigned short* x) {
    const long long element = element_of_thread();
    if (element >= elements) return;
    x[element] = round_to_bf16(static_cast<float>(static_cast<int>(bytes[element]) - 128));
}

// The weight [rows, width] for codes: each column has the factor of its line, rounded to bf16. Blocks as in features.
extern "C" __global__ void weights_for_codes(const float* weight, const float* scale, unsigned is_scaled,
                                             long long rows, long long width, unsigned short* scaled) {
    const long long column = element_of_thread();
    if (column >= width) return;
    const double own = is_scaled ? static_cast<double>(scale[column]) : 1.0;
    const float factor = static_cast<float>(own * (4.0 / 255.0));
    const long long first = static_cast<long long>(blockIdx.y) * ROWS_OF_THREAD;
    for (long long row = first; row < rows && row < first + ROWS_OF_THREAD; row++) {
        scaled[row * width + column] = round_to_bf16(weight[row * width + column] * factor);
    }
}

// What the shift of the features adds to each product with a row of the weight [rows, width]. A segment of a block
// computes one row.
extern "C" __global__ void constants_for_codes(const float* weight, const float* scale, unsigned is_scaled,
                                               double offset, long long rows, long long width, float* constants) {
    const long long row = static_cast<long long>(blockIdx.x) * SEGMENTS + threadIdx.y;
    const bool works = row < rows;
    const long long count = works ? width : 0;
    const float* own = weight + (works ? row * width : 0);
    const double middle = 128.0 * (4.0 / 255.0) - 2.0 + offset;
    double sum = 0.0;
    for (long long column = threadIdx.x; column < count; column += LANES) {
        const double factor = is_scaled ? static_cast<double>(scale[column]) : 1.0;
        sum += static_cast<double>(own[column]) * (factor * middle);
    }
    sum = sum_of_lanes(sum);
    if (works && threadIdx.x == 0) constants[row] = static_cast<float>(sum);
}

// Turns products of gradients with codes into those with features, in place: `values` [rows, width], and `sums` [rows]
// of the gradients. Blocks as in features.
extern "C" __global__ void gradients_for_codes(const double* sums, const float* scale, unsigned is_scaled,
                                               double offset, long long rows, long long width, float* values) {
    const long long column = element_of_thread();
    if (column >= width) return;
    const double own = is_scaled ? static_cast<double>(scale[column]) : 1.0;
    const double factor = own * (4.0 / 255.0);
    const double shift = own * (128.0 * (4.0 / 255.0) - 2.0 + offset);
    const long long first = static_cast<long long>(blockIdx.y) * ROWS_OF_THREAD;
    for (long long row = first; row < rows && row < first + ROWS_OF_THREAD; row++) {
        const long long place = row * width + column;
        values[place] = static_cast<float>(static_cast<double>(values[place]) * factor + sums[row] * shift);
    }
}

// Numbers rounded to bf16.
extern "C" __global__ void rounded(const float* values, long long elements, unsigned short* narrow) {
    const long long element = element_of_thread();
    if (element >= elements) return;
    narrow[element] = round_to_bf16(values[element]);
}
