#pragma once
// A prompt as `locate` reads it: tokens, where the subject lies, which tokens answer it.

#include <cstdint>
#include <string>
#include <vector>

#include "core/json.h"
#include "formats/tokenizer/tokenizer.h"
#include "model/decoder.h"
#include "surgery/requests.h"

namespace lancet {

struct LocatePrompt {
  std::string id, text, subject;
  std::vector<TokenId> ids;                            ///< of the prompt
  std::vector<std::string> tokens;                     ///< their texts
  std::int64_t subject_first = -1, subject_last = -1;  ///< -1 = no subject
  std::size_t subject_begin = 0;                       ///< byte of `text` at which it begins
  std::string target_text;
  std::vector<TokenId> target;  ///< at least one token

  [[nodiscard]] std::int64_t size() const { return static_cast<std::int64_t>(ids.size()); }
  /// The prompt and all target tokens but the last: what the model reads. int64 [tokens].
  [[nodiscard]] at::Tensor input() const;
  /// Position of `input` whose next token is the first of the target.
  [[nodiscard]] std::int64_t answer_position() const { return size() - 1; }
};

/// kUsage when `fact.prompt` neither has "{}" nor holds the subject exactly once, when a token
/// reaches over a border of the subject, or when there is no token. Without a target it is left
/// empty (see answer_of). A subject is required unless `subject_needed` is false.
[[nodiscard]] LocatePrompt read_prompt(const Tokenizer& tokenizer, const Fact& fact,
                                       bool subject_needed);

/// The model's own next token after the prompt.
[[nodiscard]] TokenId next_token(const Decoder& model, const LocatePrompt& prompt);
/// Takes the model's own next token as the target of a prompt that has none.
void answer_by_model(const Decoder& model, const Tokenizer& tokenizer, LocatePrompt& prompt);

/// Places of the paper's averages (Meng et al. 2022, figure 3). A subject of one token is both
/// first and last.
enum class TokenRole { kFirstSubject, kMiddleSubject, kLastSubject, kNext, kFurther, kLast };
inline constexpr const char* kRoleNames[] = {"first subject", "middle subject", "last subject",
                                             "first after",   "further",        "last token"};
/// Tokens of a role, ascending; empty where the prompt has none.
[[nodiscard]] std::vector<std::int64_t> role_tokens(const LocatePrompt& prompt, TokenRole role);

/// {id, prompt, subject, target, tokens, subject_tokens, subject_bytes [first, behind)}.
[[nodiscard]] Json prompt_json(const LocatePrompt& prompt);

}  // namespace lancet
