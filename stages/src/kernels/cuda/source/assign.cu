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

// The assignments a [rows, groups, clusters]: the softmax over the clusters of the normed logits, times the sigmoid of
// the attention logit with its bias. A segment of a block computes one row and group.
extern "C" __global__ void assignments(const float* logits, const float* attention_bias, const float* factor,
                                       const float* shift, long long rows, long long groups, long long clusters,
                                       float* a) {
    const long long segment = static_cast<long long>(blockIdx.x) * SEGMENTS + threadIdx.y;
    // Threads without a row take part in the barriers and touch no memory.
    const bool works = segment < rows * groups;
    const long long row = segment / groups, group = segment % groups;
    const long long width = groups * clusters, stride = width + groups;
    const float* s = logits + (works ? row * stride + group * clusters : 0);
    const float* own_factor = factor + (works ? group * clusters : 0);
    const float* own_shift = shift + (works ? group * clusters : 0);
    const long long count = works ? clusters : 0;

    float top = -__uint_as_float(0x7f800000u);
    for (long long k = threadIdx.x; k < count; k += LANES) {
        const float y = s[k] * own_factor[k] + own_shift[k];
        if (y > top) top = y;
    }
    top = largest_of_lanes(top);
    float sum = 0.0f;
    for (long long k = threadIdx.x; k < count; k += LANES) {
        sum += quick_exp((s[k] * own_factor[k] + own_shift[k]) - top);
    }
    sum = sum_of_lanes(sum);
    if (!works) return;
    const float inverse = 1.0f / sum;
    const float attention = sigmoid(logits[row * stride + width + group] + attention_bias[group]);
    float* target = a + row * width + group * clusters;
    for (long long k = threadIdx.x; k < count; k += LANES) {
        target[k] = quick_exp((s[k] * own_factor[k] + own_shift[k]) - top) * inverse * attention;
    }
}

// The gradients of the normed logits and of the attention logits, from that of the assignments, `da`
// [rows, groups, clusters]. They are written into `gradient` [rows, groups * clusters + groups].
extern "C" __global__ void assignments_gradient(const float* logits, const float* attention_bias, const float* factor,
                                                const float* shift, const float* da, long long rows, long long groups,
                                                long long clusters, float* gradient) {
    const long long segment = static_cast<long long>(blockIdx.x) * SEGMENTS + threadIdx.y;
    const bool works = segment < rows * groups;
    const long long row = segment / groups, group = segment % groups;
    const long long width = groups * clusters, stride = width + groups;
    const float* s = logits + (works ? row * stride + group * clusters : 0);
    const float* own_factor = factor + (works ? group * clusters : 0);
    const float* own_shift = shift + (works ? group * clusters : 0);
    const float* own_da = da + (works ? row * width + group * clusters : 0);
    const long long count = works ? clusters : 0;

    float top = -__uint_as_float(0x7f800000u);
    for (long long k = threadIdx.x; k < count; k += LANES) {
        const float y = s[k] * own_factor[k] + own_shift[k];
        if (y > top) top = y;
    }
    top = largest_of_lanes(top);
    float sum = 0.0f;
    for (long long k = threadIdx.x; k < count; k += LANES) {
        sum += quick_exp((s[k] * own_factor[k] + own_shift[k]) - top);
    }
    sum = sum_of_lanes(sum);
    const float inverse = 1.0f / sum;
    // The sum of p * da is both the attention's gradient and the mean that softmax subtracts.
    float mass = 0.0f;
    for (long long k = threadIdx.x; k < count; k += LANES) {
        mass += quick_exp((s[k] * own_factor[k] + own_shift[k]) - top) * inverse * own_da[k];
    }
    mass = sum_of_lanes(mass);
    if (!works) return;
    const float attention = sigmoid(logits[row * stride + width + group] + attention_bias[group]);
    float* target = gradient + row * stride + group * clusters;
    for (long long k = threadIdx.x; k < count; k += LANES) {
        const float p = quick_exp((s[k] * own_factor[k] + own_shift[k]) - top) * inverse;
        target[k] = p * (attention * (own_da[k] - mass));
    }
    if (threadIdx.x == 0) gradient[row * stride + width + group] = mass * attention * (1.0f - attention);
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
