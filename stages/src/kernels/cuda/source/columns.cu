// Sums and moments over the rows of a matrix, column by column, in two stages: parts of rows, then the parts joined in
// their order. The counterpart on the CPU is ../../cpu/columns.rs; both add in the same order.
#include "common.cuh"

// The rows of one part.
#define PART_ROWS 256

// The mean and the sum of squared distances from it, of each part and column: [parts, width] each.
// Blocks: x over columns, y over parts. `values` has rows of `stride`, of which the first `width` columns count.
extern "C" __global__ void moments_of_parts(const float* values, long long rows, long long stride, long long width,
                                            double* means, double* squares) {
    const long long column = element_of_thread();
    if (column >= width) return;
    const long long part = blockIdx.y;
    const long long first = part * PART_ROWS;
    const long long last = first + PART_ROWS < rows ? first + PART_ROWS : rows;
    double sum = 0.0;
    for (long long row = first; row < last; row++) sum += static_cast<double>(values[row * stride + column]);
    const double mean = sum / static_cast<double>(last - first);
    double square = 0.0;
    for (long long row = first; row < last; row++) {
        const double distance = static_cast<double>(values[row * stride + column]) - mean;
        square += distance * distance;
    }
    means[part * width + column] = mean;
    squares[part * width + column] = square;
}

// Joins the parts by the formula of Chan, Golub and LeVeque (1979), and after them `padded` equal rows.
//
// `offset` [width] is the constant that the logits of a padded row have. If the columns are `folded`, they lack that
// constant: then a padded row is 0, and the reported mean has the constant added. `offset` is not read where nothing is
// padded or folded.
extern "C" __global__ void moments_joined(const double* means, const double* squares, long long rows, long long width,
                                          const float* offset, unsigned folded, double padded, double* mean,
                                          double* variance, float* reported_mean, float* reported_variance) {
    const long long column = element_of_thread();
    if (column >= width) return;
    const long long parts = (rows + PART_ROWS - 1) / PART_ROWS;
    double total = 0.0, middle = 0.0, square = 0.0;
    for (long long part = 0; part < parts; part++) {
        const long long first = part * PART_ROWS;
        const long long last = first + PART_ROWS < rows ? first + PART_ROWS : rows;
        const double count = static_cast<double>(last - first);
        const double share = count / (total + count);
        const double distance = means[part * width + column] - middle;
        middle += distance * share;
        square += squares[part * width + column] + distance * distance * total * share;
        total += count;
    }
    if (padded > 0.0) {
        const double value = folded ? 0.0 : static_cast<double>(offset[column]);
        const double share = padded / (total + padded);
        const double distance = value - middle;
        middle += distance * share;
        square += distance * distance * total * share;
        total += padded;
    }
    mean[column] = middle;
    variance[column] = square / total;
    reported_mean[column] = static_cast<float>(folded ? middle + static_cast<double>(offset[column]) : middle);
    reported_variance[column] = static_cast<float>(square / total);
}

// The sum of each part and column: [parts, width]. Blocks: x over columns, y over parts.
extern "C" __global__ void sums_of_parts(const float* values, long long rows, long long width, double* sums) {
    const long long column = element_of_thread();
    if (column >= width) return;
    const long long part = blockIdx.y;
    const long long first = part * PART_ROWS;
    const long long last = first + PART_ROWS < rows ? first + PART_ROWS : rows;
    double sum = 0.0;
    for (long long row = first; row < last; row++) sum += static_cast<double>(values[row * width + column]);
    sums[part * width + column] = sum;
}

// The sum of each column over its parts, in f64 and rounded.
extern "C" __global__ void sums_joined(const double* parts, long long count, long long width, double* sums,
                                       float* rounded) {
    const long long column = element_of_thread();
    if (column >= width) return;
    double sum = 0.0;
    for (long long part = 0; part < count; part++) sum += parts[part * width + column];
    sums[column] = sum;
    rounded[column] = static_cast<float>(sum);
}

// Adds `row` [width] to each row of `values` [rows, width].
extern "C" __global__ void row_added(const float* row, long long elements, long long width, float* values) {
    const long long element = element_of_thread();
    if (element >= elements) return;
    values[element] += row[element % width];
}
