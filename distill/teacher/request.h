#pragma once
// What is asked of a teacher: the body of one OpenAI-style request, and the key that names it in
// the journal.

#include <cstdint>
#include <string>
#include <string_view>

#include "core/json.h"

namespace lancet {

enum class Route {
  kChat,
  kCompletions,
  kExecute  ///< a program for the sandbox (distill/executions.h); never sent
};

/// "/chat/completions" or "/completions", appended to the endpoint's base URL (".../v1").
[[nodiscard]] std::string_view route_path(Route route) noexcept;

struct TeacherRequest {
  Route route = Route::kChat;
  Json body;  ///< without `model`, `stream` and `stream_options`: they do not change the answer
  std::uint32_t sample = 0;  ///< tells repeated draws of one body apart
};

/// Keys sorted by bytes, no blanks, shortest digits: equal values give equal text.
[[nodiscard]] std::string canonical_json(const Json& value);

/// SHA-256 over (model, route, canonical body, sample): 64 hex digits.
[[nodiscard]] std::string request_key(std::string_view model, const TeacherRequest& request);
/// The same, where the canonical body is there already.
[[nodiscard]] std::string request_key(std::string_view model, const TeacherRequest& request,
                                      std::string_view canonical_body);

/// What is sent: the canonical body (an object) with model and stream put in.
[[nodiscard]] std::string wire_body(std::string_view model, std::string_view canonical_body,
                                    bool stream);

/// Tokens a request can cost at most: its prompt has no more tokens than bytes (plus what a chat
/// template adds), its answer no more than `max_tokens`.
struct TokenBound {
  std::uint64_t prompt = 0;
  std::uint64_t completion = 0;
  [[nodiscard]] std::uint64_t total() const noexcept { return prompt + completion; }
};
[[nodiscard]] TokenBound token_bound(const TeacherRequest& request);

/// About how many tokens a text has, where a server does not say: four bytes each.
[[nodiscard]] std::uint64_t estimate_tokens(std::string_view text) noexcept;
/// The same for the prompt of a body.
[[nodiscard]] std::uint64_t estimate_prompt_tokens(const TeacherRequest& request);

}  // namespace lancet
