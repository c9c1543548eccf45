// EMMET, equality-constrained mass editing. Gupta et al. 2024, arXiv:2403.14236.
//   minimise |delta W|_C  so that  (W + delta W) K = V:
//   delta W = R D^-1 K^T C^-1,   D = K^T C^-1 K + ridge I                            [d_model, d_k]
// as factors R [d_model, N] and A = C^-1 K D^-1 [d_k, N]. One layer; one fact is ROME on a mean
// key. The code has C' = lambda C and D' = K^T C'^-1 K + 0.1 I, which is the same with ridge = 0.1
// lambda; here the ridge is told relative to the mean of k^T C^-1 k, so that it is only what keeps
// D well conditioned (two facts of one subject have almost the same key). Keys of earlier turns
// have no part in it, as in the paper: later turns are not held to them. Precision: keys in the
// model's precision, sums and solves in float64, factors rounded once to float32.
#include <map>

#include "model/runtime.h"
#include "surgery/mass_edit.h"
#include "surgery/solve.h"

namespace lancet {
namespace {

constexpr Parameter kOwn[] = {
    {"ridge", 1e-3, 0, 1e3, false, "added to D, as a multiple of the mean of k^T C^-1 k"},
};
const std::vector<Parameter> kNumbers = mass_edit_numbers(kOwn);

EditPlan plan(const EditInput& input) {
  std::map<std::int64_t, SpdSolver> solvers;
  return plan_mass_edit(input, [&](std::int64_t layer, const at::Tensor& keys, const PastKeys&) {
    const SpdSolver& solver = solvers.try_emplace(layer, input.covariance(layer)).first->second;
    const OneThread inside;  // the bits must not depend on the thread count
    const Solution solved = solver.solve(keys);
    at::Tensor d = at::matmul(keys.t(), solved.x);
    d = (d + d.t()) / 2;
    const double size = d.diagonal().mean().item<double>();
    d.diagonal().add_(input.parameters.number("ridge") * size);
    const SpdSolver small(d);
    const Solution weights = small.solve(solved.x.t());
    return Adjusted{
        weights.x.t(),
        std::max(solved.residual, weights.residual),
        {{"key_size", size}, {"ridge", solver.ridge()}, {"small_ridge", small.ridge()}}};
  });
}

}  // namespace

extern const Editor editor_emmet;
const Editor editor_emmet{.name = "emmet",
                          .title = "EMMET: many facts exactly, one layer",
                          .paper = "arXiv:2403.14236",
                          .numbers = kNumbers,
                          .words = mass_edit_words(),
                          .max_facts = 0,
                          .experts = true,
                          .plan = plan};

}  // namespace lancet
