#include "merge/moe_gates.h"

#include <cmath>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "formats/tokenizer/tokenizer.h"
#include "formats/tokenizer/whole_json.h"
#include "merge/ops/vector.h"

namespace lancet {
namespace {

constexpr double kNearlyOne = 12.0 / 13.0;  ///< cosine at which a pair's condition number is 5

/// Those with a row of their own: a shared one without prompts is added whole.
std::vector<const MoeExpert*> gated_experts(const MoeRecipe& recipe) {
  std::vector<const MoeExpert*> out;
  for (const auto* list : {&recipe.experts, &recipe.shared}) {
    for (const MoeExpert& expert : *list) {
      if (!expert.positive.empty()) out.push_back(&expert);
    }
  }
  return out;
}

void normalize(const MoeRecipe& recipe, const MoeExpert& expert, std::vector<double>& row) {
  const double norm = std::sqrt(ops::dot(row, row));
  if (!(norm > 0)) {
    refuse_moe(recipe, expert.place, ErrorKind::kNumeric, "the states of its prompts sum to zero",
               "give it other prompts");
  }
  for (double& value : row) value /= norm;
}

Tokenizer tokenizer_of(const MoeRecipe& recipe, const MergeInput& base) {
  const Json whole = whole_tokenizer_json(base.side_files(), base.text() + "/");
  if (whole.is_null()) {
    refuse_moe(recipe, recipe.base.place, ErrorKind::kMismatch,
               fmt::format("expected a tokenizer in '{}', found none", printable(base.text(), 200)),
               "gates from prompts need the base's tokenizer; gate_mode: random does not");
  }
  return Tokenizer::from_json(whole, base.text() + "/tokenizer.json");
}

}  // namespace

GateRows cheap_embed_gates(const MoeRecipe& recipe, const MergeInput& base) {
  const Tokenizer tokenizer = tokenizer_of(recipe, base);
  const InputTensor& table = *base.find("model.embed_tokens.weight");
  const auto reader = base.reader(table);
  const auto width = static_cast<std::size_t>(table.shape[1]);
  std::vector<double> row(width);
  const auto sum_of = [&](const MoeExpert& expert, const std::vector<std::string>& prompts) {
    std::vector<double> sum(width);
    for (const std::string& prompt : prompts) {
      for (const TokenId id : tokenizer.encode(prompt).ids) {
        if (id >= table.shape[0]) {
          refuse_moe(recipe, recipe.base.place, ErrorKind::kMismatch,
                     fmt::format("'{}': its tokenizer gives token {}, its embedding has {} rows",
                                 printable(base.text(), 200), id, table.shape[0]));
        }
        reader->read(static_cast<std::uint64_t>(id) * width, row);
        ops::add_scaled(sum, row, 1);
      }
    }
    normalize(recipe, expert, sum);
    return sum;
  };
  GateRows out(1);
  for (const MoeExpert* expert : gated_experts(recipe)) {
    std::vector<double> sum = sum_of(*expert, expert->positive);
    if (!expert->negative.empty()) {
      ops::add_scaled(sum, sum_of(*expert, expert->negative), -1);
      normalize(recipe, *expert, sum);
    }
    out[0].push_back(std::move(sum));
  }
  return out;
}

GateRows hidden_gates(const MoeRecipe& recipe, std::size_t layers, std::size_t width,
                      const PromptStates& states) {
  std::vector<std::string> prompts;
  for (const MoeExpert* expert : gated_experts(recipe)) {
    for (const auto* list : {&expert->positive, &expert->negative})
      prompts.insert(prompts.end(), list->begin(), list->end());
  }
  const std::vector<Matrix> found = states(prompts, recipe.gate == GateMode::kHiddenAverage);
  for (const Matrix& each : found) {
    if (each.rows == layers && each.columns == width) continue;
    refuse_moe(recipe, recipe.base.place, ErrorKind::kMismatch,
               fmt::format("expected states of {} layers of width {}, found {} and {}", layers,
                           width, each.rows, each.columns));
  }
  GateRows out(layers);
  std::size_t next = 0;
  for (const MoeExpert* expert : gated_experts(recipe)) {
    const std::size_t positive = expert->positive.size(), negative = expert->negative.size();
    for (std::size_t layer = 0; layer < layers; ++layer) {
      std::vector<double> row(width);
      for (std::size_t p = 0; p < positive + negative; ++p) {
        const double share =
            p < positive ? 1 / static_cast<double>(positive) : -1 / static_cast<double>(negative);
        ops::add_scaled(row, found[next + p].row(layer), share);
      }
      normalize(recipe, *expert, row);
      out[layer].push_back(std::move(row));
    }
    next += positive + negative;
  }
  return out;
}

void warn_of_equal_gates(const GateRows& gates, std::size_t experts,
                         std::vector<std::string>& warnings) {
  for (std::size_t layer = 0; layer < gates.size(); ++layer) {
    double worst = kNearlyOne;
    std::pair<std::size_t, std::size_t> pair;
    for (std::size_t a = 0; a < experts; ++a) {
      for (std::size_t b = a + 1; b < experts; ++b) {
        const double cosine = std::fabs(ops::dot(gates[layer][a], gates[layer][b]));
        if (!(cosine > worst)) continue;
        worst = cosine;
        pair = {a, b};
      }
    }
    if (!(worst > kNearlyOne)) continue;
    warnings.push_back(fmt::format(
        "{}the router hardly tells experts {} and {} apart (cosine {:.3f} of their rows)",
        gates.size() > 1 ? fmt::format("layer {}: ", layer) : "", pair.first, pair.second, worst));
  }
}

}  // namespace lancet
