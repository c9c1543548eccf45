#pragma once
// The direction u of a rank-one edit W <- W + lambda u^T: what lambda is multiplied by when a key
// is read (ROME, editing reference 1.2).

#include <cstdint>

#include <ATen/ATen.h>

#include "formats/tokenizer/tokenizer.h"
#include "model/decoder.h"
#include "surgery/requests.h"
#include "surgery/solve.h"

namespace lancet {

/// The keys of an edit, float64 [d_in].
struct EditKeys {
  at::Tensor direction;   ///< from which u is made
  at::Tensor key;         ///< in lambda
  at::Tensor output;      ///< W key [d_out]
  at::Tensor difference;  ///< to which u is to give nothing, or undefined
};

/// Keys of other subjects in the fact's own prompt (protected_subjects, 24 where there are so
/// many), float64 [n, d_in]; n = 0 where none fit.
[[nodiscard]] at::Tensor other_keys(const Decoder& model, const Tokenizer& tokenizer,
                                    const Fact& fact, std::int64_t layer);

struct Direction {
  at::Tensor u;         ///< float64 [d_in], of length 1
  double residual = 0;  ///< of the systems with C
};
/// u = C'^-1 k with C' = C + weight / n * K^T K, C of `solver` and K [n, d_in] of `others`, by
/// Woodbury's identity. Where there is a difference d, u - (d.u) / (d.y) y with y = C'^-1 d: of all
/// u that answer k alike, the shortest in the norm of C' that answers d with nothing.
[[nodiscard]] Direction edit_direction(const EditKeys& keys, const SpdSolver& solver,
                                       const at::Tensor& others, double weight);

}  // namespace lancet
