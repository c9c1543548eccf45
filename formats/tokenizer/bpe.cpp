#include "formats/tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <queue>
#include <utility>

#include <fmt/format.h>

#include "core/text.h"
#include "formats/tokenizer/byte_alphabet.h"
#include "formats/tokenizer/model_json.h"
#include "formats/tokenizer/unicode.h"
#include "formats/tokenizer/word_cache.h"

namespace lancet {
namespace {

/// Up to here the minimum is looked for by a scan, which beats a heap.
constexpr std::size_t kShortSymbols = 48;

}  // namespace

class Bpe::BpeScratch : public Scratch {
 public:
  WordCache cache;
  std::vector<Piece> symbols;
};

/// Splits a word into its first symbols.
class Bpe::SymbolReader {
 public:
  SymbolReader(const Bpe& bpe, std::string_view word, std::vector<Piece>& symbols)
      : bpe_(bpe), word_(word), symbols_(symbols) {}

  void read() {
    symbols_.clear();
    if (bpe_.options_.raw_bytes) {
      read_bytes();
    } else {
      read_code_points();
    }
    flush_unknown();
  }

 private:
  void read_bytes() {
    for (std::uint32_t at = 0; at < word_.size(); ++at) {
      const auto byte = static_cast<std::uint8_t>(word_[at]);
      const TokenId id = bpe_.alphabet_ids_[byte];
      if (id >= 0) {
        add_known(id, at, at + 1);
      } else {
        add_unknown(byte_alphabet()[byte], at, at + 1);
      }
    }
  }

  void read_code_points() {
    const std::string& prefix = bpe_.options_.continuing_subword_prefix;
    const std::string& suffix = bpe_.options_.end_of_word_suffix;
    std::string decorated;
    for (std::size_t at = 0; at < word_.size();) {
      const std::size_t begin = at;
      static_cast<void>(decode_at(word_.data(), at));
      std::string_view symbol = word_.substr(begin, at - begin);
      if (!prefix.empty() || !suffix.empty()) {
        decorated = begin > 0 ? prefix : std::string();
        decorated += symbol;
        if (at == word_.size()) decorated += suffix;
        symbol = decorated;
      }
      const auto id = bpe_.vocabulary_.find(symbol);
      if (id) {
        add_known(*id, static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(at));
      } else {
        add_unknown(symbol, static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(at));
      }
    }
  }

  void add_known(TokenId id, std::uint32_t begin, std::uint32_t end) {
    flush_unknown();
    symbols_.push_back({id, begin, end});
  }

  /// The library emits a pending unknown after the bytes of a later fallback: so do we.
  void add_unknown(std::string_view symbol, std::uint32_t begin, std::uint32_t end) {
    if (bpe_.options_.byte_fallback && add_fallback(symbol, begin, end)) return;
    if (bpe_.options_.unk_token.empty()) return;
    if (!bpe_.unk_) {
      fail(ErrorKind::kInput, "tokenizer",
           fmt::format("the unk_token '{}' is not in the vocabulary, and the text needs it",
                       printable(bpe_.options_.unk_token, 60)));
    }
    if (unknown_ && bpe_.options_.fuse_unk) {
      unknown_->end = end;
      return;
    }
    flush_unknown();
    unknown_ = Piece{*bpe_.unk_, begin, end};
  }

  bool add_fallback(std::string_view symbol, std::uint32_t begin, std::uint32_t end) {
    const auto known = [&](char c) {
      return bpe_.fallback_ids_[static_cast<std::uint8_t>(c)] >= 0;
    };
    if (!std::all_of(symbol.begin(), symbol.end(), known)) return false;
    for (std::uint32_t i = 0; i < symbol.size(); ++i) {
      symbols_.push_back({bpe_.fallback_ids_[static_cast<std::uint8_t>(symbol[i])],
                          std::min(begin + i, end), std::min(begin + i + 1, end)});
    }
    return true;
  }

  void flush_unknown() {
    if (unknown_) symbols_.push_back(*unknown_);
    unknown_.reset();
  }

