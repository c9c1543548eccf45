#include "merge/graft_tokens.h"

#include <algorithm>
#include <string>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "merge/token_ids.h"

namespace lancet {
namespace {

constexpr std::int64_t kMostTokens = 8 << 20;  ///< what no vocabulary comes near

/// "<0x0A>".
bool is_byte_piece(std::string_view piece) {
  return piece.size() == 6 && piece.starts_with("<0x") && piece.ends_with('>');
}

}  // namespace

TokenTable::TokenTable(const ModelSource& source, std::string label)
    : label_(std::move(label)), tokenizer_(Tokenizer::open(source)) {
  read_tokens();
  read_roles(source);
}

void TokenTable::read_tokens() {
  if (tokenizer_.vocab_size() > kMostTokens) {
    fail(ErrorKind::kInput, "graft-tokens",
         fmt::format("'{}': expected at most {} tokens, found the id {}", printable(label_, 200),
                     kMostTokens, tokenizer_.vocab_size() - 1));
  }
  tokens_.resize(static_cast<std::size_t>(tokenizer_.vocab_size()));
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    const auto id = static_cast<TokenId>(i);
    auto bytes = tokenizer_.spelling(id);
    if (!bytes) continue;
    Token& token = tokens_[i];
    token.piece = tokenizer_.token(id);
    token.special = tokenizer_.is_special(id);
    token.byte = is_byte_piece(token.piece) && bytes->size() == 1;
    if (!token.special) token.bytes = std::move(*bytes);
  }
  for (const bool byte : {false, true}) {  // pieces of text first
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      const Token& token = tokens_[i];
      if (token.bytes.empty() || token.byte != byte) continue;
      by_bytes_.emplace(token.bytes, static_cast<TokenId>(i));
      longest_ = std::max(longest_, token.bytes.size());
    }
  }
}

void TokenTable::read_roles(const ModelSource& source) {
  const auto roles = token_roles(source.side_files(), label_, [&](const std::string& content) {
    const auto id = find_piece(content);
    return id ? std::optional<std::int64_t>(*id) : std::nullopt;
  });
  for (const auto& [role, id] : roles) roles_.emplace(role, static_cast<TokenId>(id));
}

std::optional<TokenId> TokenTable::find_piece(std::string_view piece) const {
  return tokenizer_.id(piece);
}

std::optional<TokenId> TokenTable::find_bytes(std::string_view bytes) const {
  const auto found = by_bytes_.find(bytes);
  return found == by_bytes_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<TokenId> TokenTable::longest_prefix(std::string_view bytes, bool proper) const {
  const std::size_t most = bytes.size() - (proper && !bytes.empty() ? 1 : 0);
  for (std::size_t size = std::min(most, longest_); size > 0; --size) {
    if (const auto found = find_bytes(bytes.substr(0, size))) return found;
  }
  return std::nullopt;
}

/// The tokens behind `anchor`; nothing where one reaches across.
std::optional<std::vector<TokenId>> TokenTable::split_behind(const std::string& anchor,
                                                             const std::string& bytes) const {
  const Encoding encoding = tokenizer_.encode(anchor + bytes, false);
  std::vector<TokenId> out;
  std::size_t at = anchor.size();
  for (std::size_t i = 0; i < encoding.ids.size(); ++i) {
    const auto [begin, end] = encoding.offsets[i];
    if (end <= anchor.size() && out.empty()) continue;
    // Byte tokens of one character share its range.
    if (begin < anchor.size() || begin > at) return std::nullopt;
    at = std::max<std::size_t>(at, end);
    out.push_back(encoding.ids[i]);
  }
  return out.empty() || at != anchor.size() + bytes.size() ? std::nullopt : std::optional(out);
}

std::vector<TokenId> TokenTable::split(const std::string& bytes) const {
  if (!find_invalid_utf8(bytes)) {
    for (const char* anchor : {"\n", "a", "."}) {
      if (auto out = split_behind(anchor, bytes)) return *out;
    }
  }
  std::vector<TokenId> out;
  for (std::string_view rest = bytes; !rest.empty();) {
    const auto next = longest_prefix(rest, false);
    if (!next) return {};
    out.push_back(*next);
    rest.remove_prefix(tokens_[static_cast<std::size_t>(*next)].bytes.size());
  }
  return out;
}

std::string_view token_origin_name(TokenOrigin origin) noexcept {
  switch (origin) {
    case TokenOrigin::kPadding:
      return "padding";
    case TokenOrigin::kShared:
      return "shared";
    case TokenOrigin::kSpecial:
      return "special";
    case TokenOrigin::kGiven:
      return "given";
    case TokenOrigin::kMade:
      return "made";
  }
  return "";
}

namespace {

TokenId find_given(const TokenTable& table, const std::string& piece) {
  if (const auto id = table.find_piece(piece)) return *id;
  fail(ErrorKind::kUsage, "graft-tokens",
       fmt::format("expected the token '{}' in '{}', which has none of this name", printable(piece),
                   printable(table.label(), 200)),
       "--map DONOR=MODEL takes tokens as they are stored: `lancet tokenize` shows them");
}

/// A special token: the one of its name, else the one with its role.
TokenMatch match_special(const TokenTable& model, const TokenTable& donor, TokenId id) {
  if (const auto same = model.find_piece(donor.tokens()[static_cast<std::size_t>(id)].piece)) {
    return {TokenOrigin::kSpecial, *same};
  }
  for (const auto& [role, holder] : donor.roles()) {
    const auto other = model.roles().find(role);
    if (holder == id && other != model.roles().end()) return {TokenOrigin::kSpecial, other->second};
  }
  return {TokenOrigin::kMade, -1};
}

TokenMatch match_ordinary(const TokenTable& model, const TokenTable::Token& token, bool bytes) {
  if (token.bytes.empty()) return {TokenOrigin::kMade, -1};
  const auto spells = [&](TokenId id) {
    const TokenTable::Token& other = model.tokens()[static_cast<std::size_t>(id)];
    return other.bytes == token.bytes && (bytes || other.byte == token.byte);
  };
  if (const auto same = model.find_piece(token.piece); same && spells(*same))
    return {TokenOrigin::kShared, *same};
  if (const auto same = model.find_bytes(token.bytes); same && spells(*same))
    return {TokenOrigin::kShared, *same};
  return {TokenOrigin::kMade, -1};
}

}  // namespace

std::vector<TokenMatch> match_tokens(const TokenTable& model, const TokenTable& donor,
                                     const std::map<std::string, std::string>& given, bool bytes) {
  std::map<TokenId, TokenId> said;
  for (const auto& [from, to] : given) said[find_given(donor, from)] = find_given(model, to);
  std::vector<TokenMatch> out;
  for (std::size_t i = 0; i < donor.tokens().size(); ++i) {
    const TokenTable::Token& token = donor.tokens()[i];
    const auto id = static_cast<TokenId>(i);
    if (const auto rule = said.find(id); rule != said.end()) {
      out.push_back({TokenOrigin::kGiven, rule->second});
    } else if (token.piece.empty()) {
      out.push_back({});
    } else {
      out.push_back(token.special ? match_special(model, donor, id)
                                  : match_ordinary(model, token, bytes));
    }
  }
  return out;
}

}  // namespace lancet
