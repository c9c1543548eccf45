#include "distill/licence.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"

namespace lancet {
namespace {

constexpr std::string_view kOperation = "licence";

void add_once(std::vector<std::string>& list, const std::string& text) {
  if (std::find(list.begin(), list.end(), text) == list.end()) list.push_back(text);
}

/// Why the outputs may not be used so, or "".
std::string obstacle(const Licence& licence, const std::string& model_name) {
  if (licence.outputs == Licence::Outputs::kForbidden)
    return fmt::format("the {} forbid training competing models on outputs ({})", licence.title,
                       licence.source);
  if (licence.outputs == Licence::Outputs::kOwnFamily && !model_name.starts_with("Llama"))
    return fmt::format("the {} allows outputs to improve models of its own family only ({})",
                       licence.title, licence.source);
  return {};
}

std::vector<std::string> strings_of(const Json& json, const char* key, std::string_view where) {
  std::vector<std::string> out;
  if (!json.contains(key)) return out;
  if (!json[key].is_array())
    fail(ErrorKind::kInput, kOperation, fmt::format("{}: licence.{}: expected a list", where, key));
  for (const Json& value : json[key]) {
    if (!value.is_string())
      fail(ErrorKind::kInput, kOperation,
           fmt::format("{}: licence.{}: expected texts", where, key));
    out.push_back(value.get<std::string>());
  }
  return out;
}

}  // namespace

void LicenceDuties::add_id(const std::string& id) { add_once(ids_, id); }

void LicenceDuties::add_teacher(const std::string& model) {
  add_once(teachers_, model);
  for (const Licence* licence : licences_of(model)) add_id(std::string(licence->id));
}

void LicenceDuties::declare(const std::string& id) { add_id(id); }

void LicenceDuties::add_json(const Json& json, std::string_view where) {
  if (!json.is_object())
    fail(ErrorKind::kInput, kOperation, fmt::format("{}: licence: expected an object", where));
  for (const auto& teacher : strings_of(json, "teachers", where)) add_teacher(teacher);
  for (const auto& id : strings_of(json, "licences", where)) add_id(id);
  for (const auto& id : strings_of(json, "accepted_terms_risk", where)) add_once(accepted_, id);
}

void LicenceDuties::add_data(const fs::path& rows) {
  const fs::path manifest = rows.string() + ".lancet.json";
  if (!fs::exists(manifest)) return;
  const Json json = read_json(manifest);
  if (json.is_object() && json.contains("licence")) add_json(json["licence"], manifest.string());
}

std::vector<const Licence*> LicenceDuties::known() const {
  std::vector<const Licence*> licences;
  for (const std::string& id : ids_) {
    if (const Licence* licence = find_licence(id)) licences.push_back(licence);
  }
  return licences;
}

std::vector<std::string> LicenceDuties::unknown_teachers() const {
  // A declared licence that is of no teacher in the table speaks for those the table lacks.
  std::vector<std::string> unknown, explained;
  for (const std::string& teacher : teachers_) {
    const auto licences = licences_of(teacher);
    if (licences.empty()) unknown.push_back(teacher);
    for (const Licence* licence : licences) explained.emplace_back(licence->id);
  }
  const bool declared = std::any_of(ids_.begin(), ids_.end(), [&](const std::string& id) {
    return std::find(explained.begin(), explained.end(), id) == explained.end();
  });
  return declared ? std::vector<std::string>() : unknown;
}

void LicenceDuties::check(const std::string& model_name, bool accept_terms_risk) {
  for (const Licence* licence : known()) {
    const std::string id(licence->id);
    const std::string why = obstacle(*licence, model_name);
    if (!why.empty() && accept_terms_risk) add_once(accepted_, id);
    if (!why.empty() && std::find(accepted_.begin(), accepted_.end(), id) == accepted_.end())
      fail(ErrorKind::kUsage, kOperation, why,
           "use another teacher, or --accept-terms-risk, which lancet.json records");
    if (!model_name.empty() && !model_name.starts_with(licence->name_prefix))
      fail(ErrorKind::kUsage, kOperation,
           fmt::format(
               "expected a model name that begins with \"{}\", found '{}': the {} asks it of every "
               "distributed model that its outputs trained ({})",
               licence->name_prefix, printable(model_name), licence->title, licence->source),
           fmt::format("e.g. {}-{}", licence->name_prefix, printable(model_name)));
  }
}

Json LicenceDuties::json() const {
  Json duties = Json::array();
  for (const Licence* licence : known()) {
    Json duty{{"licence", licence->id}, {"title", licence->title}, {"source", licence->source}};
    if (!licence->name_prefix.empty()) duty["name_prefix"] = licence->name_prefix;
    if (!licence->built_with.empty()) duty["built_with"] = licence->built_with;
    if (!licence->notice.empty()) duty["notice"] = licence->notice;
    if (licence->pass_on) duty["pass_on_terms"] = true;
    if (licence->non_commercial) duty["non_commercial"] = true;
    duties.push_back(std::move(duty));
  }
  Json json{{"teachers", teachers_}, {"licences", ids_}, {"duties", std::move(duties)}};
  if (!accepted_.empty()) json["accepted_terms_risk"] = accepted_;
  if (const auto unknown = unknown_teachers(); !unknown.empty()) json["unknown_teachers"] = unknown;
  return json;
}

std::string LicenceDuties::notice() const {
  std::string text;
  for (const Licence* licence : known()) {
    if (!licence->notice.empty()) text += fmt::format("{}\n", licence->notice);
  }
  return text;
}

std::string LicenceDuties::card() const {
  if (empty()) return {};
  std::string text = "## Licences of the teachers\n\n";
  for (const std::string& teacher : teachers_)
    text += fmt::format("- Trained on outputs of {}\n", teacher);
  for (const Licence* licence : known()) {
    text += fmt::format("- [{}]({})", licence->title, licence->source);
    if (!licence->built_with.empty()) text += fmt::format(". {}.", licence->built_with);
    if (!licence->name_prefix.empty())
      text +=
          fmt::format(" The name of a distributed model begins with \"{}\".", licence->name_prefix);
    if (licence->pass_on) text += " Its use restrictions bind this model and are to be passed on.";
    if (licence->non_commercial) text += " Not for commercial use.";
    text += '\n';
  }
  for (const std::string& id : accepted_)
    text += fmt::format("- The risk under {} was accepted knowingly.\n", id);
  return text;
}

}  // namespace lancet
