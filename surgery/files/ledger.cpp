#include "surgery/files/ledger.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "core/error.h"

namespace lancet {
namespace {

const Json& member(const Json& object, std::string_view key, Json::value_t type,
                   std::string_view source) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  if (!object.is_object() || found == object.end()) {
    fail(ErrorKind::kInput, "ledger",
         fmt::format("expected key '{}', found none ({})", key, source));
  }
  if (found->type() != type) {
    fail(ErrorKind::kInput, "ledger",
         fmt::format("key '{}': expected {}, found {} ({})", key, Json(type).type_name(),
                     found->type_name(), source));
  }
  return *found;
}

Json optional_member(const Json& object, std::string_view key) {
  const auto found = object.find(key);
  return found == object.end() ? Json() : *found;
}

Json stage_to_json(const StageRecord& stage) {
  return {{"method", stage.method},
          {"parameters", stage.parameters},
          {"seed", stage.seed},
          {"layers", stage.layers},
          {"covariance", stage.covariance},
          {"contexts", stage.contexts},
          {"created_by", stage.created_by},
          {"notes", stage.notes},
          {"batch", stage.batch},
          {"covariance_from", stage.covariance_from},
          {"joint", stage.joint},
          {"follows", stage.follows}};
}

StageRecord stage_from_json(const Json& json, std::string_view source) {
  StageRecord stage;
  stage.method = json_string(json, "method", source);
  stage.parameters = optional_member(json, "parameters");
  const Json seed = optional_member(json, "seed");
  if (!seed.is_number_integer()) {
    fail(ErrorKind::kInput, "ledger", fmt::format("key 'seed': expected an integer ({})", source));
  }
  stage.seed = seed.get<std::uint64_t>();
  for (const Json& layer : member(json, "layers", Json::value_t::array, source)) {
    if (!layer.is_number_integer()) {
      fail(ErrorKind::kInput, "ledger",
           fmt::format("key 'layers': expected integers ({})", source));
    }
    stage.layers.push_back(layer.get<std::int64_t>());
  }
  stage.covariance = optional_member(json, "covariance");
  for (const Json& context : member(json, "contexts", Json::value_t::array, source)) {
    if (!context.is_string()) {
      fail(ErrorKind::kInput, "ledger", fmt::format("key 'contexts': expected texts ({})", source));
    }
    stage.contexts.push_back(context.get<std::string>());
  }
  stage.created_by = json_string(json, "created_by", source, "");
  stage.notes = optional_member(json, "notes");
  stage.batch = json_int(json, "batch", source, 0);
  stage.covariance_from = json_string(json, "covariance_from", source, "auto");
  stage.joint = json_bool(json, "joint", source, false);
  stage.follows = json_bool(json, "follows", source, false);
  return stage;
}

Json tensor_to_json(const LedgerTensor& tensor) {
  return {{"name", tensor.name},
          {"layer", tensor.layer},
          {"layout", layout_name(tensor.layout)},
          {"d_out", tensor.d_out},
          {"d_in", tensor.d_in},
          {"base_dtype", tensor.base_dtype},
          {"base_sha256", tensor.base_sha256},
          {"base_sketch", tensor.base_sketch}};
}

LedgerTensor tensor_from_json(const Json& json, std::string_view source) {
  LedgerTensor tensor;
  tensor.name = json_string(json, "name", source);
  tensor.layer = json_int(json, "layer", source);
  const std::string layout = json_string(json, "layout", source);
  if (layout != "out_in" && layout != "in_out") {
    fail(ErrorKind::kInput, "ledger",
         fmt::format("key 'layout': expected out_in or in_out, found '{}' ({})", layout, source));
  }
  tensor.layout = layout == "out_in" ? MatrixLayout::kOutIn : MatrixLayout::kInOut;
  tensor.d_out = json_int(json, "d_out", source);
  tensor.d_in = json_int(json, "d_in", source);
  tensor.base_dtype = json_string(json, "base_dtype", source);
  tensor.base_sha256 = json_string(json, "base_sha256", source);
  for (const Json& value : optional_member(json, "base_sketch")) {
    if (!value.is_number()) {
      fail(ErrorKind::kInput, "ledger",
           fmt::format("key 'base_sketch': expected numbers ({})", source));
    }
    tensor.base_sketch.push_back(value.get<double>());
  }
  if (tensor.d_out <= 0 || tensor.d_in <= 0) {
    fail(ErrorKind::kInput, "ledger",
         fmt::format("tensor '{}': expected positive sizes, found {} x {} ({})", tensor.name,
                     tensor.d_out, tensor.d_in, source));
  }
  return tensor;
}

Json edit_to_json(const EditRecord& edit) {
  Json columns = Json::object();
  for (const auto& [name, range] : edit.columns) columns[name] = {range.first, range.second};
  Json keys = Json::array();
  for (const auto& [name, key] : edit.keys) keys.push_back(name);
  return {{"id", edit.id},
          {"stage", edit.stage},
          {"fact", edit.fact},
          {"metrics", edit.metrics},
          {"residual", edit.residual},
          {"value", !edit.value.empty()},
          {"keys", keys},
          {"columns", columns}};
}

EditRecord edit_from_json(const Json& json, std::string_view source) {
  EditRecord edit;
  edit.id = json_string(json, "id", source);
  edit.stage = json_int(json, "stage", source);
  edit.fact = optional_member(json, "fact");
  edit.metrics = optional_member(json, "metrics");
  edit.residual = json_number(json, "residual", source, 0);
  for (const auto& [name, range] : member(json, "columns", Json::value_t::object, source).items()) {
    if (!range.is_array() || range.size() != 2 || !range[0].is_number_integer() ||
        !range[1].is_number_integer()) {
      fail(ErrorKind::kInput, "ledger",
           fmt::format("edit '{}', tensor '{}': expected [first, last] ({})", edit.id, name,
                       source));
    }
    edit.columns[name] = {range[0].get<std::int64_t>(), range[1].get<std::int64_t>()};
  }
  return edit;
}

void check_references(const Ledger& ledger, std::string_view source) {
  std::set<std::string_view> ids;
  std::int64_t stage = 0;
  for (const EditRecord& edit : ledger.edits) {
    if (!ids.insert(edit.id).second) {
      fail(ErrorKind::kInput, "ledger",
           fmt::format("edit '{}' is there twice ({})", edit.id, source));
    }
    if (edit.stage < stage || edit.stage >= static_cast<std::int64_t>(ledger.stages.size())) {
      fail(ErrorKind::kInput, "ledger",
           fmt::format("edit '{}': expected a stage in [{}, {}), found {} ({})", edit.id, stage,
                       ledger.stages.size(), edit.stage, source));
    }
    stage = edit.stage;
    for (const auto& [name, range] : edit.columns) {
      if (ledger.find_tensor(name) == nullptr || range.first < 0 || range.first > range.second) {
        fail(ErrorKind::kInput, "ledger",
             fmt::format("edit '{}': unknown tensor or wrong columns for '{}' ({})", edit.id, name,
                         source));
      }
    }
  }
  for (std::size_t i = 1; i < ledger.tensors.size(); ++i) {
    if (ledger.tensors[i - 1].name >= ledger.tensors[i].name) {
      fail(ErrorKind::kInput, "ledger",
           fmt::format("tensor '{}' is there twice or out of order ({})", ledger.tensors[i].name,
                       source));
    }
  }
}

}  // namespace

