#include "formats/tokenizer/sentencepiece.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "core/text.h"
#include "formats/tokenizer/bpe.h"
#include "formats/tokenizer/sentencepiece_json.h"
#include "formats/tokenizer/sentencepiece_normalizer.h"
#include "formats/tokenizer/tokenizer_impl.h"
#include "formats/tokenizer/unicode.h"
#include "formats/tokenizer/unigram.h"

namespace lancet {
namespace {

using Type = SentencePieceModel::Type;

constexpr std::uint64_t kMergeWorkLimit = 1ULL << 32U;  // bytes looked at to find the merges

/// Is the piece one that text is cut into?
bool is_matched(Type type) { return type == Type::kNormal || type == Type::kUserDefined; }

Vocabulary vocabulary_of(const SentencePieceModel& model, const Where& where) {
  Vocabulary vocabulary;
  std::size_t bytes = 0;
  for (const auto& piece : model.pieces) bytes += piece.text.size();
  vocabulary.reserve(model.pieces.size(), bytes);
  for (std::size_t id = 0; id < model.pieces.size(); ++id)
    vocabulary.add(model.pieces[id].text, static_cast<TokenId>(id), where);
  vocabulary.build(where);
  return vocabulary;
}

struct RankedMerges {
  std::vector<Merge> merges;
  std::vector<std::uint32_t> ranks;  ///< pieces of one score share a rank: the leftmost comes first
};

/// Every way to make a normal piece of two others, best score first.
RankedMerges find_merges(const SentencePieceModel& model, const Vocabulary& vocabulary,
                         const Where& where) {
  std::vector<std::pair<float, Merge>> found;
  std::uint64_t work = 0;
  for (std::size_t id = 0; id < model.pieces.size(); ++id) {
    const auto& piece = model.pieces[id];
    if (piece.type != Type::kNormal) continue;
    work += piece.text.size() * piece.text.size();
    if (work > kMergeWorkLimit) where.fail_input("the pieces are too long to find their merges");
    const std::string_view text = piece.text;
    std::size_t cut = 0;
    if (!text.empty()) static_cast<void>(decode_at(text.data(), cut));
    while (cut < text.size()) {
      const auto left = vocabulary.find(text.substr(0, cut));
      const auto right = vocabulary.find(text.substr(cut));
      if (left && right)
        found.emplace_back(piece.score, Merge{*left, *right, static_cast<TokenId>(id)});
      static_cast<void>(decode_at(text.data(), cut));
    }
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  RankedMerges out;
  for (const auto& [score, merge] : found) {
    const bool same = !out.ranks.empty() && found[out.merges.size() - 1].first == score;
    out.ranks.push_back(same ? out.ranks.back() : static_cast<std::uint32_t>(out.ranks.size()));
    out.merges.push_back(merge);
  }
  return out;
}

std::unique_ptr<TokenModel> make_bpe(const SentencePieceModel& model, const Where& where) {
  Vocabulary vocabulary = vocabulary_of(model, where);
  RankedMerges merges = find_merges(model, vocabulary, where);
  BpeOptions options;
  if (model.unk) options.unk_token = model.pieces[static_cast<std::size_t>(*model.unk)].text;
  options.fuse_unk = true;
  options.byte_fallback = model.byte_fallback;
  return std::make_unique<Bpe>(std::move(vocabulary), std::move(merges.merges), std::move(options),
                               merges.ranks);
}

std::unique_ptr<TokenModel> make_unigram(const SentencePieceModel& model, const Where& where) {
  Unigram::Options options;
  options.unk = model.unk;
  options.byte_fallback = model.byte_fallback;
  options.single_precision = true;
  float lowest = std::numeric_limits<float>::max();
  float highest = std::numeric_limits<float>::lowest();
  for (const auto& piece : model.pieces) {
    if (piece.type != Type::kNormal) continue;
    lowest = std::min(lowest, piece.score);
    highest = std::max(highest, piece.score);
  }
  std::vector<double> scores;
  scores.reserve(model.pieces.size());
  for (const auto& piece : model.pieces) {
    const bool user_defined = piece.type == Type::kUserDefined;  // gets a bonus for its length
    const float bonus = static_cast<float>(piece.text.size()) * highest;
    scores.push_back(user_defined ? static_cast<double>(bonus) - 0.1
                                  : static_cast<double>(piece.score));
    options.hidden.push_back(!is_matched(piece.type));
  }
  options.lowest_score = static_cast<double>(lowest);
  return std::make_unique<Unigram>(vocabulary_of(model, where), std::move(scores),
                                   std::move(options), where);
}

std::unique_ptr<Normalizer> make_rules(const SentencePieceModel& model, const Where& where) {
  SentencePieceRules rules;
  if (!model.charsmap.empty())
    rules.charsmap.emplace(model.charsmap, where.key("normalizer_spec.precompiled_charsmap"));
  for (const auto& piece : model.pieces) {
    if (piece.type == Type::kUserDefined) rules.user_defined.push_back(piece.text);
  }
  rules.add_dummy_prefix = model.add_dummy_prefix;
  rules.remove_extra_whitespaces = model.remove_extra_whitespaces;
  rules.escape_whitespaces = model.escape_whitespaces;
  rules.whitespace_is_suffix = model.whitespace_is_suffix;
  return sentencepiece_normalizer(std::move(rules));
}

}  // namespace

std::shared_ptr<Tokenizer::Impl> make_sentencepiece(const SentencePieceModel& model,
                                                    const Where& where,
                                                    const DeclaredTokens& declared) {
  TokenizerParts parts;
  parts.description = sentencepiece_json(model);
  parts.normalizer = make_rules(model, where);
  parts.model = model.unigram ? make_unigram(model, where) : make_bpe(model, where);
  // The contents of user-defined pieces are looked for as they are; Unigram finds them itself.
  Json& listed = parts.description["added_tokens"];
  const std::size_t pieces = listed.size();
  declared.add_to(listed, false);
  Json added = Json::array();
  for (std::size_t i = 0; i < listed.size(); ++i) {
    if (i >= pieces || listed[i].at("special") == true || !model.unigram)
      added.push_back(listed[i]);
  }
  parts.added = AddedTokens(added, where.key("pieces"), parts.model->vocabulary(), nullptr);
  number_tokens(parts.added, listed);
  auto impl = std::make_shared<Tokenizer::Impl>(std::move(parts), where);
  impl->bos = model.bos;
  impl->eos = model.eos;
  return impl;
}

}  // namespace lancet
