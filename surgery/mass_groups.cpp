#include "surgery/mass_groups.h"

#include <algorithm>
#include <map>

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
  std::map<std::int64_t, Factors> out;
  for (const Part& part : parts_) {
    Factors& to = out[part.layer];
    if (!to.left.defined()) {
      const MatrixRef down = model.mlp_down(part.layer);
      to.layer = part.layer;
      to.tensor = down.name;
      to.layout = down.layout;
      to.left = at::zeros({part.left.size(0), facts}, at::kFloat);
      to.right = at::zeros({part.right.size(0), facts}, at::kFloat);
    }
    const at::Tensor index = at::tensor(part.places, at::kLong);
    to.left.index_copy_(1, index, part.left);
    to.right.index_copy_(1, index, part.right);
  }
  std::vector<Factors> all;
  all.reserve(out.size());
  for (auto& [layer, factors] : out) all.push_back(std::move(factors));
  return all;
}

}  // namespace lancet
