#include "merge/shard.h"

#include <algorithm>
#include <cstring>
#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "core/stream_file.h"
#include "core/text.h"

namespace lancet {
namespace {

constexpr std::uint64_t kCopyChunk = 1ULL << 20;  ///< bytes of a copied tensor at a time

/// Stored bytes of a tensor's inputs.
std::uint64_t input_bytes(const PlannedTensor& tensor) {
  const auto bytes = [&](const PlannedSource& source) {
    return dtype_bytes(source.tensor->dtype, tensor.elements()).value_or(0);
  };
  std::uint64_t sum = tensor.base ? bytes(*tensor.base) : 0;
  for (const PlannedSource& source : tensor.models) sum += bytes(source);
  return sum;
}

/// Inputs up to this size stay mapped between the passes over a tensor.
std::uint64_t resident_limit(const ShardLimits& limits) { return limits.memory / 2; }
/// Bytes that stay mapped while a tensor is under way.
std::uint64_t held_bytes(const MergePlan& plan, const PlannedTensor& tensor,
                         const ShardLimits& limits) {
  const std::uint64_t bytes = input_bytes(tensor);
  return plan.method->one_pass || tensor.copied || bytes > resident_limit(limits) ? 0 : bytes;
}
/// What the statistics passes of one tensor may keep.
std::uint64_t scratch_limit(const ShardLimits& limits) { return limits.memory / 16; }

/// A tensor that is being computed, or copied.
class Work {
 public:
  Work(const MergePlan& plan, const PlannedTensor& tensor, const ShardLimits& limits)
      : tensor_(tensor) {
    if (tensor.copied) {
      for (const PlannedSource& source : tensor.models) add_raw(plan, source);
      if (tensor.base) add_raw(plan, *tensor.base);
      return;
    }
    bound_.emplace(plan, tensor);
    bound_->task().keep_resident(input_bytes(tensor) <= resident_limit(limits));
    bound_->task().scratch_memory(scratch_limit(limits));
  }

  [[nodiscard]] std::uint64_t chunks() const {
    if (bound_) return bound_->task().chunks();
    return (tensor_.bytes() + kCopyChunk - 1) / kCopyChunk;
  }
  void prefetch() const {
    if (bound_ && bound_->task().chunks() > 0) bound_->task().prefetch(0);
  }
  void prepare() const {
    if (bound_) static_cast<void>(bound_->emit());
  }
  /// Fills `out` with the bytes of a chunk.
  void compute(std::uint64_t chunk, std::vector<std::byte>& out) const {
    if (!bound_) {
      copy(chunk, out);
      return;
    }
    const MergeTask& task = bound_->task();
    out.resize(dtype_bytes(tensor_.dtype, task.chunk_elements(chunk)).value());
    if (chunk + 1 < task.chunks()) task.prefetch(chunk + 1);
    task.emit_chunk(bound_->emit(), chunk, tensor_.dtype, out);
    task.release(chunk);
  }

 private:
  const PlannedTensor& tensor_;
  std::optional<BoundTensor> bound_;
  std::vector<std::pair<Bytes, std::string>> raw_;

  void add_raw(const MergePlan& plan, const PlannedSource& source) {
    const MergeInput& input = *plan.inputs[source.input];
    raw_.emplace_back(input.raw(*source.tensor), input.text());
    if (raw_.back().first.size() == tensor_.bytes()) return;
    fail(ErrorKind::kMismatch, "merge",
         fmt::format("tensor '{}' of '{}': expected plain values to copy, found {}",
                     printable(tensor_.name), printable(input.text(), 200),
                     dtype_info(source.tensor->dtype).name));
  }
  void copy(std::uint64_t chunk, std::vector<std::byte>& out) const {
    const std::uint64_t at = chunk * kCopyChunk;
    const std::uint64_t size = std::min(kCopyChunk, tensor_.bytes() - at);
    const Bytes first = raw_[0].first.subspan(at, size);
    for (const auto& [bytes, model] : raw_) {
      if (std::memcmp(bytes.data() + at, first.data(), size) == 0) continue;
      fail(ErrorKind::kMismatch, "merge",
           fmt::format("tensor '{}' holds {} values: expected the same in all models, found others "
                       "in '{}' than in '{}'",
                       printable(tensor_.name), dtype_info(tensor_.dtype).name,
                       printable(model, 200), printable(raw_[0].second, 200)),
           "only floating-point tensors are merged");
    }
    out.assign(first.begin(), first.end());
  }
};

/// Chunks of consecutive tensors as one stream of items, at most a few tensors open at a time.
class Stream {
 public:
  Stream(const MergePlan& plan, std::vector<const PlannedTensor*> tensors,
         const ShardLimits& limits)
      : plan_(plan), tensors_(std::move(tensors)), limits_(limits), works_(tensors_.size()) {
    for (std::size_t t = 0; t < tensors_.size(); ++t) {
      most_held_ = std::max(most_held_, held(t));
      // Counted without opening: a task of the same shape has the same grid.
      const std::uint64_t chunks = Work(plan_, *tensors_[t], limits_).chunks();
      for (std::uint64_t c = 0; c < chunks; ++c) items_.push_back({t, c, c + 1 == chunks});
    }
  }

  [[nodiscard]] std::size_t size() const { return items_.size(); }

