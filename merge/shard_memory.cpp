#include "merge/shard_memory.h"

#include <algorithm>
#include <optional>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/parallel.h"
#include "core/stream_file.h"
#include "core/text.h"

namespace lancet {
namespace {

bool needs_linalg(const MergePlan& plan) noexcept {
  return plan.method->needs_linalg || plan.post.needs_linalg();
}

/// Memory of a method that holds whole tensors: deltas and what is made of them, in float64, beside
/// what the tensor before it still has; and what the decompositions under way work in, LAPACK's
/// gesdd in about nine squares of the shorter side each. Measured: within 15 %.
std::uint64_t whole_memory(const MergePlan& plan, const PlannedTensor& tensor) {
  const bool post = plan.post.needs_linalg();
  if (!needs_linalg(plan) || tensor.copied || tensor.shape.size() != 2 || tensor.embedding)
    return 0;
  const auto side = static_cast<double>(std::min(tensor.shape[0], tensor.shape[1]));
  const std::size_t at_once =
      std::min(tensor.models.size(), static_cast<std::size_t>(parallel::threads()));
  const double copies = std::max(plan.method->whole_tensors, post ? 2.0 : 0.0) *
                            static_cast<double>(tensor.models.size()) +
                        8;
  const double work = 9 * side * side * static_cast<double>(at_once);
  return static_cast<std::uint64_t>(8 * (copies * static_cast<double>(tensor.elements()) + work));
}

}  // namespace

std::uint64_t input_bytes(const PlannedTensor& tensor) {
  const auto bytes = [&](const PlannedSource& source) {
    return dtype_bytes(source.tensor->dtype, tensor.elements()).value_or(0);
  };
  std::uint64_t sum = tensor.base ? bytes(*tensor.base) : 0;
  for (const PlannedSource& source : tensor.models) sum += bytes(source);
  return sum;
}

std::uint64_t held_bytes(const MergePlan& plan, const PlannedTensor& tensor,
                         const ShardLimits& limits) {
  const std::uint64_t bytes = input_bytes(tensor);
  return plan.method->one_pass || tensor.copied || bytes > resident_limit(limits) ? 0 : bytes;
}

std::size_t slots_of(const ShardLimits& limits) {
  const auto threads = static_cast<std::size_t>(parallel::threads());
  constexpr std::uint64_t kSlot = 16ULL << 20;  // a chunk's result and the inputs it maps
  return std::clamp<std::size_t>(limits.memory / 4 / kSlot, 1, threads + 2);
}

void check_memory(const MergePlan& plan, const ShardLimits& limits) {
  for (const PlannedTensor& tensor : plan.tensors) {
    const std::uint64_t bytes = whole_memory(plan, tensor);
    if (bytes <= limits.memory) continue;
    fail(ErrorKind::kResource, "merge",
         fmt::format("tensor '{}' [{}]: {} holds whole matrices and needs {}, found a bound of {}",
                     printable(tensor.name), fmt::join(tensor.shape, ", "), plan.method->name,
                     human_bytes(bytes), human_bytes(limits.memory)),
         fmt::format("give --memory {}GiB", (bytes >> 30) + 1));
  }
}

namespace {

constexpr std::uint64_t kFixed = 12ULL << 20;    // program, libraries, headers
constexpr std::uint64_t kLeast = 20ULL << 20;    // a merge of nothing
constexpr std::uint64_t kLinalg = 122ULL << 20;  // LibTorch, opened
constexpr std::uint64_t kFolios = 9ULL << 20;    // what faults map around the chunks under way
constexpr std::uint64_t kChunk = 1ULL << 19;

/// What a tensor holds while it is under way, by its parts.
struct Held {
  std::uint64_t inputs = 0;  ///< between its passes
  std::uint64_t chunk = 0;   ///< of one chunk's inputs
  std::uint64_t scratch =
      0;  ///< collected or marked, about a byte for eight values, and counts of blocks
  std::uint64_t passing = 0;  ///< of its statistics passes, where its inputs are not held
};

Held held_of(const MergePlan& plan, const PlannedTensor& tensor, const ShardLimits& limits) {
  const std::uint64_t n = std::max<std::uint64_t>(tensor.elements(), 1);
  Held held{.inputs = held_bytes(plan, tensor, limits),
            .chunk = input_bytes(tensor) / n * std::min(n, kChunk)};
  if (plan.method->one_pass || tensor.copied) return held;
  const std::uint64_t values = n * tensor.models.size();
  held.scratch = std::min(scratch_limit(limits), values / 8) + values / 128;
  const auto threads = static_cast<std::uint64_t>(parallel::threads());
  if (held.inputs == 0) held.passing = std::min(n / kChunk, threads) * held.chunk + kFolios;
  return held;
}

}  // namespace

/// The tensor under way, with the last chunks of the one before it or with the statistics passes of
/// the next, which begin where both hold no more than the largest does alone. The writer's blocks
/// fill while the first tensor's inputs are released. What tokenizers were read into is free again
/// by then, and used again.
std::uint64_t expected_memory(const MergePlan& plan, const ShardLimits& limits) {
  const std::uint64_t slots = slots_of(limits);
  const std::uint64_t writer = std::min(StreamFile::kMemory, plan.bytes_written());
  const std::uint64_t folios = std::min(kFolios, plan.bytes_read());
  std::uint64_t largest = 0, most_held = 0;
  for (const PlannedTensor& tensor : plan.tensors)
    most_held = std::max(most_held, held_bytes(plan, tensor, limits));
  std::optional<Held> last;
  for (const PlannedTensor& tensor : plan.tensors) {
    const std::uint64_t n = std::max<std::uint64_t>(tensor.elements(), 1);
    const Held held = held_of(plan, tensor, limits);
    const std::uint64_t under_way = std::min(slots, (n + kChunk - 1) / kChunk);
    const std::uint64_t result = under_way * (tensor.bytes() / n * std::min(n, kChunk));
    const std::uint64_t written = last ? writer : 0;
    std::uint64_t passing = std::max(held.inputs, held.passing) + held.scratch;
    if (last && last->inputs + held.inputs <= most_held)
      passing += result + last->inputs + last->scratch;
    else if (last)
      passing += result + std::min(last->inputs, (slots - 1) * last->chunk);
    const std::uint64_t emitting =
        held.inputs > 0 ? written + held.inputs : writer + under_way * held.chunk + folios;
    largest = std::max(
        {largest, result + emitting, written + passing, writer + whole_memory(plan, tensor)});
    last = held;
  }
  std::uint64_t files = 0;
  for (const auto& [name, text] : plan.side_files) files += text.size();
  const std::uint64_t work = std::max(largest + files, plan.vocabulary_memory + 2 * files);
  return std::max(kFixed + work, kLeast) + (needs_linalg(plan) ? kLinalg : 0);
}

void check_bound(const MergePlan& plan, const ShardLimits& limits) {
  check_memory(plan, limits);
  const std::uint64_t least = expected_memory(plan, {1});
  if (limits.memory >= least) return;
  constexpr std::uint64_t kMiB = 1ULL << 20;
  fail(ErrorKind::kResource, "merge",
       fmt::format("--memory: expected at least {}, the least that this merge takes, found {}",
                   human_bytes(least), human_bytes(limits.memory)),
       fmt::format("give --memory {}MiB", least / kMiB + 2));
}

}  // namespace lancet
