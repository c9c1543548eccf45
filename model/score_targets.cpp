// Log probabilities without the logits: for a block of positions the head runs over slices of the
// vocabulary, and each position keeps a running log of the sum of exponentials.

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/interrupt.h"
#include "model/decoder_parts.h"
#include "model/intraop.h"
#include "model/kernels/elementwise.h"
#include "model/kernels/pairs.h"
#include "model/linear_adapted.h"
#include "model/products.h"
#include "model/rowwise.h"

namespace lancet {
namespace {

constexpr std::int64_t kRows = 128;  ///< positions of one task
constexpr std::int64_t kSlice =
    512;  ///< vocabulary entries at a time: their weights stay in the cache

struct Running {
  float target = 0;  ///< logit of the target
  double log_sum =
      -std::numeric_limits<double>::infinity();  ///< of the exponentials of all logits so far
  std::int64_t above = 0;

  void take(const float* logits, std::int64_t count) {
    const double slice = kernels::log_sum_exp(logits, count);
    const double high = std::max(log_sum, slice);
    log_sum = high + std::log1p(std::exp(std::min(log_sum, slice) - high));
    above += rowwise::count_above(logits, target, count);
  }

  [[nodiscard]] TargetScore result() const {
    return {static_cast<double>(target) - log_sum, above + 1};
  }
};

/// All tiles on this thread.
template <class Job>
void run_all(const Job& job) {
  const std::int64_t tiles = kernels::tile_count(job);
  for (std::int64_t i = 0; i < tiles; ++i) kernels::run_tile(job, i);
}

/// A block of positions, normed [rows, d], times rows of the head's matrix.
class HeadProducts {
 public:
  HeadProducts(const Linear& head, const float* normed, std::int64_t rows)
      : head_(head),
        type_(head.packed != nullptr ? kernels::WeightType::kF32 : weight_type(head.weight)),
        normed_(normed) {
    if (head.rows != RowForm::kRounded || head.d_in() % 2 != 0) return;
    rounded_.resize(static_cast<std::size_t>(rows * head.d_in()));
    kernels::round_bf16(normed, rounded_.data(), rows * head.d_in());
  }

  /// Logits of entries [first, first + n) of the vocabulary at positions [row, row + m), to
  /// c[m, kSlice].
  void run(std::int64_t row, std::int64_t m, std::int64_t first, std::int64_t n, float* c) {
    const std::int64_t d = head_.d_in();
    const void* const w = weights(first, n);
    if (rounded_.empty()) {
      const bool tiles = head_.rows == RowForm::kTerms;
      run_all(kernels::LinearJob{normed_ + row * d, d, w, type_, d, c, kSlice, m, n, d, false, 1,
                                 tiles});
      return;
    }
    const auto* pairs = static_cast<const std::uint16_t*>(w);
    run_all(
        kernels::PairLinear{rounded_.data() + row * d, d, pairs, d, c, kSlice, m, n, d, false, 1});
  }

 private:
  /// Of a matrix in a file, read into `buffer_`.
  [[nodiscard]] const void* weights(std::int64_t first, std::int64_t count) {
    const std::int64_t d = head_.d_in();
    if (head_.packed == nullptr)
      return static_cast<const std::byte*>(head_.weight.const_data_ptr()) +
             first * d * head_.weight.element_size();
    const auto width = static_cast<std::size_t>(d);
    buffer_.resize(static_cast<std::size_t>(count) * width);
    for (std::int64_t row = 0; row < count; ++row)
      head_.packed->decode(first + row, 0, {buffer_.data() + row * d, width});
    return buffer_.data();
  }

  const Linear& head_;
  kernels::WeightType type_;
  const float* normed_;
  std::vector<std::uint16_t> rounded_;  ///< empty: products are of float32 rows
  std::vector<float> buffer_;
};

/// Up to kRows positions: normed [rows, d].
void score_block(const Linear& head, const float* normed, std::int64_t rows,
                 std::span<const std::int32_t> targets, TargetScore* out) {
  const std::int64_t vocab = head.d_out();
  HeadProducts products(head, normed, rows);
  std::vector<Running> running(static_cast<std::size_t>(rows));
  for (std::int64_t r = 0; r < rows; ++r) {
    const auto at = static_cast<std::size_t>(r);
    products.run(r, 1, targets[at], 1, &running[at].target);
  }
  std::vector<float> logits(static_cast<std::size_t>(rows * kSlice));
  for (std::int64_t first = 0; first < vocab; first += kSlice) {
    const std::int64_t count = std::min(kSlice, vocab - first);
    products.run(0, rows, first, count, logits.data());
    for (std::int64_t r = 0; r < rows; ++r) {
      running[static_cast<std::size_t>(r)].take(logits.data() + r * kSlice, count);
    }
  }
  for (std::size_t r = 0; r < running.size(); ++r) out[r] = running[r].result();
}

}  // namespace

std::vector<TargetScore> Decoder::score_targets(const at::Tensor& hidden,
                                                std::span<const std::int32_t> targets) const {
  const auto count = static_cast<std::int64_t>(targets.size());
  if (hidden.dim() != 2 || hidden.size(0) != count) {
    fail(ErrorKind::kInternal, "model", "expected hidden states [targets, d_model]");
  }
  for (const std::int32_t target : targets) {
    if (target < 0 || target >= spec_->vocab) {
      fail(ErrorKind::kInput, "model",
           "expected token ids from 0 to " + std::to_string(spec_->vocab - 1) + ", found " +
               std::to_string(target));
    }
  }
  std::vector<TargetScore> out(targets.size());
  const bool plain = spec_->logit_softcap == 0 && spec_->logit_scale == 1 && !spec_->head_bias &&
                     spec_->masked_ids.empty() && !is_adapted(ends_->head);
  const bool native = is_native(hidden) && plain;
  const at::Tensor normed = native ? final_norm(hidden).contiguous() : at::Tensor();
  const auto block = [&](std::int64_t index) {
    check_interrupted();
    const std::int64_t first = index * kRows;
    const std::int64_t rows = std::min(kRows, count - first);
    const auto some =
        targets.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(rows));
    TargetScore* to = out.data() + first;
    if (native) {
      score_block(ends_->head, normed.const_data_ptr<float>() + first * normed.size(1), rows, some,
                  to);
      return;
    }
    const at::Tensor logits = head(hidden.narrow(0, first, rows));
    const at::Tensor index_of =
        at::tensor(at::ArrayRef<std::int32_t>(some.data(), some.size()), at::kInt)
            .to(at::kLong)
            .to(logits.device());
    const at::Tensor target = logits.gather(1, index_of.unsqueeze(1));
    const at::Tensor logprob =
        (target.squeeze(1).to(at::kDouble) - logits.to(at::kDouble).logsumexp(1)).cpu();
    const at::Tensor above = (logits > target).sum(1).cpu();
    for (std::int64_t r = 0; r < rows; ++r) {
      to[r] = {logprob.const_data_ptr<double>()[r], above.const_data_ptr<std::int64_t>()[r] + 1};
    }
  };
  const std::int64_t blocks = (count + kRows - 1) / kRows;
  if (native) {
    intraop_for(blocks, block);
  } else {
    for (std::int64_t i = 0; i < blocks; ++i) block(i);
  }
  if (ends_->head.packed != nullptr) ends_->head.packed->release();
  return out;
}

}  // namespace lancet
