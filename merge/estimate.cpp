#include "merge/estimate.h"

#include <algorithm>
#include <chrono>

#include "core/error.h"
#include "core/hash.h"
#include "core/parallel.h"
#include "core/stream_file.h"
#include "formats/containers/safetensors.h"

namespace lancet {
namespace {

constexpr std::uint64_t kEnough = 1ULL << 22;  ///< elements that show how fast the arithmetic is
constexpr std::uint64_t kTrial = 32ULL << 20;  ///< bytes of the trial file

template <typename Body>
double seconds_of(const Body& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Of two tensors: the first wakes threads and takes memory that the others find awake and taken.
constexpr std::size_t kTrials = 2;

/// The smallest tensors that are large enough, or else the largest; none where nothing is computed.
std::vector<const PlannedTensor*> typical_tensors(const MergePlan& plan) {
  std::vector<const PlannedTensor*> out;
  const auto rank = [](const PlannedTensor& tensor) {
    const std::uint64_t n = tensor.elements();
    return std::pair(n < kEnough, n < kEnough ? UINT64_MAX - n : n);
  };
  for (const PlannedTensor& tensor : plan.tensors) {
    if (tensor.copied || tensor.elements() == 0) continue;
    if (leaves_out_linalg(plan) && !tensor.embedding && tensor.shape.size() > 1) continue;
    out.push_back(&tensor);
  }
  const std::size_t taken = std::min(out.size(), kTrials);
  std::ranges::partial_sort(out, out.begin() + static_cast<std::ptrdiff_t>(taken), {},
                            [&](const PlannedTensor* tensor) { return rank(*tensor); });
  out.resize(taken);
  return out;
}

/// Of one output byte, reading, arithmetic and hashing, with all threads.
double seconds_per_byte(const MergePlan& plan, const PlannedTensor& tensor) {
  BoundTensor bound(plan, tensor);
  bound.task().keep_resident(true);
  const double statistics = seconds_of([&] { static_cast<void>(bound.emit()); });
  const MergeTask& task = bound.task();
  const std::uint64_t chunks =
      std::min<std::uint64_t>(task.chunks(), 2 * static_cast<std::uint64_t>(parallel::threads()));
  std::uint64_t elements = 0;
  std::vector<std::vector<std::byte>> out(chunks);  // a run takes its blocks once, too
  for (std::uint64_t c = 0; c < chunks; ++c) {
    elements += task.chunk_elements(c);
    out[c].resize(dtype_bytes(tensor.dtype, task.chunk_elements(c)).value());
  }
  const double arithmetic = seconds_of([&] {
    parallel::for_each(chunks, [&](std::size_t chunk) {
      task.emit_chunk(bound.emit(), chunk, tensor.dtype, out[chunk]);
      static_cast<void>(sha256_hex(Bytes(out[chunk])));
    });
  });
  return statistics / static_cast<double>(tensor.bytes()) +
         arithmetic / static_cast<double>(dtype_bytes(tensor.dtype, elements).value());
}

/// A file of this name in the nearest folder that is there: a plan makes none.
fs::path trial_path(const fs::path& out, const char* name) {
  std::error_code ignored;
  fs::path parent = fs::absolute(out).parent_path();
  while (!fs::exists(parent, ignored) && parent.has_relative_path()) parent = parent.parent_path();
  return parent / (out.filename().string() + name);
}

double seconds_per_written_byte(const fs::path& out) {
  const std::vector<std::byte> block(4ULL << 20);
  try {
    const double seconds = seconds_of([&] {
      StreamFile file(trial_path(out, ".lancet-trial"));  // never committed
      file.reserve(kTrial);
      for (std::uint64_t at = 0; at < kTrial; at += block.size()) file.write(block);
    });
    return seconds / static_cast<double>(kTrial);
  } catch (const Error&) {
    return 0;
  }
}

}  // namespace

bool leaves_out_linalg(const MergePlan& plan) noexcept {
  return (plan.method->needs_linalg || plan.post.needs_linalg()) && plan.options.linalg == nullptr;
}

double seconds_at(const TrialRates& rates, std::uint64_t bytes) noexcept {
  return static_cast<double>(bytes) * std::max(rates.work, rates.write);
}

TrialRates try_merge(const MergePlan& plan, const fs::path& out) {
  TrialRates rates{0, seconds_per_written_byte(out)};
  for (const PlannedTensor* tensor : typical_tensors(plan)) {
    const double seconds = seconds_per_byte(plan, *tensor);
    rates.work = rates.work > 0 ? std::min(rates.work, seconds) : seconds;
  }
  return rates;
}

TrialRates try_writing(const fs::path& out) {
  const fs::path trial = trial_path(out, ".lancet-trial.safetensors");
  const std::vector<std::byte> block(4ULL << 20);
  std::vector<OutputTensor> tensors;
  tensors.push_back({"trial",
                     DType::kI8,
                     {static_cast<std::int64_t>(kTrial)},
                     [&](const std::function<void(Bytes)>& emit) {
                       for (std::uint64_t at = 0; at < kTrial; at += block.size()) emit(block);
                     }});
  double seconds = 0;
  try {
    seconds =
        seconds_of([&] { static_cast<void>(save_safetensors(trial, std::move(tensors), {})); });
  } catch (const Error&) {
    seconds = 0;  // the run itself will say why
  }
  std::error_code ignored;
  fs::remove(trial, ignored);
  return {0, seconds / static_cast<double>(kTrial)};
}

}  // namespace lancet
