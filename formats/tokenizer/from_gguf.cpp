// tokenizer.json from the metadata of a GGUF file: `tokenizer.ggml.pre` names a pipeline that the
// converter knew.

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "core/log.h"
#include "core/text.h"
#include "formats/tokenizer/bert_gguf.h"
#include "formats/tokenizer/bpe.h"
#include "formats/tokenizer/scanners.h"
#include "formats/tokenizer/sentencepiece.h"
#include "formats/tokenizer/tokenizer.h"
#include "formats/tokenizer/tokenizer_impl.h"

namespace lancet {
namespace {

// tokenizer.ggml.token_type
constexpr std::int64_t kControl = 3;
constexpr std::int64_t kUserDefined = 4;

constexpr std::string_view kTekkenPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// What one name of `tokenizer.ggml.pre` stands for.
struct Recipe {
  std::string_view name;
  std::string_view pattern;  ///< of a Split before ByteLevel; empty: ByteLevel's own
  bool digits = false;       ///< each digit alone
  bool nfc = false;
  bool ignore_merges = false;
  bool bos = false;  ///< default of add_bos_token
};

constexpr std::array kRecipes = {
    Recipe{.name = "gpt-2", .pattern = ""},
    Recipe{.name = "gpt2", .pattern = ""},
    Recipe{.name = "default", .pattern = ""},
    Recipe{.name = "smollm", .pattern = "", .digits = true},
    Recipe{.name = "starcoder", .pattern = "", .digits = true},
    Recipe{.name = "refact", .pattern = "", .digits = true},
    Recipe{.name = "olmo", .pattern = "", .nfc = true},
    Recipe{.name = "llama-bpe", .pattern = kLlama3Pattern, .ignore_merges = true, .bos = true},
    Recipe{.name = "llama3", .pattern = kLlama3Pattern, .ignore_merges = true, .bos = true},
    Recipe{.name = "llama-v3", .pattern = kLlama3Pattern, .ignore_merges = true, .bos = true},
    Recipe{.name = "qwen2", .pattern = kQwen2Pattern, .nfc = true},
    Recipe{.name = "deepseek-r1-qwen", .pattern = kQwen2Pattern, .nfc = true},
    Recipe{.name = "tekken", .pattern = kTekkenPattern, .ignore_merges = true, .bos = true},
};

const Recipe& find_recipe(const std::string& name) {
  const auto found = std::find_if(kRecipes.begin(), kRecipes.end(),
                                  [&](const Recipe& r) { return r.name == name; });
  if (found != kRecipes.end()) return *found;
  std::vector<std::string_view> names;
  names.reserve(std::size(kRecipes));
  for (const Recipe& recipe : kRecipes) names.push_back(recipe.name);
  fail(ErrorKind::kMismatch, "tokenizer",
       fmt::format("tokenizer.ggml.pre: the pre-tokenizer '{}' is not known", printable(name, 60)),
       did_you_mean(name, names));
}

Json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

Json pre_tokenizer(const Recipe& recipe) {
  Json steps = Json::array();
  if (recipe.digits) steps.push_back({{"type", "Digits"}, {"individual_digits", true}});
  if (!recipe.pattern.empty()) {
    Json split = {{"type", "Split"}};
    split["pattern"] = {{"Regex", recipe.pattern}};
    split["behavior"] = "Isolated";
    split["invert"] = false;
    steps.push_back(std::move(split));
  }
  steps.push_back(byte_level(recipe.pattern.empty()));
  if (steps.size() == 1) return steps[0];
  Json out = {{"type", "Sequence"}};
  out["pretokenizers"] = std::move(steps);
  return out;
}

std::optional<TokenId> special_id(const GgufHeader& header, std::string_view key,
                                  std::size_t tokens) {
  const std::int64_t id = header.integer(key, -1);
  if (id < 0 || static_cast<std::uint64_t>(id) >= tokens) return std::nullopt;
  return static_cast<TokenId>(id);
}

std::vector<std::int64_t> token_types(const GgufHeader& header, std::size_t tokens) {
  std::vector<std::int64_t> types(tokens, 1);
  const GgufValue* value = header.find("tokenizer.ggml.token_type");
  if (value == nullptr) return types;
  const auto copy = [&](const auto& list) {
    if (list.size() != tokens) {
      fail(ErrorKind::kInput, "tokenizer",
           fmt::format("tokenizer.ggml.token_type: expected {} entries, found {}", tokens,
                       list.size()));
    }
    std::transform(list.begin(), list.end(), types.begin(),
                   [](auto type) { return static_cast<std::int64_t>(type); });
  };
  if (const auto* list = std::get_if<std::vector<std::int64_t>>(&value->value)) {
    copy(*list);
  } else if (const auto* unsigned_list = std::get_if<std::vector<std::uint64_t>>(&value->value)) {
    copy(*unsigned_list);
  } else {
    fail(ErrorKind::kInput, "tokenizer",
         "tokenizer.ggml.token_type: expected an array of integers");
  }
  return types;
}

Json added_tokens(const std::vector<std::string>& tokens, const std::vector<std::int64_t>& types) {
  Json list = Json::array();
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if ((types[i] != kControl && types[i] != kUserDefined) || tokens[i].empty()) continue;
    list.push_back({{"id", i},
                    {"content", tokens[i]},
                    {"single_word", false},
                    {"lstrip", false},
                    {"rstrip", false},
                    {"normalized", false},
                    {"special", types[i] == kControl}});
  }
  return list;
}

Vocabulary vocabulary_of(const std::vector<std::string>& tokens, const Where& where) {
  std::size_t bytes = 0;
  for (const std::string& token : tokens) bytes += token.size();
  Vocabulary vocabulary;
  vocabulary.reserve(tokens.size(), bytes);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (find_invalid_utf8(tokens[i])) where.fail_input(fmt::format("token {} is not UTF-8", i));
    vocabulary.add(tokens[i], static_cast<TokenId>(i), where);
  }
  vocabulary.build(where);
  return vocabulary;
}

