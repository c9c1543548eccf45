#pragma once
// Which elements a statistics pass has kept, a bit each, so that a mask is made once and not in
// every pass.

#include "merge/ops/keys.h"
#include "merge/task.h"

namespace lancet {

class KeptMarks {
 public:
  /// `masks` of them: one for each model, or one for all. No bits where they would not fit the
  /// task's scratch memory.
  KeptMarks(const MergeTask& task, std::size_t masks)
      : block_((task.block_size() + 7) / 8),
        mask_(block_ * task.blocks()),
        bits_(mask_ * masks <= task.scratch_memory() ? mask_ * masks : 0) {}

  [[nodiscard]] bool fits() const { return !bits_.empty(); }
  /// Marks what is not 0 in `x`. Blocks share no byte: they may be marked side by side.
  void mark(const Block& block, std::size_t mask, ops::In x) {
    if (fits()) ops::mark_nonzero(of(block, mask), x);
  }
  /// The bits of a block, where they fit.
  [[nodiscard]] std::span<std::uint8_t> of(const Block& block, std::size_t mask) {
    return std::span(bits_).subspan(mask * mask_ + block.number * block_, (block.size + 7) / 8);
  }
  /// x = 0 where it is not marked.
  void keep(const Block& block, std::size_t mask, ops::Out x) {
    ops::keep_marked(x, of(block, mask));
  }

 private:
  std::size_t block_, mask_;  ///< bytes of a block and of a mask
  std::vector<std::uint8_t> bits_;
};

}  // namespace lancet
