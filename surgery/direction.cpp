#include "surgery/direction.h"

#include <string>
#include <vector>

#include "core/error.h"
#include "model/runtime.h"
#include "surgery/key.h"
#include "surgery/leak_prompts.h"
#include "surgery/subject.h"

namespace lancet {
namespace {

constexpr std::int64_t kProtected = 24;  ///< other subjects, where their list has so many

/// (C + weight / n * K^T K)^-1 B by Woodbury's identity, B [d_in, m], K [n, d_in] of other_keys;
/// `residual` is that of the systems with C.
Solution solve_protected(const SpdSolver& solver, const at::Tensor& columns,
                         const at::Tensor& others, double weight) {
  if (others.size(0) == 0 || weight == 0) return solver.solve(columns);
  const OneThread inside;
  const std::int64_t count = columns.size(1);
  const Solution all = solver.solve(at::cat({columns, others.t()}, 1));
  const at::Tensor x = all.x.narrow(1, 0, count),
                   inverse_others = all.x.narrow(1, count, others.size(0));
  at::Tensor small = at::matmul(others, inverse_others);
  small.diagonal().add_(static_cast<double>(others.size(0)) / weight);
  const at::Tensor share = at::linalg_solve(small, at::matmul(others, x));
  return {x - at::matmul(inverse_others, share), all.residual};
}

}  // namespace

at::Tensor other_keys(const Decoder& model, const Tokenizer& tokenizer, const Fact& fact,
                      std::int64_t layer) {
  std::vector<PromptRow> rows;
  for (const std::string& subject : protected_subjects(fact, kProtected)) {
    try {
      rows.push_back(locate_subject(tokenizer, "{}", fact.prompt, subject));
    } catch (const Error&) {
      continue;  // shares its last token with what follows: has no key of its own
    }
  }
  if (rows.empty()) return at::zeros({0, 0}, at::kDouble);
  return read_rows(model, rows, layer, false).keys.to(at::kCPU, at::kDouble);
}

Direction edit_direction(const EditKeys& keys, const SpdSolver& solver, const at::Tensor& others,
                         double weight) {
  std::vector<at::Tensor> columns{keys.direction};
  if (keys.difference.defined()) columns.push_back(keys.difference);
  const Solution solved = solve_protected(solver, at::stack(columns, 1), others, weight);
  at::Tensor u = solved.x.select(1, 0);
  if (keys.difference.defined()) {
    const at::Tensor other = solved.x.select(1, 1);
    const double size = keys.difference.dot(other).item<double>();
    if (size > 0) u = u - keys.difference.dot(u).item<double>() / size * other;
  }
  return {u / u.norm(), solved.residual};
}

}  // namespace lancet
