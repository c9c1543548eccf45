// tokenizer.ggml.* from the files of a Hugging Face directory: byte-level BPE as llama.cpp names
// it, and SentencePiece BPE, from tokenizer.json or what tokenizer.model and tiktoken ranks say.
#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/log.h"
#include "core/text.h"
#include "formats/chat_templates.h"
#include "formats/config/gguf_sentencepiece.h"
#include "formats/config/to_gguf.h"
#include "formats/tokenizer/declared_tokens.h"
#include "formats/tokenizer/whole_json.h"

namespace lancet {
namespace {

constexpr std::string_view kFile = "tokenizer.json";
enum TokenType : std::int64_t { kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5 };

[[noreturn]] void unsupported(const std::string& message) {
  fail(ErrorKind::kMismatch, "gguf", fmt::format("{}: {}", kFile, message),
       "write a Hugging Face directory instead");
}

[[noreturn]] void damaged(const std::string& message) {
  fail(ErrorKind::kInput, "gguf", fmt::format("{}: {}", kFile, message));
}

const Json& member(const Json& object, std::string_view key) {
  static const Json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

std::string type_of(const Json& component) {
  const Json& type = member(component, "type");
  return type.is_string() ? type.get<std::string>() : std::string();
}

/// The splitting of text before BPE, written in one line: "Digits+ByteLevel", "Split(REGEX)+Bytes".
std::string describe(const Json& component) {
  std::string type = type_of(component);
  if (type == "Sequence") {
    std::string out;
    for (const Json& part : member(component, "pretokenizers"))
      out += (out.empty() ? "" : "+") + describe(part);
    return out;
  }
  const auto flag = [&](std::string_view key, bool fallback) {
    const Json& value = member(component, key);
    return value.is_boolean() ? value.get<bool>() : fallback;
  };
  if (type == "Digits") return flag("individual_digits", false) ? "Digits" : "DigitRuns";
  if (type == "ByteLevel") {
    const std::string prefix = flag("add_prefix_space", true) ? "Prefix" : "";
    return prefix + (flag("use_regex", true) ? "ByteLevel" : "Bytes");
  }
  const Json& pattern = member(member(component, "pattern"), "Regex");
  if (type == "Split" && pattern.is_string() && member(component, "behavior") == "Isolated") {
    return "Split(" + pattern.get<std::string>() + ")";
  }
  return type;
}

struct PreTokenizer {
  std::string_view description;
  std::string_view pre;  ///< llama.cpp's name
};

constexpr std::array kPreTokenizers = {
    PreTokenizer{"ByteLevel", "gpt-2"},
    PreTokenizer{"Digits+ByteLevel", "smollm"},
    PreTokenizer{
        R"(Split((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)+Bytes)",
        "llama-bpe"},
    PreTokenizer{
        R"(Split((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)+Bytes)",
        "qwen2"},
};

std::string_view pre_name(const Json& tokenizer) {
  const std::string normalizer = type_of(member(tokenizer, "normalizer"));
  const std::string description = describe(member(tokenizer, "pre_tokenizer"));
  const auto found = std::ranges::find(kPreTokenizers, description, &PreTokenizer::description);
  if (found == kPreTokenizers.end() || (!normalizer.empty() && normalizer != "NFC")) {
    unsupported(fmt::format("expected a pre-tokenizer that llama.cpp knows, found '{}{}{}'",
                            normalizer, normalizer.empty() ? "" : "+", printable(description)));
  }
  return found->pre;
}

struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<std::int64_t> types;
  std::vector<bool> taken;

  explicit Vocabulary(std::int64_t size)
      : tokens(static_cast<std::size_t>(size)),
        types(static_cast<std::size_t>(size), kUnused),
        taken(static_cast<std::size_t>(size), false) {}

  void put(const Json& id, const std::string& token, std::int64_t type) {
    if (!id.is_number_integer() || id < 0 || id >= tokens.size()) {
      damaged(fmt::format("token '{}': expected an id below the {} rows of the embedding, found {}",
                          printable(token), tokens.size(), printable(dump_json(id))));
    }
    const auto at = id.get<std::size_t>();
    if (taken[at] && tokens[at] != token) {
      damaged(fmt::format("id {}: expected one token, found '{}' and '{}'", at,
                          printable(tokens[at]), printable(token)));
    }
    tokens[at] = token;
    types[at] = type;
    taken[at] = true;
  }

  [[nodiscard]] std::optional<std::int64_t> id(const std::string& token) const {
    const auto found = std::ranges::find(tokens, token);
    if (found == tokens.end()) return std::nullopt;
    return found - tokens.begin();
  }
};

Vocabulary read_vocabulary(const Json& tokenizer, std::int64_t size) {
  const Json& vocab = member(member(tokenizer, "model"), "vocab");
  if (!vocab.is_object()) damaged("model.vocab: expected an object");
  Vocabulary out(size);
  for (const auto& [token, id] : vocab.items()) out.put(id, token, kNormal);
  for (const Json& added : member(tokenizer, "added_tokens")) {
    const Json& content = member(added, "content");
    if (!content.is_string()) damaged("added_tokens: expected a content for each");
    out.put(member(added, "id"), content.get<std::string>(),
            member(added, "special") == true ? kControl : kUserDefined);
  }
  for (std::size_t i = 0; i < out.tokens.size(); ++i) {
    if (!out.taken[i]) out.tokens[i] = fmt::format("[PAD{}]", i);
  }
  return out;
}

std::vector<std::string> read_merges(const Json& tokenizer) {
  const Json& merges = member(member(tokenizer, "model"), "merges");
  if (!merges.is_array()) damaged("model.merges: expected an array");
  std::vector<std::string> out;
  out.reserve(merges.size());
  for (const Json& merge : merges) {
    std::string text;
    if (merge.is_string()) {
      text = merge.get<std::string>();
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      text = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
    }
    if (std::ranges::count(text, ' ') != 1) {
      damaged(fmt::format("merge {}: expected two pieces without blanks, found {}", out.size(),
                          printable(dump_json(merge))));
    }
    out.push_back(std::move(text));
  }
  return out;
}

/// Whether the post-processor puts a special token at the front (`first`) or the end of one text.
bool adds_special(const Json& processor, bool first) {
  if (type_of(processor) == "Sequence") {
    return std::ranges::any_of(member(processor, "processors"),
                               [&](const Json& part) { return adds_special(part, first); });
  }
  const Json& single = member(processor, "single");
  if (type_of(processor) != "TemplateProcessing" || !single.is_array() || single.empty())
    return false;
  return (first ? single.front() : single.back()).contains("SpecialToken");
}

Json parse_side(const std::map<std::string, std::string>& files, const std::string& name) {
  const auto found = files.find(name);
  return found == files.end() ? Json::object() : parse_json(found->second, name);
}

/// Null where there is no tokenizer. What other files than tokenizer.json add beyond the rows of
/// the embedding is left out: no weights know it.
Json read_tokenizer(const std::map<std::string, std::string>& files, std::int64_t vocab) {
  Json tokenizer = whole_tokenizer_json(files);
  if (tokenizer.is_null()) {
    for (const char* slow : {"vocab.json", "vocab.txt"}) {
      if (files.contains(slow))
        fail(ErrorKind::kMismatch, "gguf",
             fmt::format("{}: expected a tokenizer.json or tokenizer.model beside it", slow),
             "save the tokenizer as a fast one, or write a Hugging Face directory instead");
    }
    return tokenizer;
  }
  if (!tokenizer.is_object() || !member(tokenizer, "added_tokens").is_array()) return tokenizer;
  const auto is_beyond = [&](const Json& token) {
    const Json& id = member(token, "id");
    return id.is_number_integer() && id >= vocab;
  };
  if (std::ranges::none_of(tokenizer["added_tokens"], is_beyond)) return tokenizer;
  const Json own = parse_side(files, std::string(kFile));
  const auto is_own = [&](const Json& token) {
    return std::ranges::any_of(member(own, "added_tokens"), [&](const Json& other) {
      return member(other, "content") == member(token, "content");
    });
  };
  Json kept = Json::array();
  for (Json& token : tokenizer["added_tokens"]) {
    if (!is_beyond(token) || is_own(token)) {
      kept.push_back(std::move(token));
    } else {
      log::warn(fmt::format("gguf: the token '{}' is left out: its id {} has no row of weights",
                            printable(member(token, "content").get<std::string>(), 60),
                            dump_json(member(token, "id"))));
    }
  }
  tokenizer["added_tokens"] = std::move(kept);
  return tokenizer;
}

struct Role {
  std::string_view token;   ///< in the tokenizer's files
  std::string_view config;  ///< id in config.json and generation_config.json
  std::string_view gguf;
};
constexpr std::array kRoles = {
    Role{"bos_token", "bos_token_id", "tokenizer.ggml.bos_token_id"},
    Role{"eos_token", "eos_token_id", "tokenizer.ggml.eos_token_id"},
    Role{"unk_token", "", "tokenizer.ggml.unknown_token_id"},
    Role{"pad_token", "pad_token_id", "tokenizer.ggml.padding_token_id"},
};

void append_roles(const DeclaredTokens& declared, const Json& generation, const Json& config,
                  const Vocabulary& vocabulary, GgufMetadata& out) {
  for (const Role& role : kRoles) {
    std::optional<std::int64_t> id;
    const Json* token = declared.role(role.token);
    if (token != nullptr && token->is_object())
      id = vocabulary.id(token->at("content").get<std::string>());
    for (const Json* source : {&generation, &config}) {
      const Json& value = member(*source, role.config);
      const Json& number = value.is_array() && !value.empty() ? value.front() : value;
      if (!id && number.is_number_unsigned()) id = number.get<std::int64_t>();
    }
    if (id && *id < static_cast<std::int64_t>(vocabulary.tokens.size())) {
      out.emplace_back(role.gguf, gguf_u32(*id));
    }
  }
}

/// The tokens besides eos that end a text: as those that end a turn and a message.
void append_ends(const Json& generation, const Json& config, const Vocabulary& vocabulary,
                 GgufMetadata& out) {
  std::vector<std::int64_t> ids;
  for (const auto& [key, value] : out) {
    if (key == "tokenizer.ggml.eos_token_id")
      ids.push_back(static_cast<std::int64_t>(std::get<std::uint64_t>(value.value)));
  }
  const std::size_t named = ids.size();
  for (const Json* source : {&generation, &config}) {
    const Json& ends = member(*source, "eos_token_id");
    for (const Json& id : ends.is_array() ? ends : Json::array({ends})) {
      if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= vocabulary.tokens.size()) continue;
      if (std::ranges::find(ids, id.get<std::int64_t>()) == ids.end())
        ids.push_back(id.get<std::int64_t>());
    }
  }
  ids.erase(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(named));
  constexpr std::array kKeys = {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};
  for (std::size_t i = 0; i < std::min(ids.size(), kKeys.size()); ++i)
    out.emplace_back(kKeys[i], gguf_u32(ids[i]));
  if (ids.size() <= kKeys.size()) return;
  ids.erase(ids.begin(), ids.begin() + kKeys.size());
  log::warn(
      fmt::format("gguf: three tokens at most may end a text there: those of the ids {} do not "
                  "any more",
                  fmt::join(ids, ", ")));
}

void append_templates(const std::map<std::string, std::string>& files, GgufMetadata& out) {
  std::vector<std::string> names;
  for (const auto& [name, text] : chat_templates(files)) {
    if (name == kDefaultTemplate) {
      out.emplace_back("tokenizer.chat_template", gguf_string(text));
    } else {
      out.emplace_back("tokenizer.chat_template." + name, gguf_string(text));
      names.push_back(name);
    }
  }
  if (names.empty()) return;
  out.emplace_back("tokenizer.chat_templates",
                   GgufValue{GgufType::kArray, GgufType::kString, std::move(names)});
}

}  // namespace

