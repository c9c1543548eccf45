#pragma once
// Questions whose answers follow from an edit or stay, by two conventions side by side (editing
// reference 2.3 to 2.5):
//   free            greedy text up to a natural stop (end of text, line break, or kFreeTokens): it
//                   holds each answer, in one of its forms, as words of its own, whatever stands
//                   around it; of what must stay, the first three words
//   teacher-forced  share of an answer's tokens that are the arg max when the tokens before it are
//                   given, of its forms the best, of several answers the worst; of what must stay,
//                   share of the answer's places where the arg max is that of the base
// The second one is kinder: it puts the model back on the right track after every token and ends
// where the answer ends, so it never sees what the model would have said by itself.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "formats/tokenizer/tokenizer.h"
#include "model/decoder.h"
#include "surgery/requests.h"

namespace lancet {

inline constexpr std::int64_t kFreeTokens = 24;

/// Greedy texts up to the natural stop.
[[nodiscard]] std::vector<std::string> free_texts(const Decoder& model, const Tokenizer& tokenizer,
                                                  const std::vector<std::string>& prompts);
/// Whether `answer` stands in `text` between word borders, letters compared without case (ASCII).
[[nodiscard]] bool holds_answer(std::string_view text, std::string_view answer);
/// Whether `text` is `answer` and nothing else, but for full stops that end either.
[[nodiscard]] bool is_answer(std::string_view text, std::string_view answer);

/// {group: {tests, free, teacher_forced}}: tests are sets of checks (of one fact); a check that
/// keeps passes where the first words stay what `base` says, and is left out without a base;
/// conditions are asked of `base`, and a set whose conditions do not hold there is left out.
/// `teacher_forced` is the mean over the tests with answers, null in groups without any.
[[nodiscard]] Json run_checks(const Decoder& model, const Decoder* base, const Tokenizer& tokenizer,
                              const std::vector<Fact>& facts);

}  // namespace lancet