const LedgerTensor* Ledger::find_tensor(std::string_view name) const noexcept {
  const auto found =
      std::find_if(tensors.begin(), tensors.end(), [&](const auto& t) { return t.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

const EditRecord* Ledger::find_edit(std::string_view id) const noexcept {
  const auto found =
      std::find_if(edits.begin(), edits.end(), [&](const auto& e) { return e.id == id; });
  return found == edits.end() ? nullptr : &*found;
}

std::string_view layout_name(MatrixLayout layout) noexcept {
  return layout == MatrixLayout::kOutIn ? "out_in" : "in_out";
}

Json ledger_to_json(const Ledger& ledger) {
  Json json{{"version", 1}, {"tokenizer_sha256", ledger.tokenizer_sha256}};
  for (const char* key : {"stages", "tensors", "edits"}) json[key] = Json::array();
  for (const auto& stage : ledger.stages) json["stages"].push_back(stage_to_json(stage));
  for (const auto& tensor : ledger.tensors) json["tensors"].push_back(tensor_to_json(tensor));
  for (const auto& edit : ledger.edits) json["edits"].push_back(edit_to_json(edit));
  return json;
}

Ledger ledger_from_json(const Json& json, std::string_view source) {
  if (json_int(json, "version", source) != 1) {
    fail(
        ErrorKind::kInput, "ledger",
        fmt::format("expected version 1, found {} ({})", json_int(json, "version", source), source),
        "the file was written by another version of lancet");
  }
  Ledger ledger;
  ledger.tokenizer_sha256 = json_string(json, "tokenizer_sha256", source, "");
  for (const Json& stage : member(json, "stages", Json::value_t::array, source)) {
    ledger.stages.push_back(stage_from_json(stage, source));
  }
  for (const Json& tensor : member(json, "tensors", Json::value_t::array, source)) {
    ledger.tensors.push_back(tensor_from_json(tensor, source));
  }
  for (const Json& edit : member(json, "edits", Json::value_t::array, source)) {
    ledger.edits.push_back(edit_from_json(edit, source));
  }
  check_references(ledger, source);
  return ledger;
}

}  // namespace lancet
