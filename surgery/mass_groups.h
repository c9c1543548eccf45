#pragma once
// The facts of one turn of a mass edit, by the layers that they are written in: almost always one
// group. Facts of subjects that are the first token of all are written lower (sink.h), and first.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "surgery/editor.h"
#include "surgery/subject.h"

namespace lancet {

struct FactGroup {
  std::vector<std::int64_t> layers;  ///< ascending
  std::vector<std::int64_t> places;  ///< of its facts in EditInput::facts, ascending
  std::vector<Fact> facts;
  std::vector<FactRows> rows;
};

/// Facts [first, last) of the input on the model as it is now.
[[nodiscard]] std::vector<FactGroup> fact_groups(const Decoder& model, const EditInput& input,
                                                 const std::vector<std::string>& contexts,
                                                 std::int64_t first, std::int64_t last);

/// What the turns of a mass edit write, a column a fact: layer by layer, zeros for facts that are
/// written elsewhere.
class FactorColumns {
 public:
  /// `left` [d_model, n] and `right` [d_k, n] of the facts at `places`.
  void add(std::int64_t layer, const std::vector<std::int64_t>& places, const at::Tensor& left,
           const at::Tensor& right);
  void drop_from(std::int64_t place);  ///< what was written for facts from this one on
  /// Of the first `facts` facts; matrices in which none of them is written are left out.
  [[nodiscard]] std::vector<Factors> factors(const Decoder& model, std::int64_t facts) const;

 private:
  struct Part {
    std::int64_t layer = 0;
    std::vector<std::int64_t> places;
    at::Tensor left, right;
  };
  std::vector<Part> parts_;
};

}  // namespace lancet
