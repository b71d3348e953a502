// Batch norm, softmax and attention of the assignment, and their gradient. The counterpart on the CPU is
// ../../cpu/vlad/assign.rs.
//
// Logits are rows of `groups * clusters + groups`: first those of the assignment, then those of the attention.
#include "common.cuh"

// The rows of one part of the sums that the gradient takes.
#define GRADIENT_ROWS 64

// The line of each column of a batch norm, `y = x * factor + shift`, and 1 / sqrt(variance + epsilon).
extern "C" __global__ void line_of_norm(const double* mean, const double* variance, const float* weight,
                                        const float* bias, double epsilon, long long width, float* factor,
                                        float* shift, double* spread) {
    const long long column = element_of_thread();
    if (column >= width) return;
    const double inverse = 1.0 / sqrt(variance[column] + epsilon);
    const double slope = inverse * static_cast<double>(weight[column]);
    spread[column] = inverse;
    factor[column] = static_cast<float>(slope);
    shift[column] = static_cast<float>(static_cast<double>(bias[column]) - mean[column] * slope);
}

// As line_of_norm, from running statistics. If the columns are `folded`, they lack the constant `offset` [width], which
// the running mean has. `offset` is not read otherwise.
extern "C" __global__ void line_of_running_norm(const float* mean, const float* variance, const float* weight,
                                                const float* bias, double epsilon, const float* offset,
                                                unsigned folded, long long width, float* factor, float* shift) {
    const long long column = element_of_thread();
    if (column >= width) return;
    const double inverse = 1.0 / sqrt(static_cast<double>(variance[column]) + epsilon);
    const double slope = inverse * static_cast<double>(weight[column]);
    const double constant = folded ? static_cast<double>(offset[column]) : 0.0;
    const double middle = static_cast<double>(mean[column]) - constant;
    factor[column] = static_cast<float>(slope);
    shift[column] = static_cast<float>(static_cast<double>(bias[column]) - middle * slope);
}

// One row and group of the logits, as the lanes of a segment of a block see it. A segment behind the last row has nothing to do:
// its lanes take part in the barriers and touch no memory.
struct RowGroup {
    bool works;
    long long row, group, width, stride, count;
    const float *logits, *factor, *shift;
    // The largest of the normed logits, and 1 over the sum of their exponentials less that.
    float top, inverse;

    __device__ __forceinline__ float normed(long long k) const { return logits[k] * factor[k] + shift[k]; }
    __device__ __forceinline__ float power(long long k) const { return quick_exp(normed(k) - top); }
    __device__ __forceinline__ float softmax(long long k) const { return power(k) * inverse; }
};

// The row and group of this thread's segment, with its softmax. Every thread of the block must call it.
__device__ __forceinline__ RowGroup row_group_of_segment(const float* logits, const float* factor, const float* shift,
                                                         long long rows, long long groups, long long clusters) {
    const long long segment = static_cast<long long>(blockIdx.x) * SEGMENTS + threadIdx.y;
    RowGroup own;
    own.works = segment < rows * groups;
    own.row = segment / groups, own.group = segment % groups;
    own.width = groups * clusters, own.stride = own.width + groups;
    own.count = own.works ? clusters : 0;
    const long long first = own.works ? own.group * clusters : 0;
    own.logits = logits + (own.works ? own.row * own.stride : 0) + first;
    own.factor = factor + first;
    own.shift = shift + first;

    own.top = -__uint_as_float(0x7f800000u);
    for (long long k = threadIdx.x; k < own.count; k += LANES) {
        const float y = own.normed(k);
        if (y > own.top) own.top = y;
    }
    own.top = largest_of_lanes(own.top);
    float sum = 0.0f;
    for (long long k = threadIdx.x; k < own.count; k += LANES) sum += own.power(k);
    own.inverse = 1.0f / sum_of_lanes(sum);
    return own;
}

// The assignments a [rows, groups, clusters]: the softmax over the clusters of the normed logits, times the sigmoid of
// the attention logit with its bias. A segment of a block computes one row and group.
extern "C" __global__ void assignments(const float* logits, const float* attention_bias, const float* factor,
                                       const float* shift, long long rows, long long groups, long long clusters,
                                       float* a) {
    const RowGroup own = row_group_of_segment(logits, factor, shift, rows, groups, clusters);
    if (!own.works) return;
    const float attention = sigmoid(logits[own.row * own.stride + own.width + own.group] + attention_bias[own.group]);
    float* target = a + own.row * own.width + own.group * clusters;
    for (long long k = threadIdx.x; k < own.count; k += LANES) target[k] = own.softmax(k) * attention;
}