  const Bpe& bpe_;
  std::string_view word_;
  std::vector<Piece>& symbols_;
  std::optional<Piece> unknown_;
};

Bpe::Bpe(Vocabulary vocabulary, std::vector<Merge> merges, BpeOptions options,
         std::span<const std::uint32_t> ranks)
    : vocabulary_(std::move(vocabulary)),
      merges_(std::move(merges)),
      table_(merges_, ranks),
      options_(std::move(options)),
      unk_(vocabulary_.find(options_.unk_token)),
      fallback_ids_(find_byte_tokens(vocabulary_)) {
  for (unsigned byte = 0; byte < 256; ++byte) {
    alphabet_ids_[byte] = vocabulary_.find(byte_alphabet()[byte]).value_or(-1);
  }
  const bool decorated =
      !options_.continuing_subword_prefix.empty() || !options_.end_of_word_suffix.empty();
  if (options_.raw_bytes || options_.ignore_merges || decorated) return;
  ByteTokens bytes = fallback_ids_;
  std::sort(bytes.begin(), bytes.end());
  const auto is_byte = [&](TokenId id) {
    return std::binary_search(bytes.begin(), bytes.end(), id);
  };
  const bool merged_bytes = std::any_of(merges_.begin(), merges_.end(), [&](const Merge& merge) {
    return is_byte(merge.left) || is_byte(merge.right);
  });
  const bool lone_unknowns = options_.byte_fallback && bytes.front() >= 0 && !merged_bytes;
  adjacency_.emplace(vocabulary_, merges_, lone_unknowns);
}

std::unique_ptr<TokenModel::Scratch> Bpe::make_scratch() const {
  return std::make_unique<BpeScratch>();
}

void Bpe::encode(std::string_view word, Scratch& scratch, std::vector<Piece>& out) const {
  auto& own = static_cast<BpeScratch&>(scratch);
  if (word.size() <= WordCache::kWordBytes) return encode_cached(word, own, out);
  if (adjacency_) return encode_cut(word, own, out);
  encode_uncached(word, own, out);
}

void Bpe::encode_cached(std::string_view word, BpeScratch& scratch, std::vector<Piece>& out) const {
  if (scratch.cache.find(word, out)) return;
  const std::size_t before = out.size();
  encode_uncached(word, scratch, out);
  const auto pieces = std::span<const Piece>(out).subspan(before);
  if (!pieces.empty() && pieces.back().end == word.size()) scratch.cache.insert(word, pieces);
}

void Bpe::encode_cut(std::string_view word, BpeScratch& scratch, std::vector<Piece>& out) const {
  std::size_t begin = 0;
  std::size_t at = 0;
  char32_t last = decode_at(word.data(), at);
  while (begin < word.size()) {
    std::size_t end = at;
    while (at < word.size()) {
      const char32_t c = decode_at(word.data(), at);
      const bool joins = adjacency_->may_join(last, c);
      last = c;
      if (!joins) break;
      end = at;
    }
    const std::size_t before = out.size();
    const std::string_view part = word.substr(begin, end - begin);
    if (part.size() <= WordCache::kWordBytes) {
      encode_cached(part, scratch, out);
    } else {
      encode_uncached(part, scratch, out);
    }
    for (std::size_t i = before; i < out.size(); ++i) {
      out[i].begin += static_cast<std::uint32_t>(begin);
      out[i].end += static_cast<std::uint32_t>(begin);
    }
    begin = end;
  }
}

std::optional<TokenId> Bpe::whole_word(std::string_view word) const {
  if (!options_.raw_bytes) return vocabulary_.find(word);
  std::string spelled;
  for (const char c : word) spelled += byte_alphabet()[static_cast<std::uint8_t>(c)];
  return vocabulary_.find(spelled);
}

void Bpe::encode_uncached(std::string_view word, BpeScratch& scratch,
                          std::vector<Piece>& out) const {
  if (options_.ignore_merges) {
    if (const auto id = whole_word(word)) {
      out.push_back({*id, 0, static_cast<std::uint32_t>(word.size())});
      return;
    }
  }
  std::vector<Piece>& symbols = scratch.symbols;
  SymbolReader(*this, word, symbols).read();
  scratch.steps += word.size();
  scratch.steps += symbols.size() <= kShortSymbols ? merge_short(symbols) : merge_long(symbols);
  out.insert(out.end(), symbols.begin(), symbols.end());
}

std::uint64_t Bpe::merge_short(std::vector<Piece>& symbols) const {
  std::uint64_t steps = 0;
  std::array<const MergeTable::Slot*, kShortSymbols> next;  // of the pair (i, i + 1)
  std::size_t count = symbols.size();
  for (std::size_t i = 0; i + 1 < count; ++i)
    next[i] = &table_.find(symbols[i].id, symbols[i + 1].id);
  while (count > 1) {
    steps += count;
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < count; ++i) {
      if (next[i]->rank < next[best]->rank) best = i;
    }
    if (next[best]->rank == MergeTable::kNoRank) break;
    symbols[best].id = next[best]->result;
    symbols[best].end = symbols[best + 1].end;
    --count;
    for (std::size_t i = best + 1; i < count; ++i) {
      symbols[i] = symbols[i + 1];
      next[i - 1] = next[i];
    }
    if (best > 0) next[best - 1] = &table_.find(symbols[best - 1].id, symbols[best].id);
    if (best + 1 < count) next[best] = &table_.find(symbols[best].id, symbols[best + 1].id);
  }
  symbols.resize(count);
  return steps;
}

