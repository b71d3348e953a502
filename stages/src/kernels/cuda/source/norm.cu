// Batch normalisation of a matrix with as many rows as a batch has videos. Its moments come from columns.cu, and its
// lines from assign.cu. The counterpart on the CPU is ../../cpu/batch_norm.rs.
#include "common.cuh"

// y = (x - mean) * factor + bias.
extern "C" __global__ void normed(const float* x, const double* mean, const float* factor, const float* bias,
                                  long long elements, long long width, float* y) {
    const long long element = element_of_thread();
    if (element >= elements) return;
    const long long column = element % width;
    y[element] = (x[element] - static_cast<float>(mean[column])) * factor[column] + bias[column];
}

// The gradients of weight and bias, and what the gradient of x subtracts. A thread adds up a column, row by row.
extern "C" __global__ void normed_sums(const float* x, const float* dy, const double* mean, const double* spread,
                                       long long rows, long long width, float* dweight, float* dbias, float* middle,
                                       float* slope) {
    const long long column = element_of_thread();
    if (column >= width) return;
    double bias = 0.0, scale = 0.0;
    for (long long row = 0; row < rows; row++) {
        const double gradient = static_cast<double>(dy[row * width + column]);
        bias += gradient;
        scale += gradient * (static_cast<double>(x[row * width + column]) - mean[column]) * spread[column];
    }
    const double count = static_cast<double>(rows);
    dweight[column] = static_cast<float>(scale);
    dbias[column] = static_cast<float>(bias);
    middle[column] = static_cast<float>(bias / count);
    slope[column] = static_cast<float>(scale / count * spread[column]);
}

// The gradient of x.
extern "C" __global__ void normed_gradient(const float* x, const float* dy, const double* mean, const float* factor,
                                           const float* middle, const float* slope, long long elements,
                                           long long width, float* dx) {
    const long long element = element_of_thread();
    if (element >= elements) return;
    const long long column = element % width;
    const float distance = x[element] - static_cast<float>(mean[column]);
    dx[element] = factor[column] * (dy[element] - middle[column] - distance * slope[column]);
}