void append_tokenizer(const std::map<std::string, std::string>& side_files, const Json& config,
                      std::int64_t vocab, GgufMetadata& metadata) {
  const Json tokenizer = read_tokenizer(side_files, vocab);
  if (tokenizer.is_null()) {
    log::warn("gguf: the model has no tokenizer, so its GGUF gets no vocabulary");
    metadata.emplace_back("tokenizer.ggml.model", gguf_string("none"));
    append_templates(side_files, metadata);
    return;
  }
  const DeclaredTokens declared = read_declared_tokens(side_files);
  const Json generation = parse_side(side_files, "generation_config.json");
  const std::string type = type_of(member(tokenizer, "model"));
  if (type != "BPE") unsupported(fmt::format("expected BPE, found {}", printable(type)));
  const bool scored = is_sentencepiece_bpe(tokenizer);
  const std::string_view pre = scored ? "default" : pre_name(tokenizer);
  Vocabulary vocabulary = read_vocabulary(tokenizer, vocab);
  const Json& processor = member(tokenizer, "post_processor");

  metadata.emplace_back("tokenizer.ggml.model", gguf_string(scored ? "llama" : "gpt2"));
  metadata.emplace_back("tokenizer.ggml.pre", gguf_string(std::string(pre)));
  append_roles(declared, generation, config, vocabulary, metadata);
  append_ends(generation, config, vocabulary, metadata);
  metadata.emplace_back("tokenizer.ggml.add_space_prefix",
                        gguf_bool(scored && adds_space_prefix(tokenizer)));
  metadata.emplace_back("tokenizer.ggml.add_bos_token", gguf_bool(adds_special(processor, true)));
  metadata.emplace_back("tokenizer.ggml.add_eos_token", gguf_bool(adds_special(processor, false)));
  append_templates(side_files, metadata);
  if (scored) {
    metadata.emplace_back(
        "tokenizer.ggml.scores",
        GgufValue{GgufType::kArray, GgufType::kF32,
                  sentencepiece_scores(tokenizer, vocabulary.tokens, vocabulary.types)});
  }
  metadata.emplace_back("tokenizer.ggml.tokens", GgufValue{GgufType::kArray, GgufType::kString,
                                                           std::move(vocabulary.tokens)});
  metadata.emplace_back("tokenizer.ggml.token_type",
                        GgufValue{GgufType::kArray, GgufType::kI32, std::move(vocabulary.types)});
  if (scored) return;
  metadata.emplace_back("tokenizer.ggml.merges",
                        GgufValue{GgufType::kArray, GgufType::kString, read_merges(tokenizer)});
}

}  // namespace lancet
