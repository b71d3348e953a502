// Runs one launch of a kernel without a GPU. The launch comes on the standard input, in the form that mod.rs writes, and
// the buffers that the kernel writes go to the standard output.
//
// The kernel runs twice: with the threads and blocks in ascending order, and in descending order. If the results differ,
// the kernel depends on an order that no GPU promises, most likely because a barrier is missing, and the launch fails.
// Each buffer is an allocation of its own of exactly its size, so that the address sanitizer sees every access beside it.
#include "shim.h"

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <ucontext.h>

#include "../source/adam.cu"
#include "../source/assign.cu"
#include "../source/codes.cu"
#include "../source/columns.cu"
#include "../source/norm.cu"
#include "../source/pool.cu"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#else
static void __sanitizer_start_switch_fiber(void**, const void*, size_t) {}
static void __sanitizer_finish_switch_fiber(void*, const void**, size_t*) {}
#endif

Dimensions threadIdx, blockIdx, blockDim, gridDim;

[[noreturn]] static void fail(const std::string& text) {
    std::fprintf(stderr, "%s\n", text.c_str());
    std::_Exit(1);
}

// ---- kernels for the tests of the emulator, and for functions that the kernels share

extern "C" __global__ void exponentials(const float* x, long long elements, float* y) {
    const long long element = element_of_thread();
    if (element < elements) y[element] = quick_exp(x[element]);
}

extern "C" __global__ void reads_behind_the_end(const float* x, long long elements, float* y) {
    const long long element = element_of_thread();
    if (element < elements) y[element] = x[element + 1];
}

extern "C" __global__ void lacks_a_barrier(const float* x, long long elements, float* y) {
    __shared__ float shared[1024];
    const long long element = element_of_thread();
    if (element >= elements) return;
    shared[threadIdx.x] = x[element];
    y[element] = shared[(threadIdx.x + 1) % elements];
}

extern "C" __global__ void leaves_before_a_barrier(const float* x, long long elements, float* y) {
    const long long element = element_of_thread();
    if (element >= elements) return;
    __syncthreads();
    y[element] = x[element];
}

// ---- fibers

static const size_t STACK = 32 * 1024;

// A fiber runs one thread of a block after another until one of them comes to a barrier. From then on it has that thread
// alone, and the next fiber runs the threads that have not begun. So threads that meet no barrier need no fibers of their own.
struct Fiber {
    ucontext_t context;
    char* stack;
    size_t thread;
};

// A context has pointers into itself and must stay where it is, as it does in a deque.
static std::deque<Fiber> fibers;
static ucontext_t scheduler;
static const void* scheduler_stack;
static size_t scheduler_size;
static size_t current;
static size_t begun, ended, threads;
static bool from_first;
static void (*body)(void*);
static void* body_argument;

static void to_scheduler(bool for_ever) {
    void* saved = nullptr;
    __sanitizer_start_switch_fiber(for_ever ? nullptr : &saved, scheduler_stack, scheduler_size);
    swapcontext(&fibers[current].context, &scheduler);
    __sanitizer_finish_switch_fiber(saved, &scheduler_stack, &scheduler_size);
}

void __syncthreads() { to_scheduler(false); }

static void become(size_t thread) {
    const size_t index = from_first ? thread : threads - 1 - thread;
    threadIdx = {static_cast<unsigned>(index % blockDim.x), static_cast<unsigned>(index / blockDim.x % blockDim.y),
                 static_cast<unsigned>(index / blockDim.x / blockDim.y)};
}

static void run_fiber() {
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_size);
    Fiber& own = fibers[current];
    do {
        own.thread = begun++;
        become(own.thread);
        body(body_argument);
        ended++;
    } while (begun < threads);
    to_scheduler(true);
}

static void resume(size_t index) {
    current = index;
    void* saved = nullptr;
    __sanitizer_start_switch_fiber(&saved, fibers[index].stack, STACK);
    swapcontext(&scheduler, &fibers[index].context);
    __sanitizer_finish_switch_fiber(saved, nullptr, nullptr);
}

