#include "formats/tokenizer/unigram.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "core/text.h"
#include "formats/tokenizer/unicode.h"
#include "formats/tokenizer/word_cache.h"

namespace lancet {
namespace {

/// The doubles nearest to 10^0 ... 10^308.
const std::array<double, 309>& powers_of_ten() {
  static const auto table = [] {
    std::array<double, 309> out{};
    for (std::size_t i = 0; i < out.size(); ++i) {
      const std::string text = fmt::format("1e{}", i);
      std::from_chars(text.data(), text.data() + text.size(), out[i]);
    }
    return out;
  }();
  return table;
}

constexpr double kUnknownPenalty = 10.0;  // below the lowest score of a piece

/// The shortest text of a number, read as serde_json reads it: its digits as an integer, times or
/// by a power of ten, each rounded.
double as_serde_reads(double value) {
  std::array<char, 32> text{};
  const auto [end, failed] = std::to_chars(text.data(), text.data() + text.size(), std::fabs(value),
                                           std::chars_format::scientific);
  const char* at = text.data();
  std::uint64_t digits = 0;
  int exponent = 0;
  for (bool behind_point = false; *at != 'e'; ++at) {
    if (*at == '.') {
      behind_point = true;
      continue;
    }
    digits = digits * 10 + static_cast<std::uint64_t>(*at - '0');
    exponent -= behind_point ? 1 : 0;
  }
  int written = 0;
  std::from_chars(at + (at[1] == '+' ? 2 : 1), end, written);
  exponent += written;
  auto out = static_cast<double>(digits);
  for (; exponent < -308; exponent += 308) out /= 1e308;
  const double power = powers_of_ten()[static_cast<std::size_t>(std::abs(exponent))];
  out = exponent < 0 ? out / power : out * power;
  return std::signbit(value) ? -out : out;
}

}  // namespace

/// The best way to cut the word up to a byte: its score, and its last piece.
struct Unigram::Node {
  double score = 0;
  std::uint32_t begin = UINT32_MAX;  ///< of the last piece; UINT32_MAX: not reached
  TokenId id = -1;
};

class Unigram::UnigramScratch : public Scratch {
 public:
  WordCache cache;
  std::vector<Node> best;
  std::vector<Piece> path;
};

Unigram::Unigram(Vocabulary vocabulary, std::vector<double> scores, Options options,
                 const Where& where)
    : vocabulary_(std::move(vocabulary)),
      scores_(std::move(scores)),
      options_(std::move(options)),
      trie_(vocabulary_, "", options_.hidden, where.key("vocab")),
      byte_tokens_(find_byte_tokens(vocabulary_)) {
  weights_ = scores_;
  if (options_.as_library) std::ranges::transform(weights_, weights_.begin(), as_serde_reads);
  const auto lowest = std::ranges::min_element(weights_);
  unknown_score_ =
      options_.lowest_score.value_or(lowest == weights_.end() ? 0.0 : *lowest) - kUnknownPenalty;
}

std::unique_ptr<Unigram> Unigram::from_json(const Json& model, const Where& where) {
  const Json::array_t& list = where.array(model, "vocab");
  const Where here = where.key("vocab");
  Vocabulary vocabulary;
  std::vector<double> scores;
  scores.reserve(list.size());
  for (const Json& entry : list) {
    const bool valid = entry.is_array() && entry.size() == 2 && entry[0].is_string() &&
                       entry[1].is_number() && std::isfinite(entry[1].get<double>());
    if (!valid) {
      here.fail_input(fmt::format("[{}]: expected [piece, score], found {}", scores.size(),
                                  printable(dump_json(entry), 80)));
    }
    vocabulary.add(entry[0].get_ref<const std::string&>(), static_cast<TokenId>(scores.size()),
                   here);
    scores.push_back(entry[1].get<double>());
  }
  vocabulary.build(here);
  Options options;
  options.as_library = true;
  options.byte_fallback = where.boolean(model, "byte_fallback", false);
  const auto unk = model.find("unk_id");
  if (unk != model.end() && !unk->is_null()) {
    const auto last = static_cast<std::int64_t>(scores.size()) - 1;
    options.unk = static_cast<TokenId>(where.integer(model, "unk_id", 0, last));
  }
  return std::make_unique<Unigram>(std::move(vocabulary), std::move(scores), std::move(options),
                                   where);
}

std::unique_ptr<TokenModel::Scratch> Unigram::make_scratch() const {
  return std::make_unique<UnigramScratch>();
}

std::uint64_t Unigram::find_best_path(std::string_view word, std::vector<Node>& best) const {
  std::uint64_t steps = 0;
  best.assign(word.size() + 1, Node{});
  const auto offer = [&](std::size_t begin, std::size_t end, TokenId id, double score) {
    Node& node = best[end];
    if (node.begin != UINT32_MAX && score <= node.score) return;
    const double kept =
        options_.single_precision ? static_cast<double>(static_cast<float>(score)) : score;
    node = {kept, static_cast<std::uint32_t>(begin), id};
  };
  for (std::size_t begin = 0; begin < word.size();) {
    const double before = best[begin].score;
    std::size_t next = begin;
    static_cast<void>(decode_at(word.data(), next));
    bool has_character = false;
    steps += trie_.prefixes(word.substr(begin), [&](std::size_t length, TokenId id) {
      offer(begin, begin + length, id, weights_[static_cast<std::size_t>(id)] + before);
      has_character = has_character || begin + length == next;
    });
    if (!has_character) {
      if (!options_.unk) {
        fail(ErrorKind::kInput, "tokenizer",
             fmt::format("'{}' has no token, and the model no unk_id",
                         printable(word.substr(begin, next - begin))));
      }
      offer(begin, next, *options_.unk, unknown_score_ + before);
    }
    begin = next;
  }
  return steps;
}

void Unigram::add_unknown(std::string_view word, std::uint32_t begin, std::uint32_t end,
                          std::vector<Piece>& out) const {
  const std::string_view text = word.substr(begin, end - begin);
  const auto id = vocabulary_.find(text);
  if (id && options_.hidden.empty()) {  // characters without a piece may make one together
    out.push_back({*id, begin, end});
    return;
  }
  const auto known = [&](char c) { return byte_tokens_[static_cast<std::uint8_t>(c)] >= 0; };
  if (!options_.byte_fallback || !std::all_of(text.begin(), text.end(), known)) {
    out.push_back({*options_.unk, begin, end});
    return;
  }
  for (std::uint32_t at = begin; at < end; ++at)
    out.push_back({byte_tokens_[static_cast<std::uint8_t>(word[at])], at, at + 1});
}

void Unigram::encode(std::string_view word, Scratch& scratch, std::vector<Piece>& out) const {
  auto& own = static_cast<UnigramScratch&>(scratch);
  const bool cached = word.size() <= WordCache::kWordBytes;
  if (cached && own.cache.find(word, out)) return;
  const std::size_t before = out.size();
  own.steps += find_best_path(word, own.best);
  own.path.clear();  // from the last piece to the first
  for (auto end = static_cast<std::uint32_t>(word.size()); end > 0; end = own.path.back().begin)
    own.path.push_back({own.best[end].id, own.best[end].begin, end});
  for (auto piece = own.path.rbegin(); piece != own.path.rend(); ++piece) {
    if (piece->id != options_.unk) {
      out.push_back(*piece);
      continue;
    }
    const std::uint32_t begin = piece->begin;
    while (piece + 1 != own.path.rend() && (piece + 1)->id == options_.unk) ++piece;
    add_unknown(word, begin, piece->end, out);
  }
  if (cached) own.cache.insert(word, std::span<const Piece>(out).subspan(before));
}

void Unigram::save(Json& model) const {
  Json vocab = Json::array();
  auto& list = vocab.get_ref<Json::array_t&>();
  list.reserve(scores_.size());
  for (std::size_t id = 0; id < scores_.size(); ++id) {
    Json::array_t entry;
    entry.reserve(2);
    entry.emplace_back(std::string(vocabulary_.piece(static_cast<TokenId>(id)).value_or("")));
    entry.emplace_back(scores_[id]);
    list.emplace_back(std::move(entry));
  }
  model["vocab"] = std::move(vocab);
}

}  // namespace lancet
