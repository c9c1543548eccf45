// Matrix products of model/kernels beside LibTorch's, in one run: bench_gemm [rounds [rows]...]
// For every shape all candidates take turns, each time on another copy of the weights, as layers
// follow each other. Printed are the best and the median round by CPU time (work / (CPU time /
// threads): what a machine of one's own would show), the best by wall time, and the share of the
// processors that the median round got. "peak" is a loop of independent FMAs in registers, "read" a
// loop that adds up the weights: both run between the others, on as many threads. Waiting threads
// sleep, so that CPU time is work (LibTorch's OpenMP threads spin a little).

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "model/kernels/gemm.h"
#include "model/kernels/pairs.h"

namespace {

using namespace lancet::kernels;
using std::int64_t;

double wall() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
double cpu() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// body(i) for i in [0, count) on one or two threads that take indices in turn.
void run_all(int threads, int64_t count, const std::function<void(int64_t)>& body) {
  std::atomic<int64_t> next = 0;
  const auto take = [&] {
    for (int64_t i = next++; i < count; i = next++) body(i);
  };
  std::vector<std::thread> helpers;
  for (int i = 1; i < threads; ++i) helpers.emplace_back(take);
  take();
  for (std::thread& helper : helpers) helper.join();
}

constexpr int64_t kFmaSteps = 200'000;
volatile float sink = 0;

__attribute__((target("avx512f"))) void fma_512() {
  __m512 sum[16];
  for (int i = 0; i < 16; ++i) sum[i] = _mm512_set1_ps(0.1F * static_cast<float>(i));
  const __m512 x = _mm512_set1_ps(-0.97F);
  const __m512 y = _mm512_set1_ps(0.31F);
  for (int64_t n = 0; n < kFmaSteps; ++n) {
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) sum[i] = _mm512_fmadd_ps(sum[i], x, y);
  }
  for (int i = 1; i < 16; ++i) sum[0] = _mm512_add_ps(sum[0], sum[i]);
  sink = _mm512_cvtss_f32(sum[0]);
}

__attribute__((target("avx2,fma"))) void fma_256() {
  __m256 sum[12];
  for (int i = 0; i < 12; ++i) sum[i] = _mm256_set1_ps(0.1F * static_cast<float>(i));
  const __m256 x = _mm256_set1_ps(-0.97F);
  const __m256 y = _mm256_set1_ps(0.31F);
  for (int64_t n = 0; n < kFmaSteps; ++n) {
#pragma GCC unroll 12
    for (int i = 0; i < 12; ++i) sum[i] = _mm256_fmadd_ps(sum[i], x, y);
  }
  for (int i = 1; i < 12; ++i) sum[0] = _mm256_add_ps(sum[0], sum[i]);
  sink = _mm256_cvtss_f32(sum[0]);
}

__attribute__((target("avx2"))) void read_loop(const float* w, int64_t n) {
  __m256 sum[8];
  for (__m256& s : sum) s = _mm256_setzero_ps();
  for (int64_t i = 0; i + 64 <= n; i += 64) {
#pragma GCC unroll 8
    for (int64_t j = 0; j < 8; ++j) sum[j] = _mm256_add_ps(sum[j], _mm256_loadu_ps(w + i + j * 8));
  }
  for (int i = 1; i < 8; ++i) sum[0] = _mm256_add_ps(sum[0], sum[i]);
  sink = _mm256_cvtss_f32(sum[0]);
}

struct Candidate {
  std::string name;
  double work;  ///< in 1e9 operations
  double bytes;
  std::function<void(int turn)> run;
  std::vector<double> wall, cpu, share;
};