static void prepare(Fiber& fiber) {
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack;
    fiber.context.uc_stack.ss_size = STACK;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, run_fiber, 0);
}

static void run_block(bool ascending) {
    threads = static_cast<size_t>(blockDim.x) * blockDim.y * blockDim.z;
    begun = ended = 0;
    from_first = ascending;
    for (size_t used = 0; begun < threads; used++) {
        if (fibers.size() == used) fibers.push_back({{}, static_cast<char*>(std::malloc(STACK)), 0});
        prepare(fibers[used]);
        resume(used);
    }
    // All threads that have not ended wait at a barrier, each in a fiber of its own, in the order in which they began.
    while (ended < threads) {
        if (ended > 0) fail("some threads of a block ended while others waited at a barrier");
        for (size_t i = 0; i < threads; i++) {
            become(fibers[i].thread);
            resume(i);
        }
    }
}

static void run_grid(bool ascending) {
    const unsigned long long count = static_cast<unsigned long long>(gridDim.x) * gridDim.y * gridDim.z;
    for (unsigned long long i = 0; i < count; i++) {
        const unsigned long long index = ascending ? i : count - 1 - i;
        blockIdx = {static_cast<unsigned>(index % gridDim.x), static_cast<unsigned>(index / gridDim.x % gridDim.y),
                    static_cast<unsigned>(index / gridDim.x / gridDim.y)};
        run_block(ascending);
    }
}

// ---- arguments

enum Kind : unsigned char { NUMBER, READ, WRITE, READS, WRITES };

struct Buffer {
    std::vector<char> original;
    char* memory;
};

struct Argument {
    Kind kind;
    unsigned char type;
    char number[8];
    std::vector<Buffer> buffers;
    std::vector<void*> table;
};

static void read_bytes(void* target, size_t size) {
    if (std::fread(target, 1, size, stdin) != size) fail("the launch ends too early");
}

template <class T>
static T read() {
    T value;
    read_bytes(&value, sizeof value);
    return value;
}

static Argument read_argument() {
    Argument argument{};
    argument.kind = static_cast<Kind>(read<unsigned char>());
    argument.type = read<unsigned char>();
    if (argument.kind == NUMBER) {
        read_bytes(argument.number, 8);
        return argument;
    }
    const unsigned count = read<unsigned>();
    for (unsigned i = 0; i < count; i++) {
        Buffer buffer;
        buffer.original.resize(read<unsigned long long>());
        read_bytes(buffer.original.data(), buffer.original.size());
        buffer.memory = static_cast<char*>(std::malloc(buffer.original.size()));
        argument.buffers.push_back(std::move(buffer));
        argument.table.push_back(argument.buffers.back().memory);
    }
    return argument;
}

template <class T>
constexpr unsigned char code_of() {
    if constexpr (std::is_same_v<T, unsigned char>) return 0;
    else if constexpr (std::is_same_v<T, unsigned>) return 1;
    else if constexpr (std::is_same_v<T, long long>) return 2;
    else if constexpr (std::is_same_v<T, unsigned short>) return 3;
    else if constexpr (std::is_same_v<T, float>) return 4;
    else {
        static_assert(std::is_same_v<T, double>, "a type that no argument has");
        return 5;
    }
}

// The argument as a parameter of type T, if its kind and type are those of the parameter.
template <class T>
static T take(Argument& argument, size_t place) {
    const auto check = [&](Kind kind, unsigned char type) {
        if (argument.kind == kind && argument.type == type) return;
        fail("argument " + std::to_string(place) + " is of kind " + std::to_string(argument.kind) + " and type " +
             std::to_string(argument.type) + ", and the kernel takes kind " + std::to_string(kind) + " and type " +
             std::to_string(type));
    };
    if constexpr (!std::is_pointer_v<T>) {
        check(NUMBER, code_of<T>());
        T value;
        std::memcpy(&value, argument.number, sizeof value);
        return value;
    } else {
        using Target = std::remove_pointer_t<T>;
        if constexpr (std::is_pointer_v<std::remove_const_t<Target>>) {
            using Element = std::remove_pointer_t<std::remove_const_t<Target>>;
            check(std::is_const_v<Element> ? READS : WRITES, code_of<std::remove_const_t<Element>>());
            return reinterpret_cast<T>(argument.table.data());
        } else {
            check(std::is_const_v<Target> ? READ : WRITE, code_of<std::remove_const_t<Target>>());
            return reinterpret_cast<T>(argument.table.at(0));
        }
    }
}

