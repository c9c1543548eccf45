#pragma once
// What tests of editors of many facts share: three facts on a random model of three layers, plans
// of any method for them, and the plain float64 frame's answer.

#include <map>
#include <string>
#include <vector>

#include "surgery/contexts.h"
#include "surgery/down.h"
#include "surgery/mass_edit.h"
#include "surgery/subject.h"
#include "tests/catch.h"
#include "tests/surgery/reference_rome.h"
#include "tests/surgery/tiny_model.h"
#include "tests/surgery/tolerances.h"

namespace lancet::mass_tiny {

inline const std::vector<std::string> kContexts{"{}", "the a {}", "b c a {}"};
inline constexpr int kSteps = 12;

struct Tiny : tiny_edit::Taught {
  explicit Tiny(std::uint64_t seed, bool experts = false) : Taught(seed, experts) {
    std::string text;
    for (const std::string& context : kContexts) text += context + "\n";
    write_file(scratch / "contexts.txt", text);
  }

  [[nodiscard]] EditPlan plan(const std::string& method, const std::vector<std::int64_t>& layers,
                              std::map<std::string, std::string> options,
                              std::int64_t batch = 0) const {
    options.emplace("contexts", (scratch / "contexts.txt").string());
    options.emplace("steps", std::to_string(kSteps));
    const Editor& editor = find_editor(method);
    const Parameters parameters(editor.numbers, editor.words, options);
    return editor.plan({model, tokenizer, facts, layers,
                        [&](std::int64_t layer) { return covariance(layer, width()); }, parameters,
                        0, batch});
  }

  /// Random, symmetric positive definite, another one for each layer; about a third of the
  /// eigenvalues lie below 0.4.
  [[nodiscard]] static at::Tensor covariance(std::int64_t layer, std::int64_t n = tiny_edit::kFf) {
    at::Tensor a = at::empty({n, 2 * n}, at::kFloat);
    Random(static_cast<std::uint64_t>(layer), "covariance")
        .fill_normal(0, {a.data_ptr<float>(), static_cast<std::size_t>(a.numel())});
    a = a.to(at::kDouble);
    return at::matmul(a, a.t()) / static_cast<double>(2 * n);
  }
  /// Of the layers' keys.
  [[nodiscard]] std::int64_t width() const { return key_width(model, 0); }

  [[nodiscard]] reference::MassSolution plainly(const std::vector<std::int64_t>& layers,
                                                const reference::Answer& answer) const {
    std::vector<reference::Problem> problems;
    for (const Fact& fact : facts) {
      const FactRows rows = fact_rows(tokenizer, fact, kContexts);
      reference::Problem problem{.weights = weights,
                                 .rewriting = {},
                                 .subject = {rows.subject_only.ids, rows.subject_only.lookup},
                                 .target = rows.target,
                                 .steps = kSteps};
      for (const PromptRow& row : rows.rewriting)
        problem.rewriting.push_back({row.ids, row.lookup});
      problems.push_back(std::move(problem));
    }
    return reference::mass_edit(problems, layers, answer);
  }
};

inline at::Tensor matrix(std::vector<double> values, std::int64_t rows) {
  const auto columns = static_cast<std::int64_t>(values.size()) / rows;
  return at::from_blob(values.data(), {rows, columns}, at::kDouble).clone();
}

inline std::vector<double> values_of(const at::Tensor& tensor) {
  const at::Tensor plain = tensor.to(at::kDouble).contiguous();
  return {plain.data_ptr<double>(), plain.data_ptr<double>() + plain.numel()};
}

inline double distance(const at::Tensor& found, const at::Tensor& expected) {
  return ((found.to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
}

}  // namespace lancet::mass_tiny