const std::vector<std::string>& required_strings(const GgufHeader& header, std::string_view key) {
  const std::vector<std::string>* list = header.strings(key);
  if (list == nullptr)
    fail(ErrorKind::kInput, "tokenizer", fmt::format("the GGUF file has no '{}'", key));
  return *list;
}

/// The pipeline without vocab and merges.
Json describe(const GgufHeader& header, const Recipe& recipe,
              const std::vector<std::string>& tokens) {
  const bool add_bos = header.boolean("tokenizer.ggml.add_bos_token", recipe.bos);
  const bool add_eos = header.boolean("tokenizer.ggml.add_eos_token", false);
  const auto bos = special_id(header, "tokenizer.ggml.bos_token_id", tokens.size());
  const auto eos = special_id(header, "tokenizer.ggml.eos_token_id", tokens.size());
  Json out = Json::object();
  out["version"] = "1.0";
  out["truncation"] = nullptr;
  out["padding"] = nullptr;
  out["added_tokens"] = added_tokens(tokens, token_types(header, tokens.size()));
  out["normalizer"] = recipe.nfc ? Json{{"type", "NFC"}} : Json();
  out["pre_tokenizer"] = pre_tokenizer(recipe);
  const auto named = [&](bool added, std::optional<TokenId> id) {
    std::optional<NamedToken> token;
    if (added && id) token.emplace(*id, tokens[static_cast<std::size_t>(*id)]);
    return token;
  };
  out["post_processor"] = template_processor(named(add_bos, bos), named(add_eos, eos));
  out["decoder"] = byte_level(true);
  // A byte without a token is dropped, as the published tokenizers (unk_token null) and llama.cpp
  // do.
  out["model"] = {{"type", "BPE"},
                  {"dropout", nullptr},
                  {"unk_token", nullptr},
                  {"continuing_subword_prefix", nullptr},
                  {"end_of_word_suffix", nullptr},
                  {"fuse_unk", false},
                  {"byte_fallback", false},
                  {"ignore_merges", recipe.ignore_merges}};
  return out;
}

std::shared_ptr<Tokenizer::Impl> build(const GgufHeader& header) {
  if (header.find("tokenizer.huggingface.json") != nullptr) {
    constexpr std::string_view key = "tokenizer.huggingface.json";
    return make_tokenizer(std::string_view(header.string(key)), key);
  }
  const std::string model = header.string("tokenizer.ggml.model");
  if (model == "llama" || model == "t5")
    return make_sentencepiece(sentencepiece_from_gguf(header), Where{"GGUF metadata", "", 0});
  if (model == "bert") return make_tokenizer(bert_from_gguf(header), "GGUF metadata");
  if (model != "gpt2") {
    fail(ErrorKind::kMismatch, "tokenizer",
         fmt::format("tokenizer.ggml.model: the kind '{}' is not supported, expected 'gpt2', "
                     "'llama', 't5' or 'bert'",
                     printable(model, 60)));
  }
  const Recipe& recipe = find_recipe(header.string("tokenizer.ggml.pre", "default"));
  const auto& tokens = required_strings(header, "tokenizer.ggml.tokens");
  const Json description = describe(header, recipe, tokens);
  const Where where{"GGUF metadata", "", 0};
  Vocabulary vocabulary = vocabulary_of(tokens, where.key("tokenizer.ggml.tokens"));
  const Where merges_where = where.key("tokenizer.ggml.merges");
  MergeReader reader(vocabulary, 0, merges_where);
  for (const std::string& line : required_strings(header, "tokenizer.ggml.merges"))
    reader.add_line(line);
  std::vector<Merge> merges = reader.take();
  PreTokenizers pre(description.at("pre_tokenizer"), where.key("pre_tokenizer"), true);
  BpeOptions options;
  options.ignore_merges = recipe.ignore_merges;
  options.raw_bytes = pre.raw_bytes();
  auto bpe = std::make_unique<Bpe>(std::move(vocabulary), std::move(merges), std::move(options));
  return std::make_shared<Tokenizer::Impl>(
      described_parts(description, where, std::move(pre), std::move(bpe)), where);
}

}  // namespace

Tokenizer Tokenizer::from_gguf(const GgufHeader& header) {
  auto impl = build(header);
  const std::string kind = header.string("tokenizer.ggml.model", "");
  if (kind == "llama" || kind == "t5") return Tokenizer(std::move(impl));
  const auto count = static_cast<std::size_t>(impl->max_id) + 1;
  impl->bos = special_id(header, "tokenizer.ggml.bos_token_id", count);
  impl->eos = special_id(header, "tokenizer.ggml.eos_token_id", count);
  return Tokenizer(std::move(impl));
}

}  // namespace lancet
