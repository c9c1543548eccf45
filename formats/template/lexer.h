#pragma once
// Template text to tokens, with Jinja's white space control (trim_blocks and lstrip_blocks on).

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lancet::jinja {

enum class Token : std::uint8_t {
  kData,
  kVariableBegin,
  kVariableEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd
};

struct Lexeme {
  Token token = Token::kEnd;
  std::uint32_t line = 0;
  std::string text;  ///< data, name, operator, or a string with its escapes resolved
  std::int64_t integer = 0;
  double real = 0;
};

/// Throws kInput for what Jinja's lexer refuses and for integers beyond int64.
[[nodiscard]] std::vector<Lexeme> tokenize(std::string_view source);

}  // namespace lancet::jinja
