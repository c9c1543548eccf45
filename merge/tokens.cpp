#include "merge/tokens.h"

#include <algorithm>
#include <array>
#include <optional>
#include <unordered_map>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "formats/chat_templates.h"
#include "formats/tokenizer/tokenizer.h"
#include "formats/tokenizer/whole_json.h"
#include "merge/layers.h"
#include "merge/token_union.h"

namespace lancet {
namespace {

constexpr std::array<std::string_view, 16> kTokenizerFiles{"tokenizer.json",
                                                           "tokenizer_config.json",
                                                           "special_tokens_map.json",
                                                           "added_tokens.json",
                                                           "vocab.json",
                                                           "merges.txt",
                                                           "vocab.txt",
                                                           "tokenizer.model",
                                                           "sentencepiece.bpe.model",
                                                           "spiece.model",
                                                           "tiktoken.model",
                                                           "spm.model",
                                                           "tokenizer.tiktoken",
                                                           "qwen.tiktoken",
                                                           "chat_template.jinja",
                                                           "chat_template.json"};

/// These know the first model's tokens only.
constexpr std::array<const char*, 11> kSlowFiles{
    "vocab.json",         "merges.txt",      "vocab.txt",
    "added_tokens.json",  "tokenizer.model", "sentencepiece.bpe.model",
    "spiece.model",       "tiktoken.model",  "spm.model",
    "tokenizer.tiktoken", "qwen.tiktoken"};

/// The tokens of one model by id, and back.
struct Vocabulary {
  Json json;                                 ///< whole_tokenizer_json
  std::map<std::string, std::string> files;  ///< all tokenizer files
  std::vector<std::string> tokens;           ///< "" where an id has none
  std::unordered_map<std::string, std::uint32_t> ids;
  std::int64_t rows = 0;  ///< of its embeddings (vocab_size)
};

template <std::size_t N>
bool holds_any(std::string_view name, const std::array<std::string_view, N>& words) {
  return std::ranges::any_of(words, [&](std::string_view w) { return name.find(w) != name.npos; });
}

bool is_named_embedding(std::string_view name) {
  return holds_any<8>(name, {"embed_tokens", "lm_head", "wte", "word_embeddings", "embed_out",
                             "embed_in", "tok_embeddings", "cls.predictions"});
}

/// Rows of the embeddings: vocab_size, where that is left to its default those of the token
/// embedding.
std::optional<std::int64_t> vocabulary_rows(const MergeInput& model) {
  if (!model.config().is_object()) return {};
  const Json& part = model.config().at(vocabulary_place(model.config()));
  const std::int64_t rows = json_int(part, "vocab_size", model.text() + "/config.json", -1);
  if (rows >= 0) return rows;
  const auto found = std::ranges::find_if(model.tensors(), [](const InputTensor& tensor) {
    return tensor.shape.size() == 2 && is_named_embedding(tensor.name) && !layer_of(tensor.name);
  });
  if (found == model.tensors().end()) return {};
  return found->shape[0];
}

Vocabulary read_vocabulary(const MergeInput& input) {
  Vocabulary out;
  for (auto& [name, text] : input.side_files()) {
    if (is_tokenizer_file(name)) out.files.emplace(name, text);
  }
  out.json = whole_tokenizer_json(out.files, input.text() + "/");
  if (out.json.is_null()) {
    fail(ErrorKind::kInput, "merge",
         fmt::format("expected a tokenizer.json, tokenizer.model or tiktoken ranks in '{}' to "
                     "match tokens by, found none",
                     printable(input.text(), 200)),
         "leave out tokenizer_source where all models share one vocabulary, or save the tokenizer "
         "as a fast one");
  }
  const Tokenizer tokenizer = Tokenizer::from_json(out.json, input.text() + "/tokenizer.json");
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    std::string token = tokenizer.spelling(id) ? tokenizer.token(id) : std::string();
    if (tokenizer.id(token) != id) token.clear();
    if (!token.empty()) out.ids.emplace(token, static_cast<std::uint32_t>(id));
    out.tokens.push_back(std::move(token));
  }
  out.rows = vocabulary_rows(input).value_or(static_cast<std::int64_t>(out.tokens.size()));
  return out;
}

class TokenPlanner {
 public:
  TokenPlanner(const RecipeTokenizer& recipe,
               const std::vector<std::shared_ptr<const MergeInput>>& inputs,
               const TokenInputs& known, Semantics semantics)
      : recipe_(recipe),
        inputs_(inputs),
        known_(known),
        reference_(known.reference),
        semantics_(semantics) {
    for (const auto& input : inputs) vocabularies_.push_back(read_vocabulary(*input));
  }

  TokenPlan run() {
    const std::size_t source = recipe_.model ? index_of(*recipe_.model) : reference_;
    tokens_ = vocabularies_[source].tokens;
    plan_.side_files = vocabularies_[source].files;
    extend(source);
    plan_.tokens = static_cast<std::int64_t>(tokens_.size());
    plan_.rows = rows_of_result(source);
    if (source != reference_) plan_.ids = ids_of(source);
    for (const RecipeToken& token : recipe_.tokens) {
      if (token.kind == RecipeToken::Kind::kModelToken) static_cast<void>(donor_row(token));
    }
    for (std::size_t i = 0; i < inputs_.size(); ++i) plan_.maps.push_back(map_of(i));
    return std::move(plan_);
  }

 private:
  const RecipeTokenizer& recipe_;
  const std::vector<std::shared_ptr<const MergeInput>>& inputs_;
  const TokenInputs& known_;
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

