#pragma once
// tokenizer.json of a union of vocabularies. Every token stands in the model's vocabulary at its
// id, added tokens too: readers number those that do not from the size of the vocabulary, and a gap
// would move them off their rows.

#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/json.h"

namespace lancet {

class TokenUnion {
 public:
  /// `json`: tokenizer.json of the model whose ids are kept; `tokens`: its tokens by id, "" where
  /// an id has none; `label` names it in messages.
  TokenUnion(Json json, std::vector<std::string> tokens, std::string label);

  /// The tokens that `json` has beyond those so far get the next ids, in its order. Its merges come
  /// behind those so far, where their parts and results are tokens; pieces of a Unigram model keep
  /// their scores.
  void add(const Json& json, const std::vector<std::string>& tokens, const std::string& label);

  /// A token of the recipe's own, unless it is there: the next id, cut out of texts before the
  /// model sees them.
  void add(const std::string& token);

  [[nodiscard]] const std::vector<std::string>& tokens() const noexcept { return tokens_; }
  [[nodiscard]] std::size_t own() const noexcept { return own_; }  ///< tokens of the first model
  /// Tokenizers of another kind, whose tokens no text is cut into.
  [[nodiscard]] const std::vector<std::string>& warnings() const noexcept { return warnings_; }
  /// All of it; ends the union.
  [[nodiscard]] Json finish();

 private:
  Json json_;
  std::vector<std::string> tokens_;
  std::string label_;
  std::size_t own_;
  std::unordered_map<std::string, std::size_t> ids_;
  std::unordered_map<std::string, double> scores_;  ///< of tokens of other Unigram models
  std::vector<std::pair<std::string, std::string>> merges_;
  std::unordered_set<std::string> known_merges_;
  std::size_t own_merges_ = 0;
  std::vector<std::string> warnings_;

  [[nodiscard]] bool is_of_one_kind(const Json& json, const std::string& label);
  void add_merges(const Json& model);
  void write_vocabulary();
  void write_list();
  void write_merges();
};

}  // namespace lancet
