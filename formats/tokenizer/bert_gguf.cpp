#include "formats/tokenizer/bert_gguf.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "formats/tokenizer/post_processor.h"

namespace lancet {
namespace {

constexpr std::int64_t kNormal = 1;
constexpr std::int64_t kUserDefined = 4;
constexpr std::string_view kMarker =
    "\xE2\x96\x81";  // converters put it before pieces that begin a word

[[noreturn]] void refuse(std::string_view key, const std::string& message) {
  fail(ErrorKind::kInput, "tokenizer", fmt::format("tokenizer.ggml.{}: {}", key, message));
}

/// The piece of vocab.txt: "##ing" continues a word, "the" begins one.
std::string original_piece(const std::string& stored, std::int64_t type) {
  if (type != kNormal) return stored;
  return stored.starts_with(kMarker) ? stored.substr(kMarker.size()) : "##" + stored;
}

struct Pieces {
  std::vector<std::string> texts;  ///< by id
  std::vector<std::int64_t> types;
};

Pieces read_pieces(const GgufHeader& header) {
  const auto* tokens = header.strings("tokenizer.ggml.tokens");
  if (tokens == nullptr) refuse("tokens", "expected the pieces, found none");
  Pieces out;
  out.types = header.integers("tokenizer.ggml.token_type");
  if (out.types.size() != tokens->size()) {
    refuse("token_type",
           fmt::format("expected {} entries, found {}", tokens->size(), out.types.size()));
  }
  for (std::size_t i = 0; i < tokens->size(); ++i) {
    if (find_invalid_utf8((*tokens)[i])) refuse("tokens", fmt::format("token {} is not UTF-8", i));
    out.texts.push_back(original_piece((*tokens)[i], out.types[i]));
  }
  return out;
}

/// The token of a role: by its key, else by its name.
std::optional<NamedToken> role(const GgufHeader& header, const Pieces& pieces,
                               std::initializer_list<std::string_view> keys,
                               std::string_view name) {
  std::int64_t id = -1;
  for (const std::string_view key : keys) {
    if (id < 0) id = header.integer(fmt::format("tokenizer.ggml.{}", key), -1);
  }
  const auto named = std::find(pieces.texts.begin(), pieces.texts.end(), name);
  if (id < 0 && named != pieces.texts.end()) id = named - pieces.texts.begin();
  if (id < 0 || static_cast<std::size_t>(id) >= pieces.texts.size()) return std::nullopt;
  return NamedToken(static_cast<TokenId>(id), pieces.texts[static_cast<std::size_t>(id)]);
}

Json added_tokens(const Pieces& pieces) {
  Json list = Json::array();
  for (std::size_t i = 0; i < pieces.texts.size(); ++i) {
    if (pieces.types[i] == kNormal || pieces.texts[i].empty()) continue;
    list.push_back({{"id", i},
                    {"content", pieces.texts[i]},
                    {"single_word", false},
                    {"lstrip", false},
                    {"rstrip", false},
                    {"normalized", false},
                    {"special", pieces.types[i] != kUserDefined}});
  }
  return list;
}

/// The metadata do not say whether the model knows capitals: its pieces do.
bool has_capitals(const Pieces& pieces) {
  const auto capital = [](char c) { return c >= 'A' && c <= 'Z'; };
  for (std::size_t i = 0; i < pieces.texts.size(); ++i) {
    const std::string& text = pieces.texts[i];
    const bool role_like = text.starts_with('[') && text.ends_with(']');  // [UNK], [unused1]
    if (pieces.types[i] == kNormal && !role_like && std::ranges::any_of(text, capital)) return true;
  }
  return false;
}

}  // namespace

Json bert_from_gguf(const GgufHeader& header) {
  const Pieces pieces = read_pieces(header);
  const auto unknown = role(header, pieces, {"unknown_token_id"}, "[UNK]");
  if (!unknown) refuse("unknown_token_id", "expected the unknown token, found none");
  const auto first = role(header, pieces, {"cls_token_id", "bos_token_id"}, "[CLS]");
  const auto last =
      role(header, pieces, {"seperator_token_id", "separator_token_id", "eos_token_id"}, "[SEP]");
  const bool lowercase = !has_capitals(pieces);
  Json model = {{"type", "WordPiece"},
                {"unk_token", unknown->second},
                {"continuing_subword_prefix", "##"},
                {"max_input_chars_per_word", 100}};
  Json vocab = Json::object();
  auto& members = vocab.get_ref<Json::object_t&>();
  for (std::size_t i = 0; i < pieces.texts.size(); ++i) members.emplace_back(pieces.texts[i], i);
  model["vocab"] = std::move(vocab);
  Json out = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  out["added_tokens"] = added_tokens(pieces);
  out["normalizer"] = {{"type", "BertNormalizer"},
                       {"clean_text", true},
                       {"handle_chinese_chars", true},
                       {"strip_accents", nullptr},
                       {"lowercase", lowercase}};
  out["pre_tokenizer"] = {{"type", "BertPreTokenizer"}};
  const bool adds_first = header.boolean("tokenizer.ggml.add_bos_token", true);
  const bool adds_last = header.boolean("tokenizer.ggml.add_eos_token", true);
  out["post_processor"] =
      template_processor(adds_first ? first : std::nullopt, adds_last ? last : std::nullopt);
  out["decoder"] = {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}};
  out["model"] = std::move(model);
  return out;
}

}  // namespace lancet
