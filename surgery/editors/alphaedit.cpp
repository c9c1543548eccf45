// AlphaEdit, null-space constrained editing. Fang et al. 2025, arXiv:2410.02355.
//   C = U diag(e) U^T,  P = U_0 U_0^T with the directions of e < threshold            [d_k, d_k]
//   delta W = R K^T P (K K^T P + H H^T P + l2 I)^-1                                [d_model, d_k]
// H: keys of earlier turns. As factors R [d_model, N] and A [d_k, N], the first N columns of
//   P M (M^T P M + l2 I)^-1,  M = [K, H]           while H is narrower than d_k, else
//   U_0 (U_0^T (K K^T + H H^T) U_0 + l2 I)^-1 U_0^T K,
// both equal to the published (non-symmetric) system. What lies in directions that ordinary text
// uses is not touched at all. threshold: the code's 2e-2 (the paper prints 1e-2), l2: the
// code's 10. Both are in units of the keys. Precision: keys in the model's precision; eigenvectors,
// sums and solves in float64, factors rounded once to float32.
#include <map>

#include <fmt/format.h>

#include "core/error.h"
#include "model/runtime.h"
#include "surgery/mass_edit.h"
#include "surgery/solve.h"

namespace lancet {
namespace {

constexpr Parameter kOwn[] = {
    {"threshold", 2e-2, 0, 1e12, false,
     "directions of C with an eigenvalue below are free to change"},
    {"l2", 10, 1e-9, 1e12, false, "ridge of the update"},
    kProtectKeys,
    kAlikeKeys,
};
const std::vector<Parameter> kNumbers = mass_edit_numbers(kOwn);

/// Twice memit's: what is written in free directions alone moves other subjects more
/// (docs/editing.md has the table).
constexpr double kProtect = 2;

/// U_0 float64 [d_k, free directions].
at::Tensor null_space(const at::Tensor& covariance, std::int64_t layer, double threshold) {
  if (!covariance.defined() || covariance.numel() == 0) {
    fail(ErrorKind::kUsage, "edit", "alphaedit: expected second moments, found --covariance none",
         "give --covariance auto or a file");
  }
  const OneThread inside;
  const auto [values, vectors] = at::linalg_eigh(covariance.to(at::kCPU, at::kDouble));
  const std::int64_t free = (values < threshold).sum().item<std::int64_t>();
  if (free == 0) {
    fail(ErrorKind::kNumeric, "edit",
         fmt::format("alphaedit: expected directions of layer {} with an eigenvalue below {}, "
                     "found none (the smallest is {:.3g})",
                     layer, threshold, values[0].item<double>()),
         "--method-option threshold=X above it");
  }
  return vectors.narrow(1, 0, free).contiguous();  // eigenvalues ascend
}

Adjusted adjust(const at::Tensor& space, const at::Tensor& keys, const PastKeys& past, double l2) {
  const OneThread inside;  // the bits must not depend on the thread count
  const std::int64_t count = keys.size(1);
  Adjusted out;
  if (past.moment().defined()) {
    const at::Tensor inner = at::matmul(space.t(), keys);
    at::Tensor system =
        at::matmul(inner, inner.t()) + at::matmul(space.t(), at::matmul(past.moment(), space));
    system.diagonal().add_(l2);
    const Solution solved = SpdSolver(system).solve(inner);
    out.keys = at::matmul(space, solved.x);
    out.residual = solved.residual;
  } else {
    const at::Tensor all = past.count() > 0 ? at::cat({keys, past.panel()}, 1) : keys;
    const at::Tensor inner = at::matmul(space.t(), all);
    at::Tensor gram = at::matmul(inner.t(), inner);
    gram.diagonal().add_(l2);
    const Solution weights =
        SpdSolver(gram).solve(at::eye(all.size(1), at::kDouble).narrow(1, 0, count));
    out.keys = at::matmul(space, at::matmul(inner, weights.x));
    out.residual = weights.residual;
  }
  out.notes = {{"free_directions", space.size(1)}, {"past_keys", past.count()}};
  return out;
}

EditPlan plan(const EditInput& input) {
  std::map<std::int64_t, at::Tensor> spaces;
  return plan_mass_edit(
      input,
      [&](std::int64_t layer, const at::Tensor& keys, const PastKeys& past) {
        at::Tensor& space = spaces[layer];
        if (!space.defined())
          space = null_space(input.covariance(layer), layer, input.parameters.number("threshold"));
        return adjust(space, keys, past, input.parameters.number("l2"));
      },
      kProtect);
}

}  // namespace

extern const Editor editor_alphaedit;
const Editor editor_alphaedit{.name = "alphaedit",
                              .title = "AlphaEdit: many facts in the null space of ordinary keys",
                              .paper = "arXiv:2410.02355",
                              .numbers = kNumbers,
                              .words = mass_edit_words(),
                              .max_facts = 0,
                              .reach = Reach::kRange,
                              .needs_covariance = true,
                              .experts = true,
                              .plan = plan};

}  // namespace lancet
