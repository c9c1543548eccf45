#pragma once
// Ordinary training on the edit prompts, for the baselines ft and lora and for ultraedit: facts as
// rows of tokens, the loss of the target's tokens, and Adam on whatever tensors a hook adds to the
// model. The model's own weights are constants, so that blocks below the first changed layer run
// once for each batch of rows.

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "formats/tokenizer/tokenizer.h"
#include "model/decoder.h"
#include "surgery/editor.h"

namespace lancet {

enum class Objective {
  kTarget,  ///< every target token from what stands before it: masked cross-entropy (FT-M)
  kLast     ///< all target tokens from the prompt's last position (FT and FT-L as published)
};

/// One fact as training text. Its targets are predicted at `places`, one each.
struct TuningRow {
  std::vector<TokenId> ids;
  std::vector<std::int64_t> places;
  std::vector<TokenId> targets;
};

/// kUsage for an end-of-text token behind the target (LocFT) where the tokenizer has none, or with
/// kLast.
void check_end(const Tokenizer& tokenizer, Objective objective, bool end);
/// The bare prompts of the facts. With `end` the end-of-text token follows each target; kUsage as
/// check_end().
[[nodiscard]] std::vector<TuningRow> tuning_rows(const Tokenizer& tokenizer,
                                                 std::span<const Fact> facts, Objective objective,
                                                 bool end);

/// Some rows as one pass: the residual stream entering block `layer`, padded to the right.
struct TuningBatch {
  std::int64_t layer = 0;
  at::Tensor hidden;                        ///< [rows, longest, d_model]
  std::vector<std::int64_t> lengths;        ///< tokens of each row
  std::vector<std::int64_t> target_counts;  ///< of each row
  at::Tensor places;                        ///< int64 [targets] into rows * longest
  at::Tensor targets;                       ///< int64 [targets]
};
[[nodiscard]] TuningBatch make_batch(const Decoder& model, std::span<const TuningRow> rows,
                                     std::int64_t layer);
/// -log p of every target, float32 [targets], differentiable in what `hook` puts in.
[[nodiscard]] at::Tensor target_nll(const Decoder& model, const TuningBatch& batch,
                                    const Hook& hook);

struct TuningOptions {
  std::int64_t steps = 25;      ///< times that every row is seen
  std::int64_t minibatch = 16;  ///< rows of a step of Adam
  double lr = 5e-4;
  double stop = 1e-2;  ///< stop when the mean loss over the rows is below
};

/// What makes a hook out of the trained tensors (in the model's dtype, differentiable).
using MakeHook = std::function<Hook(const std::vector<at::Tensor>& leaves)>;
/// What is done to the trained tensors (float64) after each step: a norm bound.
using Constrain = std::function<void(std::vector<at::Tensor>& values)>;

struct Tuned {
  std::vector<at::Tensor> values;  ///< float64
  at::Tensor losses;  ///< float64 [epochs, rows]: mean NLL of each row when it was seen
};

/// Minimises the mean over rows of the mean NLL of their targets, from `start` (float64). Gradients
/// of fixed chunks of rows are added in order: the bits do not depend on the thread count. kNumeric
/// when the loss is not finite.
[[nodiscard]] Tuned tune(const Decoder& model, std::span<const TuningRow> rows, std::int64_t layer,
                         std::vector<at::Tensor> start, const MakeHook& make_hook,
                         const Constrain& constrain, const TuningOptions& options);

/// Runs `turn` on every `input.batch` facts (all when 0). It adds its traces to `plan` and its
/// notes to `notes`; all else that later turns go on from it leaves in `state`. Turns of an earlier
/// run (input.turns) are taken instead.
void for_each_turn(const EditInput& input, EditPlan& plan, Json& notes,
                   std::vector<at::Tensor>& state,
                   const std::function<void(std::span<const Fact> facts)>& turn);

/// A change of a whole matrix [d_out, d_in] as factors, exactly: the narrower side is the identity.
[[nodiscard]] Factors whole_factors(std::int64_t layer, const MatrixRef& down,
                                    const at::Tensor& change);

/// One trace a row: losses [epochs, 5] as value.h has them, without KL and decay.
void add_traces(std::span<const Fact> facts, const at::Tensor& losses, EditPlan& plan);

}  // namespace lancet
