#include "distill/filter.h"

#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"

namespace lancet {
namespace {

using Kind = FilterParameter::Kind;

[[noreturn]] void fail_value(std::string_view filter, const FilterParameter& p,
                             const std::string& wanted, std::string_view found) {
  fail(ErrorKind::kUsage, "curate",
       fmt::format("filter {}: {}: expected {}, found '{}'", filter, p.name, wanted,
                   printable(found)));
}

const FilterParameter& find_parameter(std::string_view filter,
                                      std::span<const FilterParameter> parameters,
                                      std::string_view name) {
  std::vector<std::string_view> names;
  for (const FilterParameter& p : parameters) {
    if (p.name == name) return p;
    names.push_back(p.name);
  }
  fail(ErrorKind::kUsage, "curate",
       fmt::format("filter {}: expected one of its parameters ({}), found '{}'", filter,
                   fmt::join(names, ", "), printable(name)),
       did_you_mean(name, names));
}

double parse_flag(std::string_view filter, const FilterParameter& p, std::string_view value) {
  if (value == "true" || value == "yes" || value == "1") return 1;
  if (value == "false" || value == "no" || value == "0") return 0;
  fail_value(filter, p, "true or false", value);
}

double parse_word(std::string_view filter, const FilterParameter& p, std::string_view value) {
  for (std::size_t i = 0; i < p.choices.size(); ++i) {
    if (p.choices[i] == value) return static_cast<double>(i);
  }
  fail_value(filter, p, fmt::format("{}", fmt::join(p.choices, ", ")), value);
}

double parse_number(std::string_view filter, const FilterParameter& p, std::string_view value) {
  double number = 0;
  const char* end = value.data() + value.size();
  const auto [at, error] = std::from_chars(value.data(), end, number);
  const bool whole = p.kind != Kind::kInteger || number == std::floor(number);
  if (error != std::errc() || at != end || !whole || !(number >= p.minimum) ||
      !(number <= p.maximum)) {
    fail_value(
        filter, p,
        fmt::format("{} from {} to {}", p.kind == Kind::kInteger ? "a whole number" : "a number",
                    p.minimum, p.maximum),
        value);
  }
  return number;
}

}  // namespace

FilterValues::FilterValues(std::string_view filter, std::span<const FilterParameter> parameters,
                           const std::vector<std::pair<std::string, std::string>>& settings)
    : filter_(filter), parameters_(parameters) {
  for (const auto& [key, value] : settings) {
    const FilterParameter& p = find_parameter(filter, parameters, key);
    const bool text = p.kind == Kind::kText || p.kind == Kind::kList;
    if ((numbers_.contains(key) || texts_.contains(key)) && p.kind != Kind::kList)
      fail_value(filter, p, "one value", "a second one");
    if (text && value.empty()) fail_value(filter, p, "a text", value);
    if (text) {
      texts_[key].push_back(value);
    } else {
      numbers_[key] = p.kind == Kind::kFlag   ? parse_flag(filter, p, value)
                      : p.kind == Kind::kWord ? parse_word(filter, p, value)
                                              : parse_number(filter, p, value);
    }
  }
  for (const FilterParameter& p : parameters) {
    if (p.kind == Kind::kText || p.kind == Kind::kList) {
      texts_.try_emplace(std::string(p.name));
    } else {
      numbers_.try_emplace(std::string(p.name), p.fallback);
    }
  }
}

double FilterValues::number(std::string_view name) const {
  const auto found = numbers_.find(name);
  if (found == numbers_.end())
    fail(ErrorKind::kInternal, "curate", fmt::format("filter {} has no number {}", filter_, name));
  return found->second;
}

std::uint64_t FilterValues::integer(std::string_view name) const {
  const double value = number(name);
  return std::isinf(value) ? std::numeric_limits<std::uint64_t>::max()
                           : static_cast<std::uint64_t>(value);
}

const std::vector<std::string>& FilterValues::list(std::string_view name) const {
  const auto found = texts_.find(name);
  if (found == texts_.end())
    fail(ErrorKind::kInternal, "curate", fmt::format("filter {} has no text {}", filter_, name));
  return found->second;
}

std::string FilterValues::text(std::string_view name) const {
  const auto& values = list(name);
  return values.empty() ? std::string() : values.front();
}

RowPart FilterValues::part(std::string_view name) const {
  return static_cast<RowPart>(choice(name));
}

void FilterValues::check_range(std::string_view least, std::string_view most) const {
  if (number(least) <= number(most)) return;
  fail(ErrorKind::kUsage, "curate",
       fmt::format("filter {}: expected {} to be at most {}, found {} and {}: no row would stay",
                   filter_, least, most, number(least), number(most)));
}

Json FilterValues::json() const {
  Json out = Json::object();
  for (const FilterParameter& p : parameters_) {
    const std::string name(p.name);
    switch (p.kind) {
      case Kind::kNumber:
        if (std::isfinite(number(p.name))) out[name] = number(p.name);
        break;
      case Kind::kInteger:
        if (std::isfinite(number(p.name))) out[name] = integer(p.name);
        break;
      case Kind::kFlag:
        out[name] = flag(p.name);
        break;
      case Kind::kWord:
        out[name] = p.choices[choice(p.name)];
        break;
      case Kind::kText:
        if (!list(p.name).empty()) out[name] = text(p.name);
        break;
      case Kind::kList:
        if (!list(p.name).empty()) out[name] = list(p.name);
    }
  }
  return out;
}

std::optional<Drop> RowFilter::inspect(const Row&, Sketch&) const { return std::nullopt; }
std::optional<Drop> RowFilter::decide(const Row&, const Sketch&) { return std::nullopt; }
std::vector<std::optional<Drop>> RowFilter::select(const RowStore& rows) {
  return std::vector<std::optional<Drop>>(rows.size());
}

const Filter& find_filter(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Filter* filter : filter_registry()) {
    if (filter->name == name) return *filter;
    names.push_back(filter->name);
  }
  fail(ErrorKind::kUsage, "curate",
       fmt::format("expected a filter ({}), found '{}'", fmt::join(names, ", "), printable(name)),
       did_you_mean(name, names));
}

Json filters_json() {
  constexpr std::string_view kKinds[] = {"number", "integer", "flag", "word", "text", "list"};
  Json rows = Json::array();
  for (const Filter* filter : filter_registry()) {
    Json parameters = Json::array();
    for (const FilterParameter& p : filter->parameters) {
      Json row{{"name", p.name}, {"kind", kKinds[static_cast<std::size_t>(p.kind)]}};
      const bool numeric = p.kind == Kind::kNumber || p.kind == Kind::kInteger;
      if (numeric) {
        row["default"] = std::isfinite(p.fallback) ? Json(p.fallback) : Json();
        row["minimum"] = p.minimum;
        row["maximum"] = p.maximum;
      } else if (p.kind == Kind::kFlag) {
        row["default"] = p.fallback != 0;
      } else if (p.kind == Kind::kWord) {
        row["default"] = p.choices[static_cast<std::size_t>(p.fallback)];
        row["choices"] = p.choices;
      }
      row["help"] = p.help;
      parameters.push_back(std::move(row));
    }
    rows.push_back({{"name", filter->name},
                    {"title", filter->title},
                    {"paper", filter->source},
                    {"selects", filter->selects},
                    {"parameters", std::move(parameters)}});
  }
  return rows;
}

}  // namespace lancet
