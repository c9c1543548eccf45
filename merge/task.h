#pragma once
// One tensor of the result: its inputs, the parameters that hold for it, and the grid of blocks
// that it is worked through in. The grid depends on the shape only, so that neither threads nor
// memory move a bit.

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/rng.h"
#include "formats/dtype.h"
#include "merge/linalg.h"
#include "merge/method.h"
#include "merge/reader.h"

namespace lancet {

struct TaskModel {
  const TensorReader* reader = nullptr;
  std::string key;             ///< the model as the recipe names it: random masks depend on it
  std::vector<double> values;  ///< in the order of Method::parameters
};

/// Values of one block of elements, decoded. The spans live as long as the call that gets the
/// block.
struct Block {
  bool read = true;          ///< false: base and models hold nothing (MergeTask::scan_keys)
  std::uint64_t begin = 0;   ///< first element in the tensor
  std::uint64_t number = 0;  ///< position in the grid
  std::size_t size = 0;
  ops::In base;                   ///< empty where there is no base
  std::vector<ops::Out> models;   ///< x_i or x_i - base (Method::View); may be overwritten
  std::vector<ops::Out> scratch;  ///< kScratch buffers of `size`, contents undefined
  std::span<std::uint32_t> keys;  ///< one more, of integers
  static constexpr std::size_t kScratch = 4;
};

/// What a task may know beyond its tensor.
struct TaskContext {
  const Linalg* linalg = nullptr;
  bool embedding = false;   ///< of tokens or positions, or a head: [vocab, d_model]
  bool transposed = false;  ///< a weight that is stored [d_in, d_out]
  /// Method::survey of the whole merge; without it a task that asks surveys itself alone.
  std::function<const std::vector<double>&()> survey;
};

class MergeTask {
 public:
  /// `values`: in the order of method.parameters. Readers must outlive the task. All shapes are
  /// equal.
  MergeTask(const Method& method, std::string name, std::vector<TaskModel> models,
            const TensorReader* base, std::vector<double> values, Semantics semantics,
            std::uint64_t seed);
  ~MergeTask();

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] std::size_t models() const noexcept { return models_.size(); }
  [[nodiscard]] bool has_base() const noexcept { return base_ != nullptr; }
  [[nodiscard]] Semantics semantics() const noexcept { return semantics_; }
  [[nodiscard]] const std::vector<std::int64_t>& shape() const noexcept { return shape_; }
  [[nodiscard]] std::uint64_t elements() const noexcept { return elements_; }
  [[nodiscard]] std::uint64_t seed() const noexcept { return seed_; }
  /// Elements of the last dimension (1 for a scalar; all of a vector).
  [[nodiscard]] std::uint64_t width() const noexcept { return width_; }

  /// Before `prepare`.
  void set_context(TaskContext context) { context_ = std::move(context); }
  /// kResource where there is none.
  [[nodiscard]] const Linalg& linalg() const;
  [[nodiscard]] bool embedding() const noexcept { return context_.embedding; }
  [[nodiscard]] bool transposed() const noexcept { return context_.transposed; }
  [[nodiscard]] std::vector<double> survey() const;

  [[nodiscard]] double number(std::string_view parameter) const;
  [[nodiscard]] bool flag(std::string_view parameter) const { return number(parameter) != 0; }
  /// A per-model parameter.
  [[nodiscard]] double number(std::string_view parameter, std::size_t model) const;
  [[nodiscard]] std::vector<double> numbers(std::string_view parameter) const;
  /// Method::fault of this tensor, with its name in the message.
  [[nodiscard]] std::optional<ParameterFault> fault() const;
  /// The same as an error.
  void check_parameters() const;
  /// Uniform values for the elements of one model, by (seed, tensor, model).
  [[nodiscard]] Random random(std::size_t model) const;

  /// Elements in every block but the last, and the number of blocks.
  [[nodiscard]] std::uint64_t block_size() const noexcept { return block_; }
  [[nodiscard]] std::uint64_t blocks() const noexcept { return (elements_ + block_ - 1) / block_; }

  /// body(block, state) for every block, in parallel; returns the states, which are as many as
  /// threads were at work. What goes into a state must not depend on order (counts).
  template <typename State>
  std::vector<State> scan(const std::function<State()>& make,
                          const std::function<void(const Block&, State&)>& body) const;
  /// The same for a body that asks for keys of the models alone, block.read says whether by
  /// model_keys(): their values are not computed where all inputs are bfloat16 in a file.
  template <typename State>
  std::vector<State> scan_keys(const std::function<State()>& make,
                               const std::function<void(const Block&, State&)>& body) const;
  /// magnitude_keys of model i's values in a block of scan_keys() that is not read.
  void model_keys(const Block& block, std::size_t model, std::span<std::uint32_t> keys) const;
  /// Those of x_a - x_b, in any block.
  void difference_keys(const Block& block, std::size_t a, std::size_t b,
                       std::span<std::uint32_t> keys) const;
  /// `count` sums over all elements; part(block, sums) adds a block's share. Added in the order of
  /// the grid.
  [[nodiscard]] std::vector<double> sum(
      std::size_t count, const std::function<void(const Block&, std::span<double>)>& part) const;

