#include "formats/names/name_map.h"

#include <charconv>
#include <cmath>

#include <fmt/format.h>

namespace lancet {
namespace {

/// Texts of the numbers that stood in a name's holes.
using Holes = std::array<std::string_view, 2>;

constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Matches `text` against a pattern whose `{}` are decimal numbers without leading zeros.
bool matches(std::string_view pattern, std::string_view text, Holes& holes) {
  std::size_t hole = 0, at = 0;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (!pattern.substr(i).starts_with("{}")) {
      if (at >= text.size() || text[at] != pattern[i]) return false;
      ++at;
      continue;
    }
    ++i;
    const std::size_t begin = at;
    while (at < text.size() && is_digit(text[at])) ++at;
    const std::string_view number = text.substr(begin, at - begin);
    const bool sound =
        !number.empty() && number.size() <= 6 && (number.size() == 1 || number.front() != '0');
    if (!sound || hole == holes.size()) return false;
    holes[hole++] = number;
  }
  return at == text.size();
}

/// `pattern` with its first `{}` replaced by the layer.
std::string with_layer(std::string_view pattern, std::string_view layer) {
  std::string out(pattern);
  if (const std::size_t hole = out.find("{}"); hole != std::string::npos)
    out.replace(hole, 2, layer);
  return out;
}

using Has = std::function<bool(std::string_view)>;

std::optional<MappedName> map_name(const NameFamily& family, std::string_view name, bool to_hf,
                                   const Has& has) {
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const std::string_view suffix = name.substr(dot);
  const bool known = suffix == ".weight" || suffix == ".bias";
  for (const auto& rules : family.rules) {
    for (const NameRule& rule : rules) {
      if (!to_hf && rule.old) continue;
      if (to_hf && !rule.when.empty() && !(has && has(rule.when))) continue;
      if (!rule.bare && !known) continue;
      Holes holes;
      const std::string_view stem = rule.bare ? name : name.substr(0, dot);
      const bool second = to_hf && !rule.second.empty() && matches(rule.second, stem, holes);
      if (!second && !matches(to_hf ? rule.gguf : rule.hf, stem, holes)) continue;
      MappedName out{with_layer(to_hf ? rule.hf : rule.gguf, holes[0]), &rule};
      out.is_second = second;
      if (!rule.second.empty()) out.second = with_layer(rule.second, holes[0]);
      if (!rule.bare) out.name += suffix;
      if (!to_hf && rule.stacked())
        std::from_chars(holes[1].data(), holes[1].data() + holes[1].size(), out.expert);
      return out;
    }
  }
  return std::nullopt;
}

}  // namespace

const NameFamily* family_of_gguf(std::string_view architecture, bool experts,
                                 bool sigmoid) noexcept {
  if (architecture == "deepseek2" && sigmoid) return family_of_model_type("deepseek_v3");
  if (architecture == "llama" && experts) return family_of_model_type("mixtral");
  for (const NameFamily& family : name_families()) {
    if (family.gguf_architecture == architecture) return &family;
  }
  return nullptr;
}

const NameFamily* family_of_model_type(std::string_view model_type) noexcept {
  for (const NameFamily& family : name_families()) {
    for (const std::string_view type : family.hf_types) {
      if (type == model_type) return &family;
    }
  }
  return nullptr;
}

std::string known_gguf_architectures() {
  std::string out;
  std::string_view last;
  for (const NameFamily& family : name_families()) {
    if (family.gguf_architecture == last) continue;
    last = family.gguf_architecture;
    out += fmt::format("{}{}", out.empty() ? "" : ", ", last);
  }
  return out;
}

float gguf_value(ValueMap map, float value) noexcept {
  if (map == ValueMap::kPlusOne) return value + 1;
  return map == ValueMap::kMinusExp ? static_cast<float>(-std::exp(static_cast<double>(value)))
                                    : value;
}

float hf_value(ValueMap map, float value) noexcept {
  if (map == ValueMap::kPlusOne) return value - 1;
  return map == ValueMap::kMinusExp ? static_cast<float>(std::log(-static_cast<double>(value)))
                                    : value;
}

std::optional<MappedName> gguf_to_hf_name(const NameFamily& family, std::string_view gguf,
                                          const Has& has) {
  return map_name(family, gguf, true, has);
}

std::optional<MappedName> hf_to_gguf_name(const NameFamily& family, std::string_view hf) {
  return map_name(family, hf, false, {});
}

}  // namespace lancet
