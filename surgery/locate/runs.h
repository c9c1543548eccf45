#pragma once
// The clean and the corrupted runs of one prompt, in one batch: row 0 is clean, rows 1 to samples
// have noise added to the embeddings of the subject's tokens (Meng et al. 2022, section 2.1).

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "formats/tokenizer/tokenizer.h"
#include "model/decoder.h"
#include "surgery/locate/prompt.h"

namespace lancet {

/// Standard deviation of all elements of the embeddings of the subjects' tokens: sigma of the
/// published code (there over its known facts).
[[nodiscard]] double subject_sigma(const Decoder& model, const Tokenizer& tokenizer,
                                   const std::vector<std::string>& subjects);
/// Every subject of the lists that ship with lancet (share/subjects.json), invented names left out.
[[nodiscard]] std::vector<std::string> shipped_subjects();

/// Embeddings [1 + samples, tokens, d_model]; noise is `deviation` * N(0, 1), element (sample,
/// subject token, component) of Random(seed, "locate noise") in this order.
[[nodiscard]] at::Tensor corrupted_embeddings(const Decoder& model, const LocatePrompt& prompt,
                                              std::int64_t samples, double deviation,
                                              std::uint64_t seed);

struct Runs {
  std::int64_t samples = 0;
  /// [1 + samples, tokens, d_model]: entering each block, and at index `layers` leaving the last.
  std::vector<at::Tensor> hidden;
  std::vector<at::Tensor> attention, mlp;  ///< outputs per layer, before the residual add
  KvCache cache;                           ///< of all rows, all tokens
  double high = 0;                         ///< p(target) of the clean run
  double low = 0;                          ///< mean p(target) of the corrupted runs
  bool says_target = false;                ///< the clean run's first choice, token by token
};

[[nodiscard]] Runs run_both(const Decoder& model, const LocatePrompt& prompt,
                            const at::Tensor& embeddings);

/// p(target) of each row from the states [rows, tail, d_model] leaving the last block, whose last
/// positions predict the target's tokens: the product over them, float64 [rows].
[[nodiscard]] at::Tensor target_probabilities(const Decoder& model, const at::Tensor& hidden,
                                              const std::vector<TokenId>& target);

}  // namespace lancet
