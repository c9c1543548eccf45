#pragma once
// A LoRA adapter out of two checkpoints: TUNED - BASE of every linear layer, cut to its first
// singular triplets.
//   D = U S V,  B = U_k sqrt(S_k),  A = sqrt(S_k) V_k       so that TUNED is near BASE + B A
//   energy = sum of the first k s^2 / sum of all

#include <optional>

#include "formats/adapter/peft_writer.h"
#include "formats/model_source.h"
#include "merge/linalg.h"

namespace lancet {

struct ExtractOptions {
  std::size_t rank = 32;         ///< at most
  std::optional<double> energy;  ///< the least rank that holds this share, within `rank`
  SvdMode svd = SvdMode::kQuick;
  /// Changed embeddings, heads, norms and biases whole: a module without factors with all of its
  /// tensors, as PEFT's modules_to_save wants them.
  bool save_rest = false;
  std::optional<DType> dtype;  ///< of what is written; nothing: float32, whole tensors as they are
};

/// The adapter, and {modules: [{name, rank, energy, relative_norm}], energy, left_out: [names]}.
struct Extracted {
  AdapterFile file;
  Json report;
};

/// kMismatch when the tensors of the models do not fit, or are all equal.
[[nodiscard]] Extracted extract_adapter(const Linalg& linalg, const ModelSource& base,
                                        const ModelSource& tuned, const ExtractOptions& options);

}  // namespace lancet