namespace {

/// A merge that was possible when it was queued.
struct Candidate {
  std::uint32_t rank;
  std::uint32_t left;  ///< index of the left symbol
  TokenId result;

  bool operator>(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : left > other.left;
  }
};

constexpr std::uint32_t kEnd = UINT32_MAX;

/// Neighbours of a symbol in the shrinking word; a merged-away symbol has next == itself.
struct Link {
  std::uint32_t previous;
  std::uint32_t next;
};

}  // namespace

std::uint64_t Bpe::merge_long(std::vector<Piece>& symbols) const {
  std::uint64_t steps = 0;
  const auto count = static_cast<std::uint32_t>(symbols.size());
  std::vector<Link> links(count);
  std::vector<Candidate> first;
  const auto propose = [&](std::uint32_t left, auto&& push) {
    const std::uint32_t right = links[left].next;
    if (right == kEnd) return;
    const MergeTable::Slot& merge = table_.find(symbols[left].id, symbols[right].id);
    if (merge.rank != MergeTable::kNoRank) push(Candidate{merge.rank, left, merge.result});
  };
  for (std::uint32_t i = 0; i < count; ++i)
    links[i] = {i == 0 ? kEnd : i - 1, i + 1 == count ? kEnd : i + 1};
  for (std::uint32_t i = 0; i < count; ++i) propose(i, [&](Candidate c) { first.push_back(c); });
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue(std::greater<>(),
                                                                               std::move(first));
  const auto push = [&](Candidate c) { queue.push(c); };
  while (!queue.empty()) {
    steps += static_cast<std::uint64_t>(std::bit_width(queue.size()));
    const Candidate top = queue.top();
    queue.pop();
    const std::uint32_t left = top.left;
    const std::uint32_t right = links[left].next;
    if (right == left || right == kEnd) continue;
    const MergeTable::Slot& merge = table_.find(symbols[left].id, symbols[right].id);
    if (merge.rank == MergeTable::kNoRank || merge.result != top.result) continue;
    symbols[left].id = merge.result;
    symbols[left].end = symbols[right].end;
    links[left].next = links[right].next;
    if (links[left].next != kEnd) links[links[left].next].previous = left;
    links[right].next = right;
    if (links[left].previous != kEnd) propose(links[left].previous, push);
    propose(left, push);
  }
  std::uint32_t kept = 0;
  for (std::uint32_t i = 0; i != kEnd; i = links[i].next) symbols[kept++] = symbols[i];
  symbols.resize(kept);
  return steps;
}

void Bpe::save(Json& model) const {
  model["vocab"] = vocabulary_json(vocabulary_);
  Json merges = Json::array();
  auto& list = merges.get_ref<Json::array_t&>();
  list.reserve(merges_.size());
  for (const Merge& merge : merges_) {
    Json::array_t pair;
    pair.reserve(2);
    pair.emplace_back(std::string(vocabulary_.piece(merge.left).value_or("")));
    pair.emplace_back(std::string(vocabulary_.piece(merge.right).value_or("")));
    list.emplace_back(std::move(pair));
  }
  model["merges"] = std::move(merges);
}

}  // namespace lancet
