// What surrounds the products of pooling, V = product - mass * C, and each cluster's residual at length one. The
// counterparts on the CPU are ../../cpu/vlad/pool.rs and normalize.rs.
//
// `starts` [videos + 1] are the first frames of the videos, and the number of frames after them.
#include "common.cuh"

// The lanes of a block that add up one column.
#define MASS_LANES 16

// The sum of a over the frames and groups of each video, [videos, clusters]. Blocks: x over 32 clusters, y over videos.
extern "C" __global__ void masses(const float* a, const long long* starts, long long groups, long long clusters,
                                  double* mass) {
    __shared__ double shared[MASS_LANES][LANES];
    const long long cluster = static_cast<long long>(blockIdx.x) * LANES + threadIdx.x;
    const long long first = starts[blockIdx.y] * groups, last = starts[blockIdx.y + 1] * groups;
    double sum = 0.0;
    if (cluster < clusters) {
        for (long long row = first + threadIdx.y; row < last; row += MASS_LANES) {
            sum += static_cast<double>(a[row * clusters + cluster]);
        }
    }
    shared[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || cluster >= clusters) return;
    double total = 0.0;
    for (unsigned lane = 0; lane < MASS_LANES; lane++) total += shared[lane][threadIdx.x];
    mass[blockIdx.y * clusters + cluster] = total;
}

// v = v - mass * C for v [videos, clusters, width] and C [clusters, width].
extern "C" __global__ void centers_subtracted(const double* mass, const float* centers, long long elements,
                                              long long clusters, long long width, float* v) {
    const long long element = element_of_thread();
    if (element >= elements) return;
    const long long row = element / width;
    v[element] -= static_cast<float>(mass[row]) * centers[element % (clusters * width)];
}

// What the mass adds to the gradient of each assignment of a video: -sum over d of dV * C, [videos, clusters].
extern "C" __global__ void through_masses(const float* dv, const float* centers, long long videos, long long clusters,
                                          long long width, float* through) {
    const long long segment = static_cast<long long>(blockIdx.x) * SEGMENTS + threadIdx.y;
    const bool works = segment < videos * clusters;
    const long long count = works ? width : 0;
    const float* own = dv + (works ? segment * width : 0);
    const float* center = centers + (works ? segment % clusters * width : 0);
    float sum = 0.0f;
    for (long long d = threadIdx.x; d < count; d += LANES) sum -= own[d] * center[d];
    sum = sum_of_lanes(sum);
    if (works && threadIdx.x == 0) through[segment] = sum;
}

// Adds through_masses to the gradients of the assignments, da [frames, groups, clusters]. Blocks: x over the elements of
// a video, y over videos.
extern "C" __global__ void through_masses_added(const float* through, const long long* starts, long long groups,
                                                long long clusters, float* da) {
    const long long first = starts[blockIdx.y] * groups * clusters;
    const long long element = first + element_of_thread();
    if (element >= starts[blockIdx.y + 1] * groups * clusters) return;
    da[element] += through[blockIdx.y * clusters + element % clusters];
}

// The gradient of the centers, -sum over the videos of mass * dV, [clusters, width].
extern "C" __global__ void centers_gradient(const float* dv, const double* mass, long long videos, long long clusters,
                                            long long width, float* dcenters) {
    const long long element = element_of_thread();
    if (element >= clusters * width) return;
    double sum = 0.0;
    for (long long video = 0; video < videos; video++) {
        sum -= mass[video * clusters + element / width] *
               static_cast<double>(dv[video * clusters * width + element]);
    }
    dcenters[element] = static_cast<float>(sum);
}

// The constant of the lengths, which keeps that of an empty cluster from zero.
#define L2_EPSILON 1e-12

// 1 / length of a row of `width` numbers. With `largest`, the length is that of the larger of square and constant.
__device__ __forceinline__ float inverse_length(double square, unsigned largest) {
    const double bounded = square > L2_EPSILON ? square : L2_EPSILON;
    return static_cast<float>(1.0 / sqrt(largest ? bounded : square + L2_EPSILON));
}

// u [videos, width * clusters]: v [videos, clusters, width] with each row at length one, transposed. A segment of a block
// computes one video and cluster.
extern "C" __global__ void unit_rows(const float* v, unsigned largest, long long videos, long long clusters,
                                     long long width, float* u) {
    const long long segment = static_cast<long long>(blockIdx.x) * SEGMENTS + threadIdx.y;
    const bool works = segment < videos * clusters;
    const long long count = works ? width : 0;
    const float* row = v + (works ? segment * width : 0);
    double square = 0.0;
    for (long long d = threadIdx.x; d < count; d += LANES) {
        square += static_cast<double>(row[d]) * static_cast<double>(row[d]);
    }
    square = sum_of_lanes(square);
    if (!works) return;
    const float inverse = inverse_length(square, largest);
    float* target = u + segment / clusters * clusters * width + segment % clusters;
    for (long long d = threadIdx.x; d < count; d += LANES) target[d * clusters] = row[d] * inverse;
}

// The gradient of v from that of u.
extern "C" __global__ void unit_rows_gradient(const float* v, const float* du, unsigned largest, long long videos,
                                              long long clusters, long long width, float* dv) {
    const long long segment = static_cast<long long>(blockIdx.x) * SEGMENTS + threadIdx.y;
    const bool works = segment < videos * clusters;
    const long long count = works ? width : 0;
    const float* row = v + (works ? segment * width : 0);
    const float* gradient = du + (works ? segment / clusters * clusters * width + segment % clusters : 0);
    double square = 0.0;
    for (long long d = threadIdx.x; d < count; d += LANES) {
        square += static_cast<double>(row[d]) * static_cast<double>(row[d]);
    }
    square = sum_of_lanes(square);
    const float inverse = inverse_length(square, largest);
    float along = 0.0f;
    for (long long d = threadIdx.x; d < count; d += LANES) along += gradient[d * clusters] * inverse * row[d];
    along = sum_of_lanes(along) * inverse * inverse;
    if (!works) return;
    // Where the constant is the length, the length does not depend on the row.
    if (largest && square < L2_EPSILON) along = 0.0f;
    float* target = dv + segment * width;
    for (long long d = threadIdx.x; d < count; d += LANES) {
        target[d] = gradient[d * clusters] * inverse - row[d] * along;
    }
}
