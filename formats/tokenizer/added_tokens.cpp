#include "formats/tokenizer/added_tokens.h"

#include <algorithm>
#include <unordered_set>

#include <fmt/format.h>

#include "core/log.h"
#include "core/text.h"
#include "formats/tokenizer/unicode.h"

namespace lancet {
namespace {

constexpr std::size_t kTokenLimit = 1U << 20U;
constexpr std::size_t kContentBytesLimit = 16U << 20U;

bool is_word_at(std::string_view text, std::size_t at) {
  return (char_classes()[decode_at(text.data(), at)] & kWord) != 0;
}

/// Does the match stand apart from word characters on both sides?
bool stands_alone(std::string_view text, std::size_t begin, std::size_t end) {
  const bool left = begin == 0 || !is_word_at(text, previous_start(text.data(), begin));
  const bool right = end == text.size() || !is_word_at(text, end);
  return left && right;
}

bool is_space_at(std::string_view text, std::size_t& at) {
  return (char_classes()[decode_at(text.data(), at)] & kSpace) != 0;
}

/// Start, not before `lowest`, of the white space that ends at `end`.
std::size_t spaces_begin(std::string_view text, std::size_t end, std::size_t lowest) {
  while (end > lowest) {
    const std::size_t last = previous_start(text.data(), end);
    std::size_t at = last;
    if (!is_space_at(text, at)) break;
    end = last;
  }
  return end;
}

std::size_t spaces_end(std::string_view text, std::size_t begin) {
  while (begin < text.size()) {
    std::size_t next = begin;
    if (!is_space_at(text, next)) break;
    begin = next;
  }
  return begin;
}

AddedToken read_token(const Json& item, const Where& where) {
  AddedToken token;
  const bool numbered = !item.is_object() || !item.contains("id") || !item.at("id").is_null();
  if (numbered) token.id = static_cast<TokenId>(where.integer(item, "id", 0, INT32_MAX));
  token.content = where.string(item, "content");
  token.single_word = where.boolean(item, "single_word", false);
  token.lstrip = where.boolean(item, "lstrip", false);
  token.rstrip = where.boolean(item, "rstrip", false);
  token.normalized = where.boolean(item, "normalized", false);
  token.special = where.boolean(item, "special", false);
  return token;
}

}  // namespace

AddedTokens::AddedTokens(const Json& list, const Where& where, const Vocabulary& vocabulary,
                         const Normalizer* normalizer) {
  if (list.is_null()) return;
  if (!list.is_array())
    where.fail_input(fmt::format("expected an array, found {}", list.type_name()));
  if (list.size() > kTokenLimit)
    where.fail_input(fmt::format("more than {} added tokens", kTokenLimit));
  read(list, where, vocabulary);
  normalize(normalizer);
  raw_ = make_matcher(false);
  normalized_ = make_matcher(true);
}

void AddedTokens::read(const Json& list, const Where& where, const Vocabulary& vocabulary) {
  tokens_.reserve(list.size());  // by_content_ views the contents: they must not move
  std::unordered_set<TokenId> declared;
  std::size_t bytes = 0;
  std::size_t mismatches = 0;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const Where here{where.source, fmt::format("{}[{}]", where.path, i), where.depth};
    AddedToken token = read_token(list[i], here);
    if (token.content.empty()) continue;
    if (by_content_.contains(token.content)) {
      here.fail_input(fmt::format("'{}' occurs twice", printable(token.content, 60)));
    }
    const bool numbered = token.id >= 0;
    if (numbered && !declared.insert(token.id).second)
      here.fail_input(fmt::format("the id {} occurs twice", token.id));
    bytes += token.content.size();
    if (bytes > kContentBytesLimit) here.fail_input("more than 16 MiB of added tokens");
    // The library numbers on from the number of pieces, not from the largest id.
    const auto next =
        std::max(static_cast<std::int64_t>(vocabulary.size()), std::int64_t{max_id_} + 1);
    if (next > INT32_MAX) here.fail_input("no id is left for the token");
    const TokenId id = vocabulary.find(token.content).value_or(static_cast<TokenId>(next));
    if (numbered && id != token.id && ++mismatches == 1) {
      log::warn(fmt::format("{}: the token '{}' has the id {}, not {}", printable(here.text(), 200),
                            printable(token.content, 60), id, token.id));
    }
    token.id = id;
    max_id_ = std::max(max_id_, id);
    tokens_.push_back(std::move(token));
    const auto index = static_cast<std::uint32_t>(tokens_.size() - 1);
    by_content_.emplace(tokens_.back().content, index);
    by_id_[id] = index;
  }
}

void AddedTokens::normalize(const Normalizer* normalizer) {
  std::unordered_set<std::string_view> special;
  TextArena arena;
  for (AddedToken& token : tokens_) {
    if (token.special) special.insert(token.content);
    Segment content{token.content};
    if (token.normalized && normalizer != nullptr) {
      arena.begin(token.content.size());
      content = normalizer->apply(content, arena);
    }
    token.decoded = content.text;
  }
  for (AddedToken& token : tokens_) token.skipped = special.contains(token.decoded);
}

AddedTokens::Matcher AddedTokens::make_matcher(bool normalized) const {
  Matcher matcher;
  std::vector<std::string> literals;
  for (std::uint32_t i = 0; i < tokens_.size(); ++i) {
    if (tokens_[i].normalized != normalized) continue;
    literals.push_back(tokens_[i].decoded);
    matcher.tokens.push_back(i);
  }
  matcher.literals = TokenMatcher(literals);
  return matcher;
}

// After rstrip a later match may begin inside the white space that was taken: the library cuts it
// out again, and so do we (the spans then overlap).
void AddedTokens::split(const Matcher& matcher, const Segment& segment,
                        FunctionRef<void(const Segment&)> text,
                        FunctionRef<void(const AddedToken&, ByteSpan)> token) const {
  if (matcher.literals.empty()) return text(segment);
  std::size_t done = 0;
  struct {
    std::size_t begin, end;
  } run{1, 0};  // white space seen last: no run is walked twice
  for (const TokenMatcher::Match& match : matcher.literals.find(segment.text)) {
    const AddedToken& found = tokens_[matcher.tokens[match.literal]];
    std::size_t begin = match.begin;
    std::size_t end = match.end;
    if (found.single_word && !stands_alone(segment.text, begin, end)) continue;
    if (found.lstrip) begin = std::max(spaces_begin(segment.text, begin, done), done);
    if (found.rstrip) {
      if (end < run.begin || end > run.end) run = {end, spaces_end(segment.text, end)};
      end = run.end;
    }
    if (begin >= end) continue;  // white space that the token before has taken whole
    if (done < begin) text(segment.slice(done, begin));
    token(found, segment.input_range(begin, end));
    done = end;
  }
  if (done < segment.text.size()) text(segment.slice(done, segment.text.size()));
}

const AddedToken* AddedTokens::find(TokenId id) const noexcept {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

const AddedToken* AddedTokens::find(std::string_view content) const noexcept {
  const auto found = by_content_.find(content);
  return found == by_content_.end() ? nullptr : &tokens_[found->second];
}

}  // namespace lancet
