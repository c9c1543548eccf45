#include "merge/recipe_reader.h"

#include <cmath>
#include <regex>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"

namespace lancet {
namespace {

std::string kind_of(const Node& node) {
  switch (node.kind) {
    case Node::Kind::kNull:
      return "nothing";
    case Node::Kind::kSequence:
      return "a list";
    case Node::Kind::kMapping:
      return "a mapping";
    case Node::Kind::kScalar:
      break;
  }
  return fmt::format("'{}'", printable(node.scalar, 60));
}

}  // namespace

void RecipeReader::refuse(const Node& node, const std::string& message, std::string hint) const {
  fail(ErrorKind::kUsage, operation_,
       fmt::format("{}:{}:{}: {}", printable(source_, 400), node.line, node.column, message),
       std::move(hint));
}

void RecipeReader::warn(const Node& node, const std::string& message) const {
  warnings_.push_back(
      fmt::format("{}:{}:{}: {}", printable(source_, 400), node.line, node.column, message));
}

void RecipeReader::keys(const Node& mapping, const std::vector<std::string_view>& known) const {
  if (mapping.kind != Node::Kind::kMapping)
    refuse(mapping, "expected a mapping, found " + kind_of(mapping));
  for (const auto& [key, value] : mapping.entries) {
    if (std::ranges::find(known, key.scalar) != known.end()) continue;
    std::string hint = did_you_mean(key.scalar, known);
    if (hint.empty()) hint = fmt::format("keys known here: {}", fmt::join(known, ", "));
    refuse(key, fmt::format("unknown key '{}'", printable(key.scalar)), std::move(hint));
  }
}

const Node& RecipeReader::sequence(const Node& node, std::string_view what) const {
  if (node.kind != Node::Kind::kSequence)
    refuse(node, fmt::format("{}: expected a list, found {}", what, kind_of(node)));
  if (node.items.empty())
    refuse(node, fmt::format("{}: expected at least one entry, found none", what));
  return node;
}

std::string RecipeReader::text(const Node& node, std::string_view what) const {
  if (node.kind != Node::Kind::kScalar || node.scalar.empty()) {
    refuse(node, fmt::format("{}: expected text, found {}", what, kind_of(node)));
  }
  return node.scalar;
}

bool RecipeReader::flag(const Node& node, std::string_view what) const {
  if (const auto value = node.boolean()) return *value;
  refuse(node, fmt::format("{}: expected true or false, found {}", what, kind_of(node)));
}

std::int64_t RecipeReader::integer(const Node& node, std::string_view what,
                                   std::int64_t least) const {
  const auto value = node.integer();
  if (value && *value >= least) return *value;
  refuse(node, fmt::format("{}: expected an integer of at least {}, found {}", what, least,
                           kind_of(node)));
}

std::string RecipeReader::path(const Node& node, std::string_view what) const {
  if (node.kind != Node::Kind::kMapping) return text(node, what);
  if (node.find("model") != nullptr) return model(node).model;
  keys(node, {"path", "revision"});
  const Node* path = node.find("path");
  if (path == nullptr) refuse(node, fmt::format("{}: expected a path, found none", what));
  const std::string out = text(*path, what);
  const Node* revision = given(node, "revision");
  return revision == nullptr ? out : out + "@" + text(*revision, "revision");
}

RecipeModel RecipeReader::model(const Node& node) const {
  RecipeModel out;
  out.place = place_of(node);
  if (node.kind == Node::Kind::kMapping) {
    keys(node, {"model", "lora", "override_architecture"});
    const Node* model = node.find("model");
    if (model == nullptr) refuse(node, "expected a model, found none", "say model: PATH");
    out.model = path(*model, "model");
    if (const Node* lora = given(node, "lora")) out.adapter = path(*lora, "lora");
    out.text = out.adapter.empty() ? out.model : out.model + "+" + out.adapter;
    return out;
  }
  out.text = text(node, "model");
  out.model = out.text;
  return out;  // a '+' is taken apart where files are looked for: a name may hold one
}

double RecipeReader::word(const Node& node, const MergeParameter& parameter) const {
  const auto at = std::ranges::find(parameter.choices, node.scalar);
  if (node.kind == Node::Kind::kScalar && at != parameter.choices.end())
    return static_cast<double>(at - parameter.choices.begin());
  std::string hint =
      did_you_mean(node.scalar, {parameter.choices.begin(), parameter.choices.end()});
  if (hint.empty()) hint = fmt::format("{}: {}", parameter.name, parameter.help);
  refuse(node,
         fmt::format("{}: expected one of {}, found {}", parameter.name,
                     fmt::join(parameter.choices, ", "), kind_of(node)),
         std::move(hint));
}

double RecipeReader::scalar(const Node& node, const MergeParameter& parameter) const {
  if (parameter.kind == MergeParameter::Kind::kWord) return word(node, parameter);
  const bool flag_wanted = parameter.kind == MergeParameter::Kind::kFlag;
  std::optional<double> value = node.number();
  if (flag_wanted && node.boolean()) value = *node.boolean() ? 1.0 : 0.0;
  if (flag_wanted && value && *value != 0 && *value != 1) value.reset();
  const bool whole =
      parameter.kind != MergeParameter::Kind::kInteger || (value && *value == std::floor(*value));
  if (value && std::isfinite(*value) && whole && *value >= parameter.minimum &&
      *value <= parameter.maximum)
    return *value;
  const std::string expected =
      flag_wanted ? "true or false"
                  : fmt::format("{} in [{}, {}]",
                                parameter.kind == MergeParameter::Kind::kInteger ? "an integer"
                                                                                 : "a number",
                                parameter.minimum, parameter.maximum);
  refuse(node, fmt::format("{}: expected {}, found {}", parameter.name, expected, kind_of(node)),
         fmt::format("{}: {}", parameter.name, parameter.help));
}

std::vector<double> RecipeReader::gradient(const Node& node,
                                           const MergeParameter& parameter) const {
  if (node.kind != Node::Kind::kSequence) return {scalar(node, parameter)};
  std::vector<double> out;
  for (const Node& item : sequence(node, parameter.name).items)
    out.push_back(scalar(item, parameter));
  return out;
}

void RecipeReader::add_condition(RecipeValue& out, const Node& node,
                                 const MergeParameter& parameter) const {
  keys(node, {"filter", "value"});
  RecipeValue::Condition condition;
  condition.place = place_of(node);
  if (const Node* filter = node.find("filter");
      filter != nullptr && filter->kind != Node::Kind::kNull) {
    condition.filter = text(*filter, "filter");
    try {
      static_cast<void>(filter_matches(*condition.filter, "a"));
    } catch (const std::regex_error& error) {
      refuse(*filter, fmt::format("filter {}: {}", printable(*condition.filter), error.what()));
    }
  }
  const Node* value = node.find("value");
  if (value == nullptr)
    refuse(node, fmt::format("{}: expected a value beside the filter, found none", parameter.name));
  condition.gradient = gradient(*value, parameter);
  out.conditions.push_back(std::move(condition));
}

RecipeValue RecipeReader::value(const Node& node, const MergeParameter& parameter) const {
  RecipeValue out;
  out.place = place_of(node);
  if (node.kind == Node::Kind::kMapping) {
    add_condition(out, node, parameter);
  } else if (node.kind == Node::Kind::kSequence && !node.items.empty() &&
             node.items[0].kind == Node::Kind::kMapping) {
    for (const Node& item : node.items) add_condition(out, item, parameter);
  } else {
    out.conditions.push_back({std::nullopt, gradient(node, parameter), out.place});
  }
  return out;
}

namespace {

/// Parameters of published recipes that no method of mergekit makes anything of (any more).
constexpr std::array<std::string_view, 2> kIdle{"int8_mask", "embed_slerp"};

}  // namespace

RecipeValues RecipeReader::values(const Node& node, const Method& method) const {
  RecipeValues out;
  if (node.kind == Node::Kind::kNull) return out;
  if (node.kind != Node::Kind::kMapping)
    refuse(node, "parameters: expected a mapping, found " + kind_of(node));
  std::vector<std::string_view> known;
  for (const MergeParameter& parameter : method.parameters) known.push_back(parameter.name);
  for (const auto& [key, value_node] : node.entries) {
    const MergeParameter* parameter = find_parameter(method, key.scalar);
    if (parameter == nullptr && std::ranges::find(kIdle, key.scalar) != kIdle.end()) {
      warn(key, fmt::format("{}: has no effect with the method {}, as in mergekit", key.scalar,
                            method.name));
      continue;
    }
    if (parameter == nullptr) {
      std::string hint = did_you_mean(key.scalar, known);
      if (hint.empty())
        hint = known.empty() ? "it has none"
                             : fmt::format("its parameters: {}", fmt::join(known, ", "));
      refuse(key,
             fmt::format("unknown parameter '{}' of the method {}", printable(key.scalar),
                         method.name),
             std::move(hint));
    }
    out.emplace(key.scalar, value(value_node, *parameter));
  }
  return out;
}

RecipeToken RecipeReader::token(const std::string& name, const Node& node) const {
  keys(node, {"source", "force"});
  RecipeToken out;
  out.token = name;
  out.place = place_of(node);
  if (const Node* force = node.find("force")) out.force = flag(*force, "force");
  const Node* source = node.find("source");
  if (source == nullptr || source->kind == Node::Kind::kNull)
    refuse(node, "expected the source of the token, found none");
  const Node* kind = source->kind == Node::Kind::kMapping ? source->find("kind") : nullptr;
  const bool zero = kind != nullptr && kind->scalar == "zero";
  const bool other =
      source->kind == Node::Kind::kMapping &&
      (kind == nullptr ? source->find("token") != nullptr || source->find("token_id") != nullptr
                       : kind->scalar == "model_token");
  if (kind != nullptr && !zero && !other) {
    refuse(*kind,
           fmt::format("kind: expected model_token or zero, found '{}'", printable(kind->scalar)));
  }
  if (zero) {
    keys(*source, {"kind"});
    out.kind = RecipeToken::Kind::kZero;
  } else if (other) {
    keys(*source, {"kind", "model", "token", "token_id"});
    out.kind = RecipeToken::Kind::kModelToken;
    const Node* token = source->find("token");
    const Node* id = source->find("token_id");
    if (source->find("model") == nullptr || (token == nullptr) == (id == nullptr)) {
      refuse(*source, "expected a model and either token or token_id");
    }
    out.model = model(*source->find("model"));
    if (token != nullptr) out.model_token = text(*token, "token");
    if (id != nullptr) out.model_token_id = integer(*id, "token_id", 0);
  } else {
    out.model = model(*source);
  }
  return out;
}

RecipeTokenizer RecipeReader::tokenizer(const Node& node) const {
  RecipeTokenizer out;
  out.place = place_of(node);
  const auto set_source = [&](const Node& source) {
    out.source = source.kind == Node::Kind::kScalar ? text(source, "tokenizer source") : "";
    if (out.source == "union" || out.source == "base") return;
    constexpr std::string_view kPrefix = "model:";  // of mergekit's first recipes
    Node named = source;
    if (out.source.starts_with(kPrefix)) named.scalar = out.source.substr(kPrefix.size());
    out.model = model(named);
  };
  if (node.kind != Node::Kind::kMapping || node.find("model") != nullptr) {
    set_source(node);
    return out;
  }
  keys(node, {"source", "tokens", "pad_to_multiple_of"});
  if (const Node* source = node.find("source");
      source != nullptr && source->kind != Node::Kind::kNull)
    set_source(*source);
  if (const Node* pad = node.find("pad_to_multiple_of");
      pad != nullptr && pad->kind != Node::Kind::kNull) {
    out.pad_to_multiple_of = integer(*pad, "pad_to_multiple_of", 1);
  }
  if (const Node* tokens = node.find("tokens");
      tokens != nullptr && tokens->kind != Node::Kind::kNull) {
    if (tokens->kind != Node::Kind::kMapping)
      refuse(*tokens, "tokens: expected a mapping of tokens, found " + kind_of(*tokens));
    for (const auto& [key, value] : tokens->entries) out.tokens.push_back(token(key.scalar, value));
  }
  return out;
}

}  // namespace lancet
