#include "formats/tokenizer/word_models.h"

#include <utility>

#include <fmt/format.h>

#include "core/text.h"
#include "formats/tokenizer/model_json.h"
#include "formats/tokenizer/word_cache.h"

namespace lancet {
namespace {

class CachedScratch : public TokenModel::Scratch {
 public:
  WordCache cache;
};

TokenId required_unknown(std::optional<TokenId> unk, const std::string& token) {
  if (unk) return *unk;
  fail(ErrorKind::kInput, "tokenizer",
       fmt::format("the unk_token '{}' is not in the vocabulary, and the text needs it",
                   printable(token, 60)));
}

std::uint64_t count_code_points(std::string_view text) {
  std::uint64_t count = 0;
  for (const char c : text) count += (static_cast<std::uint8_t>(c) & 0xC0U) != 0x80U ? 1 : 0;
  return count;
}

}  // namespace

WordPiece::WordPiece(Vocabulary vocabulary, Options options, const Where& where)
    : vocabulary_(std::move(vocabulary)),
      options_(std::move(options)),
      unk_(vocabulary_.find(options_.unk_token)),
      first_(vocabulary_, "", {}, where.key("vocab")),
      continued_(vocabulary_, options_.continuing_subword_prefix, {}, where.key("vocab")) {}

std::unique_ptr<WordPiece> WordPiece::from_json(const Json& model, const Where& where) {
  Options options;
  options.unk_token = where.string(model, "unk_token", options.unk_token);
  options.continuing_subword_prefix =
      where.string(model, "continuing_subword_prefix", options.continuing_subword_prefix);
  if (model.contains("max_input_chars_per_word")) {
    options.max_input_chars_per_word =
        static_cast<std::uint64_t>(where.integer(model, "max_input_chars_per_word", 0, INT64_MAX));
  }
  return std::make_unique<WordPiece>(read_vocabulary(model, where), std::move(options), where);
}

std::unique_ptr<TokenModel::Scratch> WordPiece::make_scratch() const {
  return std::make_unique<CachedScratch>();
}

bool WordPiece::cut(std::string_view word, std::uint64_t& steps, std::vector<Piece>& out) const {
  for (std::size_t begin = 0; begin < word.size();) {
    std::size_t end = begin;
    TokenId id = -1;
    const PieceTrie& trie = begin == 0 ? first_ : continued_;
    steps += trie.prefixes(word.substr(begin), [&](std::size_t length, TokenId piece) {
      end = begin + length;
      id = piece;
    });
    if (id < 0) return false;
    out.push_back({id, static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end)});
    begin = end;
  }
  return true;
}

void WordPiece::encode(std::string_view word, Scratch& scratch, std::vector<Piece>& out) const {
  auto& cache = static_cast<CachedScratch&>(scratch).cache;
  const bool cached = word.size() <= WordCache::kWordBytes;
  if (cached && cache.find(word, out)) return;
  const std::size_t before = out.size();
  const std::uint64_t limit = options_.max_input_chars_per_word;
  const bool fits = word.size() <= limit || count_code_points(word) <= limit;
  if (!fits || !cut(word, scratch.steps, out)) {
    out.resize(before);
    const TokenId unk = required_unknown(unk_, options_.unk_token);
    out.push_back({unk, 0, static_cast<std::uint32_t>(word.size())});
  }
  if (cached) cache.insert(word, std::span<const Piece>(out).subspan(before));
}

void WordPiece::save(Json& model) const { model["vocab"] = vocabulary_json(vocabulary_); }

WordLevel::WordLevel(Vocabulary vocabulary, std::string unk_token)
    : vocabulary_(std::move(vocabulary)),
      unk_token_(std::move(unk_token)),
      unk_(vocabulary_.find(unk_token_)) {}

std::unique_ptr<WordLevel> WordLevel::from_json(const Json& model, const Where& where) {
  return std::make_unique<WordLevel>(read_vocabulary(model, where),
                                     where.string(model, "unk_token", "<unk>"));
}

std::unique_ptr<TokenModel::Scratch> WordLevel::make_scratch() const {
  return std::make_unique<Scratch>();
}

void WordLevel::encode(std::string_view word, Scratch&, std::vector<Piece>& out) const {
  const auto id = vocabulary_.find(word);
  out.push_back(
      {id ? *id : required_unknown(unk_, unk_token_), 0, static_cast<std::uint32_t>(word.size())});
}

void WordLevel::save(Json& model) const { model["vocab"] = vocabulary_json(vocabulary_); }

}  // namespace lancet
