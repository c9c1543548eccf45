// What the nodes of core/yaml.h mean: YAML 1.2's numbers, YAML 1.1's booleans (as PyYAML has them),
// known keys.

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "core/yaml.h"

namespace lancet {

Node::Node() = default;
Node::Node(const Node&) = default;
Node::Node(Node&&) noexcept = default;
Node& Node::operator=(const Node&) = default;
Node& Node::operator=(Node&&) noexcept = default;
Node::~Node() = default;

namespace {

[[noreturn]] void fail_at(std::string_view source, const Node& node, std::string_view what,
                          std::string hint = {}) {
  fail(ErrorKind::kUsage, "yaml",
       fmt::format("{}:{}:{}: {}", printable(source), node.line, node.column, what),
       std::move(hint));
}

/// Digits of `text` after an optional sign, in the given base.
std::optional<std::int64_t> parse_digits(std::string_view digits, int base, bool negative) {
  std::uint64_t value = 0;
  const char* const end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, value, base);
  if (digits.empty() || error != std::errc{} || stop != end) return std::nullopt;
  constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (value > kMost + (negative ? 1 : 0)) return std::nullopt;
  return static_cast<std::int64_t>(negative ? 0 - value : value);
}

/// Splits an optional sign off; true when it was '-'.
bool take_sign(std::string_view& text) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  return negative;
}

template <std::size_t N>
bool is_one_of(std::string_view text, const std::array<std::string_view, N>& words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

}  // namespace

const Node* Node::find(std::string_view key) const noexcept {
  for (const auto& [name, value] : entries) {
    if (name.scalar == key) return &value;
  }
  return nullptr;
}

std::optional<std::int64_t> Node::integer() const noexcept {
  if (kind != Kind::kScalar || quoted) return std::nullopt;
  std::string_view text = scalar;
  const bool negative = take_sign(text);
  if (text.starts_with("0x")) return parse_digits(text.substr(2), 16, negative);
  if (text.starts_with("0o")) return parse_digits(text.substr(2), 8, negative);
  return parse_digits(text, 10, negative);
}

std::optional<double> Node::number() const noexcept {
  if (const auto whole = integer()) return static_cast<double>(*whole);
  if (kind != Kind::kScalar || quoted) return std::nullopt;
  constexpr std::array<std::string_view, 3> kInfinity{".inf", ".Inf", ".INF"};
  constexpr std::array<std::string_view, 3> kNan{".nan", ".NaN", ".NAN"};
  if (is_one_of(scalar, kNan)) return std::numeric_limits<double>::quiet_NaN();
  std::string_view text = scalar;
  const bool negative = take_sign(text);
  double value = std::numeric_limits<double>::infinity();
  if (!is_one_of(text, kInfinity)) {
    if (text.empty() || !(text[0] == '.' || (text[0] >= '0' && text[0] <= '9'))) {
      return std::nullopt;
    }
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc{} || stop != end) return std::nullopt;
  }
  return negative ? -value : value;
}

std::optional<bool> Node::boolean() const noexcept {
  if (kind != Kind::kScalar || quoted) return std::nullopt;
  constexpr std::array<std::string_view, 9> kTrue{"true", "True", "TRUE", "yes", "Yes",
                                                  "YES",  "on",   "On",   "ON"};
  constexpr std::array<std::string_view, 9> kFalse{"false", "False", "FALSE", "no", "No",
                                                   "NO",    "off",   "Off",   "OFF"};
  if (is_one_of(scalar, kTrue)) return true;
  if (is_one_of(scalar, kFalse)) return false;
  return std::nullopt;
}

void check_keys(const Node& mapping, const std::vector<std::string_view>& known,
                std::string_view source) {
  if (mapping.kind != Node::Kind::kMapping) {
    fail_at(source, mapping, "expected a mapping of keys to values");
  }
  for (const auto& [key, value] : mapping.entries) {
    if (std::find(known.begin(), known.end(), key.scalar) != known.end()) continue;
    std::string hint = did_you_mean(key.scalar, known);
    if (hint.empty()) hint = fmt::format("known keys: {}", fmt::join(known, ", "));
    fail_at(source, key, fmt::format("unknown key '{}'", printable(key.scalar)), std::move(hint));
  }
}

}  // namespace lancet
