#pragma once
// Two vocabularies side by side: which token of a model a donor's token is, by the bytes that both
// spell ("Ġthe" and "▁the" are " the").

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "formats/model_source.h"
#include "formats/tokenizer/tokenizer.h"

namespace lancet {

/// The tokens of one model.
class TokenTable {
 public:
  struct Token {
    std::string piece;  ///< as stored; empty where the id has none
    std::string bytes;  ///< Tokenizer::spelling; empty for special tokens
    bool special = false;
    bool byte = false;  ///< "<0x0A>"
  };

  /// `label` names the model in messages. kInput or kMismatch as Tokenizer::open.
  TokenTable(const ModelSource& source, std::string label);
  TokenTable(const TokenTable&) = delete;
  TokenTable& operator=(const TokenTable&) = delete;

  [[nodiscard]] const std::string& label() const noexcept { return label_; }
  [[nodiscard]] const std::vector<Token>& tokens() const noexcept { return tokens_; }
  [[nodiscard]] const Tokenizer& tokenizer() const noexcept { return tokenizer_; }
  /// "bos_token", "eos_token", "pad_token", "unk_token" -> id, those that there are.
  [[nodiscard]] const std::map<std::string, TokenId>& roles() const noexcept { return roles_; }

  [[nodiscard]] std::optional<TokenId> find_piece(std::string_view piece) const;
  /// The ordinary token that spells this: a piece of text rather than a byte token.
  [[nodiscard]] std::optional<TokenId> find_bytes(std::string_view bytes) const;
  /// The longest ordinary token that `bytes` begins with; `proper`: not all of it.
  [[nodiscard]] std::optional<TokenId> longest_prefix(std::string_view bytes, bool proper) const;

  /// What its own tokenizer makes of a piece of text in the middle of a text; where it cannot
  /// (bytes that are not whole characters), the longest tokens in turn. Empty: nothing fits.
  [[nodiscard]] std::vector<TokenId> split(const std::string& bytes) const;

 private:
  std::string label_;
  Tokenizer tokenizer_;
  std::vector<Token> tokens_;
  std::map<std::string, TokenId> roles_;
  std::unordered_map<std::string_view, TokenId> by_bytes_;
  std::size_t longest_ = 0;

  void read_tokens();
  void read_roles(const ModelSource& source);
  [[nodiscard]] std::optional<std::vector<TokenId>> split_behind(const std::string& anchor,
                                                                 const std::string& bytes) const;
};

enum class TokenOrigin {
  kPadding,  ///< no token: a row that fills the table
  kShared,   ///< spells the same
  kSpecial,  ///< a special token of the same name, or of the same role
  kGiven,    ///< as the person said
  kMade      ///< new: its row is made of others
};
[[nodiscard]] std::string_view token_origin_name(TokenOrigin origin) noexcept;

struct TokenMatch {
  TokenOrigin origin = TokenOrigin::kPadding;
  TokenId row = -1;  ///< in the model; -1 for what is made
};

/// For every id of the donor. `given`: pieces of the donor -> pieces of the model; kUsage for one
/// that a side lacks. `bytes`: a donor's byte token may be the model's piece of that byte and the
/// other way round.
[[nodiscard]] std::vector<TokenMatch> match_tokens(const TokenTable& model, const TokenTable& donor,
                                                   const std::map<std::string, std::string>& given,
                                                   bool bytes);

}  // namespace lancet
