#pragma once
// Adapters merged with adapters, module by module, into one adapter; no dense update is ever made.
// With D_i = s_i B_i A_i of module i's adapters and weights w_i:
//   linear      A = sum sqrt(w_i s_i) A_i, B likewise: PEFT's, with cross terms; equal ranks. Of a
//               negative w_i the sign goes to A
//   cat         B = [w_i s_i B_i], A = [A_i] stacked: sum w_i D_i exactly, rank = sum of ranks
//   svd         the best approximation of sum w_i D_i of the given rank
//   factors     an inner merge method on the A_i and on the B_i (scaled as in linear)
//   core_space  U = left vectors of [B_1 .. B_N], V = right vectors of [A_1; .. A_N],
//               M_i = U^T (s_i B_i) (A_i V^T), M = inner(M_i), B A = U M V    arXiv:2509.17786
//   knots       [D_1 .. D_N] = U S [V_1 .. V_N], B A = U S inner(V_i)         arXiv:2410.19735
// A module that an adapter lacks counts as zero there (in inner methods it takes no part).

#include <memory>
#include <string>
#include <vector>

#include "formats/adapter/peft_writer.h"
#include "merge/linalg.h"
#include "merge/method.h"

namespace lancet {

struct CombineOptions {
  std::string method = "cat";
  std::vector<double> weights;  ///< one for each adapter
  std::size_t rank = 0;         ///< at most, of the result; 0: as the method gives it
  const Method* inner = nullptr;
  /// Parameters of the inner method, by name; others have their defaults.
  std::vector<std::pair<std::string, double>> settings;
  std::uint64_t seed = 0;
};

inline constexpr std::string_view kCombineMethods[] = {"linear",  "cat",        "svd",
                                                       "factors", "core_space", "knots"};

/// kUsage for options without a meaning, for `adapters` of them: weights that are missing or not
/// finite, a rank that the method does not take (or lacks), an inner method that merges another
/// number of models, has no weights to take or whose required parameters are not set.
void check_combine(const CombineOptions& options, std::size_t adapters);
/// True for methods that merge by an inner one.
[[nodiscard]] bool takes_inner(std::string_view method) noexcept;

/// True where `linalg` must be given.
[[nodiscard]] bool needs_linalg(const CombineOptions& options) noexcept;

/// {file, report: {modules: [{name, rank, energy}], warnings}}; energy is what `rank` kept.
/// kMismatch for adapters of different models (a warning where only the names of their bases
/// differ) or with DoRA, saved modules, modules that too few of them have for the inner method or,
/// for linear and factors, different ranks; kNumeric where a value is not finite.
struct Combined {
  AdapterFile file;
  Json report;
};
[[nodiscard]] Combined combine_adapters(const Linalg* linalg,
                                        const std::vector<std::shared_ptr<const Adapter>>& adapters,
                                        const CombineOptions& options);

}  // namespace lancet