// The gradients of the normed logits and of the attention logits, from that of the assignments, `da`
// [rows, groups, clusters]. They are written into `gradient` [rows, groups * clusters + groups].
extern "C" __global__ void assignments_gradient(const float* logits, const float* attention_bias, const float* factor,
                                                const float* shift, const float* da, long long rows, long long groups,
                                                long long clusters, float* gradient) {
    const RowGroup own = row_group_of_segment(logits, factor, shift, rows, groups, clusters);
    const float* own_da = da + (own.works ? own.row * own.width + own.group * clusters : 0);
    // The sum of p * da is both the attention's gradient and the mean that softmax subtracts.
    float mass = 0.0f;
    for (long long k = threadIdx.x; k < own.count; k += LANES) mass += own.softmax(k) * own_da[k];
    mass = sum_of_lanes(mass);
    if (!own.works) return;
    const long long attention_place = own.row * own.stride + own.width + own.group;
    const float attention = sigmoid(logits[attention_place] + attention_bias[own.group]);
    float* target = gradient + own.row * own.stride + own.group * clusters;
    for (long long k = threadIdx.x; k < own.count; k += LANES) {
        target[k] = own.softmax(k) * (attention * (own_da[k] - mass));
    }
    if (threadIdx.x == 0) gradient[attention_place] = mass * attention * (1.0f - attention);
}

// The sums of dy and of dy * (s - mean) of each part and column: [parts, width] each. Blocks: x over columns, y over
// parts. `dy` and `logits` have rows of `stride`.
extern "C" __global__ void norm_sums_of_parts(const float* logits, const float* dy, const double* mean, long long rows,
                                              long long stride, long long width, float* sums, float* products) {
    const long long column = element_of_thread();
    if (column >= width) return;
    const long long part = blockIdx.y;
    const long long first = part * GRADIENT_ROWS;
    const long long last = first + GRADIENT_ROWS < rows ? first + GRADIENT_ROWS : rows;
    const float middle = static_cast<float>(mean[column]);
    float sum = 0.0f, product = 0.0f;
    for (long long row = first; row < last; row++) {
        const float gradient = dy[row * stride + column];
        sum += gradient;
        product += gradient * (logits[row * stride + column] - middle);
    }
    sums[part * width + column] = sum;
    products[part * width + column] = product;
}

// Joins the parts: the gradients of the norm's weight and bias, what norm_gradient subtracts, and the gradient of the
// logits of a padded row, for all `padded` of them together. The offset is that of moments_joined.
extern "C" __global__ void norm_sums_joined(const float* sums, const float* products, const double* mean,
                                            const double* spread, const float* weight, long long rows, long long width,
                                            const float* offset, unsigned folded, double padded, float* dweight,
                                            float* dbias, float* middle, float* slope, float* dpadding) {
    const long long column = element_of_thread();
    if (column >= width) return;
    const long long parts = (rows + GRADIENT_ROWS - 1) / GRADIENT_ROWS;
    double bias = 0.0, scale = 0.0;
    for (long long part = 0; part < parts; part++) {
        bias += static_cast<double>(sums[part * width + column]);
        scale += static_cast<double>(products[part * width + column]) * spread[column];
    }
    const double total = static_cast<double>(rows) + padded;
    dweight[column] = static_cast<float>(scale);
    dbias[column] = static_cast<float>(bias);
    middle[column] = static_cast<float>(bias / total);
    slope[column] = static_cast<float>(scale / total * spread[column]);
    double extra = 0.0;
    if (padded > 0.0) {
        const double value = folded ? 0.0 : static_cast<double>(offset[column]);
        const double normal = (value - mean[column]) * spread[column];
        const double pulled = bias / total + normal * scale / total;
        extra = -padded * static_cast<double>(weight[column]) * spread[column] * pulled;
    }
    dpadding[column] = static_cast<float>(extra);
}

// Turns the gradients of the normed columns into those of the columns, in place. `logits` and `gradient` have rows of
// `stride`, of which the first `width` columns are normed; `elements` is rows * width.
extern "C" __global__ void norm_gradient(const float* logits, const double* mean, const float* factor,
                                         const float* middle, const float* slope, long long elements, long long stride,
                                         long long width, float* gradient) {
    const long long element = element_of_thread();
    if (element >= elements) return;
    const long long column = element % width, place = element / width * stride + column;
    const float distance = logits[place] - static_cast<float>(mean[column]);
    gradient[place] = factor[column] * (gradient[place] - middle[column] - distance * slope[column]);
}
