#pragma once
// A teacher as a judge: a rubric on a scale, asked at temperature 0, read strictly.

#include <optional>
#include <string>
#include <string_view>

#include "distill/turn.h"

namespace lancet {

/// The number after the last "score:" (any case; "Score: 4/5" too), else nothing. Not a number that
/// merely stands somewhere in the text.
[[nodiscard]] std::optional<double> read_score(std::string_view text);
/// "A" or "B" after the last "winner:", 'T' for "tie", else nothing.
[[nodiscard]] std::optional<char> read_winner(std::string_view text);

/// The question of a judge.
[[nodiscard]] Ask judge_ask(const std::string& prompt);

}  // namespace lancet
