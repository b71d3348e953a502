/* Counts the calls of the driver and of cuBLAS that a program makes: loaded before them (LD_PRELOAD), it stands between the program
   and the libraries, counts, and passes each call on. What cuBLAS itself asks of the driver does not come by here, so a
   product of cuBLAS is one call, however many kernels it launches. At the end of the program, the counts go to the file that
   FRAMEWISE_CALLS names, a line for each. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <cublas_v2.h>
#include <cuda.h>

enum { KERNELS, PRODUCTS, COPIES, WAITS, ALLOCATIONS, KINDS };
static const char *const names[KINDS] = {"kernels", "products", "copies", "waits", "allocations"};
static atomic_ulong counts[KINDS];

/* The next library's function of this name. Without it nothing can go on. */
static void *next(const char *name) {
    void *function = dlsym(RTLD_NEXT, name);
    if (!function) {
        fprintf(stderr, "count-calls: %s is in no library\n", name);
        abort();
    }
    return function;
}

__attribute__((destructor)) static void report(void) {
    const char *path = getenv("FRAMEWISE_CALLS");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file) return;
    for (int kind = 0; kind < KINDS; kind++) fprintf(file, "%s %lu\n", names[kind], atomic_load(&counts[kind]));
    fclose(file);
}

/* A function that counts and passes its arguments on. The headers declare each, so a wrong list does not compile. */
#define COUNTED(kind, result, name, parameters, arguments)                                                            \
    result name parameters {                                                                                          \
        static _Atomic(void *) found;                                                                                 \
        void *real = atomic_load(&found);                                                                             \
        if (!real) atomic_store(&found, real = next(#name));                                                          \
        atomic_fetch_add(&counts[kind], 1);                                                                           \
        return ((result(*) parameters)real)arguments;                                                                 \
    }

COUNTED(KERNELS, CUresult, cuLaunchKernel,
        (CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
         CUstream stream, void **parameters, void **extra),
        (f, gx, gy, gz, bx, by, bz, shared, stream, parameters, extra))
COUNTED(KERNELS, CUresult, cuLaunchCooperativeKernel,
        (CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
         CUstream stream, void **parameters),
        (f, gx, gy, gz, bx, by, bz, shared, stream, parameters))
COUNTED(KERNELS, CUresult, cuMemsetD8Async, (CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream),
        (to, value, bytes, stream))

COUNTED(PRODUCTS, cublasStatus_t, cublasGemmEx,
        (cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const void *alpha, const void *a,
         cudaDataType at, int lda, const void *b, cudaDataType bt, int ldb, const void *beta, void *c, cudaDataType ct, int ldc,
         cublasComputeType_t compute, cublasGemmAlgo_t algorithm),
        (h, ta, tb, m, n, k, alpha, a, at, lda, b, bt, ldb, beta, c, ct, ldc, compute, algorithm))
COUNTED(PRODUCTS, cublasStatus_t, cublasGemmStridedBatchedEx,
        (cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const void *alpha, const void *a,
         cudaDataType at, int lda, long long sa, const void *b, cudaDataType bt, int ldb, long long sb, const void *beta, void *c,
         cudaDataType ct, int ldc, long long sc, int count, cublasComputeType_t compute, cublasGemmAlgo_t algorithm),
        (h, ta, tb, m, n, k, alpha, a, at, lda, sa, b, bt, ldb, sb, beta, c, ct, ldc, sc, count, compute, algorithm))
COUNTED(PRODUCTS, cublasStatus_t, cublasSgemmStridedBatched,
        (cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const float *alpha, const float *a,
         int lda, long long sa, const float *b, int ldb, long long sb, const float *beta, float *c, int ldc, long long sc,
         int count),
        (h, ta, tb, m, n, k, alpha, a, lda, sa, b, ldb, sb, beta, c, ldc, sc, count))
COUNTED(PRODUCTS, cublasStatus_t, cublasDgemmStridedBatched,
        (cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const double *alpha, const double *a,
         int lda, long long sa, const double *b, int ldb, long long sb, const double *beta, double *c, int ldc, long long sc,
         int count),
        (h, ta, tb, m, n, k, alpha, a, lda, sa, b, ldb, sb, beta, c, ldc, sc, count))

COUNTED(COPIES, CUresult, cuMemcpyHtoDAsync_v2, (CUdeviceptr to, const void *from, size_t bytes, CUstream stream),
        (to, from, bytes, stream))
COUNTED(COPIES, CUresult, cuMemcpyDtoHAsync_v2, (void *to, CUdeviceptr from, size_t bytes, CUstream stream),
        (to, from, bytes, stream))
COUNTED(COPIES, CUresult, cuMemcpyDtoDAsync_v2, (CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream),
        (to, from, bytes, stream))

COUNTED(WAITS, CUresult, cuStreamSynchronize, (CUstream stream), (stream))
COUNTED(WAITS, CUresult, cuEventSynchronize, (CUevent event), (event))
COUNTED(WAITS, CUresult, cuCtxSynchronize, (void), ())
COUNTED(WAITS, CUresult, cuMemcpyHtoD_v2, (CUdeviceptr to, const void *from, size_t bytes), (to, from, bytes))
COUNTED(WAITS, CUresult, cuMemcpyDtoH_v2, (void *to, CUdeviceptr from, size_t bytes), (to, from, bytes))

COUNTED(ALLOCATIONS, CUresult, cuMemAllocAsync, (CUdeviceptr *to, size_t bytes, CUstream stream), (to, bytes, stream))
COUNTED(ALLOCATIONS, CUresult, cuMemAlloc_v2, (CUdeviceptr *to, size_t bytes), (to, bytes))