  /// body(part of a block) for about `count` elements in many short runs (of whole rows for
  /// Method::Unit::kRows) all over the tensor, in order, on this thread: neighbours are alike.
  void sample(std::uint64_t count, const std::function<void(const Block&)>& body) const;

  /// The result is computed in chunks: runs of whole blocks.
  [[nodiscard]] std::uint64_t chunks() const noexcept { return (elements_ + chunk_ - 1) / chunk_; }
  [[nodiscard]] std::uint64_t chunk_elements(std::uint64_t chunk) const noexcept;
  [[nodiscard]] std::uint64_t max_chunk() const noexcept { return chunk_; }
  /// Elements of `chunk` by `emit`, encoded. kNumeric when a result does not fit `dtype`.
  void emit_chunk(const Emit& emit, std::uint64_t chunk, DType dtype,
                  std::span<std::byte> out) const;
  /// The same as float64, for elements [begin, begin + out.size()).
  void emit_values(const Emit& emit, std::uint64_t begin, std::span<double> out) const;
  /// The statistics passes leave the inputs' pages where they are: for tensors that fit the memory
  /// bound.
  void keep_resident(bool keep) noexcept { keep_resident_ = keep; }
  /// Bytes that the statistics passes may keep at a time.
  void scratch_memory(std::uint64_t bytes) noexcept { scratch_memory_ = bytes; }
  [[nodiscard]] std::uint64_t scratch_memory() const noexcept { return scratch_memory_; }
  void prefetch(std::uint64_t chunk) const noexcept;
  void release(std::uint64_t chunk) const noexcept;

 private:
  class Buffers;
  const Method& method_;
  std::string name_;
  std::vector<TaskModel> models_;
  const TensorReader* base_;
  std::vector<double> values_;
  Semantics semantics_;
  std::uint64_t seed_;
  TaskContext context_;
  std::vector<std::int64_t> shape_;
  std::uint64_t elements_, width_, block_, chunk_;
  bool keep_resident_ = false;
  std::uint64_t scratch_memory_ = 64ULL << 20;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Buffers>> free_;  ///< buffers of no block at the moment

  [[nodiscard]] std::size_t index_of(std::string_view parameter) const;
  [[nodiscard]] std::unique_ptr<Buffers> take() const;
  void give(std::unique_ptr<Buffers> buffers) const;
  /// One block, or a part of it.
  void visit(Buffers& buffers, std::uint64_t begin, std::size_t count, bool read,
             const std::function<void(const Block&)>& body) const;
  /// Blocks from the one that holds element `begin` to the one that holds `end` - 1, on this
  /// thread.
  void for_blocks(std::uint64_t begin, std::uint64_t end,
                  const std::function<void(const Block&)>& body, bool read = true) const;
  [[nodiscard]] bool deltas() const noexcept {
    return base_ != nullptr && method_.view == Method::View::kDeltas;
  }
  [[nodiscard]] bool all_bfloat16() const;
  void release(std::uint64_t begin, std::uint64_t end) const noexcept;
  template <typename State>
  std::vector<State> scan(const std::function<State()>& make,
                          const std::function<void(const Block&, State&)>& body, bool read) const;
  void scan_chunks(const std::function<void(std::uint64_t chunk)>& body) const;
};

/// The tensors of a merge that are computed, one at a time.
class MergeTasks {
 public:
  virtual ~MergeTasks() = default;
  [[nodiscard]] virtual std::size_t size() const = 0;
  /// visit(task i); the task lives as long as the call.
  virtual void visit(std::size_t i, const std::function<void(const MergeTask&)>& visit) const = 0;
};

template <typename State>
std::vector<State> MergeTask::scan(const std::function<State()>& make,
                                   const std::function<void(const Block&, State&)>& body) const {
  return scan(make, body, true);
}

template <typename State>
std::vector<State> MergeTask::scan_keys(
    const std::function<State()>& make,
    const std::function<void(const Block&, State&)>& body) const {
  return scan(make, body, !all_bfloat16());
}

template <typename State>
std::vector<State> MergeTask::scan(const std::function<State()>& make,
                                   const std::function<void(const Block&, State&)>& body,
                                   bool read) const {
  std::mutex mutex;
  std::vector<State> idle;
  scan_chunks([&](std::uint64_t chunk) {
    std::unique_lock lock(mutex);
    if (idle.empty()) idle.push_back(make());
    State state = std::move(idle.back());
    idle.pop_back();
    lock.unlock();
    for_blocks(
        chunk * chunk_, chunk * chunk_ + chunk_elements(chunk),
        [&](const Block& block) { body(block, state); }, read);
    lock.lock();
    idle.push_back(std::move(state));
  });
  return idle;
}

}  // namespace lancet
