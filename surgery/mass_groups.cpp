#include "surgery/mass_groups.h"

#include <algorithm>
#include <map>

#include "surgery/down.h"
#include "surgery/sink.h"

namespace lancet {

std::vector<FactGroup> fact_groups(const Decoder& model, const EditInput& input,
                                   const std::vector<std::string>& contexts, std::int64_t first,
                                   std::int64_t last) {
  std::map<std::int64_t, FactGroup>
      groups;  // by the highest layer that its facts may be written in
  for (std::int64_t f = first; f < last; ++f) {
    const Fact& fact = input.facts[static_cast<std::size_t>(f)];
    FactRows rows = fact_rows(input.tokenizer, fact, contexts);
    const std::int64_t top =
        layer_below_sink(model, rows, input.layers.back(), sink_limit(input.parameters));
    FactGroup& group = groups[top];
    group.places.push_back(f);
    group.facts.push_back(fact);
    group.rows.push_back(std::move(rows));
  }
  std::vector<FactGroup> out;
  for (auto& [top, group] : groups) {
    for (const std::int64_t layer : input.layers) {
      if (layer <= top) group.layers.push_back(layer);
    }
    if (group.layers.empty()) group.layers.push_back(top);
    out.push_back(std::move(group));
  }
  return out;
}

void FactorColumns::add(std::int64_t layer, const std::vector<std::int64_t>& places,
                        const at::Tensor& left, const at::Tensor& right) {
  parts_.push_back({layer, places, left, right});
}

void FactorColumns::drop_from(std::int64_t place) {
  std::erase_if(parts_, [place](const Part& part) { return part.places.front() >= place; });
}

std::vector<Factors> FactorColumns::factors(const Decoder& model, std::int64_t facts) const {
  struct Whole {
    at::Tensor left, right;
  };
  std::map<std::int64_t, Whole> layers;
  for (const Part& part : parts_) {
    Whole& to = layers[part.layer];
    if (!to.left.defined()) {
      to.left = at::zeros({part.left.size(0), facts}, at::kFloat);
      to.right = at::zeros({part.right.size(0), facts}, at::kFloat);
    }
    const at::Tensor index = at::tensor(part.places, at::kLong);
    to.left.index_copy_(1, index, part.left);
    to.right.index_copy_(1, index, part.right);
  }
  std::vector<Factors> out;
  for (const auto& [layer, whole] : layers) {
    for (const DownPart& part : down_parts(model, layer)) {
      const at::Tensor own = whole.right.narrow(0, part.first, part.width).contiguous();
      if (own.count_nonzero().item<std::int64_t>() == 0) continue;
      out.push_back({layer, part.matrix.name, part.matrix.layout, whole.left, own, part.first});
    }
  }
  return out;
}

}  // namespace lancet
