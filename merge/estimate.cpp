#include "merge/estimate.h"

#include <algorithm>

#include "core/error.h"
#include "core/hash.h"
#include "core/seconds.h"
#include "formats/containers/safetensors.h"

namespace lancet {
namespace {

constexpr std::uint64_t kEnough = 1ULL << 22;   ///< elements that show how fast the arithmetic is
constexpr std::uint64_t kTrial = 128ULL << 20;  ///< bytes of the result that are tried, about
constexpr std::uint64_t kLargest = 32ULL
                                   << 20;  ///< bytes of a tensor that is tried, where there are
constexpr std::uint64_t kWritten = 32ULL << 20;  ///< bytes of try_writing's file

std::uint64_t bytes_of(const std::vector<const PlannedTensor*>& tensors) {
  std::uint64_t bytes = 0;
  for (const PlannedTensor* tensor : tensors) bytes += tensor->bytes();
  return bytes;
}

/// Tensors small enough to try: those up to kLargest, or up to the smallest that has kEnough.
std::vector<const PlannedTensor*> tensors_to_try(const MergePlan& plan) {
  std::uint64_t smallest = UINT64_MAX;
  for (const PlannedTensor& tensor : plan.tensors) {
    if (tensor.elements() >= kEnough) smallest = std::min(smallest, tensor.bytes());
  }
  std::vector<const PlannedTensor*> out;
  for (const PlannedTensor& tensor : plan.tensors) {
    if (tensor.bytes() > std::max(kLargest, smallest == UINT64_MAX ? 0 : smallest)) continue;
    out.push_back(&tensor);
  }
  return out;
}

/// Two runs of neighbours, as they follow each other in the files: at most a quarter of all.
std::vector<const PlannedTensor*> sample_of(const std::vector<const PlannedTensor*>& tensors) {
  const std::uint64_t all = bytes_of(tensors), run = std::min(kTrial, all / 4) / 2;
  std::vector<const PlannedTensor*> out;
  std::uint64_t at = 0;
  for (const PlannedTensor* tensor : tensors) {
    const std::uint64_t end = at + tensor->bytes();
    for (const std::uint64_t begin : {all / 4, all / 4 * 3}) {
      if (end <= begin || at >= begin + std::max<std::uint64_t>(run, 1)) continue;
      out.push_back(tensor);
      break;
    }
    at = end;
  }
  return out;
}

/// A file of this name in the nearest folder that is there: a plan makes none.
fs::path trial_path(const fs::path& out, const char* name) {
  std::error_code ignored;
  fs::path parent = fs::absolute(out).parent_path();
  while (!fs::exists(parent, ignored) && parent.has_relative_path()) parent = parent.parent_path();
  return parent / (out.filename().string() + name);
}

}  // namespace

bool leaves_out_linalg(const MergePlan& plan) noexcept {
  return (plan.method->needs_linalg || plan.post.needs_linalg()) && plan.options.linalg == nullptr;
}

double expected_seconds(const MergePlan& plan, const fs::path& out, const ShardLimits& limits) {
  const std::vector<const PlannedTensor*> tried = sample_of(tensors_to_try(plan));
  double seconds = 0;  // of what comes before the first tensor
  if (plan.method->survey != nullptr)
    seconds = seconds_of([&] { static_cast<void>(plan.survey()); });
  if (tried.empty()) return seconds;
  double trial = 0;
  try {
    trial = try_shard(plan, tried, trial_path(out, ".lancet-trial"), limits);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kResource) throw;  // the run itself will say why
    trial = try_shard(plan, tried, {}, limits);
  }
  return seconds + trial * static_cast<double>(plan.bytes_written()) /
                       static_cast<double>(std::max<std::uint64_t>(1, bytes_of(tried)));
}

double writing_seconds(const fs::path& out, std::uint64_t bytes) {
  const fs::path trial = trial_path(out, ".lancet-trial.safetensors");
  const std::vector<std::byte> block(4ULL << 20);
  std::vector<OutputTensor> tensors;
  tensors.push_back({"trial",
                     DType::kI8,
                     {static_cast<std::int64_t>(kWritten)},
                     [&](const std::function<void(Bytes)>& emit) {
                       for (std::uint64_t at = 0; at < kWritten; at += block.size()) emit(block);
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
  return seconds * static_cast<double>(bytes) / static_cast<double>(kWritten);
}

double seconds_to_hash(std::uint64_t bytes) {
  const std::vector<std::byte> block(8ULL << 20);
  const double seconds = seconds_of([&] { static_cast<void>(sha256_hex(Bytes(block))); });
  return seconds / static_cast<double>(block.size()) * static_cast<double>(bytes);
}

}  // namespace lancet
