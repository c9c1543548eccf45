#include "merge/tokens.h"

#include <algorithm>
#include <array>
#include <optional>
#include <unordered_map>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "formats/tokenizer/tokenizer.h"

namespace lancet {
namespace {

constexpr std::array<std::string_view, 10> kTokenizerFiles{"tokenizer.json",
                                                           "tokenizer_config.json",
                                                           "special_tokens_map.json",
                                                           "added_tokens.json",
                                                           "vocab.json",
                                                           "merges.txt",
                                                           "vocab.txt",
                                                           "tokenizer.model",
                                                           "sentencepiece.bpe.model",
                                                           "spiece.model"};

/// The tokens of one model by id, and back.
struct Vocabulary {
  Json json;                                 ///< tokenizer.json
  std::map<std::string, std::string> files;  ///< all tokenizer files
  std::vector<std::string> tokens;           ///< "" where an id has none
  std::unordered_map<std::string, std::uint32_t> ids;
  std::int64_t rows = 0;  ///< of its embeddings (vocab_size)
};

Vocabulary read_vocabulary(const MergeInput& input) {
  Vocabulary out;
  for (auto& [name, text] : input.side_files()) {
    if (std::ranges::find(kTokenizerFiles, name) != kTokenizerFiles.end())
      out.files.emplace(name, text);
  }
  const auto found = out.files.find("tokenizer.json");
  if (found == out.files.end()) {
    fail(ErrorKind::kInput, "merge",
         fmt::format("expected a tokenizer.json in '{}' to match tokens by, found none",
                     printable(input.text(), 200)),
         "leave out tokenizer_source where all models share one vocabulary, or save the tokenizer "
         "as a fast one");
  }
  out.json = parse_json(found->second, input.text() + "/tokenizer.json");
  const Tokenizer tokenizer = Tokenizer::from_json(out.json, input.text() + "/tokenizer.json");
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    std::string token = tokenizer.token(id);
    if (tokenizer.id(token) != id) token.clear();
    if (!token.empty()) out.ids.emplace(token, static_cast<std::uint32_t>(id));
    out.tokens.push_back(std::move(token));
  }
  out.rows = json_int(input.config(), "vocab_size", input.text() + "/config.json",
                      static_cast<std::int64_t>(out.tokens.size()));
  return out;
}

class TokenPlanner {
 public:
  TokenPlanner(const RecipeTokenizer& recipe,
               const std::vector<std::shared_ptr<const MergeInput>>& inputs, std::size_t reference,
               Semantics semantics)
      : recipe_(recipe), inputs_(inputs), reference_(reference), semantics_(semantics) {
    for (const auto& input : inputs) vocabularies_.push_back(read_vocabulary(*input));
  }

  TokenPlan run() {
    const std::size_t source = recipe_.model ? index_of(*recipe_.model) : reference_;
    tokens_ = vocabularies_[source].tokens;
    plan_.side_files = vocabularies_[source].files;
    const std::size_t own = tokens_.size();
    if (recipe_.source == "union") add_others(source);
    plan_.tokens = static_cast<std::int64_t>(tokens_.size());
    plan_.rows = rows_of_result(source, own == tokens_.size());
    for (const RecipeToken& token : recipe_.tokens) check_known(token);
    for (std::size_t i = 0; i < inputs_.size(); ++i) plan_.maps.push_back(map_of(i));
    return std::move(plan_);
  }

 private:
  const RecipeTokenizer& recipe_;
  const std::vector<std::shared_ptr<const MergeInput>>& inputs_;
  std::size_t reference_;
  Semantics semantics_;
  std::vector<Vocabulary> vocabularies_;
  std::vector<std::string> tokens_;
  TokenPlan plan_;

  std::size_t index_of(const RecipeModel& model) const {
    const auto found = std::ranges::find_if(
        inputs_, [&](const auto& input) { return input->text() == model.text; });
    if (found == inputs_.end())
      fail(ErrorKind::kInternal, "merge", "a tokenizer of a model that was not opened");
    return static_cast<std::size_t>(found - inputs_.begin());
  }

  /// Tokens of the other models, in their order, after those of the first; tokenizer.json learns
  /// them.
  void add_others(std::size_t source) {
    std::unordered_map<std::string, std::uint32_t> known = vocabularies_[source].ids;
    Json json = vocabularies_[source].json;
    const std::size_t before = tokens_.size();
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      if (i == source) continue;
      for (const std::string& token : vocabularies_[i].tokens) {
        const auto id = static_cast<std::uint32_t>(tokens_.size());
        if (token.empty() || !known.emplace(token, id).second) continue;
        add_token(json, vocabularies_[i].json, token, id, *inputs_[i]);
        tokens_.push_back(token);
      }
    }
    if (tokens_.size() == before) return;
    plan_.side_files["tokenizer.json"] = dump_json(json, 2) + "\n";
    for (const char* slow :
         {"vocab.json", "merges.txt", "vocab.txt", "added_tokens.json", "tokenizer.model"}) {
      plan_.side_files.erase(slow);  // they know the first model's tokens only
    }
  }

  static void add_token(Json& json, const Json& from, const std::string& token, std::uint32_t id,
                        const MergeInput& input) {
    for (const Json& added : from.value("added_tokens", Json::array())) {
      if (added.value("content", "") != token) continue;
      json["added_tokens"].push_back(added);
      json["added_tokens"].back()["id"] = id;
      return;
    }
    Json& vocabulary = json["model"]["vocab"];
    if (!vocabulary.is_object()) {
      fail(ErrorKind::kMismatch, "merge",
           fmt::format("expected tokenizers with a vocabulary that can grow, found a {} one ('{}')",
                       json["model"].value("type", "Unigram"), printable(input.text(), 200)),
           "say tokenizer_source: base, or name the model whose tokens are to be kept");
    }
    vocabulary[token] = id;
  }