template <class... P, size_t... I>
static void launch(void (*kernel)(P...), std::vector<Argument>& arguments, bool ascending, std::index_sequence<I...>) {
    if (arguments.size() != sizeof...(P)) {
        fail(std::to_string(arguments.size()) + " arguments for " + std::to_string(sizeof...(P)) + " parameters");
    }
    struct Call {
        void (*kernel)(P...);
        std::tuple<P...> parameters;
    } call{kernel, {take<P>(arguments[I], I)...}};
    body = [](void* call) {
        std::apply(static_cast<Call*>(call)->kernel, static_cast<Call*>(call)->parameters);
    };
    body_argument = &call;
    run_grid(ascending);
}

template <class... P>
static void launch(void (*kernel)(P...), std::vector<Argument>& arguments, bool ascending) {
    launch(kernel, arguments, ascending, std::index_sequence_for<P...>{});
}

static void launch_named(const std::string& name, std::vector<Argument>& arguments, bool ascending) {
#define KERNEL(kernel) \
    if (name == #kernel) return launch(kernel, arguments, ascending);
    KERNEL(adam)
    KERNEL(all_finite)
    KERNEL(squares)
    KERNEL(line_of_norm)
    KERNEL(line_of_running_norm)
    KERNEL(assignments)
    KERNEL(assignments_gradient)
    KERNEL(norm_sums_of_parts)
    KERNEL(norm_sums_joined)
    KERNEL(norm_gradient)
    KERNEL(features)
    KERNEL(codes)
    KERNEL(weights_for_codes)
    KERNEL(constants_for_codes)
    KERNEL(gradients_for_codes)
    KERNEL(rounded)
    KERNEL(moments_of_parts)
    KERNEL(moments_joined)
    KERNEL(sums_of_parts)
    KERNEL(sums_joined)
    KERNEL(row_added)
    KERNEL(normed)
    KERNEL(normed_sums)
    KERNEL(normed_gradient)
    KERNEL(masses)
    KERNEL(centers_subtracted)
    KERNEL(through_masses)
    KERNEL(through_masses_added)
    KERNEL(centers_gradient)
    KERNEL(unit_rows)
    KERNEL(unit_rows_gradient)
    KERNEL(exponentials)
    KERNEL(reads_behind_the_end)
    KERNEL(lacks_a_barrier)
    KERNEL(leaves_before_a_barrier)
    fail("there is no kernel of this name");
}

int main() {
    std::string name(read<unsigned>(), '\0');
    read_bytes(name.data(), name.size());
    gridDim = read<Dimensions>();
    blockDim = read<Dimensions>();
    std::vector<Argument> arguments(read<unsigned>());
    for (Argument& argument : arguments) argument = read_argument();

    std::vector<char> results[2];
    for (const bool ascending : {true, false}) {
        for (Argument& argument : arguments) {
            for (Buffer& buffer : argument.buffers) {
                if (!buffer.original.empty()) std::memcpy(buffer.memory, buffer.original.data(), buffer.original.size());
            }
        }
        launch_named(name, arguments, ascending);
        for (const Argument& argument : arguments) {
            if (argument.kind != WRITE && argument.kind != WRITES) continue;
            for (const Buffer& buffer : argument.buffers) {
                results[ascending].insert(results[ascending].end(), buffer.memory,
                                          buffer.memory + buffer.original.size());
            }
        }
    }
    if (results[0] != results[1]) fail("the result depends on the order of threads or blocks");
    std::fwrite(results[0].data(), 1, results[0].size(), stdout);
    std::fflush(stdout);
    // The sanitizer's search for leaks has nothing to find: all memory lives as long as the process.
    std::_Exit(0);
}