  /// After the tokens of `source` those of the other models in a union, in their order, and those
  /// that the recipe alone names; the tokenizer learns them.
  void extend(std::size_t source) {
    const Vocabulary& first = vocabularies_[source];
    TokenUnion joined(first.json, first.tokens, inputs_[source]->text());
    for (std::size_t i = 0; recipe_.source == "union" && i < inputs_.size(); ++i) {
      if (i != source)
        joined.add(vocabularies_[i].json, vocabularies_[i].tokens, inputs_[i]->text());
    }
    for (const RecipeToken& token : recipe_.tokens) joined.add(token.token);
    plan_.warnings = joined.warnings();
    if (joined.tokens().size() == joined.own()) return;
    tokens_ = joined.tokens();
    const Json json = joined.finish();
    plan_.side_files["tokenizer.json"] = dump_json(json, 2) + "\n";
    for (const char* slow : kSlowFiles) plan_.side_files.erase(slow);
    list_added(json.at("added_tokens"));
  }

  /// tokenizer_config.json may list the added tokens a second time.
  void list_added(const Json& added) {
    const auto file = plan_.side_files.find("tokenizer_config.json");
    if (file == plan_.side_files.end()) return;
    Json config = parse_json(file->second, "tokenizer_config.json");
    if (!config.is_object() || !config.contains("added_tokens_decoder")) return;
    Json list = Json::object();
    for (Json token : added) {
      const std::string id = std::to_string(token.at("id").get<std::int64_t>());
      token.erase("id");
      list[id] = std::move(token);
    }
    config["added_tokens_decoder"] = std::move(list);
    file->second = dump_json(config, 2) + "\n";
  }

  /// What config.json and generation_config.json say of tokens, moved to the tokenizer of `source`.
  TokenIds ids_of(std::size_t source) const {
    const Vocabulary& now = vocabularies_[source];
    const std::string& label = inputs_[source]->text();
    const auto find = [ids = now.ids](const std::string& token) {
      const auto found = ids.find(token);
      return found == ids.end() ? std::nullopt : std::optional<std::int64_t>(found->second);
    };
    return {.config = inputs_[source]->config(),
            .generation = side_json(inputs_[source]->side_files(), "generation_config.json", label),
            .roles = token_roles(now.files, label, find),
            .label = label,
            .moved = [find, before = vocabularies_[reference_].tokens](
                         std::int64_t old) -> std::optional<std::int64_t> {
              if (old < 0 || old >= static_cast<std::int64_t>(before.size())) return {};
              const std::string& token = before[static_cast<std::size_t>(old)];
              return token.empty() ? std::nullopt : find(token);
            }};
  }

  /// A padded vocabulary stays padded, new tokens fill its rows first; mergekit cuts it to the
  /// tokens. A multiple that the recipe names counts from the tokens.
  std::int64_t rows_of_result(std::size_t source) const {
    const std::int64_t step = recipe_.pad_to_multiple_of;
    if (step == 1 && semantics_ != Semantics::kMergekit)
      return std::max(plan_.tokens, vocabularies_[source].rows);
    return (plan_.tokens + step - 1) / step * step;
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

  /// Rows for a token that a model lacks: the base's, else the mean over the merged models that
  /// have it, else over the others.
  std::vector<RowMap::Row> borrowed(const std::string& token) const {
    std::vector<RowMap::Row> merged, others;
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      const auto row = own_row(i, token);
      if (!row) continue;
      const RowMap::Row found{static_cast<std::uint32_t>(i), *row};
      if (known_.based && i == reference_) return {found};
      const bool is_merged = std::ranges::find(known_.merged, i) != known_.merged.end();
      (is_merged ? merged : others).push_back(found);
    }
    return merged.empty() ? others : merged;
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

bool is_tokenizer_file(std::string_view name) {
  return std::ranges::find(kTokenizerFiles, name) != kTokenizerFiles.end() ||
         template_name(name).has_value();
}

Json::json_pointer vocabulary_place(const Json& config) {
  constexpr std::array kParts{"text_config", "llm_config", "language_config", "thinker_config"};
  if (!config.is_object()) return Json::json_pointer();
  for (const char* part : kParts) {
    const auto found = config.find(part);
    if (found == config.end() || !found->is_object()) continue;
    const Json::json_pointer inner = vocabulary_place(*found);
    const bool says = found->at(inner).contains("vocab_size");
    if (says || !config.contains("vocab_size")) return Json::json_pointer() / part / inner;
  }
  return Json::json_pointer();
}

bool is_embedding(const MergeInput& model, const InputTensor& tensor) {
  const bool bias = tensor.shape.size() == 1 && tensor.name.ends_with(".bias");
  if (tensor.shape.size() != 2 && !bias) return false;
  const bool named = is_named_embedding(tensor.name);
  const bool outside = tensor.shape.size() == 2 && !layer_of(tensor.name) &&
                       !holds_any<2>(tensor.name, {"pos", "wpe"});
  if (!named && !outside) return false;
  const auto rows = vocabulary_rows(model);
  return rows ? tensor.shape[0] == *rows : named;
}

TokenPlan plan_tokens(const RecipeTokenizer& recipe,
                      const std::vector<std::shared_ptr<const MergeInput>>& inputs,
                      const TokenInputs& known, Semantics semantics) {
  return TokenPlanner(recipe, inputs, known, semantics).run();
}

}  // namespace lancet
