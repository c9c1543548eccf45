#pragma once
// What the tests of model/ share: the stored tiny models, their goldens, and comparisons.

#include <memory>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "formats/checkpoint.h"
#include "formats/tokenizer/tokenizer.h"
#include "model/decoder.h"

namespace lancet::test {

/// Every folder of tests/data/tiny_models.
[[nodiscard]] std::vector<std::string> tiny_names();
/// Every folder of tests/data/families: "model_type" or "model_type-option".
[[nodiscard]] std::vector<std::string> family_names();
/// Every folder of tests/data/scaled: weights in few bits with scales.
[[nodiscard]] std::vector<std::string> scaled_names();
/// Every folder of tests/data/gguf_models: families whose other models have no GGUF form.
[[nodiscard]] std::vector<std::string> gguf_names();
/// Folder of a tiny model of any of these collections.
[[nodiscard]] fs::path folder_of(const std::string& name);
[[nodiscard]] Decoder load_tiny(const std::string& name, at::ScalarType dtype = at::kFloat);

/// The same model with every weight in float32: what a GPU, and the twins of its kernels, multiply
/// with. (Loaded ones keep the bfloat16 of their files.)
[[nodiscard]] Decoder widened(const Decoder& model);

/// A tensor of golden.safetensors.
[[nodiscard]] at::Tensor golden(const std::string& model, const std::string& tensor);

/// Random ids of a tiny model's vocabulary, int64 [batch, tokens].
[[nodiscard]] at::Tensor random_ids(std::int64_t batch, std::int64_t tokens,
                                    std::uint64_t seed = 7);
[[nodiscard]] std::vector<std::vector<std::int32_t>> as_lists(const at::Tensor& ids);

[[nodiscard]] double max_abs(const at::Tensor& a, const at::Tensor& b);
/// Of words t0, t1, ...: one for each id.
[[nodiscard]] Tokenizer word_tokenizer(std::int64_t vocab);

/// max |a - b| / max |b|.
[[nodiscard]] double relative(const at::Tensor& a, const at::Tensor& b);
/// Greedy continuation by full passes of the growing text.
[[nodiscard]] std::vector<std::vector<std::int32_t>> greedy_without_cache(const Decoder& model,
                                                                          at::Tensor ids,
                                                                          std::int64_t count);
[[nodiscard]] bool same_bits(const at::Tensor& a, const at::Tensor& b);

/// The kind of the Error that `body` throws and its message ("" where nothing is thrown).
template <typename Body>
std::string error_of(const Body& body) {
  try {
    body();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

}  // namespace lancet::test
