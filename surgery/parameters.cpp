// Parameters of a method: defaults, ranges, "did you mean".
#include <charconv>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/text.h"
#include "surgery/editor.h"

namespace lancet {
namespace {

double parse_number(const Parameter& parameter, const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = !parameter.integer || value == std::floor(value);
  if (error != std::errc{} || end != text.data() + text.size() || !std::isfinite(value) || !whole ||
      value < parameter.minimum || value > parameter.maximum) {
    fail(ErrorKind::kUsage, "edit",
         fmt::format("--method-option {}: expected {} in [{}, {}], found '{}'", parameter.name,
                     parameter.integer ? "an integer" : "a number", parameter.minimum,
                     parameter.maximum, printable(text)),
         std::string(parameter.help));
  }
  return value;
}

void check_word(const WordParameter& parameter, const std::string& text) {
  if (parameter.choices.empty()) return;
  for (const std::string_view choice : parameter.choices) {
    if (choice == text) return;
  }
  fail(ErrorKind::kUsage, "edit",
       fmt::format("--method-option {}: expected {}, found '{}'", parameter.name,
                   fmt::join(parameter.choices, " or "), printable(text)),
       did_you_mean(text, parameter.choices));
}

}  // namespace

Parameters::Parameters(std::span<const Parameter> numbers, std::span<const WordParameter> words,
                       const std::map<std::string, std::string>& given)
    : json_(Json::object()) {
  std::vector<std::string_view> known;
  for (const Parameter& parameter : numbers) {
    known.push_back(parameter.name);
    const auto found = given.find(std::string(parameter.name));
    const bool is_auto =
        found == given.end() || (std::isnan(parameter.fallback) && found->second == "auto");
    const double value = is_auto ? parameter.fallback : parse_number(parameter, found->second);
    if (std::isnan(value)) {
      json_[std::string(parameter.name)] = "auto";
    } else if (parameter.integer) {
      json_[std::string(parameter.name)] = static_cast<std::int64_t>(value);
    } else {
      json_[std::string(parameter.name)] = value;
    }
  }
  for (const WordParameter& parameter : words) {
    known.push_back(parameter.name);
    const auto found = given.find(std::string(parameter.name));
    const std::string value =
        found == given.end() ? std::string(parameter.fallback) : found->second;
    check_word(parameter, value);
    json_[std::string(parameter.name)] = value;
  }
  for (const auto& [name, value] : given) {
    if (value != "auto") given_.insert(name);
    if (json_.contains(name)) continue;
    fail(ErrorKind::kUsage, "edit",
         fmt::format("--method-option: expected {}, found '{}'", fmt::join(known, ", "),
                     printable(name)),
         did_you_mean(name, known));
  }
}

double Parameters::number(std::string_view name) const {
  return json_.at(std::string(name)).get<double>();
}

double Parameters::number_or(std::string_view name, double chosen) const {
  const Json& value = json_.at(std::string(name));
  return value.is_string() ? chosen : value.get<double>();
}

std::int64_t Parameters::integer(std::string_view name) const {
  return json_.at(std::string(name)).get<std::int64_t>();
}

std::int64_t Parameters::integer_or(std::string_view name, std::int64_t chosen) const {
  const Json& value = json_.at(std::string(name));
  return value.is_string() ? chosen : value.get<std::int64_t>();
}

const std::string& Parameters::word(std::string_view name) const {
  return json_.at(std::string(name)).get_ref<const std::string&>();
}

bool Parameters::is_given(std::string_view name) const { return given_.contains(name); }

const Editor& find_editor(std::string_view name) {
  std::vector<std::string_view> known;
  for (const Editor* editor : editor_registry()) {
    if (editor->name == name) return *editor;
    known.push_back(editor->name);
  }
  fail(ErrorKind::kUsage, "edit",
       fmt::format("--method: expected {}, found '{}'", fmt::join(known, ", "), printable(name)),
       did_you_mean(name, known));
}

const Editor& editor_of(const EditRequest& request) {
  if (!request.method.empty()) return find_editor(request.method);
  return find_editor(request.facts.size() > 1 ? "memit" : "rome");
}

}  // namespace lancet