  void begin(std::size_t i) {
    const Item& item = items_[i];
    if (item.chunk != 0) return;
    open(item.tensor).prefetch();
    if (ahead_ != nullptr) ahead_->wait();
    ahead_.reset();
    open(item.tensor).prepare();
    if (item.tensor + 1 == tensors_.size()) return;
    // Two small tensors hold no more than the largest one does alone.
    if (held(item.tensor) + held(item.tensor + 1) > most_held_) return;
    const Work& next = open(item.tensor + 1);
    next.prefetch();
    ahead_ = std::make_unique<parallel::Beside>([&next] { next.prepare(); });
  }
  void compute(std::size_t i, std::vector<std::byte>& out) const {
    works_[items_[i].tensor]->compute(items_[i].chunk, out);
  }
  void finish(std::size_t i) {
    if (items_[i].last) works_[items_[i].tensor].reset();
  }

 private:
  struct Item {
    std::size_t tensor;
    std::uint64_t chunk;
    bool last;
  };
  const MergePlan& plan_;
  std::vector<const PlannedTensor*> tensors_;
  ShardLimits limits_;
  std::vector<Item> items_;
  std::vector<std::unique_ptr<Work>> works_;
  std::uint64_t most_held_ = 0;
  std::unique_ptr<parallel::Beside> ahead_;  ///< the statistics of the next tensor; after works_

  std::uint64_t held(std::size_t t) const { return held_bytes(plan_, *tensors_[t], limits_); }
  Work& open(std::size_t t) {
    if (!works_[t]) works_[t] = std::make_unique<Work>(plan_, *tensors_[t], limits_);
    return *works_[t];
  }
};

std::size_t slots_of(const ShardLimits& limits) {
  const auto threads = static_cast<std::size_t>(parallel::threads());
  constexpr std::uint64_t kSlot = 16ULL << 20;  // a chunk's result and the inputs it maps
  return std::clamp<std::size_t>(limits.memory / 4 / kSlot, 1, threads + 2);
}

/// `outermost`: nothing else of the process works in the pool.
void run_stream(const MergePlan& plan, std::vector<const PlannedTensor*> tensors,
                const ShardLimits& limits, bool outermost, const std::function<void(Bytes)>& emit) {
  Stream stream(plan, std::move(tensors), limits);
  const std::size_t slots = slots_of(limits);
  std::vector<std::vector<std::byte>> buffers(slots);
  parallel::pipeline(
      stream.size(), slots,
      {.begin = [&](std::size_t i, std::size_t) { stream.begin(i); },
       .work = [&](std::size_t i, std::size_t slot) { stream.compute(i, buffers[slot]); },
       .finish =
           [&](std::size_t i, std::size_t slot) {
             check_interrupted();
             emit(buffers[slot]);
             stream.finish(i);
           },
       .helps = outermost});
}

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

WrittenFile write_shard(const MergePlan& plan, const std::vector<const PlannedTensor*>& tensors,
                        const fs::path& path, const ShardLimits& limits, Progress& progress) {
  std::vector<OutputTensor> outputs;
  std::map<std::string_view, const PlannedTensor*> by_name;
  for (const PlannedTensor* tensor : tensors) {
    outputs.push_back({tensor->name, tensor->dtype, tensor->shape, {}});
    by_name.emplace(tensor->name, tensor);
  }
  std::uint64_t total = 0;
  const std::string header = safetensors_header(outputs, {{"format", "pt"}}, total);
  std::vector<const PlannedTensor*> ordered;
  ordered.reserve(outputs.size());
  for (const OutputTensor& output : outputs) ordered.push_back(by_name.at(output.name));

  StreamFile file(path);
  file.reserve(total);
  Sha256 hash;
  const auto put = [&](Bytes bytes) {
    hash.update(bytes);
    file.write(bytes);
  };
  put(std::as_bytes(std::span(header)));
  run_stream(plan, ordered, limits, true, [&](Bytes bytes) {
    put(bytes);
    progress.advance(bytes.size());
  });
  file.commit();
  return {path, total, hash.hex()};
}

void emit_tensor(const MergePlan& plan, const PlannedTensor& tensor, const ShardLimits& limits,
                 const std::function<void(Bytes)>& emit) {
  run_stream(plan, {&tensor}, limits, false, emit);
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

std::uint64_t expected_memory(const MergePlan& plan, const ShardLimits& limits) {
  constexpr std::uint64_t kFixed = 10ULL << 20;  // program, libraries, headers
  constexpr std::uint64_t kFolios = 9ULL << 20;  // what faults map around the chunks under way
  constexpr std::uint64_t kChunk = 1ULL << 19;
  std::uint64_t largest = 0;
  for (const PlannedTensor& tensor : plan.tensors) {
    const std::uint64_t n = std::max<std::uint64_t>(tensor.elements(), 1);
    const std::uint64_t chunks =
        std::min<std::uint64_t>(slots_of(limits), (n + kChunk - 1) / kChunk);
    const std::uint64_t flowing = (input_bytes(tensor) + tensor.bytes()) / n * std::min(n, kChunk);
    std::uint64_t held = held_bytes(plan, tensor, limits);
    // What is collected or marked, about a byte for eight elements of a model.
    if (held > 0) held += std::min(scratch_limit(limits), n * tensor.models.size() / 8);
    largest = std::max({largest, chunks * flowing + kFolios, held});
    largest = std::max(largest, whole_memory(plan, tensor));
  }
  return kFixed + StreamFile::kMemory + largest;
}

}  // namespace lancet
