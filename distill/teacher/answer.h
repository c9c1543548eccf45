#pragma once
// What a teacher answered, the same for every server, route and transport; and its form in the
// journal.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace lancet {

/// Only kOk is data. The rest is typed, so that no error text ever passes for an answer.
enum class Ending {
  kOk,
  kLength,         ///< cut at max_tokens
  kContentFilter,  ///< the server's filter cut it
  kRefusal,        ///< the model refused (OpenAI's `refusal`)
  kEmpty,          ///< nothing was said
  kRejected,       ///< 400, 413 or 422: this request will never be answered
  kUnreachable     ///< every attempt failed; not kept in the journal, asked again by the next run
};
/// "ok", "length", "content_filter", ...
[[nodiscard]] std::string_view ending_name(Ending ending) noexcept;
/// Throws kInput for a name that is none.
[[nodiscard]] Ending parse_ending(std::string_view name);

struct TeacherUsage {
  std::uint64_t prompt = 0, cached = 0, completion = 0;  ///< tokens; cached is a part of prompt
  bool estimated = false;  ///< the server said nothing, or nothing credible
};

/// One position's log probabilities (natural logarithm).
struct TeacherToken {
  std::string bytes;     ///< raw bytes where the server gives them, else its text
  std::int64_t id = -1;  ///< -1: the server did not say
  double logprob = 0;    ///< NaN where there is none (first position of a scored prompt)
  struct Alternative {
    std::string bytes;
    std::int64_t id = -1;
    double logprob = 0;
  };
  std::vector<Alternative> top;  ///< descending
};

struct TeacherAnswer {
  Ending ending = Ending::kOk;
  std::string text;
  std::string reasoning;    ///< what the server gave apart as reasoning
  Json tool_calls;          ///< null or an array
  std::string finish;       ///< finish_reason as the server wrote it
  std::string model;        ///< model as the server names it
  std::string fingerprint;  ///< system_fingerprint
  std::string message;      ///< of a failure
  TeacherUsage usage;
  std::vector<std::int64_t> ids;            ///< token ids of the text, where offered
  std::vector<TeacherToken> tokens;         ///< of the text
  std::vector<TeacherToken> prompt_tokens;  ///< of the prompt (echo or prompt_logprobs)
};

[[nodiscard]] Json answer_json(const TeacherAnswer& answer);
/// Only the usage of answer_json's document.
[[nodiscard]] TeacherUsage answer_usage(const Json& json);
/// Throws kInput on what answer_json does not write.
[[nodiscard]] TeacherAnswer answer_from_json(const Json& json);

/// Log probabilities in columns: {"tokens": n, "top": k, "ids", "logprobs", "top_ids",
/// "top_logprobs"} as base64 of little-endian int32 and float32 of shapes [n] and [n, k] (unused
/// places: id -1, -inf), and where the server gave no ids "texts" and "top_texts" (a string, or an
/// array of byte values where it is not UTF-8).
[[nodiscard]] Json logprobs_json(const std::vector<TeacherToken>& tokens);
[[nodiscard]] std::vector<TeacherToken> logprobs_from_json(const Json& json);
/// What no teacher can have meant, in words: a log probability above 0, probabilities of one token
/// that sum to more than 1 (but for rounding), NaN among the best, ids or numbers of tokens that
/// logprobs_json cannot hold. Nothing where all is well.
[[nodiscard]] std::optional<std::string> logprobs_problem(const std::vector<TeacherToken>& tokens);

}  // namespace lancet
