// strftime for strftime_now, in the time zone of the machine as transformers' datetime.now(): each
// directive alone goes through the C library, so that no width of a hostile format makes it write
// more than a few bytes.

#include <ctime>

#include "formats/template/print.h"

namespace lancet::jinja {
namespace {

constexpr std::string_view kDirectives = "aAbBcCdDeFgGhHIjlmkMnprRStTuUVwWxXyYP";

std::string one_directive(const std::tm& when, char flag, char directive) {
  char format[4] = {'%', 0, 0, 0};
  std::size_t at = 1;
  if (flag != '\0') format[at++] = flag;
  format[at] = directive;
  char buffer[128];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  const std::size_t size = std::strftime(buffer, sizeof buffer, format, &when);
#pragma GCC diagnostic pop
  return std::string(buffer, size);
}

}  // namespace

std::string format_time(Runtime& rt, std::string_view format, std::int64_t seconds) {
  const auto clock = static_cast<std::time_t>(seconds);
  std::tm when{};
  if (localtime_r(&clock, &when) == nullptr) rt.error("ValueError: the date is out of range");
  rt.touch(format.size() * 4);
  std::string out;
  for (std::size_t at = 0; at < format.size();) {
    const char c = format[at++];
    if (c != '%' || at >= format.size()) {
      out += c;
      continue;
    }
    const bool flagged = std::string_view("-_0^#").find(format[at]) != std::string_view::npos &&
                         at + 1 < format.size();
    const char flag = flagged ? format[at++] : '\0';
    const char directive = format[at++];
    if (directive == '%')
      out += '%';
    else if (directive == 'f')
      out += "000000";
    else if (directive == 's')
      out += std::to_string(seconds);
    else if (directive == 'z' || directive == 'Z')
      continue;  // a naive time has no zone
    else if (kDirectives.find(directive) != std::string_view::npos)
      out += one_directive(when, flag, directive);
    else
      out += std::string("%") + (flagged ? std::string(1, flag) : "") + directive;
  }
  return out;
}

}  // namespace lancet::jinja
