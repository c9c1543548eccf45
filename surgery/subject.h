#pragma once
// Where a subject ends in a tokenised prompt, and the rows that an editor optimises over (editing
// reference 1.0).

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "formats/tokenizer/tokenizer.h"
#include "surgery/requests.h"

namespace lancet {

/// A prompt up to any length, with the index of the subject's last token.
struct PromptRow {
  std::vector<TokenId> ids;
  std::int64_t lookup = 0;
};

/// The rows of one fact: every context around the prompt, followed by all target tokens but the
/// last; and the subject alone, where the KL term looks.
struct FactRows {
  std::vector<PromptRow> rewriting;  ///< row 0 = the bare prompt
  PromptRow subject_only;  ///< "{subject} is a" cut behind the subject: the rest has no influence
  std::vector<TokenId> target;
};

/// Tokens of `prompt` (one "{}") with `subject` filled in, inside `context` (one "{}"). kUsage when
/// the last character of the subject shares a token with what follows, or "{}" is missing.
[[nodiscard]] PromptRow locate_subject(const Tokenizer& tokenizer, std::string_view context,
                                       std::string_view prompt, std::string_view subject);

/// Tokens that `target` adds behind `prompt`: one blank is put before it unless it begins with one,
/// `prompt` ends in one, or its script has none.
[[nodiscard]] std::vector<TokenId> target_tokens(const Tokenizer& tokenizer,
                                                 std::string_view prompt, std::string_view target);
/// The text that stands between prompt and target: " " or "".
[[nodiscard]] std::string_view target_separator(std::string_view prompt, std::string_view target);

/// `contexts[0]` must be "{}".
[[nodiscard]] FactRows fact_rows(const Tokenizer& tokenizer, const Fact& fact,
                                 const std::vector<std::string>& contexts);

/// `text` with its first "{}" replaced.
[[nodiscard]] std::string fill_template(std::string_view text, std::string_view value);

}  // namespace lancet
