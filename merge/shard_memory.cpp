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

/// Memory of a method that holds whole tensors: deltas and what is made of them, in float64, beside
/// the result of the tensor before it.
std::uint64_t whole_memory(const MergePlan& plan, const PlannedTensor& tensor) {
  const bool post = plan.post.needs_linalg();
  if (!(plan.method->needs_linalg || post) || tensor.copied || tensor.shape.size() != 2 ||
      tensor.embedding)
    return 0;
  const double copies = std::max(plan.method->whole_tensors, post ? 2.0 : 0.0) *
                            static_cast<double>(tensor.models.size()) +
                        4;
  return static_cast<std::uint64_t>(copies * 8 * static_cast<double>(tensor.elements()));
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

constexpr std::uint64_t kFixed = 12ULL << 20;  // program, libraries, headers
constexpr std::uint64_t kFolios = 9ULL << 20;  // what faults map around the chunks under way
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
/// fill while the first tensor's inputs are released.
std::uint64_t expected_memory(const MergePlan& plan, const ShardLimits& limits) {
  const std::uint64_t slots = slots_of(limits);
  std::uint64_t largest = 0, most_held = 0;
  for (const PlannedTensor& tensor : plan.tensors)
    most_held = std::max(most_held, held_bytes(plan, tensor, limits));
  std::optional<Held> last;
  for (const PlannedTensor& tensor : plan.tensors) {
    const std::uint64_t n = std::max<std::uint64_t>(tensor.elements(), 1);
    const Held held = held_of(plan, tensor, limits);
    const std::uint64_t under_way = std::min(slots, (n + kChunk - 1) / kChunk);
    const std::uint64_t result = under_way * (tensor.bytes() / n * std::min(n, kChunk));
    const std::uint64_t written = last ? StreamFile::kMemory : 0;
    std::uint64_t passing = std::max(held.inputs, held.passing) + held.scratch;
    if (last && last->inputs + held.inputs <= most_held)
      passing += result + last->inputs + last->scratch;
    else if (last)
      passing += result + std::min(last->inputs, (slots - 1) * last->chunk);
    const std::uint64_t emitting = held.inputs > 0
                                       ? written + held.inputs
                                       : StreamFile::kMemory + under_way * held.chunk + kFolios;
    largest = std::max({largest, result + emitting, written + passing,
                        StreamFile::kMemory + whole_memory(plan, tensor)});
    last = held;
  }
  return kFixed + largest;
}

}  // namespace lancet
