#pragma once
// What to do after a response that is no answer, and how long to wait first.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/error.h"
#include "distill/teacher/http.h"

namespace lancet {

enum class ResponseVerdict {
  kAnswer,    ///< read it
  kOverload,  ///< 429, 503: slow down and ask again
  kRetry,     ///< ask again
  kReject,    ///< 400, 413, 422: this request is wrong and stays so
  kFatal      ///< 401, 403, 404, a redirect elsewhere, TLS: every request would end so
};

/// By failure and status (408, 409, 425, 429 and 5xx are retried).
[[nodiscard]] ResponseVerdict judge_response(const HttpResponse& response) noexcept;
[[nodiscard]] ResponseVerdict judge_status(long status) noexcept;
/// Whether the request may have cost something though no answer came.
[[nodiscard]] bool may_have_cost(const HttpResponse& response) noexcept;

/// Why the run ends with a kFatal response of `url`; `what` is what the response says.
struct FatalResponse {
  ErrorKind kind;
  std::string message;
  const char* hint;
};
[[nodiscard]] FatalResponse explain_fatal(const std::string& url, const HttpResponse& response,
                                          const std::string& what);

/// Seconds that the server asks to wait: Retry-After in seconds or as an HTTP date (against the
/// response's own Date, else `unix_now`), else the reset time of a rate limit that is used up
/// ("1s", "6m0s", "120ms", or plain seconds). Nothing when it does not say.
[[nodiscard]] std::optional<double> server_wait(const HttpResponse& response,
                                                std::int64_t unix_now);

/// "6m0s" -> 360; nothing for what is no duration.
[[nodiscard]] std::optional<double> parse_duration(std::string_view text);
/// RFC 9110 dates (IMF-fixdate, RFC 850, asctime) as unix time.
[[nodiscard]] std::optional<std::int64_t> parse_http_date(const std::string& text);

/// Exponential backoff with full jitter: uniform in [0, min(most, first 2^attempt)), `unit` in
/// [0, 1) is the draw.
[[nodiscard]] double backoff(std::uint32_t attempt, double unit, double first = 0.5,
                             double most = 60) noexcept;

}  // namespace lancet