  /// A padded vocabulary stays padded; mergekit cuts it to the tokens.
  std::int64_t rows_of_result(std::size_t source, bool unchanged) const {
    std::int64_t rows = plan_.tokens;
    if (unchanged && semantics_ != Semantics::kMergekit && recipe_.pad_to_multiple_of == 1) {
      rows = std::max(rows, vocabularies_[source].rows);
    }
    const std::int64_t step = recipe_.pad_to_multiple_of;
    return (rows + step - 1) / step * step;
  }

  void check_known(const RecipeToken& token) {
    if (std::ranges::find(tokens_, token.token) == tokens_.end()) {
      plan_.warnings.push_back(
          fmt::format("line {}: the token '{}' is not in the vocabulary of the result",
                      token.place.line, printable(token.token)));
    }
    if (token.kind == RecipeToken::Kind::kModelToken) static_cast<void>(donor_row(token));
  }

  /// The row that a token's own rule names, or nothing for zeros.
  std::optional<RowMap::Row> donor_row(const RecipeToken& token) const {
    if (token.kind == RecipeToken::Kind::kZero) return std::nullopt;
    const auto input = static_cast<std::uint32_t>(index_of(*token.model));
    const Vocabulary& from = vocabularies_[input];
    if (token.model_token_id) {
      if (*token.model_token_id < from.rows)
        return RowMap::Row{input, static_cast<std::uint32_t>(*token.model_token_id)};
    } else {
      const std::string& wanted =
          token.kind == RecipeToken::Kind::kModelToken ? token.model_token : token.token;
      const auto found = from.ids.find(wanted);
      if (found != from.ids.end() && found->second < from.rows)
        return RowMap::Row{input, found->second};
    }
    fail(ErrorKind::kMismatch, "merge",
         fmt::format("line {}: the token '{}' is to come from '{}', which has no such row",
                     token.place.line, printable(token.token),
                     printable(inputs_[input]->text(), 200)));
  }

  std::optional<std::uint32_t> own_row(std::size_t input, const std::string& token) const {
    const auto found = vocabularies_[input].ids.find(token);
    if (token.empty() || found == vocabularies_[input].ids.end() ||
        found->second >= vocabularies_[input].rows)
      return std::nullopt;
    return found->second;
  }

  /// Rows for a token that a model lacks: the reference's, else the mean over those who have it.
  std::vector<RowMap::Row> borrowed(const std::string& token) const {
    if (const auto row = own_row(reference_, token))
      return {{static_cast<std::uint32_t>(reference_), *row}};
    std::vector<RowMap::Row> out;
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      if (const auto row = own_row(i, token)) out.push_back({static_cast<std::uint32_t>(i), *row});
    }
    return out;
  }

  /// Rows that no token names: a model's own padding, the reference's, else the mean.
  RowMap::Row padding(std::size_t input, std::size_t row) const {
    for (const std::size_t i : {input, reference_}) {
      const Vocabulary& v = vocabularies_[i];
      const bool unnamed = row >= v.tokens.size() || v.tokens[row].empty();
      if (unnamed && static_cast<std::int64_t>(row) < v.rows)
        return {static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(row)};
    }
    return {static_cast<std::uint32_t>(input), RowMap::kMean};
  }

  std::shared_ptr<const RowMap> map_of(std::size_t input) const {
    std::unordered_map<std::string, const RecipeToken*> rules;
    for (const RecipeToken& token : recipe_.tokens) rules.emplace(token.token, &token);
    auto map = std::make_shared<RowMap>();
    map->starts.push_back(0);
    for (std::size_t row = 0; row < static_cast<std::size_t>(plan_.rows); ++row) {
      const std::string token = row < tokens_.size() ? tokens_[row] : "";
      const auto rule = token.empty() ? rules.end() : rules.find(token);
      const auto own = own_row(input, token);
      if (rule != rules.end() && (rule->second->force || !own)) {
        if (const auto donor = donor_row(*rule->second)) map->sources.push_back(*donor);
      } else if (own) {
        map->sources.push_back({static_cast<std::uint32_t>(input), *own});
      } else if (token.empty()) {
        map->sources.push_back(padding(input, row));
      } else {
        for (const RowMap::Row& donor : borrowed(token)) map->sources.push_back(donor);
      }
      map->starts.push_back(static_cast<std::uint32_t>(map->sources.size()));
    }
    return map;
  }
};

}  // namespace

std::vector<std::string> tokenizer_file_names() {
  return {kTokenizerFiles.begin(), kTokenizerFiles.end()};
}

bool is_embedding(const MergeInput& model, const InputTensor& tensor) {
  constexpr std::array<std::string_view, 6> kNames{
      "embed_tokens", "lm_head", "wte", "word_embeddings", "embed_out", "tok_embeddings"};
  if (tensor.shape.size() != 2 || !model.config().is_object()) return false;
  const bool named = std::ranges::any_of(
      kNames, [&](std::string_view name) { return tensor.name.find(name) != tensor.name.npos; });
  return named && tensor.shape[0] ==
                      json_int(model.config(), "vocab_size", model.text() + "/config.json", -1);
}

TokenPlan plan_tokens(const RecipeTokenizer& recipe,
                      const std::vector<std::shared_ptr<const MergeInput>>& inputs,
                      std::size_t reference, Semantics semantics) {
  return TokenPlanner(recipe, inputs, reference, semantics).run();
}

}  // namespace lancet
