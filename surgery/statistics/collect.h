#pragma once
// Second moments of the keys of several layers in one pass over a text.

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "core/file.h"
#include "core/json.h"
#include "formats/tokenizer/tokenizer.h"
#include "model/decoder.h"
#include "surgery/statistics/corpus.h"

namespace lancet {

/// Sums over keys; the sums of `layers` in order, float64 [key_width, key_width].
struct Moments {
  std::vector<std::int64_t> layers;  ///< ascending
  std::vector<at::Tensor> sums;
  std::int64_t tokens = 0, documents = 0, groups = 0;
};

struct CollectOptions {
  std::int64_t window = 512;       ///< tokens at which a document is cut
  std::int64_t max_tokens = 0;     ///< 0 = to the end of the corpus
  fs::path checkpoint;             ///< kept while collecting, removed at the end; empty = none
  double checkpoint_seconds = 30;  ///< between two; the first comes after the first group
};

/// Keys of every token of every document, cut into windows. With a checkpoint of the same
/// `identity` it goes on where that was written, and gives the same bits as a run without a break.
/// `resumed_tokens` receives how many tokens that saved. kInput when the corpus is empty.
[[nodiscard]] Moments collect_moments(const Decoder& model, const Tokenizer& tokenizer,
                                      const std::vector<std::int64_t>& layers, Corpus& corpus,
                                      const Json& identity, const CollectOptions& options,
                                      std::int64_t& resumed_tokens);

/// Adds one group of documents, at most `room` tokens (0 = all).
void add_group(const Decoder& model, const Tokenizer& tokenizer,
               const std::vector<std::string>& documents, std::int64_t window, std::int64_t room,
               Moments& moments);

}  // namespace lancet
