#pragma once
// The frame of editors that write many facts at once over a range of layers (MEMIT §4, as coded:
// editing reference 1.4). With N facts and n layers, the last of them L:
//   z_i = h_i + delta_i at the stream leaving L                         value.h, all facts batched
//   for each layer, the earlier ones already changed:
//     K = keys of the facts [d_k, N], bare prompt 1/2, the contexts' mean 1/2
//     R = (Z - H) / (n - j)  with H = the stream leaving L now [d_model, N], j = 0 .. n-1
//     delta W = R A^T        A [d_k, N] is the editor's answer to K
// Keys and H come from passes over the changed weights (forward replay), never from stale caches.
// With input.batch the facts are written so in turns; the keys of earlier turns, read anew behind
// each turn, go to the editor as the past. So do, with weight `protect`, the keys of other subjects
// in the prompts of the turn (protected_subjects): they are to answer as before. So does, with
// weight `alike`, half of what each fact's bare key has beyond its contexts' mean: with weight 1
// the left-hand side has the sum over both keys of a fact where the paper has the square of their
// mean, and both are answered, not only the mean.

#include <functional>
#include <span>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "surgery/editor.h"
#include "surgery/mass_keys.h"
#include "surgery/value.h"

namespace lancet {

/// An editor's answer at one layer.
struct Adjusted {
  at::Tensor keys;      ///< A, float64 [d_k, N]
  double residual = 0;  ///< relative residual of the linear system
  Json notes;           ///< of this layer: lambda, ranks, condition
};
/// `keys` K float64 [d_k, N].
using Adjust =
    std::function<Adjusted(std::int64_t layer, const at::Tensor& keys, const PastKeys& past)>;

/// The parameters that all editors of this kind share: steps, lr, clamp, kl, weight_decay, stop,
/// stop_nll, context_count, first_contexts, sink; and `contexts`.
[[nodiscard]] std::vector<Parameter> mass_edit_numbers(std::span<const Parameter> own);
[[nodiscard]] const std::vector<WordParameter>& mass_edit_words();

/// For editors that heed the past: keys of other subjects in the same prompts are part of it.
inline constexpr Parameter kProtectKeys{
    "protect",
    kAuto,
    0,
    1e6,
    false,
    "weight of the keys of other subjects in the same prompts, beside that of an edit's key; auto: "
    "1 (alphaedit: 2) with sampled contexts, else 0"};

inline constexpr Parameter kAlikeKeys{
    "alike",
    kAuto,
    0,
    1e6,
    false,
    "weight of the difference between a fact's bare key and its contexts', so that they are "
    "answered alike; 1 counts both keys, 0 their mean alone; auto: 1 with sampled contexts, else "
    "0"};

/// One factor pair a layer, column i of both for fact i (zeros where it is written elsewhere).
/// Traces hold the keys of every layer, z, and the losses; notes hold, a layer each, what `adjust`
/// noted and how far the stream is from Z after it. `protect`: what auto means for that parameter.
[[nodiscard]] EditPlan plan_mass_edit(const EditInput& input, const Adjust& adjust,
                                      double protect = 1);

}  // namespace lancet
