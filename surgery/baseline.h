#pragma once
// What an unedited model says whatever it is asked: the texts it writes as contexts, and its
// perplexity on the shipped text. Computed once for a model and kept in user_cache_dir()/baseline,
// in a file named by the hash of everything that can move a digit. A damaged file is computed anew.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/json.h"
#include "formats/tokenizer/tokenizer.h"
#include "model/decoder.h"

namespace lancet {

class Baseline {
 public:
  /// `config`: config.json of the model. Nothing is hashed before something is asked for.
  Baseline(const Decoder& model, const Tokenizer& tokenizer, const Json& config);

  /// sample_contexts() of the model.
  [[nodiscard]] std::vector<std::string> contexts(std::int64_t count, std::uint64_t seed);
  /// shipped_perplexity() of the model over the first `tokens` tokens of the text.
  [[nodiscard]] double perplexity(std::int64_t tokens);

 private:
  void open();
  [[nodiscard]] const Json& value(const char* kind, const std::string& key,
                                  const std::function<Json()>& compute);

  const Decoder& model_;
  const Tokenizer& tokenizer_;
  const Json& config_;
  fs::path path_;  ///< empty before open()
  Json identity_;
  Json values_ = Json::object();  ///< kind -> key -> value
};

}  // namespace lancet
