#include "merge/shard.h"

#include <algorithm>
#include <cstring>
#include <map>

#include <fmt/format.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "core/seconds.h"
#include "core/stream_file.h"
#include "core/text.h"
#include "merge/shard_memory.h"

namespace lancet {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::uint64_t kCopyChunk = 1ULL << 20;  ///< bytes of a copied tensor at a time

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

/// What stands where in a file.
struct Layout {
  std::string header;
  std::uint64_t bytes = 0;
  std::vector<const PlannedTensor*> tensors;  ///< in the order of their bytes

  explicit Layout(const std::vector<const PlannedTensor*>& any_order) {
    std::vector<OutputTensor> outputs;
    std::map<std::string_view, const PlannedTensor*> by_name;
    for (const PlannedTensor* tensor : any_order) {
      outputs.push_back({tensor->name, tensor->dtype, tensor->shape, {}});
      by_name.emplace(tensor->name, tensor);
    }
    header = safetensors_header(outputs, {{"format", "pt"}}, bytes);
    for (const OutputTensor& output : outputs) tensors.push_back(by_name.at(output.name));
  }
};

}  // namespace

WrittenFile write_shard(const MergePlan& plan, const std::vector<const PlannedTensor*>& tensors,
                        const fs::path& path, const ShardLimits& limits, Progress& progress) {
  const Layout layout(tensors);
  StreamFile file(path);
  file.reserve(layout.bytes);
  Sha256 hash;
  const auto put = [&](Bytes bytes) {
    // By the page: what is copied goes to memory while the next page is hashed.
    for (; !bytes.empty(); bytes = bytes.subspan(std::min(kPage, bytes.size()))) {
      const Bytes page = bytes.first(std::min(kPage, bytes.size()));
      hash.update(page);
      file.write(page);
    }
  };
  put(std::as_bytes(std::span(layout.header)));
  run_stream(plan, layout.tensors, limits, true, [&](Bytes bytes) {
    put(bytes);
    progress.advance(bytes.size());
  });
  file.commit();
  return {path, layout.bytes, hash.hex()};
}

double try_shard(const MergePlan& plan, const std::vector<const PlannedTensor*>& tensors,
                 const fs::path& path, const ShardLimits& limits) {
  const Layout layout(tensors);
  std::optional<StreamFile> file;  // never committed
  if (!path.empty()) file.emplace(path).reserve(layout.bytes);
  Sha256 hash;
  const std::uint64_t start = layout.bytes / 8;  // until then threads, disk and memory wake up
  std::uint64_t done = 0, before = 0;
  Timer watch;
  run_stream(plan, layout.tensors, limits, true, [&](Bytes bytes) {
    hash.update(bytes);
    if (file) file->write(bytes);
    done += bytes.size();
    if (before > 0 || done < start) return;
    before = done;
    watch = {};
  });
  const double seconds = watch.seconds();
  return done > before ? seconds * static_cast<double>(done) / static_cast<double>(done - before)
                       : seconds;
}

void emit_tensor(const MergePlan& plan, const PlannedTensor& tensor, const ShardLimits& limits,
                 const std::function<void(Bytes)>& emit) {
  run_stream(plan, {&tensor}, limits, false, emit);
}

}  // namespace lancet
