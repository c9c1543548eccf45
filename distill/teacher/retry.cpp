#include "distill/teacher/retry.h"

#include <curl/curl.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include "core/text.h"

namespace lancet {
namespace {

using Failure = HttpResponse::Failure;

std::optional<double> number_at(std::string_view& text) {
  double value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || !std::isfinite(value) || value < 0) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(stop - text.data()));
  return value;
}

std::optional<double> unit_at(std::string_view& text) {
  constexpr std::pair<std::string_view, double> kUnits[] = {
      {"ms", 1e-3}, {"us", 1e-6}, {"d", 86400}, {"h", 3600}, {"m", 60}, {"s", 1}};
  for (const auto& [name, seconds] : kUnits) {
    if (!text.starts_with(name)) continue;
    text.remove_prefix(name.size());
    return seconds;
  }
  return std::nullopt;
}

bool is_used_up(const std::string& remaining) { return remaining == "0"; }

}  // namespace

ResponseVerdict judge_status(long status) noexcept {
  if (status >= 200 && status < 300) return ResponseVerdict::kAnswer;
  if (status == 429 || status == 503) return ResponseVerdict::kOverload;
  if (status == 408 || status == 409 || status == 425 || status >= 500)
    return ResponseVerdict::kRetry;
  if (status == 400 || status == 413 || status == 422) return ResponseVerdict::kReject;
  return ResponseVerdict::kFatal;
}

ResponseVerdict judge_response(const HttpResponse& response) noexcept {
  switch (response.failure) {
    case Failure::kNone:
      return judge_status(response.status);
    case Failure::kTls:
      return ResponseVerdict::kFatal;
    case Failure::kTimeout:
      return ResponseVerdict::kOverload;
    default:
      return ResponseVerdict::kRetry;
  }
}

bool may_have_cost(const HttpResponse& response) noexcept {
  if (response.failure == Failure::kConnect || response.failure == Failure::kTls) return false;
  return response.failure != Failure::kNone || (response.status >= 200 && response.status < 300);
}

FatalResponse explain_fatal(const std::string& url, const HttpResponse& response,
                            const std::string& what) {
  if (response.status >= 300 && response.status < 400)
    return {ErrorKind::kInput,
            fmt::format("{} redirects to '{}'", url, printable(response.location)),
            "redirects are not followed: give the URL that answers itself"};
  const std::string message = fmt::format("{}: {}", url, what);
  if (response.failure == Failure::kTls)
    return {ErrorKind::kResource, message,
            "teacher.ca_file names a certificate authority of your own"};
  if (response.status == 404)
    return {ErrorKind::kUsage, message,
            "is the URL's path right (it mostly ends in /v1), and the model's name one that GET "
            "/models tells?"};
  return {ErrorKind::kUsage, message, "teacher.api_key_env names the variable that holds the key"};
}

std::optional<double> parse_duration(std::string_view text) {
  double sum = 0;
  if (text.empty()) return std::nullopt;
  bool first = true;
  while (!text.empty()) {
    const auto value = number_at(text);
    if (!value) return std::nullopt;
    if (text.empty() && first) return value;  // plain seconds
    const auto unit = unit_at(text);
    if (!unit) return std::nullopt;
    sum += *value * *unit;
    first = false;
  }
  return sum;
}

std::optional<std::int64_t> parse_http_date(const std::string& text) {
  const bool plausible = text.size() >= 19 && text.size() <= 40 && text.find(':') != text.npos;
  const time_t when = plausible ? curl_getdate(text.c_str(), nullptr) : -1;
  if (when == -1) return std::nullopt;
  return static_cast<std::int64_t>(when);
}

std::optional<double> server_wait(const HttpResponse& response, std::int64_t unix_now) {
  if (!response.retry_after.empty()) {
    if (const auto seconds = parse_duration(response.retry_after)) return seconds;
    if (const auto until = parse_http_date(response.retry_after)) {
      const std::int64_t now = parse_http_date(response.date).value_or(unix_now);
      return static_cast<double>(std::max<std::int64_t>(0, *until - now));
    }
  }
  if (response.status != 429 && response.status != 503) return std::nullopt;
  std::optional<double> longest;
  const auto consider = [&longest](const std::string& reset, bool relevant) {
    const auto seconds = relevant ? parse_duration(reset) : std::nullopt;
    if (seconds) longest = std::max(longest.value_or(0), *seconds);
  };
  consider(response.reset_requests, is_used_up(response.remaining_requests));
  consider(response.reset_tokens, is_used_up(response.remaining_tokens));
  return longest;
}

double backoff(std::uint32_t attempt, double unit, double first, double most) noexcept {
  return unit * std::min(most, std::ldexp(first, static_cast<int>(std::min(attempt, 60U))));
}

}  // namespace lancet
