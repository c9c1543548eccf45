#pragma once
// Keys and streams of many facts on the model as it is now, in fixed passes of rows; and the keys
// that must stay as they are.

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/ATen.h>

#include "formats/tokenizer/tokenizer.h"
#include "model/decoder.h"
#include "surgery/key.h"
#include "surgery/subject.h"

namespace lancet {

/// Keys float64 [d_k, rows] at the rows' lookups.
[[nodiscard]] at::Tensor keys_of(const Decoder& model, const std::vector<PromptRow>& rows,
                                 std::int64_t layer);
/// Of many facts, a column each, float64 [d_k, facts].
struct FactKeys {
  at::Tensor mean;  ///< the bare prompt weighs 1/2, the mean of the contexts 1/2
  at::Tensor half;  ///< half of what the bare key has beyond the contexts' mean: bare = mean + half
};
[[nodiscard]] FactKeys fact_keys(const Decoder& model, const std::vector<FactRows>& facts,
                                 std::int64_t layer);
/// H float64 [d_model, facts]: the stream leaving `layer` at the bare prompts' lookup.
[[nodiscard]] at::Tensor streams(const Decoder& model, const std::vector<FactRows>& facts,
                                 std::int64_t layer);
/// Other subjects in the prompts of the facts `turn`, none of which any of `all` is about.
[[nodiscard]] std::vector<PromptRow> other_rows(const Tokenizer& tokenizer,
                                                std::span<const Fact> turn,
                                                std::span<const Fact> all);

/// Keys of facts that must stay as they are, at one layer: H H^T as a panel H [d_k, n] while it is
/// narrower than d_k, as a matrix afterwards (what it costs does not grow with the number of
/// facts).
class PastKeys {
 public:
  void add(const at::Tensor& keys);  ///< float64 [d_k, n]
  [[nodiscard]] std::int64_t count() const noexcept { return count_; }
  [[nodiscard]] const at::Tensor& panel() const noexcept { return panel_; }    ///< or undefined
  [[nodiscard]] const at::Tensor& moment() const noexcept { return moment_; }  ///< or undefined

 private:
  std::int64_t count_ = 0;
  at::Tensor panel_, moment_;
};

}  // namespace lancet