void measure(std::vector<Candidate>& candidates, int rounds, int threads) {
  for (int round = 0, turn = 0; round < rounds; ++round) {
    for (Candidate& candidate : candidates) {
      const double wall_begin = wall();
      const double cpu_begin = cpu();
      candidate.run(turn++);
      candidate.cpu.push_back((cpu() - cpu_begin) / threads);
      candidate.wall.push_back(wall() - wall_begin);
      candidate.share.push_back(candidate.cpu.back() / candidate.wall.back());
    }
  }
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

void print(const std::vector<Candidate>& candidates) {
  std::printf("  %-24s %10s %10s %10s %8s %10s %6s\n", "", "GFLOP/s", "(median)", "(wall)", "GB/s",
              "(median)", "share");
  for (const Candidate& candidate : candidates) {
    const double best = *std::min_element(candidate.cpu.begin(), candidate.cpu.end());
    const double wall_best = *std::min_element(candidate.wall.begin(), candidate.wall.end());
    const double middle = median(candidate.cpu);
    std::printf("  %-24s %10.1f %10.1f %10.1f %8.1f %10.1f %6.2f\n", candidate.name.c_str(),
                candidate.work / best, candidate.work / middle, candidate.work / wall_best,
                candidate.bytes / best, candidate.bytes / middle, median(candidate.share));
  }
}

/// Copies of one weight, at most 64 MiB or one.
struct Weights {
  std::vector<at::Tensor> f32, bf16;

  Weights(int64_t n, int64_t k) {
    do {
      f32.push_back(at::randn({n, k}));
      bf16.push_back(f32.back().to(at::kBFloat16));
    } while (static_cast<int64_t>(f32.size() + 1) * n * k * 4 <= int64_t{64} << 20);
  }
  [[nodiscard]] const at::Tensor& of(WeightType type, int turn) const {
    return (type == WeightType::kF32 ? f32 : bf16)[static_cast<std::size_t>(turn) % f32.size()];
  }
};

template <typename Job>
void add_job(std::vector<Candidate>& all, Job job, const char* kind, const Weights& weights,
             int threads, double work) {
  job.workers = threads;
  for (const WeightType type : {WeightType::kF32, WeightType::kBF16}) {
    const bool f32 = type == WeightType::kF32;
    job.type = type;
    const auto add = [&](Isa isa, bool tiles) {
      job.tiles = tiles;
      const std::string set = tiles ? "tiles" : std::string(isa_name(isa));
      all.push_back({std::string(kind) + " " + set + (f32 ? " f32" : " bf16"),
                     work,
                     static_cast<double>(job.n * job.k) * (f32 ? 4e-9 : 2e-9),
                     [job, isa, threads, type, &weights](int turn) mutable {
                       job.w = weights.of(type, turn).const_data_ptr();
                       run_all(threads, tile_count(job), [&](int64_t i) { run_tile(job, i, isa); });
                     },
                     {},
                     {},
                     {}});
    };
    if (has_tiles()) add(best_isa(), true);
    for (const Isa isa : {Isa::kAvx512, Isa::kAvx2, Isa::kScalar}) {
      if (has_isa(isa) && (isa != Isa::kScalar || work <= 0.02)) add(isa, false);
    }
  }
}

/// Products of bfloat16 pairs, and LibTorch's bfloat16 beside them.
template <typename Job>
void add_pairs(std::vector<Candidate>& all, Job job, const char* kind, const Weights& weights,
               int threads, double work) {
  job.workers = threads;
  const double bytes = 2e-9 * static_cast<double>(job.n * job.k);
  for (const auto& [isa, name] : {std::pair{PairIsa::kAmx, " amx"},
                                  {PairIsa::kAvx512Bf16, " avx512 pairs"},
                                  {PairIsa::kAvx2, " avx2 pairs"}}) {
    if (!has_pair_isa(isa)) continue;
    all.push_back({std::string(kind) + name,
                   work,
                   bytes,
                   [job, isa = isa, threads, &weights](int turn) mutable {
                     job.w = static_cast<const std::uint16_t*>(
                         weights.of(WeightType::kBF16, turn).const_data_ptr());
                     run_all(threads, tile_count(job, isa),
                             [&](int64_t i) { run_tile(job, i, isa); });
                   },
                   {},
                   {},
                   {}});
  }
}

void add_limits(std::vector<Candidate>& all, const Weights& weights, int threads) {
  const double fma = 1e-9 * static_cast<double>(kFmaSteps * threads);
  if (has_isa(Isa::kAvx512)) {
    all.push_back({"peak 512",
                   fma * 512,
                   0,
                   [=](int) { run_all(threads, threads, [](int64_t) { fma_512(); }); },
                   {},
                   {},
                   {}});
  }
  all.push_back({"peak 256",
                 fma * 192,
                 0,
                 [=](int) { run_all(threads, threads, [](int64_t) { fma_256(); }); },
                 {},
                 {},
                 {}});
  const int64_t part = weights.f32[0].numel() / 16;
  all.push_back({"read",
                 0,
                 64e-9 * static_cast<double>(part),
                 [=, &weights](int turn) {
                   const float* w = weights.of(WeightType::kF32, turn).const_data_ptr<float>();
                   run_all(threads, 16, [&](int64_t i) { read_loop(w + i * part, part); });
                 },
                 {},
                 {},
                 {}});
}

/// All candidates for C[m, n] = A[m, k] W[n, k]^T or, with `grad`, C[m, k] = G[m, n] W[n, k].
void bench(int64_t m, int64_t n, int64_t k, bool grad, int threads, int rounds) {
  at::set_num_threads(threads);
  const Weights weights(n, k);
  const at::Tensor a = at::randn({m, grad ? n : k}), c = at::empty({m, grad ? k : n});
  const at::Tensor a16 = a.to(at::kBFloat16);
  const auto* from = a.const_data_ptr<float>();
  const auto* from16 = static_cast<const std::uint16_t*>(a16.const_data_ptr());
  auto* to = c.mutable_data_ptr<float>();
  const double work =
      2e-9 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  std::vector<Candidate> all;
  add_limits(all, weights, threads);
  const auto type = WeightType::kF32;
  at::Tensor result;
  if (grad) {
    add_job(all, InputGradJob{from, n, nullptr, type, k, to, k, m, n, k, false}, "input_grad",
            weights, threads, work);
    add_pairs(all, PairInputGrad{from16, n, nullptr, k, to, k, m, n, k, false}, "input_grad",
              weights, threads, work);
  } else {
    add_job(all, LinearJob{from, k, nullptr, type, k, to, n, m, n, k, false}, "linear", weights,
            threads, work);
    add_pairs(all, PairLinear{from16, k, nullptr, k, to, n, m, n, k, false}, "linear", weights,
              threads, work);
  }
  all.push_back({grad ? "LibTorch mm f32" : "LibTorch linear f32",
                 work,
                 4e-9 * static_cast<double>(n * k),
                 [&](int turn) {
                   const at::Tensor& w = weights.of(type, turn);
                   result = grad ? at::mm(a, w) : at::linear(a, w);
                 },
                 {},
                 {},
                 {}});
  all.push_back({grad ? "LibTorch mm bf16" : "LibTorch linear bf16",
                 work,
                 2e-9 * static_cast<double>(n * k),
                 [&](int turn) {
                   const at::Tensor& w = weights.of(WeightType::kBF16, turn);
                   result = grad ? at::mm(a16, w) : at::linear(a16, w);
                 },
                 {},
                 {},
                 {}});
  measure(all, work > 10 ? std::max(3, rounds / 10) : rounds, threads);
  std::printf("\n%s  M %ld  N %ld  K %ld  threads %d\n", grad ? "input gradient" : "linear",
              static_cast<long>(m), static_cast<long>(n), static_cast<long>(k), threads);
  print(all);
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 40;
  std::vector<int64_t> row_counts;
  for (int i = 2; i < argc; ++i) row_counts.push_back(std::max(1, std::atoi(argv[i])));
  if (row_counts.empty()) row_counts = {512, 2048, 128, 4, 1};
  const c10::InferenceMode inference;
  for (const int threads : {1, 2}) {
    for (const int64_t m : row_counts) {
      bench(m, 1536, 576, false, threads, rounds);
      bench(m, 576, 1536, false, threads, rounds);
      if (m <= 512) bench(m, 49152, 576, false, threads, rounds);
      if (m >= 16) bench(m, 1536, 576, true, threads, rounds);
    }
  }
}
